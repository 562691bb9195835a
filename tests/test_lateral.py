"""What laterals do with activations of other lengths, resolutions and kinds."""

import pytest
import torch
import torch.nn.functional as F

from mtl.batch import Features, pad
from mtl.lateral import Lateral, resample
from mtl.packing import pack, unpack


def frames(lengths, dim):
    return Features(torch.randn(len(lengths), max(lengths), dim), torch.tensor(lengths))


def by_hand(x, wanted):
    """Weigh the frames near a place by a tent as wide as a new frame, or two old ones."""
    ratio = len(x) / wanted
    rows = []
    for t in range(wanted):
        place = (t + 0.5) * ratio - 0.5
        tent = [max(0.0, 1 - abs(place - s) / max(1.0, ratio)) for s in range(len(x))]
        rows.append(sum(w * row for w, row in zip(tent, x, strict=True)) / sum(tent))
    return torch.stack(rows)


@pytest.mark.parametrize("wanted", [[3, 2, 1], [5, 4, 2], [11, 7, 4]])
def test_sequences_are_stretched_and_shrunk_over_their_own_length(wanted):
    x, lengths = frames([5, 4, 2], 3)[:2]
    found = resample(x, lengths, torch.tensor(wanted), 12)
    for row, (length, new) in enumerate(zip(lengths.tolist(), wanted, strict=True)):
        torch.testing.assert_close(found[row, :new], by_hand(x[row, :length], new))
        assert not found[row, new:].any()
    constant = resample(torch.ones_like(x), lengths, torch.tensor(wanted), 12)
    assert constant.sum().item() == pytest.approx(3 * sum(wanted))


def test_a_sequence_of_its_own_length_stays():
    x, lengths = frames([5, 4], 3)[:2]
    found = resample(x, lengths, lengths, 5)
    torch.testing.assert_close(found, x * (torch.arange(5) < lengths[:, None])[..., None])


@pytest.mark.parametrize("kind", ["first", "last"])
def test_maps_of_another_resolution_are_interpolated(kind):
    torch.manual_seed(0)
    lateral = Lateral([3], ["first"], 4, kind)
    source = Features(torch.randn(2, 3, 5, 5), torch.tensor([5, 5]))
    out = torch.zeros(2, 4, 7, 7)
    out = Features(out.permute(0, 2, 3, 1) if kind == "last" else out, torch.tensor([7, 7]))
    added = lateral([source], out)
    assert added.shape == out.x.shape
    mixed = F.conv2d(source.x, (lateral.scales * lateral.down)[..., None, None])
    mixed = F.interpolate(mixed, (7, 7), mode="bilinear", antialias=True).relu()
    expected = F.conv2d(mixed, lateral.up, padding=1)
    expected = expected.permute(0, 2, 3, 1) if kind == "last" else expected
    torch.testing.assert_close(added, expected)


def test_maps_and_sequences_pass_each_other_their_means():
    torch.manual_seed(0)
    sequence, maps = frames([4, 2], 3), Features(torch.randn(2, 5, 3, 3), torch.tensor([3, 3]))
    to_frames = Lateral([5], ["first"], 4)
    added = to_frames([maps], Features(torch.zeros(2, 6, 4), torch.tensor([6, 5])))
    mean = maps.x.mean((2, 3)) @ (to_frames.scales * to_frames.down).T
    torch.testing.assert_close(added, (mean.relu() @ to_frames.up.T)[:, None])

    to_maps = Lateral([3], [""], 4, "first")
    shape = torch.zeros(2, 4, 3, 3)
    added = to_maps([sequence], Features(shape, torch.tensor([3, 3])))
    means = torch.stack([sequence.x[0, :4].mean(0), sequence.x[1, :2].mean(0)])
    mean = (means @ (to_maps.scales * to_maps.down).T).relu()
    whole = mean[..., None, None].expand(-1, -1, 3, 3)
    torch.testing.assert_close(added, F.conv2d(whole, to_maps.up, padding=1))


def test_scales_start_small_and_the_bottleneck_shrinks():
    sizes = []
    for count in range(1, 6):
        lateral = Lateral([256] * count, [""] * count, 256)
        assert lateral.scales.detach().sub(0.01).abs().max() < 0.006
        sizes.append(lateral.down.numel() + lateral.up.numel())
    assert max(sizes) / min(sizes) < 1.04 and sizes[0] == pytest.approx(256**2 / 2, rel=0.02)
    assert Lateral([4], [""], 4).down.shape == (8, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_is_packed_comes_back_also_from_half_the_bits(dtype):
    """Sizes are exact in every kind of float; values are rounded to it."""
    torch.manual_seed(0)
    long = Features(torch.randn(2, 70001), torch.tensor([70001, 300]))
    parts = [frames([5, 3], 4), Features(torch.randn(2, 3, 2, 2), torch.tensor([2, 2])), long]
    rows = [row.to(dtype).float() for row in pack(parts)]
    for part, again in zip(parts, unpack(pad(rows), 3), strict=True):
        assert again.lengths.equal(part.lengths)
        for row, length in enumerate(part.lengths.tolist()):
            cut = slice(None) if part.x.dim() == 4 else slice(length)
            assert again.x[row, cut].equal(part.x[row, cut].to(dtype).float())


def test_gradients_of_resampling():
    x = torch.randn(2, 4, 2, dtype=torch.double, requires_grad=True)
    lengths, wanted = torch.tensor([4, 3]), torch.tensor([7, 2])
    assert torch.autograd.gradcheck(lambda x: resample(x, lengths, wanted, 7), (x,))
    assert resample(x, torch.tensor([4, 0]), wanted, 7).isfinite().all()
