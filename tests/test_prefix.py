import os

import pytest
import torch
from test_contract import DIM, Linear
from torch import nn
from toy import Bad, Spelled, train
from toy import model as toy

from mtl import prefix as module
from mtl.batch import Batch, Example, Features, Flow, collate
from mtl.data.cache import Cache
from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.predict import predict
from mtl.prefix import Prefix, obstacle, prefix_end
from mtl.stems.frames import Frames
from mtl.stream import Parts, Stream
from mtl.trunks.transformer import Transformer
from mtl.tune.layers import freeze, thaw
from mtl.tune.lhuc import lhuc
from mtl.tune.weighted import weighted


def frozen(blocks=":b3", dropout=0.0, seed=0):
    """Four blocks, of which the named ones and the stem are frozen."""
    model = toy(depth=4, dropout=dropout, seed=seed)
    freeze(model, ["stems", *blocks.split()])
    return model


class Repeating(Spelled):
    """Repeats its first draws, as `Prefix` makes of any data."""

    def __init__(self, draws):
        super().__init__()
        self.kept = draws

    def example(self, index, draw=None, targets=True):
        return super().example(index, None if draw is None else draw % self.kept, targets)


class Counted:
    """Counts the examples that pass through a module."""

    def __init__(self, part):
        self.rows = 0
        part.register_forward_pre_hook(self.count)

    def count(self, _, given):
        self.rows += len(given[0].inputs)


def losses(net, data, **settings):
    fitted = train(data, net=net, steps=20, log_every=1, lr=1e-2, **settings)
    return torch.tensor([value for entry in fitted.history for value in entry["loss"].values()])


@pytest.mark.parametrize("draws", [1, 3])
def test_losses_are_those_without_the_cache(draws):
    expected = losses(frozen(dropout=0.1), Repeating(draws))
    model = frozen(dropout=0.1)
    passed = Counted(model.stem("speech"))
    data = Prefix(Spelled(), model, "speech", draws=draws)
    assert data.block == "b4"
    got = losses(model, data)  # more than six epochs
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert got[-6:].sum() < 0.9 * got[:6].sum()
    assert passed.rows == 12 * draws + 2  # one is tried first, up to the block and whole


def test_a_stem_that_subsamples():
    def build():
        torch.manual_seed(0)
        model = Model(
            {"speech": Frames(6, DIM, subsample=2)},
            Transformer(DIM, depth=4, heads=2, expansion=2, dropout=0.0),
            [Task("language", "speech", Classify(["nl", "cy"]))],
        )
        freeze(model, ["speech", ":b3"])
        return model

    data = Prefix(Spelled(), build(), "speech")
    for index in range(3):
        frames = torch.tensor(len(Spelled().example(index).input))
        assert len(data.example(index).input) == build().stem("speech").frames(frames)
    model = build()
    got, expected = losses(model, Prefix(Spelled(), model, "speech")), losses(build(), Repeating(1))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("names", "end"),
    [
        (["stems"], "b1"),
        (["stems", ":b2"], "b3"),
        (["stems", ":"], "b4"),
        (["stems", ":b1", "b3:"], "b2"),
        (["stems", "trunk", "heads"], "b4"),
    ],
)
def test_the_prefix_ends_at_the_first_trained_block(names, end):
    model = toy(depth=4)
    freeze(model, names)
    assert prefix_end(model, "speech") == prefix_end(model, "target") == end
    assert not obstacle(model, "speech")


def test_what_edits_put_behind_a_block_belongs_to_it():
    model = toy(depth=4)
    lhuc(model, size=2, blocks=["b2"])
    freeze(model, ["stems", ":b3"])
    assert prefix_end(model, "speech") == "b2"
    freeze(model, r"trunk\.after")
    assert prefix_end(model, "speech") == "b4"


def test_a_block_that_a_task_reads_is_computed():
    model = toy(depth=4)
    model.add(Task("early", "speech", Classify(["nl", "cy"]), at="b2"))
    freeze(model, ["stems", ":b3"])
    assert prefix_end(model, "speech") == "b2" and prefix_end(model, "target") == "b4"


class Positions(Transformer):
    """A trunk with weights of its own before the first block."""

    def __init__(self, dim=DIM):
        super().__init__(dim, depth=2, heads=2, expansion=2)
        self.position = nn.Parameter(torch.zeros(dim))

    def enter(self, batch):
        return super().enter(batch._replace(inputs=batch.inputs + self.position))

    def rejoin(self, batch):
        return super().enter(batch)


def positions():
    tasks = [Task("language", "speech", Classify(["nl", "cy"]))]
    return Model({"speech": Linear(6, DIM)}, Positions(), tasks)


