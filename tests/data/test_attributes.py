import numpy as np
import pytest

from mtl.data.attributes import attributes

TABLE = "name,stripes,hooves\nzebra,1,1\n\ntiger,1,0\n horse ,0,0.5\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    return path


def test_rows_come_in_the_order_asked_for(table):
    found = attributes(table, ["horse", "zebra"])
    assert found.tolist() == [[0, 0.5], [1, 1]] and found.dtype == np.float32


def test_an_npz_file_is_the_same(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, classes=np.array(["zebra", "tiger"]), vectors=np.array([[1, 1], [1, 0]]))
    assert attributes(path, ["tiger"]).tolist() == [[1, 0]]
    for bad in (
        {"classes": np.array(["a"])},
        {"classes": np.array(["a", "b"]), "vectors": np.ones((1, 2))},
        {"classes": np.array(["a"]), "vectors": np.array([["x"]])},
        {"classes": np.array(["a"], dtype=object), "vectors": np.ones((1, 2))},
    ):
        np.savez(path, **bad)
        with pytest.raises(ValueError, match=r"a\.npz: (give arrays|classes \()"):
            attributes(path, ["a"])
    data = path.read_bytes()
    for bad in (b"nothing", data[:60], data.replace(b"PK\x05\x06", b"PK\x05\x07"), data[40:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"a\.npz: give arrays"):
            attributes(path, ["a"])
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.npz: give arrays"):
        attributes(path, ["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE, r"no attributes of 'okapi', 'gnu'; it has: zebra, tiger, horse"),
        (TABLE + "okapi,1\n", r"a\.csv:6: class 'okapi' has 1 attributes, the header 2"),
        (TABLE + "okapi,1,yes\n", r"a\.csv:6: class 'okapi': could not convert .* 'yes'"),
        (TABLE + "tiger,1,0\n", "class 'tiger' is there more than once"),
        (TABLE + "okapi,1,nan\ngnu,1,1\n", "class 'okapi' has NaN"),
        ("", "is empty"),
        ("name\nzebra\n", "class 'zebra' has 0 attributes"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        attributes(path, ["okapi", "tiger", "gnu"])
