"""compositions: classes whose parts were all seen, and pictures that show them."""

import numpy as np
import pytest

from mtl.data.compositions import COLOURS, PARTS, attributes, classes, compositions


def test_parts_of_unseen_classes_are_parts_of_several_seen_ones():
    for seed in range(5):
        seen, unseen = classes(seed=seed)
        assert (len(seen), len(unseen)) == (40, 10) and len({*seen, *unseen}) == 50
        for part in {part for name in unseen for part in name.split()}:
            assert sum(part in name.split() for name in seen) >= 2
    assert classes(seed=1) != classes(seed=2) and classes(seed=1) == classes(seed=1)


def test_attributes_say_the_parts():
    (row,) = attributes(["three dotted blue cross"])
    flat = [part for parts in PARTS for part in parts]
    assert [part for part, has in zip(flat, row, strict=True) if has] == [
        "three",
        "dotted",
        "blue",
        "cross",
    ]


def test_pictures_show_number_and_colour():
    one, two, three = (
        np.mean([ink_of(picture) for picture in compositions([f"{number} plain red square"], 20)])
        for number in ("one", "two", "three")
    )
    assert two == pytest.approx(2 * one, rel=0.2) and three == pytest.approx(3 * one, rel=0.2)
    for colour in COLOURS:
        (picture,) = compositions([f"three plain {colour} circle"], 1, seed=3)
        bright = picture.source[picture.source.max(2) > 110].mean(0)
        distances = {n: np.linalg.norm(bright - np.array(rgb)) for n, rgb in COLOURS.items()}
        assert min(distances, key=distances.get) == colour


def ink_of(picture):
    red, green, blue = picture.source.astype(float).transpose(2, 0, 1)
    return (red - (green + blue) / 2 > 50).sum()


def test_textures_and_shapes_take_ink_away():
    def bright(name):
        return np.mean([(p.source.max(2) > 130).mean() for p in compositions([name], 12)])

    plain = bright("two plain yellow circle")
    for texture in ("striped", "dotted", "checked"):
        assert 0.3 * plain < bright(f"two {texture} yellow circle") < 0.9 * plain
    assert bright("two plain yellow ring") < 0.9 * plain
    assert bright("two plain yellow cross") < 0.9 * plain


def test_a_picture_depends_on_class_number_and_seed_alone():
    names = ["one striped blue ring", "two plain green cross"]
    both, single = compositions(names, 3, seed=5), compositions(names[1:], 2, seed=5)
    assert np.array_equal(both[3].source, single[0].source) and both[3].id == single[0].id
    assert not np.array_equal(both[3].source, both[4].source)
    assert not np.array_equal(single[0].source, compositions(names[1:], 1, seed=6)[0].source)
    assert len({picture.id for picture in both}) == 6


@pytest.mark.parametrize(("count", "unseen"), [(50, 0), (50, 50), (301, 10), (12, 6)])
def test_choices_that_cannot_be_are_refused(count, unseen):
    with pytest.raises(ValueError, match=r"unseen of|too few to show every part"):
        classes(count, unseen)