def test_obstacles_are_named():
    model = positions()
    freeze(model, "trunk")
    assert prefix_end(model, "speech") is None
    assert obstacle(model, "speech").startswith("the stem of stream 'speech' is trained (project.")
    freeze(model, ["speech"])
    thaw(model, ["position"])
    with pytest.raises(ValueError, match=r"can be kept: trunk.position is trained, which leads to"):
        Prefix(Spelled(), model, "speech")
    freeze(model, ["position"])
    assert prefix_end(model, "speech") == "b2"
    with pytest.raises(ValueError, match="draws is 0; keep at least 1"):
        Prefix(Spelled(), model, "speech", draws=0)


def test_a_changed_front_is_refused():
    model = frozen()
    data = Prefix(Spelled(), model, "speech")
    data.example(0)
    weight = model.trunk.blocks["b2"].attention.outward.weight
    model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    data.example(0)  # written, but the same
    with torch.no_grad():
        model.trunk.blocks["b4"].attention.outward.weight.zero_()
        data.example(0)
        weight[0, 0] += 1
    for use in (lambda: data.example(0), data.fill, lambda: data.example(1)):
        with pytest.raises(ValueError, match="weights before block 'b4' have changed: make a new"):
            use()
    with torch.no_grad():
        weight[0, 0] -= 1
    weight.data = weight.data + 1  # torch counts no write
    with pytest.raises(ValueError, match="have changed"):
        data.example(0)


def test_a_front_that_is_trained_now_is_refused():
    model = frozen()
    data = Prefix(Spelled(), model, "speech")
    thaw(model, ":b1")
    with pytest.raises(ValueError, match=r"trunk.blocks.b1.*, before block 'b4', is trained now"):
        data.example(0)
    with pytest.raises(ValueError, match=r"none of \d+ examples can be used; first: trunk.blocks"):
        train(data, net=model)


def test_training_modes_come_back_and_nothing_is_dropped():
    model = frozen(dropout=0.5)
    expected = Prefix(Spelled(), model.eval(), "speech").example(0).input
    model.train()
    modes = [part.training for part in model.modules()]
    assert Prefix(Spelled(), model, "speech").example(0).input.equal(expected)
    assert modes == [part.training for part in model.modules()] and any(modes)


def test_draws_repeat_and_evaluation_is_a_draw_of_its_own():
    data = Prefix(Spelled(), frozen(), "speech", draws=2)
    plain, *drawn = (data.example(0, draw).input for draw in (None, 0, 1, 2, 3))
    assert drawn[0].equal(drawn[2]) and drawn[1].equal(drawn[3])
    assert not drawn[0].equal(drawn[1]) and not drawn[0].equal(plain)


def test_filling_in_batches_gives_what_single_examples_give():
    model = frozen()
    singly, filled = (Prefix(Spelled(), model, "speech", draws=2) for _ in range(2))
    assert filled.fill(6.0, show=False) == 24 and filled.fill(show=False) == 0
    assert filled.fill(plain=True, show=False) == 12
    passed = Counted(model.stem("speech"))
    given = {(i, d): filled.example(i, d) for i in range(12) for d in (0, 1, None)}
    assert not passed.rows
    for (index, draw), example in given.items():
        one, raw = singly.example(index, draw), Spelled().example(index, draw)
        torch.testing.assert_close(example.input, one.input, rtol=0, atol=1e-5)
        assert example.start == "b4" and example.id == raw.id and example.weight == raw.weight
        assert all(example.labels[name].equal(raw.labels[name]) for name in raw.labels)
    assert not filled.example(0, targets=False).labels


def test_a_progress_bar_tells_how_far_it_is(capfd):
    Prefix(Spelled(), frozen(), "speech").fill(6.0)
    assert "12 computed" in capfd.readouterr().err


def test_examples_that_cannot_be_used_are_named_as_ever():
    data = Prefix(Bad(broken=["x3"]), frozen(), "speech")
    assert data.fill(show=False) == 11
    with pytest.raises(ValueError, match=r"toy.jsonl:3: cannot be read"):
        data.example(3, 0)


def test_memory_is_bounded():
    cache = Cache(megabytes=0.001, dtype=torch.float32)
    data = Prefix(Spelled(), frozen(), "speech", cache=cache)
    with pytest.warns(UserWarning, match=r"too small for 10 of 12 examples"):
        data.fill(show=False)
    expected = Prefix(Spelled(), frozen(), "speech")
    for index in range(12):
        torch.testing.assert_close(data.example(index, 0).input, expected.example(index, 0).input)
    assert 0 < cache._bytes <= 0.001 * 2**20


