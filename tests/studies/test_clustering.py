import numpy as np

from mtl.data.digits import digits, glyphs
from mtl.studies.clustering import agreement, points, problems, topics


def test_topics_share_groups_of_words_and_differ_by_seed():
    counts = topics(5)
    assert counts.target.sum(1).tolist() == [12] * 60 and counts.auxiliary.sum(1).max() == 120
    assert np.bincount(counts.classes).tolist() == [20] * 3
    assert not np.array_equal(counts.target, topics(6).target)
    means = [counts.target[counts.classes == topic].mean(0) for topic in range(3)]
    liked = [set(np.argsort(-mean)[:10]) for mean in means]
    assert not liked[0] & liked[1], "topics like other words"


def test_points_are_drawn_from_the_ink():
    pictures, others = digits(), glyphs(40, "AB")
    few, whole = points(pictures, others, 0), points(pictures, others, 0, seen=0)
    assert few.target.sum(1).tolist() == [40] * 100
    assert not few.target[whole.target == 0].any()
    assert few.auxiliary.shape == (40, 144) and len(set(few.classes)) == 10


def test_long_texts_help_to_cluster_short_ones():
    made, sizes, weight = problems(digits(), [])["short texts"]
    found = [agreement(made(seed), sizes, weight, seed) for seed in (1, 3)]
    assert np.mean([each["self-taught"] - each["alone"] for each in found]) > 0.2
    assert all(0 <= value <= 1 for each in found for value in each.values())
