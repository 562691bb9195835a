import numpy as np
import pytest
import torch

from mtl.data.augment import Augment, change_speed, change_tempo

EVERYTHING = Augment(time_masks=2, time_frames=9, bin_masks=2, bins=5, speeds=(0.9, 1.0, 1.1))
EVERYTHING = Augment(**{**EVERYTHING.__dict__, "noise_db": (5.0, 20.0)})
FRAMES = torch.from_numpy(np.random.default_rng(0).uniform(1, 2, (100, 20))).float()
SAMPLES = torch.sin(torch.arange(16000) * 0.05)


def drawn(augment, name, epoch):
    return (
        augment.speed(name, epoch),
        augment.noise(SAMPLES, name, epoch).tolist(),
        augment.mask(FRAMES, name, epoch).tolist(),
    )


def test_the_default_does_nothing():
    plain = Augment()
    assert plain.speed("a", 0) == 1.0
    assert plain.noise(SAMPLES, "a", 0) is SAMPLES and plain.mask(FRAMES, "a", 0) is FRAMES
    assert change_speed(SAMPLES, 1.0, 16000) is SAMPLES


def test_a_draw_depends_on_seed_example_and_epoch_alone():
    first = drawn(EVERYTHING, "a", 3)
    torch.manual_seed(5), np.random.seed(5)
    drawn(EVERYTHING, "b", 0)
    assert drawn(EVERYTHING, "a", 3) == first
    others = [("b", 3, 0), ("a", 4, 0), ("a", 3, 1)]
    for name, epoch, seed in others:
        changed = drawn(Augment(**{**EVERYTHING.__dict__, "seed": seed}), name, epoch)
        assert changed[1] != first[1] and changed[2] != first[2]


def test_speed_noise_and_masks_are_drawn_apart():
    """Switching one off leaves the others as they were."""
    quiet = Augment(**{**EVERYTHING.__dict__, "noise_db": None, "speeds": (1.0,)})
    assert quiet.mask(FRAMES, "a", 3).equal(EVERYTHING.mask(FRAMES, "a", 3))


def test_draws_repeat():
    few = Augment(**{**EVERYTHING.__dict__, "draws": 3})
    for epoch in range(3):
        assert drawn(few, "a", epoch) == drawn(few, "a", epoch + 3) == drawn(few, "a", epoch + 300)
        assert drawn(few, "a", epoch) == drawn(EVERYTHING, "a", epoch)
    assert len({str(few.mask(FRAMES, "a", epoch).tolist()) for epoch in range(3)}) == 3


def test_masks_keep_their_limits():
    widths, shares = set(), []
    for epoch in range(300):
        masked = EVERYTHING.mask(FRAMES, "a", epoch)
        hidden = masked == 0
        assert masked[~hidden].equal(FRAMES[~hidden])
        frames, bins = int(hidden.all(1).sum()), int(hidden.all(0).sum())
        assert hidden.sum() == frames * 20 + bins * 100 - frames * bins
        assert frames <= 18 and bins <= 10
        widths.add(bins)
        shares.append(frames / 100)
    assert max(widths) > 7 and 0 in widths
    assert max(shares) > 0.14 and min(shares) == 0.0


@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_short_utterances_lose_at_most_their_share(length):
    augment = Augment(time_masks=3, time_frames=30, time_share=0.3)
    for epoch in range(100):
        masked = augment.mask(torch.ones(length, 4), "a", epoch)
        assert int((masked == 0).all(1).sum()) <= 0.3 * length


def test_bands_wider_than_the_frames_are_possible():
    masked = Augment(bin_masks=1, bins=50).mask(torch.ones(5, 3), "a", 1)
    assert set(masked.unique().tolist()) <= {0.0, 1.0}


