from collections import Counter

import numpy as np
import pytest
import torch
from toy import Spelled

from mtl.batch import Example
from mtl.loading import load_parts
from mtl.stream import Draw, Parts, Stream, Subset


class Lengths:
    """Examples of given costs and groups; the input says which example and which draw it is."""

    def __init__(self, seconds, groups=None):
        self.seconds = np.asarray(seconds, dtype=float)
        self.groups = ["a"] * len(self.seconds) if groups is None else list(groups)
        self.ids = [str(index) for index in range(len(self.seconds))]

    def __len__(self):
        return len(self.seconds)

    def column(self, name):
        return self.groups if name == "lang" else [""] * len(self)

    def labels(self, index):
        return {}

    def example(self, index, draw=None, targets=True):
        marks = torch.tensor([float(index), -1.0 if draw is None else float(draw)])
        return Example(marks.repeat(1 + index % 3, 1), id=self.ids[index])


def speech(count=300, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.array(["de", "en", "nl"])[rng.choice(3, count, p=[0.6, 0.3, 0.1])]
    return Lengths(rng.uniform(1, 15, count), groups)


def epoch(stream, number, seed=0):
    steps = range(number * len(stream), (number + 1) * len(stream))
    return [stream.draws(step, seed) for step in steps]


def test_a_proportional_epoch_visits_every_example_once():
    stream = Stream(speech(), 60.0)
    for number in range(3):
        drawn = [draw for batch in epoch(stream, number) for draw in batch]
        assert sorted(drawn) == [Draw(index, number) for index in range(300)]


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("uniform", {"de": 1 / 3, "en": 1 / 3, "nl": 1 / 3}),
        ({"nl": 0.5, "en": 0.25, "de": 0.25}, {"de": 0.25, "en": 0.25, "nl": 0.5}),
        ({"nl": 0.0}, {"de": 0.6, "en": 0.4}),
        (2, None),
        (1.0, None),
    ],
)
def test_shares_are_met_within_rounding(mix, expected):
    data = Lengths(np.ones(1000), ["de"] * 540 + ["en"] * 360 + ["nl"] * 100)
    if expected is None:
        powers = {name: data.groups.count(name) ** (1 / mix) for name in ("de", "en", "nl")}
        expected = {name: power / sum(powers.values()) for name, power in powers.items()}
    stream = Stream(data, 32.0, mix)
    for number in range(2):
        drawn = [data.groups[draw.example] for batch in epoch(stream, number) for draw in batch]
        counts = Counter(drawn)
        assert set(counts) == set(expected)
        for name, share in expected.items():
            assert abs(counts[name] - share * 1000) <= 0.5 + 1e-6


def test_an_oversampled_group_repeats_evenly_and_counts_its_passes():
    data = Lengths(np.ones(100), ["big"] * 90 + ["small"] * 10)
    stream = Stream(data, 10.0, "uniform")
    drawn = [draw for number in range(3) for batch in epoch(stream, number) for draw in batch]
    assert len(drawn) == 300
    small = Counter(draw.example for draw in drawn if draw.example >= 90)
    assert set(small.values()) == {15} and len(small) == 10
    for index in range(90, 100):
        assert sorted(d.epoch for d in drawn if d.example == index) == list(range(15))
    big = Counter(draw.example for draw in drawn if draw.example < 90)
    assert set(big.values()) == {1, 2} and sum(big.values()) == 150


@pytest.mark.parametrize("batch", [20.0, 60.0, 400.0, 1e6])
@pytest.mark.parametrize("count", [1, 2, 7, 300])
def test_a_batch_exceeds_its_size_by_at_most_the_longest_example(batch, count):
    data = speech(count)
    stream = Stream(data, batch)
    sizes = [data.seconds[[d.example for d in part]].sum() for part in epoch(stream, 0)]
    assert max(sizes) <= batch + data.seconds.max()
    if count == 300 and batch < 100:
        assert np.mean(sizes) > 0.9 * batch