def test_a_folder_serves_later_runs_with_the_same_weights_only(tmp_path):
    def computed(model, data=None):
        passed = Counted(model.stem("speech"))
        cache = Cache(megabytes=0.001, folder=tmp_path, dtype=torch.float32)
        Prefix(data or Spelled(), model, "speech", cache=cache).fill(show=False)
        return passed.rows

    tries = 2
    model = frozen()
    assert computed(model) == 12 + tries
    model.save_pretrained(tmp_path / "model")
    loaded = Model.from_pretrained(tmp_path / "model")
    freeze(loaded, ["stems", ":b3"])
    assert computed(loaded) == 0
    assert computed(frozen(seed=1)) == 12 + tries
    assert computed(loaded, Spelled(start=3)) == 12 + tries  # other inputs
    with torch.no_grad():
        loaded.stems["speech"].project.bias[0] += 1e-3
    assert computed(loaded) == 12 + tries


def test_other_groups_are_other_features():
    class Speaking(Spelled):
        def example(self, index, draw=None, targets=True):
            return super().example(index, draw, targets)._replace(groups={"speaker": self.speaker})

    model = toy(depth=2)
    lhuc(model, size=2, blocks=["b1"])
    with torch.no_grad():
        model.trunk.after["b1"]["lhuc"].a.normal_()
    freeze(model, ["stems", ":b1", "after"])
    data, cache = Speaking(), Cache(dtype=torch.float32)
    given = []
    for data.speaker in (0, 1):
        given.append(Prefix(data, model, "speech", cache=cache).example(0))
        assert given[-1].groups == {"speaker": data.speaker}
    assert not given[0].input.equal(given[1].input)


def test_evaluation_says_what_it_says_without():
    model = frozen()
    kept, plain = (
        predict(model, d, "speech") for d in (Prefix(Spelled(), model, "speech"), Spelled())
    )
    for one, other in zip(kept, plain, strict=True):
        for task, prediction in other.predictions.items():
            assert one.predictions[task].value == prediction.value
            assert one.predictions[task].confidence == pytest.approx(prediction.confidence)


def test_a_run_resumes_on_the_same_front_only(tmp_path):
    for seed in (0, 0, 1):
        model = frozen(seed=seed)
        data = Prefix(Spelled(), model, "speech")
        if seed:
            with pytest.raises(ValueError, match="differs in stream 'speech'"):
                train(data, tmp_path, net=model)
        else:
            train(data, tmp_path, net=model)


def test_data_workers_inherit_what_was_filled():
    model = frozen()
    expected = losses(model, Prefix(Spelled(), model, "speech"))
    model = frozen()
    data = Prefix(Spelled(), model, "speech")
    data.fill(show=False)
    me, run = os.getpid(), data._front.run
    data._front.run = lambda examples: run(examples) if os.getpid() == me else 1 / 0
    torch.testing.assert_close(losses(model, data, workers=1), expected, rtol=0, atol=1e-5)


def test_a_data_worker_computes_on_the_processor_only(monkeypatch):
    data = Prefix(Spelled(), frozen(), "speech")
    monkeypatch.setattr(module, "get_worker_info", object)
    data.example(0)
    data._front.model.to("meta")
    with pytest.raises(
        RuntimeError, match=r"x1 is not stored, and data workers cannot compute on m"
    ):
        data._front.run([Spelled().example(1)], 24)


class Shrinking(nn.Module):
    """A block on maps (B, C, H, W)."""

    def __init__(self, wide, dim):
        super().__init__()
        self.convolution = nn.Conv2d(wide, dim, 3, padding=1)

    def forward(self, flow):
        x = self.convolution(flow.x)[..., ::2]
        return flow._replace(x=x, lengths=flow.lengths * 0 + x.shape[-1])


class Maps(Encoder):
    """A trunk on maps; `forgets` makes it depend on what `rejoin` cannot know."""

    def __init__(self, forgets=False):
        super().__init__(DIM)
        self.forgets = forgets
        self.blocks.update({"b1": Shrinking(1, 4), "b2": Shrinking(4, DIM)})

    def enter(self, batch):
        return Flow(batch.inputs, batch.lengths, batch.groups, {"mean": batch.inputs.mean()})

    def leave(self, flow):
        x = flow.x.flatten(2).transpose(1, 2) + (flow.extra["mean"] if self.forgets else 0)
        return Features(x, torch.full_like(flow.lengths, x.shape[1]))


class Drawn(Spelled):
    def example(self, index, draw=None, targets=True):
        pixels = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(index))
        return Example(pixels, {"language": torch.tensor(index % 2)}, 1.0, {}, self.ids[index])


