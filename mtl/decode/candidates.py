"""candidates: which of N words was said? The exact probability of each, also of words never heard.

The forward pass of CTC (Graves et al. 2006, section 4.1) runs over a tree of all spellings, so that what
words begin with is computed once, and none is left out on the way, as a beam would: for a second of sound a
core takes 0.05 s with 10,000 words, and half a second with 100,000.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtl.head import Prediction, Scores

BLANK = 0


class Candidates:
    """Tells words by their spellings in symbol numbers, several for a word that can be said in several ways.

    An instance may take the place of `CTC.predict`: `Scores` of log-probabilities in, a `Prediction` for each
    example out, whose confidence is the word's share among the candidates. Raises ValueError for no words,
    and a word without a spelling or with an empty one.

    >>> logs = torch.tensor([[[0.2, 0.7, 0.1], [0.1, 0.1, 0.8]]]).log()
    >>> Candidates({"a": [[1]], "ab": [[1, 2]]})(Scores(logs))[0].value
    'ab'
    """

    def __init__(self, spellings: Mapping[str, Sequence[Sequence[int]]]) -> None:
        if wrong := [word for word, ways in spellings.items() if not ways or not all(ways)]:
            raise ValueError(f"word {wrong[0]!r} has no spelling, or an empty one: drop it")
        if not spellings:
            raise ValueError("no candidates: give one word or more")
        self.words = list(spellings)
        nodes: dict[tuple[int, ...], int] = {(): 0}
        ends, owners = [], []
        for number, ways in enumerate(spellings.values()):
            for way in dict.fromkeys(map(tuple, ways)):
                for last in range(len(way)):
                    nodes.setdefault(way[: last + 1], len(nodes))
                ends.append(nodes[way])
                owners.append(number)
        paths = list(nodes)[1:]
        self._symbols = torch.tensor([path[-1] for path in paths])
        self._parents = torch.tensor([nodes[path[:-1]] for path in paths])
        self._repeats = torch.tensor([path[-2:] == path[-1:] * 2 for path in paths])
        self._ends, self._owners = torch.tensor(ends), torch.tensor(owners)

    def scores(self, scores: Scores) -> Tensor:
        """Give log p(word | sound) of each word (B, N), of all its spellings; -inf for too few frames."""
        x = scores.x.detach().float().cpu()
        lengths = torch.full((len(x),), x.shape[1]) if scores.lengths is None else scores.lengths
        reached = self._forward(x, lengths.cpu())[:, self._ends]
        if len(self._ends) == len(self.words):
            return reached
        most = reached.max(1, keepdim=True).values.clamp(min=-1e30)
        sums = torch.zeros(len(x), len(self.words))
        return sums.index_add(1, self._owners, (reached - most).exp()).log() + most

    def _forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Give the log-probability (B, nodes) that all frames spell the path from the root to each node."""
        nodes = 1 + len(self._symbols)
        spoken = torch.full((len(x), nodes), -torch.inf)  # the last frame says the node's symbol
        silent = spoken.clone()  # or a blank
        silent[:, 0] = 0.0
        for frame in range(x.shape[1]):
            logs = x[:, frame]
            from_spoken = spoken[:, self._parents].masked_fill(self._repeats, -torch.inf)
            entered = torch.logaddexp(silent[:, self._parents], from_spoken)
            said = torch.logaddexp(entered, spoken[:, 1:]) + logs[:, self._symbols]
            here = (frame < lengths)[:, None]
            paused = torch.logaddexp(silent, spoken) + logs[:, BLANK, None]
            silent = torch.where(here, paused, silent)
            spoken = torch.cat([spoken[:, :1], torch.where(here, said, spoken[:, 1:])], 1)
        return torch.logaddexp(silent, spoken)

    def best(self, scores: Scores, count: int = 1) -> list[list[str]]:
        """Give the `count` likeliest words of each example, the likeliest first."""
        found = self.scores(scores).topk(min(count, len(self.words)), dim=1).indices.tolist()
        return [[self.words[number] for number in row] for row in found]

    def __call__(self, scores: Scores) -> list[Prediction]:
        """Decide: the likeliest word, and its share among all."""
        logs = self.scores(scores)
        best = logs.softmax(1).nan_to_num(0.0).max(1)  # no word fits into too few frames
        rows = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Prediction(self.words[number], share) for number, share in rows]
