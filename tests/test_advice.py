"""advice: who leads, why, and what is warned of."""

import pytest

from mtl.advice import Source, advise, best_margin, cause, decision, lead


def source(name, logme, bare=0.1, nce=-0.5, each=10, far=None):
    distances = {} if far is None else {"A-distance": far}
    return Source(name, {"logme": logme, "nce": nce}, {"logme": bare}, distances, 1.0, each)


def test_sources_are_ranked_by_their_lead_over_knowing_nothing():
    verdicts = advise([source("a", 0.2), source("b", 0.4), source("c", 0.5, bare=0.45)])
    assert [v.source.name for v in verdicts] == ["b", "a", "c"]
    assert [v.lead for v in verdicts] == pytest.approx([0.3, 0.1, 0.05])
    by_nce = advise([source("a", 0.2, nce=-0.9), source("b", 0.1, nce=-0.1)], "nce")
    assert by_nce[0].source.name == "b" and lead(source("a", 0, nce=-0.9), "nce") == pytest.approx(
        0.1
    )
    assert all(v.transfer for v in verdicts) and "foretell" in by_nce[0].why
    assert not any(v.transfer for v in advise([source("a", 0.2)], margin=0.1))
    with pytest.raises(ValueError, match="a has no score 'leep'; it has: logme, nce"):
        advise([source("a", 0.2)], "leep")


def test_the_likely_cause_is_the_data_the_labels_or_the_features():
    assert cause(source("x", 0, nce=-1, far=1.8)).startswith("its data are of another kind")
    labels = cause(source("x", 0, nce=-0.99, far=0.3))
    assert "say 1% of what the target's are though its data are near" in labels
    assert "overlook" in cause(source("x", 0, nce=-0.5, far=0.3))
    plain = Source("x", {"logme": 0.0}, {"logme": 0.1}, {}, 1.0, 10)
    assert "overlook" in cause(plain)


def test_decisions():
    assert decision(advise([source("a", 0.05)])) == [
        "would train from scratch: no source is better than knowing nothing"
    ]
    lines = decision(advise([source("a", 0.3, each=900), source("b", 0.2)]))
    assert lines[0].startswith("would start from a: ")
    assert lines[1] == "the target has 900 examples of each class: little can be gained"
    (bad,) = advise([source("a", 0.05)])
    assert bad.why.startswith("NEGATIVE TRANSFER likely: ")


def test_the_margin_parts_hurt_from_gain_as_well_as_any():
    leads, gains = [0.1, -0.2, 0.3, 0.5, 0.25, 0.4], [-1, -1, 1, 1, -1, 0]
    margin = best_margin(leads, gains)

    def parted(value):
        hurt = [own <= value for own, gain in zip(leads, gains, strict=True) if gain < 0]
        good = [own > value for own, gain in zip(leads, gains, strict=True) if gain > 0]
        return sum(hurt) / len(hurt) + sum(good) / len(good)

    assert parted(margin) == max(parted(value / 100) for value in range(60))
    assert best_margin([0.1, 0.2], [1, 1]) == best_margin([0.1], [-1]) == 0.0