@pytest.mark.parametrize("mix", ["uniform", 3.0])
def test_other_mixes_stay_close_to_their_size(mix):
    data = speech(2000)
    stream = Stream(data, 60.0, mix)
    sizes = [data.seconds[[d.example for d in part]].sum() for part in epoch(stream, 0)]
    assert max(sizes) <= 1.1 * 60.0 + data.seconds.max()


def test_images_come_in_batches_of_one_size():
    assert [len(part) for part in epoch(Stream(Lengths(np.ones(60)), 20), 0)] == [20, 20, 20]
    assert sorted(len(part) for part in epoch(Stream(Lengths(np.ones(50)), 20), 1)) == [16, 17, 17]


def test_every_batch_holds_something_whatever_the_data():
    rng = np.random.default_rng(0)
    for _ in range(200):
        count = int(rng.integers(1, 12))
        data = Lengths(rng.exponential(5, count) + 0.01, rng.choice(list("abc"), count))
        stream = Stream(data, float(rng.uniform(0.1, 40)), rng.choice(["uniform", "proportional"]))
        parts = epoch(stream, 1)
        assert min(map(len, parts)) >= 1
        assert sum(map(len, parts)) == len(stream.plan(1).order)


def test_batches_hold_examples_of_like_duration():
    data = speech(2000)
    stream = Stream(data, 60.0)
    padded = sum(
        max(data.seconds[d.example] for d in part) * len(part) for part in epoch(stream, 0)
    )
    efficiency = data.seconds.sum() / padded
    assert stream.padding_efficiency() == pytest.approx(efficiency) and efficiency > 0.95


def test_order_differs_between_epochs_and_seeds_and_repeats_within():
    stream = Stream(speech(), 60.0)
    first, again = epoch(stream, 0), epoch(Stream(speech(), 60.0), 0)
    assert first == again
    assert first != epoch(stream, 0, seed=1)
    ids = [[d.example for d in part] for part in first]
    assert ids != [[d.example for d in part] for part in epoch(stream, 1)]
    means = [np.mean(stream.data.seconds[part]) for part in ids]
    assert means != sorted(means), "long and short batches take turns"


def test_the_largest_batch_is_the_one_with_most_padded_seconds():
    stream = Stream(speech(), 60.0)
    seconds = stream.data.seconds
    padded = [max(seconds[d.example] for d in part) * len(part) for part in epoch(stream, 0)]
    assert stream.largest() == epoch(stream, 0)[int(np.argmax(padded))]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_any_number_of_processes_reads_the_same_global_batches(accumulate):
    """The batch of a step depends on the seed and the step alone: so does what is left of a run."""
    streams = {"speech": Stream(speech(60), 40.0), "images": Stream(Lengths(np.ones(20)), 8)}
    for step in range(7, 20):
        whole = Parts(streams, 3)[step, 0]
        for world in (2, 3):
            found = {name: [] for name in streams}
            for rank in range(world):
                parts = Parts(streams, 3, rank, world, accumulate)
                for part in (parts[step, number] for number in range(accumulate)):
                    assert part.examples == whole.examples
                    for name, batch in part.batches.items():
                        real = [i for i, w in zip(batch.ids, batch.weights, strict=True) if w]
                        found[name] += real
            assert {n: sorted(ids) for n, ids in found.items()} == {
                name: sorted(batch.ids) for name, batch in whole.batches.items()
            }


def test_a_process_without_work_computes_at_weight_zero():
    streams = {"speech": Stream(Lengths([5.0, 5.0]), 5.0)}
    part = Parts(streams, 0, rank=1, world=2)[0, 0]
    assert part.batches["speech"].weights.tolist() == [0.0] and part.examples == {"speech": 1}


class Broken(Lengths):
    def __init__(self, seconds, broken):
        super().__init__(seconds)
        self.broken = broken

    def example(self, index, draw=None, targets=True):
        if index in self.broken:
            raise ValueError(f"line {index} is broken")
        return super().example(index, draw, targets)


def test_broken_examples_are_reported_and_the_others_stay():
    parts = Parts({"speech": Stream(Broken(np.ones(4), {1}), 4.0)}, 0)
    part = parts[0, 0]
    assert sorted(part.batches["speech"].ids) == ["0", "2", "3"]
    assert part.skipped == [("1", "line 1 is broken")] and part.examples == {"speech": 4}