def test_noise_has_the_ratio_asked_for():
    augment = Augment(noise_db=(10.0, 10.0))
    noise = augment.noise(SAMPLES, "a", 0) - SAMPLES
    ratio = 10 * torch.log10(SAMPLES.square().mean() / noise.square().mean())
    assert float(ratio) == pytest.approx(10.0, abs=0.2)
    spread = Augment(noise_db=(0.0, 30.0))
    powers = [float((spread.noise(SAMPLES, "a", n) - SAMPLES).std()) for n in range(20)]
    assert max(powers) / min(powers) > 5
    assert augment.noise(torch.zeros(10), "a", 0).equal(torch.zeros(10))


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_the_draws_is_nobodys_each_group_by_itself(share):
    augment, groups = Augment(nobody=share), {"speaker": 3, "domain": 1}
    drawn = [augment.unname(groups, f"u{n}", epoch) for n in range(200) for epoch in range(10)]
    for group, number in groups.items():
        assert {found[group] for found in drawn} == {0, number}
        assert abs(sum(not found[group] for found in drawn) / 2000 - share) < 0.04
    both = drawn.count({"speaker": 0, "domain": 0})
    assert abs(both / 2000 - share**2) < 0.04
    assert Augment().unname(groups, "a", 0) is groups
    assert Augment(nobody=1.0).unname(groups, "a", 0) == {"speaker": 0, "domain": 0}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_no_other_share_of_the_draws_is_possible(share):
    with pytest.raises(ValueError, match="it is a share of the draws, 0 to 1"):
        Augment(nobody=share)


def test_who_is_nobody_depends_on_seed_example_and_epoch_alone():
    def who(seed=0, epochs=range(20), **more):
        augment = Augment(nobody=0.5, seed=seed, **more)
        return {(n, e): augment.unname({"s": 1}, n, e)["s"] for e in epochs for n in ("a", "b")}

    first = who()
    assert who(epochs=range(19, -1, -1)) == first == who(speeds=(0.9, 1.1), time_masks=2)
    assert who(seed=1) != first
    assert [first["a", e] for e in range(20)] != [first["b", e] for e in range(20)]
    assert {first["a", e] for e in range(20)} == {0, 1}, "epochs differ"
    again = who(draws=4)
    assert all(again[n, e] == first[n, e % 4] for n, e in again)


def test_speeds_are_drawn_evenly():
    speeds = [EVERYTHING.speed(f"u{index}", 0) for index in range(900)]
    assert set(speeds) == {0.9, 1.0, 1.1} and min(map(speeds.count, set(speeds))) > 240


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(speed):
    hz, tone = 16000, 440.0
    samples = torch.sin(2 * torch.pi * tone * torch.arange(hz) / hz)
    changed = change_speed(samples, speed, hz)
    assert len(changed) == pytest.approx(hz / speed, abs=1)
    loudest = int(torch.fft.rfft(changed).abs().argmax()) * hz / len(changed)
    assert loudest == pytest.approx(tone * speed, rel=0.01)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.0, 1.1, 1.25])
def test_tempo_stretches_frames_and_keeps_what_they_hold(speed):
    ramp = torch.arange(200.0)[:, None] * torch.tensor([1.0, -2.0])
    changed = change_tempo(ramp, speed)
    assert changed.shape == (round(200 / speed), 2)
    inner = changed[5:-5]
    assert torch.allclose(inner[:, 1], -2 * inner[:, 0])
    assert torch.allclose(inner[1:, 0] - inner[:-1, 0], torch.tensor(200 / len(changed)), atol=1e-3)
    assert (change_tempo(ramp, 1.0) is ramp) and len(change_tempo(ramp[:1], 9.0)) == 1


@pytest.mark.parametrize("speeds", [(), (0.0,), (1.0, -0.9), (1.03,), (0.01,)])
def test_speeds_that_cannot_be_played_are_refused(speeds):
    with pytest.raises(ValueError, match=r"give multiples of 0.05, such as 0.9"):
        Augment(speeds=speeds)


def test_bands_leave_half_of_a_few_bins():
    narrow = Augment(bin_masks=2, bins=15)
    hidden = [(narrow.mask(torch.ones(4, 13), "a", epoch) == 0).all(0).sum() for epoch in range(50)]
    assert 0 < max(hidden) <= 6
