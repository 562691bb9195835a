"""chain: the way of least squares among all ways, found by trying them all."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from mtl.chain import NoChain, chain


def symmetric(count, seed):
    far = np.random.default_rng(seed).uniform(0.1, 2, (count, count))
    return np.triu(far, 1) + np.triu(far, 1).T


def ways(count):
    for size in range(count - 1):
        for inner in permutations(range(1, count - 1), size):
            yield [0, *inner, count - 1]


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_best_of_all_ways(seed):
    far, names = symmetric(6, seed), list("abcdef")
    for close in (0.8, 1.2, 2.0):
        kept = [w for w in ways(6) if max(far[step] for step in pairwise(w)) <= close]
        if not kept:
            with pytest.raises(NoChain):
                chain(names, far, "a", "f", close)
            continue
        best = min(kept, key=lambda w: sum(far[step] ** 2 for step in pairwise(w)))
        assert chain(names, far, "a", "f", close) == [names[place] for place in best]


@pytest.mark.parametrize("seed", range(4))
def test_a_refusal_names_the_step_at_which_the_best_chain_breaks(seed):
    far, names = symmetric(5, seed) + (1 - np.eye(5)), list("abcde")
    least = min(max(far[step] for step in pairwise(w)) for w in ways(5))
    with pytest.raises(NoChain, match=rf"it is {least:.2f}, more than 0.9; give a domain in betw"):
        chain(names, far, "a", "e", close=0.9)


def test_equal_domains_and_either_direction():
    far = np.array([[0, 0, 2.0], [0, 0, 1], [2, 1, 0]])
    assert chain("abc", far, "a", "c", 1.5) == ["a", "b", "c"]
    assert chain("abc", far, "c", "a", 1.5) == ["c", "b", "a"]
    assert chain("abc", far, "a", "a", 1.5) == ["a"]


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="no domain 'x'; there are: a, b"):
        chain("ab", np.zeros((2, 2)), "a", "x", 1)
    for wrong in (np.zeros((3, 3)), np.array([[0, 1], [2, 0]]), -np.ones((2, 2))):
        with pytest.raises(ValueError, match="symmetric"):
            chain("ab", wrong, "a", "b", 1)
