import gzip

import numpy as np
import pytest

from mtl.data.word_vectors import word_vectors

LINES = ["the 0.1 0.2 0.3", "polar 1 0 0", "bear 0 2 0", "polar 9 9 9", ". . 7 8 9", "Paris 1 2 3"]
LINES += ["new_york 4 5 6", "giant 0 0 1", "panda 3 3 3"]


@pytest.fixture(params=["glove", "word2vec", "packed"])
def path(request, tmp_path):
    header = [] if request.param == "glove" else [f"{len(LINES)} 3"]
    text = "".join(f"{line} \n" for line in header + LINES)  # word2vec writes a space at the end
    if request.param == "packed":
        path = tmp_path / "v.vec.gz"
        path.write_bytes(gzip.compress(text.encode()))
        return path
    path = tmp_path / "v.txt"
    path.write_text(text)
    return path


def test_a_word_has_its_line_and_a_name_the_mean_of_its_words(path):
    names = ["bear", "polar bear", "Giant-Panda", "New York", "paris", "Paris", "BEAR"]
    if path.name == "v.txt" and not path.read_text().startswith("9 3"):
        path.write_text(path.read_text().replace(". . 7", "odd 7"))  # the width stands nowhere
    names.remove("paris")
    found = word_vectors(path, names)
    expected = [[0, 2, 0], [0.5, 1, 0], [1.5, 1.5, 2], [4, 5, 6], [1, 2, 3], [0, 2, 0]]
    assert found.tolist() == expected and found.dtype == np.float32


def test_missing_words_are_all_named(path):
    message = r"no vector of 'polar fox' \(no 'fox'\); 'gnu' \(no 'gnu'\): rename or drop"
    with pytest.raises(ValueError, match=message):
        word_vectors(path, ["polar fox", "bear", "gnu"])
    with pytest.raises(ValueError, match="class '- ' holds no word"):
        word_vectors(path, ["- "])


def test_words_with_spaces_are_no_trouble(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("the 1 2 3\n. . . 4 5 6\nat name@domain.com 7 8 9\ncat 1 1 1\n")
    assert word_vectors(path, ["cat"]).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat 1 x 3\n", r"v\.txt:1: 'cat': could not convert"),
        (b"cat 1 nan 3\n", r"v\.txt:1: 'cat' has NaN"),
        (b"2 3\ncat \xfe\xff\x00\x01\n", "no text in UTF-8 .* write the text form"),
        (b"one word\n", "is no word and its numbers"),
        (b"", "no vector of 'cat'"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        word_vectors(path, ["cat"])
