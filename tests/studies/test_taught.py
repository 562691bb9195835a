"""taught: features that are learnt without labels, and the classifier that is the same for all."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mtl.config import Fit
from mtl.data.digits import digits, glyphs
from mtl.problem import Pictures
from mtl.studies.taught import WAYS, Bench, Code, Settings, classifier, coded, patches

QUICK = Settings(Code(patch=6, stride=4, atoms=8), Fit(steps=3, dry_run=False), 5, 4, 8)
RNG = np.random.default_rng(0)
SEEN = RNG.random((40, 20, 20)) ** 3


def test_patches_have_no_mean_and_are_no_longer_than_one():
    code = Code(patch=5, stride=3)
    found = patches(SEEN[:2], code)
    assert found.shape == (2, 6, 6, 25)
    window = SEEN[1, 3:8, 6:11].reshape(-1)
    window = window - window.mean()
    np.testing.assert_allclose(found[1, 1, 2], window / (np.linalg.norm(window) + 0.5))
    assert not patches(np.ones((1, 20, 20)), code).any()
    with pytest.raises(ValueError, match="patches of 30 pixels in pictures of 20"):
        patches(SEEN, Code(patch=30))


def test_codes_are_averaged_over_parts_of_the_picture_by_sign():
    code = Code(patch=6, stride=2, atoms=3, beta=0.1, grid=2)
    atoms = np.linalg.qr(RNG.normal(size=(36, 3)))[0].T
    found = coded(SEEN[:3], atoms, code)
    products = (
        patches(SEEN[:3], code) @ atoms.T
    )  # of orthogonal atoms the codes are soft thresholds
    sparse = np.sign(products) * (np.abs(products) - 0.05).clip(0)
    wanted = []
    for rows in (slice(0, 4), slice(4, 8)):
        for columns in (slice(0, 4), slice(4, 8)):
            part = sparse[:, rows, columns]
            halves = [part.clip(0).mean((1, 2)), (-part).clip(0).mean((1, 2))]
            wanted.append(np.concatenate(halves, 1))
    np.testing.assert_allclose(found, np.sqrt(np.concatenate(wanted, 1)), atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_again_and_depends_on_the_picture_alone(way):
    encode = WAYS[way](SEEN, QUICK)
    found = encode(SEEN[:3])
    assert np.isfinite(found).all() and len(np.unique(found.round(6), axis=0)) == 3
    np.testing.assert_allclose(encode(SEEN[2:3])[0], found[2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(WAYS[way](SEEN, QUICK)(SEEN[:3]), found, rtol=1e-4, atol=1e-5)


def test_components_are_those_of_the_unlabelled_pictures():
    learnt = PCA(5).fit(SEEN.reshape(40, -1))
    found = WAYS["PCA"](SEEN, QUICK)(SEEN)
    np.testing.assert_allclose(abs(found), abs(learnt.transform(SEEN.reshape(40, -1))), atol=1e-6)


def test_training_changes_the_network_and_the_dictionary():
    for learnt, bare in (
        ("masked autoencoder", "untrained network"),
        ("sparse coding", "random patches"),
    ):
        one, two = (WAYS[way](SEEN, QUICK)(SEEN[:2]) for way in (learnt, bare))
        assert one.shape == two.shape and not np.allclose(one, two)


def test_the_classifier_does_not_mind_the_scale_of_features():
    rows = RNG.normal(size=(30, 4)) + np.repeat(np.eye(3, 4), 10, 0) * 4
    labels = np.repeat(["a", "b", "c"], 10)
    ends = [classifier(scale * rows, labels)(scale * rows).tolist() for scale in (1.0, 1e-3)]
    assert ends[0] == ends[1] == labels.tolist()
    with pytest.raises(ValueError, match="a class has 1 labelled example"):
        classifier(rows[:11], labels[:11])


def test_a_bench_tests_on_pictures_that_it_does_not_learn_from():
    every = digits()[:200]
    bench = Bench(Pictures(every[:150], every[150:]), glyphs(30, "AB"), 20)
    found = bench.run("raw pixels", 4, QUICK)
    assert (found["metric"], found["n"]) == ("error", 20) and found["value"] < 0.6
    assert {row[2] for row in found["counts"]} <= {p.id for p in every[150:]}
    assert found["value"] == np.mean([row[0] for row in found["counts"]])
