"""Worlds: splits of classes, and pictures that go with a table of attributes."""

import numpy as np
import pytest

from mtl.studies.worlds import Split, composed, read_world


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 8, 8), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "digits.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return tmp_path / "digits.npz"


def test_signs_made_of_parts_have_their_attributes():
    world, split = composed(seed=1, count=2, test=1)
    assert (len(world.train), len(world.test), len(world.vectors)) == (100, 50, 50)
    assert not {p.id for p in world.train} & {p.id for p in world.test}
    assert {*split.seen, *split.unseen} == set(world.vectors) == {p.label for p in world.test}
    assert all(sum(row) == 4 for row in world.vectors.values())
    other, _ = composed(seed=2, count=2, test=1)
    assert not {p.id for p in world.train} & {p.id for p in other.test}


def test_splits_are_drawn_by_their_seed(pictures):
    world = read_world(pictures, "segments", 4, 2)
    splits = [world.split(3, seed) for seed in range(6)]
    assert all(
        len(s.unseen) == 3 and sorted(s.seen + s.unseen) == list("0123456789") for s in splits
    )
    assert len({tuple(split.unseen) for split in splits}) > 1 and world.split(3, 0) == splits[0]
    inner = splits[0].inner(0, 1)
    assert sorted(inner.seen + inner.unseen) == splits[0].seen and len(inner.unseen) == 2
    assert len(Split(list("abcdefghijkl"), []).inner(0).unseen) == 3
    with pytest.raises(ValueError, match=r"7 unseen of 10 classes: give 2 or more, and leave 4"):
        world.split(7, 0)


def test_tables_come_from_files(pictures, tmp_path):
    lines = ["digit,a,b", *(f"{digit},{digit},{1 - digit}" for digit in range(10))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    world = read_world(pictures, str(tmp_path / "table.csv"), 3, 2)
    assert world.vectors["7"] == [7.0, -6.0]
    assert (len(world.train), len(world.test)) == (30, 20)
    assert len(world.gradients) == 50


def test_what_does_not_go_together_is_named(pictures, tmp_path):
    with pytest.raises(ValueError, match="class '0' has 4 pictures, 5 are wanted"):
        read_world(pictures, "strokes", 5, 2)
    x = np.zeros((8, 8, 8), np.uint8)
    names = np.array(["cat", "dog"] * 4)
    np.savez(tmp_path / "pets.npz", x_train=x, y_train=names, x_test=x, y_test=names)
    with pytest.raises(ValueError, match="class 'cat' is no digit; give --attributes FILE"):
        read_world(tmp_path / "pets.npz", "strokes", 1, 1)
    (tmp_path / "pets.csv").write_text("name,legs\ncat,4\ndog,0\n")
    with pytest.raises(ValueError, match="class 'dog' has no attribute but 0: give it one"):
        read_world(tmp_path / "pets.npz", str(tmp_path / "pets.csv"), 1, 1)
    (tmp_path / "pets.csv").write_text("name,legs\ncat,4\n")
    with pytest.raises(ValueError, match="no attributes of 'dog'"):
        read_world(tmp_path / "pets.npz", str(tmp_path / "pets.csv"), 1, 1)
