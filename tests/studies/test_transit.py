"""transit: going from domain to domain by guesses alone."""

import numpy as np
import pytest

from mtl.chain import NoChain
from mtl.data.images import from_arrays
from mtl.problem import Pictures
from mtl.studies.transit import ARMS, Domain, Journey, apart, read, travel, turned


def moons(degrees, seed, count=120):
    """Two classes on either side of a line that turns."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows = rng.normal(0, 0.3, (count, 30)) * 0.1
    rows[:, 2] += degrees / 45 * 0.03
    turn = np.radians(degrees)
    rows[:, :2] += (2 * labels[:, None] - 1) * [np.cos(turn), np.sin(turn)]
    return Domain(rows, labels)


@pytest.fixture(scope="module")
def turning():
    angles = (0, 45, 90, 135, 180)
    return {f"{a}": moons(a, a) for a in angles} | {"180 test": moons(180, 7)}


def test_guesses_follow_small_turns_and_not_large_ones(turning):
    last = turning["180 test"]
    way = [turning[name] for name in ("45", "90", "135", "180")]
    assert np.mean(travel(turning["0"], way).predict(last.rows) == last.labels) > 0.95
    assert np.mean(travel(turning["0"], way[-1:]).predict(last.rows) == last.labels) < 0.05


def test_labels_on_the_way_are_not_looked_at(turning):
    way = [turning[name] for name in ("45", "90")]
    blind = [Domain(domain.rows, np.full(len(domain.rows), "no label")) for domain in way]
    rows = turning["180 test"].rows
    ends = [travel(turning["0"], steps).predict(rows).tolist() for steps in (way, blind)]
    assert ends[0] == ends[1]


def test_a_journey_goes_all_ways_and_refuses_what_is_too_far(turning):
    journey = Journey(turning, "0", "180", close=2.0, seed=0)
    right = {arm: journey.run(arm)["value"] for arm in ARMS}
    assert right["target-only"] > 0.95 and right["source-only"] < 0.05
    assert journey.refusal() == ""
    far = Journey(turning, "0", "180", close=0.01, seed=0)
    assert "more than 0.01" in far.refusal()
    with pytest.raises(NoChain):
        far.run("chain")
    with pytest.raises(ValueError, match="source 'x', target '180': give two of 0, 45"):
        Journey(turning, "x", "180", 1.0, 0)


def test_distances_are_symmetric_and_grow_with_the_angle():
    made = turned(0)
    known = {name: made[name] for name in ("0", "10", "90")}
    far = apart(known)
    assert np.array_equal(far, far.T) and not far.diagonal().any()
    assert far[0, 1] < far[0, 2] and far[0, 2] > 1.9
    assert len({len(domain.rows) for domain in made.values()}) == 1


def test_files_become_domains_of_one_size():
    x = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 3), np.uint8)
    some = from_arrays(x, np.arange(20) % 2, "a")
    found = read({"a": Pictures(some[:12], some[12:])}, "a", 10, 0)
    assert {name: domain.rows.shape for name, domain in found.items()} == {
        "a": (10, 256),
        "a test": (8, 256),
    }
    with pytest.raises(ValueError, match="no data set 'b'; there are: a"):
        read({"a": Pictures(some, some)}, "b", 10, 0)
