"""Hot words against plain counting, however a text is cut into parts."""

import random

import pytest

from mtl.decode.hotwords import HotWords


def count(text, words, spaced):
    if spaced:
        text, words = f" {text} ", [f" {word} " for word in words]
    return sum(text.startswith(word, start) for word in words for start in range(len(text)))


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("weight", [2.0, -1.5])
def test_a_text_earns_a_bonus_for_each_hot_word(spaced, weight):
    rng = random.Random(0)
    for _ in range(300):
        letters = "ab " if spaced else "abc"
        words = {
            "".join(rng.choices(letters, k=rng.randint(1, 5))).strip() or "a" for _ in range(4)
        }
        words = {" ".join(word.split()) for word in words}
        text = " ".join("".join(rng.choices(letters, k=rng.randint(0, 12))).split())
        hot = HotWords(words, weight, spaced)
        node, total, at = hot.start, 0.0, 0
        while at < len(text):
            size = rng.randint(1, 3)
            node, bonus = hot.read(node, text[at : at + size])
            total, at = total + bonus, at + size
        total += hot.end(node)
        assert total == pytest.approx(weight * count(text, words, spaced)), (text, words)


def test_part_of_the_bonus_comes_with_each_letter():
    hot = HotWords(["abcd"], 10.0)
    node, total, seen = hot.start, 0.0, []
    for letter in "abcd":
        node, bonus = hot.read(node, letter)
        total += bonus
        seen.append(total)
    assert seen == sorted(seen) and seen[0] > 0 and seen[-1] == pytest.approx(8.0)
    assert total + hot.end(node) == pytest.approx(10.0)
    node, bonus = hot.read(node, "e")
    assert total + bonus == pytest.approx(0.0)


def test_no_hot_words_earn_nothing():
    hot = HotWords([], 5.0)
    assert hot.read(hot.start, "anything") == (0, 0.0) and hot.end(0) == 0.0
