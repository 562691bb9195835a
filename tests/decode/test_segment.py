import tracemalloc

import numpy as np
import pytest

from mtl.decode import segment
from mtl.decode.segment import Segment, joint, segments

HZ = 8000


def voice(seconds, rng, level=0.1, hz=HZ):
    """Syllables: noise, a voice-like 4 times a second loud and soft."""
    t = np.arange(round(seconds * hz)) / hz
    shape = 0.1 + np.abs(np.sin(2 * np.pi * 2 * t))
    return (level * shape * rng.standard_normal(len(t))).astype(np.float32)


def recording(parts, noise=1e-3, hz=HZ, level=0.1, seed=0):
    """Speech (True) and pauses over noise: samples, and where the speech is in seconds."""
    rng = np.random.default_rng(seed)
    samples, where, now = [], [], 0.0
    for speaks, seconds in parts:
        silence = np.zeros(round(seconds * hz), np.float32)
        samples.append(voice(seconds, rng, level, hz) if speaks else silence)
        if speaks:
            where.append((now, now + seconds))
        now += len(silence) / hz
    whole = np.concatenate(samples)
    return (whole + noise * rng.standard_normal(len(whole))).astype(np.float32), where


def cut(samples, hz=HZ, block=None, **options):
    size = block or hz
    blocks = (samples[i : i + size] for i in range(0, len(samples), size))
    return list(segments(blocks, hz, len(samples) / hz, **options))


def ends(found):
    return [(part.offset, part.offset + part.seconds) for part in found]


def assert_holds(found, where, slack=0.05):
    """All speech is within one segment."""
    for start, end in where:
        assert any(a <= start + slack and end - slack <= b for a, b in ends(found)), (start, end)


TALK = [
    (False, 2.0),
    (True, 3.0),
    (False, 0.35),
    (True, 2.0),
    (False, 3.0),
    (True, 4.0),
    (False, 1),
]


def test_speech_is_found_and_silence_left_out():
    samples, where = recording(TALK)
    found = cut(samples)
    assert_holds(found, where)
    assert len(found) == 2  # the short pause joins, the long one parts
    for (a, b), (start, end) in zip(ends(found), [(2.0, 7.35), (10.35, 14.35)], strict=True):
        assert a == pytest.approx(start - segment.EDGE, abs=0.06)
        assert b == pytest.approx(end + segment.EDGE, abs=0.06)
    assert all(part.overlap == 0 for part in found)


@pytest.mark.parametrize("most", [3.5, 5.0, 8.0])
def test_segments_are_no_longer_than_wanted_and_end_in_pauses(most):
    rng = np.random.default_rng(1)
    parts = []
    for _ in range(12):
        parts += [(True, rng.uniform(1, 2.5)), (False, rng.uniform(0.35, 0.38))]
    samples, where = recording(parts)
    found = cut(samples, most=most)
    assert max(part.seconds for part in found) <= most + 1e-9
    assert_holds(found, where)
    for (_, b), (a, _) in zip(ends(found), ends(found)[1:], strict=False):
        assert b <= a + 1e-9  # in order, none twice
        assert a - b < 0.09  # of a short pause nothing is left out
    whole = sum(b - a for a, b in ends(found))
    assert len(found) <= 2 * whole / most + 1  # and they are filled