def test_a_process_with_nothing_usable_takes_a_spare_at_weight_zero():
    data = Broken(np.ones(40), set(range(39)))
    for rank in range(2):
        part = Parts({"speech": Stream(data, 2.0)}, 0, rank, 2)
        loaded = part.load({"speech": [Draw(0, 0), Draw(1, 0), Draw(39, 0)]})
        weights = dict(
            zip(loaded.batches["speech"].ids, loaded.batches["speech"].weights, strict=True)
        )
        assert weights == ({"39": 1.0} if rank == 0 else {"39": 0.0})
    with pytest.raises(
        ValueError, match=r"none of .* examples can be used; first: line 0 is broken"
    ):
        part.load({"speech": [Draw(0, 0)]})


def test_spares_that_were_tried_count_once():
    data = Broken(np.ones(20), set(range(20)))
    with pytest.raises(ValueError, match=r"none of 20 examples can be used; first: line \d+ is"):
        Parts({"speech": Stream(data, 20.0)}, 0)[0, 0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_workers_change_neither_order_nor_content(accumulate):
    streams = {"speech": Stream(Spelled(20), 6.0)}
    parts = Parts(streams, 0, accumulate=accumulate)
    alone = list(load_parts(parts, 3, 13))
    assert len(alone) == 10 * accumulate
    for one, two in zip(alone, load_parts(parts, 3, 13, workers=2), strict=True):
        assert one.batches["speech"].ids == two.batches["speech"].ids
        assert one.batches["speech"].inputs.equal(two.batches["speech"].inputs)
        assert one.batches["speech"].weights.equal(two.batches["speech"].weights)
        for name, labels in one.batches["speech"].labels.items():
            assert labels.values.equal(two.batches["speech"].labels[name].values)


def test_draws_number_the_augmentation_and_overfitting_has_none():
    stream = Stream(Lengths(np.ones(4)), 4.0)
    seen = [Parts({"s": stream}, 0)[step, 0].batches["s"].inputs[..., 1].max() for step in range(3)]
    assert seen == [0.0, 1.0, 2.0]
    plain = Parts({"s": stream}, 0, augment=False)[2, 0]
    assert plain.batches["s"].inputs[..., 1].min() == -1.0


def test_the_first_examples_as_a_stream():
    stream = Stream(speech(), 60.0, "uniform").first(5)
    assert len(stream.data) == 5 and stream.data.ids == list("01234")
    assert sorted(d.example for part in epoch(stream, 0) for d in part) == [0, 1, 2, 3, 4]


def test_a_subset_speaks_of_its_own_examples():
    data = Spelled(8)
    few = Subset(data, [6, 1])
    assert (len(few), few.ids, few.seconds.tolist()) == (2, ["x6", "x1"], [1.0, 2.0])
    assert few.column("lang") == ["nl", "cy"]
    assert few.labels(0) == data.labels(6)
    assert few.example(1, 3).input.equal(data.example(1, 3).input)
    assert few.example(1, targets=False).labels == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0.0}, "batch is 0.0; give seconds"),
        ({"batch": float("nan")}, "batch is nan; give seconds"),
        ({"data": Lengths([])}, "its data set is empty"),
        ({"mix": "equal"}, "mix 'equal': give proportional, uniform"),
        ({"mix": -1.0}, "temperature of -1.0 is not positive"),
        ({"mix": {"fr": 0.5}}, r"mix names \['fr'\]; the data has: de, en, nl"),
        ({"mix": {"de": 0.7, "nl": 0.7}}, "must be positive and add up to at most 1"),
        ({"mix": {"de": 0.2, "en": 0.2, "nl": 0.2}}, "must be positive and add up to at most 1"),
        ({"mix": {"de": -0.2}}, "must be positive"),
        ({"mix": {"de": 0.5, "nl": 0.5}}, "leaves nothing for en; to mean it, give 0"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Stream(**{"data": speech(), "batch": 60.0, **arguments})


def test_an_empty_mapping_is_proportional():
    assert Stream(speech(), 60.0, {}).shares == Stream(speech(), 60.0).shares
