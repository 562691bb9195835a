import numpy as np
import pytest

from mtl.data.images import from_arrays
from mtl.problem import Pictures
from mtl.studies.varied import given, pictured, shuffled


def test_made_problems_have_classes_of_their_own_and_tests_apart():
    found = pictured(small=True)
    labels = {name: {p.label for p in problem.train} for name, problem in found.items()}
    assert (
        not labels["capitals-1"] & labels["capitals-2"] and not labels["greek"] & labels["cyrillic"]
    )
    assert labels["drawn"] == labels["patched"] == labels["handwritten"] == set("0123456789")
    for problem in found.values():
        assert not {p.id for p in problem.train} & {p.id for p in problem.test}
        assert {p.label for p in problem.test} <= {p.label for p in problem.train}
    assert found["patched"].train[0].source.shape == (32, 32, 3)


def test_shuffled_labels_are_as_many_and_say_nothing():
    x = np.zeros((400, 4, 4), np.uint8)
    some = from_arrays(x, np.arange(400) % 4, "made")
    found = shuffled(Pictures(some, some[:5]))
    agree = np.mean([a.label == b.label for a, b in zip(some, found.train, strict=True)])
    assert 0.15 < agree < 0.35 and [p.id for p in found.train] == [p.id for p in some]
    assert sorted(p.label for p in found.train) == sorted(p.label for p in some)


def test_files_are_problems_by_name(tmp_path):
    x = np.zeros((20, 4, 4), np.uint8)
    y = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    (problem,) = (found := given([tmp_path / "a.npz"])).values()
    assert list(found) == ["a"] and (len(problem.train), len(problem.test)) == (20, 4)
    with pytest.raises(ValueError, match="two data sets are named 'a'"):
        given([tmp_path / "a.npz", tmp_path / "a.npz"])
