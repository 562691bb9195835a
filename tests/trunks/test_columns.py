"""Columns, against the paper's equations evaluated directly."""

import pytest
import torch
import torch.nn.functional as F
from columns import Dense, awake

from mtl.batch import Batch
from mtl.ops import valid
from mtl.trunks.columns import TRACES, Columns
from mtl.trunks.conformer import Conformer
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer


def three(*trunks):
    """Columns a, b and c, each with laterals from all before it."""
    torch.manual_seed(0)
    columns = Columns("a", trunks[0])
    for name, trunk in zip("bc", trunks[1:], strict=False):
        columns.grow(name, trunk, list(columns.blocks))
    return awake(columns).eval().requires_grad_(False)


def frames(lengths, dim):
    x = torch.randn(len(lengths), max(lengths), dim)
    for row, length in enumerate(lengths):
        x[row, length:] = 50.0
    return Batch(x, torch.tensor(lengths))


def adapter(lateral, activations):
    """U relu(V [a_1 h_1, ..., a_J h_J]), one matrix at a time, channels last (Rusu et al. 2016, eq. 2)."""
    stacked = torch.cat([s * h for s, h in zip(lateral.scales, activations, strict=True)], -1)
    return (stacked @ lateral.down.T).clamp(min=0), lateral.up


def test_dense_columns_follow_equation_2():
    columns = three(*(Dense(5, widths) for widths in ([7, 6, 4], [8, 6, 5], [7, 9, 4])))
    batch = Batch(torch.randn(3, 1, 5), torch.ones(3, dtype=torch.long))
    found = columns(batch, list("abc"))
    hidden = {}
    for name in "abc":
        column = columns.column(name)
        h, layers = batch.inputs[:, 0], []
        for number, (block, layer) in enumerate(column.trunk.blocks.items()):
            z = h @ layer.linear.weight.T + layer.linear.bias
            if number and hidden:
                bottleneck, up = adapter(
                    column.laterals[block], [each[number - 1] for each in hidden.values()]
                )
                z = z + bottleneck @ up.T
            layers.append(h := z.clamp(min=0))
        # A head W on the end gives W h + (W U) relu(V [...]): the paper's lateral into the output layer.
        head = torch.randn(3, h.shape[1])
        scores = h @ head.T
        if hidden:
            bottleneck, up = adapter(column.last, [each[-1] for each in hidden.values()])
            scores = scores + bottleneck @ (head @ up).T
        hidden[name] = layers
        torch.testing.assert_close(found.at(name).x[:, 0] @ head.T, scores)


def test_convolutional_columns_follow_equation_2():
    columns = three(
        *(
            ResNet(3, w, residual=False, strides=[1, 2, 2])
            for w in ([4, 6, 8], [5, 6, 7], [4, 4, 4])
        )
    )
    batch = Batch(torch.randn(2, 3, 9, 9), torch.tensor([9, 9]))
    flow = columns.run(batch, "c")
    hidden = {}
    for name in "abc":
        column = columns.column(name)
        h, maps = batch.inputs, []
        for number, (block, layer) in enumerate(column.trunk.blocks.items()):
            z = F.conv2d(h, layer.convolution.weight, stride=layer.stride, padding=1)
            if number and hidden:
                earlier = [each[number - 1].permute(0, 2, 3, 1) for each in hidden.values()]
                bottleneck, up = adapter(column.laterals[block], earlier)
                assert up.shape[2:] == layer.convolution.weight.shape[2:]
                u = F.conv2d(bottleneck.permute(0, 3, 1, 2), up, stride=layer.stride, padding=1)
                z = z + u
            h = F.gelu(layer.norm(z))
            maps.append(h)
            torch.testing.assert_close(flow.extra[TRACES][name].blocks[block].x, h)
        hidden[name] = maps


@pytest.mark.parametrize("kind", [Transformer, Conformer])
def test_sequence_columns_add_their_adapters_to_blocks(kind):
    columns = three(*(kind(8, depth=3, heads=2, expansion=2) for _ in "abc"))
    batch = frames([9, 4], 8)
    found, hidden, ends = columns(batch, list("abc")), {}, {}
    for name in "abc":
        column, layers = columns.column(name), []
        flow = column.trunk.enter(batch)
        for number, (block, layer) in enumerate(column.trunk.blocks.items()):
            earlier = [each[number - 1] for each in hidden.values()] if number else []
            flow = layer(flow)
            if earlier:
                bottleneck, up = adapter(column.laterals[block], earlier)
                flow = flow._replace(x=flow.x + bottleneck @ up.T)
            layers.append(flow.x)
        end = column.trunk.leave(flow)
        expected = end.x
        if hidden:
            bottleneck, up = adapter(column.last, list(ends.values()))
            expected = expected + (bottleneck @ up.T) * valid(end.lengths, 9)[..., None]
        torch.testing.assert_close(found.at(name).x, expected)
        hidden[name], ends[name] = layers, end.x


SHAPES = {
    "width": lambda: (Transformer(8, 2, 2, 2), Transformer(12, 2, 2, 2), Conformer(4, 2, 2, 2)),
    "depth": lambda: (Transformer(8, 4, 2, 2), Transformer(8, 2, 2, 2), Transformer(8, 3, 2, 2)),
    "rate": lambda: (Halved(8), Transformer(8, 2, 2, 2), Halved(8)),
}