class Still(Encoder):
    def __init__(self):
        super().__init__(DIM)


def image_model(forgets=False):
    torch.manual_seed(0)
    tasks = [Task("language", "images", Classify(["nl", "cy"]))]
    model = Model({"images": Still()}, Maps(forgets), tasks)
    freeze(model, ":b1")
    return model


def test_maps_are_kept_as_they_are():
    model = image_model()
    data = Prefix(Drawn(), model, "images")
    batch = collate([data.example(index) for index in range(3)])
    assert batch.inputs.shape == (3, 4, 5, 4) and batch.start == "b2"
    expected = model("images", collate([Drawn().example(index) for index in range(3)]))
    got = model("images", batch)
    torch.testing.assert_close(got.x, expected.x)
    assert got.lengths.equal(expected.lengths)


def test_a_trunk_that_cannot_be_entered_is_refused():
    with pytest.raises(ValueError, match="cannot be entered at block 'b2': 'mean'"):
        Prefix(Drawn(), image_model(forgets=True), "images").example(0)
    model = toy(depth=3)
    weighted(model)
    freeze(model, "stems|trunk")
    with pytest.raises(
        ValueError, match="cannot be entered at block 'b3': a weighted sum needs all"
    ):
        Prefix(Spelled(), model, "speech").example(0)


class Tokens(Maps):
    """Hands on a sequence without regard to lengths, as trunks on the patches of an image do."""

    def enter(self, batch):
        x = batch.inputs.flatten(2).transpose(1, 2) if batch.inputs.dim() == 4 else batch.inputs
        return Flow(x, torch.full_like(batch.lengths, x.shape[1]))

    rejoin = enter

    def leave(self, flow):
        return Features(flow.x.mean(1, keepdim=True), torch.ones_like(flow.lengths))


def test_tokens_of_an_image_are_not_padded():
    model = image_model()
    model.trunk = Tokens()
    model.trunk.blocks.update({"b1": nn.Identity(), "b2": nn.Identity()})
    prefix = Prefix(Drawn(), model, "images")
    batch = Parts({"images": Stream(prefix, 3.0)}, 0)[0, 0].batches["images"]
    tokens = prefix.example(0).input
    assert tokens.dim() == 2 and batch.inputs.shape[1] == len(tokens)


class Liar(Positions):
    """Says that only `leave` uses what `enter` uses as well."""

    last = ("norm", "position")


def test_trained_weights_that_reach_the_block_are_found():
    tasks = [Task("language", "speech", Classify(["nl", "cy"]))]
    model = Model({"speech": Linear(6, DIM)}, Liar(), tasks)
    freeze(model, ["speech", ":b1"])
    with pytest.raises(ValueError, match="arrives at block 'b2' depends on trained weights"):
        Prefix(Spelled(), model, "speech").example(0)


def test_autocast_does_not_round_what_is_kept():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        full = Prefix(Spelled(), frozen(), "speech").example(0).input
    assert full.equal(Prefix(Spelled(), frozen(), "speech").example(0).input)


def test_what_is_kept_is_neither_shared_nor_rounded(tmp_path):
    rough, exact = (Cache(folder=tmp_path, dtype=dtype) for dtype in (torch.float16, torch.float32))
    value = torch.full((3,), 1 / 3)
    rough.get("a", lambda: value)
    exact.get("a", lambda: value).zero_()
    assert exact.get("a", lambda: value + 1).equal(value)
    data = Prefix(Spelled(), frozen(), "speech")
    first = data.example(0).input.clone()
    data.example(0).input.zero_()
    assert data.example(0).input.equal(first)


def test_a_batch_of_stored_inputs_runs_from_its_block():
    model = frozen().eval()
    data = Prefix(Spelled(), model, "speech")
    stored, raw = (collate([d.example(i) for i in range(3)]) for d in (data, Spelled()))
    assert isinstance(stored, Batch) and stored.inputs.shape[-1] == DIM
    torch.testing.assert_close(model("speech", stored).x, model("speech", raw).x, rtol=0, atol=1e-5)


def test_episodes_stay_whole_behind_a_frozen_front():
    class Pairs(Spelled):
        unit = 2

    kept = Prefix(Pairs(), frozen(), "speech")
    assert kept.unit == 2 and Prefix(Spelled(), frozen(), "speech").unit == 1
    for step in range(3):
        drawn = [draw.example for draw in Stream(kept, 4.0).draws(step)]
        assert drawn[1::2] == [index + 1 for index in drawn[::2]], "in pairs, as they belong"