@pytest.mark.parametrize("hz", [8000, 11025, 16000, 44100])
def test_the_rate_and_the_blocks_change_nothing(hz):
    samples, where = recording(TALK, hz=hz)
    found = cut(samples, hz)
    assert_holds(found, where)
    assert len(found) == 2
    for block in (313, 5 * hz, 10**9):
        assert cut(samples, hz, block) == found
    second = samples[3 * hz // 2 : 5 * hz // 2]
    assert len(cut(second, hz)) == 1
    assert cut(second, hz, 7) == cut(second, hz)


@pytest.mark.parametrize("level", [3e-4, 0.01, 0.3, 30.0])
def test_the_level_does_not_matter(level):
    """The last is clipped, as a microphone does."""
    samples, where = recording(TALK, noise=level / 50, level=level)
    found = cut(np.clip(samples, -1, 1))
    assert_holds(found, where)
    assert len(found) == 2


def test_the_floor_follows_the_noise():
    quiet, one = recording([*TALK, (False, 10)], noise=1e-4, level=0.02)
    loud, two = recording([(False, 10), *TALK], noise=0.03, level=0.5)
    found = cut(np.concatenate([quiet, loud]))
    start = len(quiet) / HZ
    assert_holds(found, [*one, *((a + start, b + start) for a, b in two)])
    heard = sum(part.seconds for part in found)
    assert heard < 2 * (3 + 2.5 + 4 + 4 * 0.4) + 8  # a louder floor is learnt within seconds


@pytest.mark.parametrize(("colour", "ratio"), [(0, 5.0), (1, 5.0), (2, 0.0)])
def test_speech_is_found_in_noise_of_any_colour(colour, ratio):
    """Of a spectrum that falls by 0, 3 or 6 dB an octave; `ratio` dB of signal to noise."""
    samples, where = recording([*TALK, (False, 2.0), *TALK, (False, 4.0)], noise=0.0)
    # voices are low: 12 dB an octave
    spectrum = np.fft.rfft(samples) / np.maximum(np.arange(len(samples) // 2 + 1), 300 * 30) ** 2
    samples = np.fft.irfft(spectrum, len(samples))
    samples *= 0.1 / samples[2 * HZ : 5 * HZ].std()
    rng = np.random.default_rng(0)
    noise = np.fft.rfft(rng.standard_normal(len(samples)))
    noise = np.fft.irfft(noise / np.maximum(np.arange(len(noise)), 9) ** (colour / 2), len(samples))
    noise *= 0.1 * 10 ** (-ratio / 20) / noise.std()
    found = cut((samples + noise).astype(np.float32))
    inside = [(max(a, s), min(b, e)) for s, e in where for a, b in ends(found)]
    kept = sum(max(b - a, 0) for a, b in inside) / sum(e - s for s, e in where)
    assert kept > 0.97
    assert sum(part.seconds for part in found) < 0.8 * len(samples) / HZ


def test_seconds_are_those_of_the_samples_at_any_rate():
    """11025 Hz has no whole 20 ms: what is rounded must not add up."""
    parts = [(False, 200.0), (True, 2.0), (False, 98.0)]
    for hz in (11025, 22050):
        samples, _ = recording(parts, hz=hz)
        ((a, b),) = ends(cut(samples, hz))
        assert a == pytest.approx(200 - segment.EDGE, abs=0.05)
        assert b == pytest.approx(202 + segment.EDGE, abs=0.06)


def test_rumble_and_an_offset_say_nothing():
    samples, where = recording(TALK)
    t = np.arange(len(samples)) / HZ
    found = cut((samples + 0.3 + 0.1 * np.sin(2 * np.pi * 20 * t)).astype(np.float32))
    assert_holds(found, where)
    assert len(found) == 2


def test_speech_from_the_first_sample_to_the_last():
    samples, where = recording([(True, 4.0), (False, 1.5), (True, 3.0)])
    found = cut(samples)
    assert_holds(found, where, slack=0.03)
    assert ends(found)[0][0] == 0 and ends(found)[-1][1] == len(samples) / HZ


@pytest.mark.parametrize("seconds", [1 / HZ, 0.005, 0.5, 40.0])
def test_silence_is_no_speech(seconds):
    rng = np.random.default_rng(0)
    silence = np.zeros(max(round(seconds * HZ), 1), np.float32)
    assert cut(silence) == []
    noise = (0.05 * rng.standard_normal(len(silence))).astype(np.float32)
    assert cut(noise) == []
    assert list(segments([], HZ, 0.0)) == []


def test_a_dip_does_not_end_speech():
    """Hysteresis: what lies between the two thresholds begins nothing, but goes on."""
    between = (segment.LASTS + segment.BEGINS) / 2
    levels = np.repeat([0, between, 0, 20, between, 0], [150, 50, 150, 10, 40, 150])
    bands = np.repeat(levels[:, None], 5, 1) - 50
    groups = [bands[i : i + 50] for i in range(0, len(bands), 50)]
    loud = np.flatnonzero(list(segment._loud(groups)))
    assert loud.tolist() == list(range(350, 400))
    uneven = [group + np.arange(5) * 7 for group in groups]  # each band has a floor of its own
    assert np.flatnonzero(list(segment._loud(uneven))).tolist() == loud.tolist()


def test_speech_without_a_pause_becomes_chunks_that_overlap():
    samples, _ = recording([(False, 2), (True, 70), (False, 2)])
    found = cut(samples, most=20.0, overlap=3.0)
    assert [part.overlap for part in found] == [0, 3, 3, 3]
    assert max(part.seconds for part in found) <= 20
    for (_, b), (a, _) in zip(ends(found), ends(found)[1:], strict=False):
        assert b - a == pytest.approx(3.0)
    assert ends(found)[0][0] < 2 and ends(found)[-1][1] > 72
    small = cut(samples, most=4.0, overlap=3.0)
    assert {part.overlap for part in small} == {0.0, 1.0}  # a quarter at most
    assert {part.overlap for part in cut(samples, most=4.0, overlap=0.0)} == {0.0}


def test_a_recording_that_is_one_segment():
    samples, _ = recording([(True, 5.0)])
    assert cut(samples) == [Segment(0.0, 5.0)]


def test_too_short_a_segment_is_refused():
    for most in (0.5, -1, float("nan")):
        with pytest.raises(ValueError, match="give at least 1"):
            segments([], HZ, 1.0, most=most)


def peak(minutes):
    rng = np.random.default_rng(0)
    block = voice(1.0, rng)
    blocks = (block if i % 7 else 0 * block for i in range(60 * minutes))
    tracemalloc.start()
    count = sum(1 for _ in segments(blocks, HZ, 60.0 * minutes))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > minutes
    return most


def test_memory_does_not_grow_with_length():
    peak(1)  # first use imports
    assert peak(12) < 1.1 * peak(2)


# joint


def views(truth, start, end, rng, spoil=0.3):
    """What two chunks heard of (symbol, seconds): jittered, and wrong near their own edge."""
    left = [(s, t + rng.uniform(-0.04, 0.04)) for s, t in truth if t < end]
    right = [(s, t + rng.uniform(-0.04, 0.04)) for s, t in truth if t >= start]
    left = [(s if t < end - spoil else int(rng.integers(1, 9)), t) for s, t in left]
    right = [(s if t > start + spoil else int(rng.integers(1, 9)), t) for s, t in right]
    if rng.random() < 0.5:
        right = right[1:]  # a symbol at the border is not heard at all
    return left, right


@pytest.mark.parametrize("seed", range(40))
def test_no_symbol_is_lost_or_doubled_at_a_joint(seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.06, 0.2, 150))
    truth = list(zip(rng.integers(1, 3 + seed % 6, 150).tolist(), times.tolist(), strict=True))
    start = times[60]
    left, right = views(truth, start, start + 3.0, rng)
    i, j = joint(left, right, start, start + 3.0)
    assert [s for s, _ in left[:i] + right[j:]] == [s for s, _ in truth]


def test_chunks_that_agree_on_nothing_give_half_each():
    left, right = [(1, 1.0), (1, 2.2), (1, 3.8)], [(2, 2.3), (2, 3.3), (2, 4.4)]
    assert joint(left, right, 2.0, 4.0) == (2, 1)
    assert joint([], right, 2.0, 4.0) == (0, 1)
    assert joint(left, [], 2.0, 4.0) == (2, 0)
    assert joint([], [], 2.0, 4.0) == (0, 0)