class Halved(Transformer):
    """Every second frame only."""

    def __init__(self, dim):
        super().__init__(dim, 2, 2, 2)

    def frames(self, lengths):
        return (lengths + 1) // 2

    def enter(self, batch):
        x = batch.inputs[:, ::2]
        return super().enter(batch._replace(inputs=x, lengths=self.frames(batch.lengths)))


@pytest.mark.parametrize("shape", SHAPES)
def test_padding_changes_nothing_between_columns_of_other_shapes(shape):
    columns = three(*SHAPES[shape]())
    batch = frames([9, 4, 6, 1], 8)
    together = columns(batch, ["a", "b", "c", "b.b1"])
    for row, length in enumerate(batch.lengths.tolist()):
        one = Batch(batch.inputs[row : row + 1, :length], batch.lengths[row : row + 1])
        alone = columns(one, ["a", "b", "c", "b.b1"])
        for tap in ("a", "b", "c", "b.b1"):
            kept = int(together.at(tap).lengths[row])
            assert kept == alone.at(tap).x.shape[1]
            torch.testing.assert_close(
                together.at(tap).x[row, :kept], alone.at(tap).x[0], rtol=0, atol=1e-5
            )
        assert not together.at("c").x[row, int(together.at("c").lengths[row]) :].any()


def test_depths_are_aligned_relatively():
    columns = three(*SHAPES["depth"]())
    assert columns.column("b").reads == {"b2": [("a", "b2")]}
    assert columns.column("c").reads == {
        "b2": [("a", "b1"), ("b", "b1")],
        "b3": [("a", "b3"), ("b", "b1")],
    }


@pytest.mark.parametrize(
    "trunks",
    [
        lambda: (ResNet(3, [4, 6]), ResNet(3, [4, 6, 8], strides=[1, 2, 1]), ResNet(3, [5])),
        lambda: (ResNet(3, [4, 6]), ResNet(6, [4, 6]), ResNet(2, [4, 6], strides=[3, 3])),
    ],
)
def test_maps_of_other_resolutions_and_widths_meet(trunks):
    columns = three(*trunks())
    inputs = torch.randn(2, 3, 11, 11)
    batch = Batch(inputs, torch.tensor([11, 11]))
    found = columns(batch, list("abc"))
    assert all(bool(found.at(name).x.isfinite().all()) for name in "abc")
    assert found.at("c").x.shape[2] == columns.dim


def test_laterals_matter_and_vanish_with_their_scales():
    columns = three(*(Transformer(8, 2, 2, 2) for _ in "abc"))
    batch = frames([5, 3], 8)
    with_laterals = columns(batch).x
    for name, parameter in columns.named_parameters():
        if "blocks.c." in name and name.endswith("scales"):
            parameter.zero_()
    alone = columns.trunk("c")(batch).x
    torch.testing.assert_close(columns(batch).x, alone)
    assert not torch.allclose(with_laterals, alone, atol=1e-3)


def test_only_what_is_needed_runs():
    torch.manual_seed(0)
    columns = Columns("a", Transformer(8, 1, 2, 2))
    columns.grow("b", Transformer(8, 1, 2, 2), [])
    columns.grow("c", Transformer(8, 1, 2, 2), ["a"])
    ran = []
    for name in "abc":
        columns.column(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
    batch = frames([4], 8)
    for asked, expected in ((["a"], "a"), ([], "ac"), (["b"], "b"), (["b", "c"], "abc")):
        columns(batch, asked)
        assert "".join(ran) == expected
        ran.clear()


def test_the_adapter_keeps_its_size_whatever_the_number_of_columns():
    sizes = []
    columns = Columns("0", Dense(10, [256, 256, 256]))
    for k in range(1, 7):
        columns.grow(str(k), Dense(10, [256, 256, 256]), list(columns.blocks))
        sizes.append(sum(p.numel() for p in columns.column(str(k)).parameters()))
    assert max(sizes) / min(sizes) < 1.02


def test_names_and_trunks_that_do_not_fit_are_refused():
    columns = Columns("a", Dense(4, [4]))
    for name in ("a", "", "b.c", "items"):
        with pytest.raises(ValueError, match="give a name without a dot"):
            columns.grow(name, Dense(4, [4]), [])
    with pytest.raises(ValueError, match="no column 'x'; this trunk has: a"):
        columns.grow("b", Dense(4, [4]), ["x"])
    with pytest.raises(ValueError, match="not cut into blocks"):
        columns.grow("b", Dense(4, [4]).described().__class__.__base__(4), ["a"])
    with pytest.raises(ValueError, match="ResNet takes maps, and column 'a' sequences"):
        columns.grow("b", ResNet(4, [4]), ["a"])
    raw = Dense(4, [4])
    raw.takes = 0
    with pytest.raises(ValueError, match="Dense takes raw signals, and column 'a' sequences"):
        columns.grow("b", raw, ["a"])
    assert list(columns.blocks) == ["a"]
    batch = Batch(torch.zeros(1, 1, 4), torch.ones(1, dtype=torch.long))
    with pytest.raises(ValueError, match=r"no block \['b9'\]"):
        columns(batch, ["a.b9"])
    with pytest.raises(ValueError, match=r"no block \['z'\]"):
        columns(batch, ["z"])
