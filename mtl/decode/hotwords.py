"""Hotwords: a bonus for words that are expected, found while a text grows. Aho and Corasick 1975."""

from collections.abc import Iterable
from functools import cache


class HotWords:
    """An automaton that reads a text in parts and counts the hot words in it.

    Each of `words`, which may be several words, earns `weight` wherever it occurs: between spaces or the ends
    of the text where `spaced`, else anywhere. Part of the bonus is given in advance, letter by letter, so
    that a search does not drop the word before it is whole, and taken back where it does not become whole.

    >>> hot = HotWords(["new york"], 3.0)
    >>> node, bonus = hot.read(hot.start, "new")
    >>> _, more = hot.read(node, " york")
    >>> bonus > 0, bonus + more + hot.end(_)
    (True, 3.0)
    >>> bonus + hot.end(node)
    0.0
    """

    def __init__(self, words: Iterable[str], weight: float, spaced: bool = True) -> None:
        self._spaced, self._weight = spaced, weight
        self._next: list[dict[str, int]] = [{}]
        self._fail, self._whole, self._advance = [0], [0.0], [0.0]
        for pattern in sorted({f" {word} " if spaced else word for word in words}):
            self._insert(pattern)
        self._link()
        self.read = cache(self._read)  # few differ: most parts of a text belong to no hot word
        self.start = self._read(0, " ")[0] if spaced else 0

    def end(self, node: int) -> float:
        """Give what the end of the text adds to the bonus at a node."""
        node, bonus = self.read(node, " ") if self._spaced else (node, 0.0)
        return bonus - self._advance[node]

    def _read(self, node: int, text: str) -> tuple[int, float]:
        """Read on from a node: the new node, and what the text adds to the bonus."""
        bonus = -self._advance[node]
        for char in text:
            while node and char not in self._next[node]:
                node = self._fail[node]
            node = self._next[node].get(char, 0)
            bonus += self._whole[node]
        return node, bonus + self._advance[node]

    def _insert(self, pattern: str) -> None:
        node = 0
        for depth, char in enumerate(pattern):
            # The space before a word is no part of it: it earns nothing.
            share = max(depth - self._spaced, 0) / (len(pattern) - self._spaced)
            self._advance[node] = max(self._advance[node], self._weight * share, key=abs)
            if char not in self._next[node]:
                self._next[node][char] = len(self._next)
                self._next.append({})
                self._fail.append(0)
                self._whole.append(0.0)
                self._advance.append(0.0)
            node = self._next[node][char]
        self._whole[node] = self._weight

    def _link(self) -> None:
        """Let each node know the longest other beginning of a word that ends there, breadth first."""
        queue = list(self._next[0].values())
        for node in queue:
            for char, child in self._next[node].items():
                link = self._fail[node]
                while link and char not in self._next[link]:
                    link = self._fail[link]
                link = self._next[link].get(char, 0)
                self._fail[child] = link
                self._whole[child] += self._whole[link]
                self._advance[child] = max(self._advance[child], self._advance[link], key=abs)
                queue.append(child)
