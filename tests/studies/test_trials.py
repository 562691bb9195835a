"""Trials: what is told by one example, with and without a model, and what networks learn from."""

import numpy as np
import pytest

from mtl.config import Fit
from mtl.data.images import from_arrays
from mtl.data.omniglot import Trial
from mtl.data.warp import Warp
from mtl.studies import trials as module
from mtl.studies.trials import ARMS, Net, draw, embed, learn, lettered, measure

SMALL = Net(size=16, channels=4, ways=3, queries=1, views=2)
QUICK = Fit(steps=2, threads=1, log_every=1, dry_run=False, precision="no")
WARP = Warp(shift=0.1, degrees=10.0)


def patterns(classes=8, each=4, seed=0):
    """Every class is a pattern of its own, in noise."""
    rng = np.random.default_rng(seed)
    x = np.kron(rng.integers(0, 2, (classes, 4, 4)), np.ones((4, 4))) * 120
    y = np.repeat(np.arange(classes), each)
    return from_arrays(
        (x[y] + rng.integers(0, 130, (len(y), 16, 16))).astype(np.uint8), y, f"p{seed}"
    )


def test_trials_have_one_example_and_one_picture_of_each_class():
    found = draw(patterns(), 5, ways=6)
    assert [trial.name for trial in found] == [f"trial {number}" for number in range(5)]
    for trial in found:
        names = [picture.label for picture in trial.support]
        assert len(set(names)) == 6 and names == [picture.label for picture in trial.tests]
        assert not {p.id for p in trial.support} & {p.id for p in trial.tests}
    assert len({tuple(p.id for p in trial.support) for trial in found}) == 5


def test_letters_to_learn_from_and_to_tell_are_different_ones():
    pictures, found = lettered(3, 16, small=True)
    learnt = {picture.label for picture in pictures}
    told = {picture.label for trial in found for picture in trial.support}
    assert len(learnt) == 60 and len(told) > 20 and not learnt & told
    assert all(trial.support[0].source.shape == (16, 16) for trial in found)


def test_pixels_take_the_nearest_example():
    trials = draw(patterns(), 6, ways=5, seed=1)
    found = measure(None, trials, WARP, 0)
    wrong = []
    for trial in trials:
        known = [(p.label, p.source.astype(float)) for p in trial.support]
        said = [
            min(known, key=lambda k, x=p.source: ((k[1] - x) ** 2).sum())[0] for p in trial.tests
        ]
        wrong.append(sum(s != p.label for s, p in zip(said, trial.tests, strict=True)))
    assert [row[0] for row in found["counts"]] == wrong
    assert found["value"] == sum(wrong) / 30 and found["n"] == 30 and "views" not in found
    assert len(found["sure"]) == 30 and sum(1 - right for _, right in found["sure"]) == sum(wrong)


@pytest.mark.parametrize("arm", ARMS)
def test_networks_learn_in_episodes_and_tell_trials(arm, monkeypatch):
    streams, fit = [], module.fit
    monkeypatch.setattr(
        module, "fit", lambda m, s, c, **more: streams.append(s) or fit(m, s, c, **more)
    )
    model, _ = learn(arm, patterns(), SMALL, QUICK, WARP)
    data = streams[0]["images"].data
    assert (data.unit, streams[0]["images"].batch, len(data.data)) == (6, 6, 4 * 32)
    trials = draw(patterns(seed=1), 4, ways=5)
    found = measure(model, trials, WARP, views=2)
    for figures in (found, found["views"]):
        assert figures["metric"] == "error" and len(figures["counts"]) == 4 and figures["n"] == 20
        assert all(1 / 5 - 1e-3 <= share <= 1 for share, _ in figures["sure"])
    turned_once = [p for p in data.data.pictures if p.label == "0@90"]
    assert len(turned_once) == 4


def test_examples_are_told_without_fail_where_they_are_the_same_picture():
    model, _ = learn("prototype", patterns(), SMALL, QUICK, WARP)
    pictures = draw(patterns(seed=2), 1, ways=6)[0].support
    assert measure(model, [Trial("same", pictures, pictures)], WARP, 1)["value"] == 0.0


def test_views_are_averaged_and_the_same_each_time():
    model, _ = learn("prototype", patterns(), SMALL, QUICK, WARP)
    pictures = patterns(seed=3)[:5]
    plain, one, two = (embed(model, pictures, WARP, views) for views in (0, 1, 2))
    second = 3 * two - 2 * one  # (plain + a + b) / 3, (plain + a) / 2
    assert not np.allclose(one, plain, atol=1e-4) and not np.allclose(
        second, 2 * one - plain, atol=1e-4
    )
    np.testing.assert_array_equal(embed(model, pictures, WARP, 2), two)
    np.testing.assert_allclose(embed(model, pictures, Warp(), 2), plain, atol=1e-4)


def test_turns_can_be_left_out_and_wrong_settings_are_named():
    assert (
        len(learn("matching", patterns(), Net(16, 4, 3, 1, turns=False), QUICK, WARP)[0].tasks) == 1
    )
    with pytest.raises(ValueError, match="'nearest' learns from no examples; choose from proto"):
        learn("nearest", patterns(), SMALL, QUICK, WARP)
    with pytest.raises(ValueError, match=r"net.ways is 1; give 2 or more"):
        Net(ways=1)
