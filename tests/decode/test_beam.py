"""The beam search against an enumeration of every path, summed by the text that it spells."""

import itertools
import math
from collections import defaultdict

import pytest
import torch

from mtl.batch import Labels
from mtl.decode.lm import BOS, EOS, SPACE, estimate
from mtl.head import Head, Scores
from mtl.heads.ctc import CTC
from mtl.ops import collapse
from mtl.text import SymbolError

pytest.importorskip("flashlight.lib.text.decoder", reason="needs the extra lm")

from mtl.decode.beam import Beam, Search

WIDE = {"beam": 100_000, "threshold": 1e5, "nbest": 10_000}  # nothing is pruned


def random_scores(frames, symbols, seed=0, sharpness=2.0):
    torch.manual_seed(seed)
    return (sharpness * torch.randn(1, frames, symbols)).log_softmax(-1)


def labels_of(x):
    """log p of every label: the sum over all paths of one example (1, T, V)."""
    found = defaultdict(float)
    for path in itertools.product(range(x.shape[2]), repeat=x.shape[1]):
        label = tuple(collapse(list(path)))
        found[label] += math.exp(sum(float(x[0, t, symbol]) for t, symbol in enumerate(path)))
    return {label: math.log(total) for label, total in found.items()}


def texts_of(x, head, add, allowed=None):
    """The score of every text: log p of its labels, spaces squeezed if only words are `allowed`, + `add`."""
    totals = defaultdict(float)
    for label, log in labels_of(x).items():
        text = "".join(head.symbols[symbol - 1] for symbol in label)
        if allowed is not None:
            text = " ".join(text.split())
        if allowed is None or allowed.issuperset(text.split()):
            totals[text] += math.exp(log)
    return {text: math.log(total) + add(text) for text, total in totals.items()}


def log_lm(model, units):
    """Natural logarithm of the probability of a sentence."""
    padded = [BOS, *units, EOS]
    return sum(math.log(model.probability(padded[i], padded[:i])) for i in range(1, len(padded)))


def assert_same(head, search, x, expected):
    """All texts and scores of the search are those expected; with a small beam the best is the best."""
    (found,) = Beam(head, Search(**search, **WIDE)).hypotheses(
        Scores(x, torch.tensor([x.shape[1]]))
    )
    by_text = {one.text: one.score for one in found}
    assert set(by_text) == set(expected)
    for text, score in by_text.items():
        assert score == pytest.approx(expected[text], abs=2e-4), text
    best = max(expected, key=expected.get)
    assert found[0].text == best
    (prediction,) = Beam(head, Search(**search))(Scores(x, torch.tensor([x.shape[1]])))
    assert prediction.value == best


@pytest.fixture
def letters(tmp_path):
    """A model of symbols."""
    model = estimate([list("ab"), ["b", SPACE, "a"], list("bba"), ["a", SPACE, "b", "a"]], 3)
    model.write(tmp_path / "letters.arpa")
    return model, str(tmp_path / "letters.arpa")


@pytest.fixture
def words(tmp_path):
    """A model of words, one of which no head can spell, and one a part of another."""
    model = estimate([["a", "ba"], ["b", "a"], ["ba", "zoo"], ["a", "b", "a"], ["bb"]], 2)
    model.write(tmp_path / "words.arpa")
    return model, str(tmp_path / "words.arpa")


@pytest.mark.parametrize("seed", range(3))
def test_free_search_sums_over_all_alignments(seed):
    head, x = CTC(["a", "b", "c"]), random_scores(5, 4, seed)
    assert_same(head, {}, x, texts_of(x, head, lambda text: 0.0))


def test_the_sum_is_not_the_best_path():
    # Each path of "a" is less probable than silence; together they are more.
    x = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    head = CTC(["a"])
    assert head.predict(Scores(x))[0].value == ""
    assert Beam(head)(Scores(x))[0].value == "a"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("symbols", [["a", "b", " "], [" ", "a", "b"]])
def test_a_model_of_symbols_adds_its_logarithms(letters, seed, symbols):
    model, path = letters
    head, x = CTC(symbols), random_scores(5, 4, seed)

    def add(text):
        return 0.7 * log_lm(model, [SPACE if char == " " else char for char in text])

    assert_same(head, {"lm": path, "lm_weight": 0.7}, x, texts_of(x, head, add))


@pytest.mark.parametrize("seed", range(4))
def test_a_model_of_words_allows_its_words_alone(words, seed):
    model, path = words
    head, x = CTC(["a", " ", "b"]), random_scores(6, 4, seed)

    def add(text):
        return 0.8 * log_lm(model, text.split()) - 0.6 * len(text.split())

    search = {"lm": path, "lm_weight": 0.8, "word_score": -0.6}
    assert_same(head, search, x, texts_of(x, head, add, {"a", "b", "ba", "bb"}))


@pytest.mark.parametrize("seed", range(3))
def test_a_lexicon_without_a_model(tmp_path, seed):
    (tmp_path / "words.txt").write_text("ab\nb\n\nAab!\n")
    head, x = CTC(["a", " ", "b"]), random_scores(6, 4, seed)
    search = {"lexicon": str(tmp_path / "words.txt"), "word_score": 0.5}
    expected = texts_of(x, head, lambda text: 0.5 * len(text.split()), {"ab", "b", "aab"})
    assert_same(head, search, x, expected)


def count_hot(text, words):
    """Occurrences as whole words, overlapping ones as well."""
    padded = f" {text} "
    return sum(padded.startswith(f" {w} ", i) for w in words for i in range(len(padded)))


@pytest.mark.parametrize("weight", [3.0, -2.0])
@pytest.mark.parametrize("seed", range(2))
def test_hot_words_with_free_symbols(letters, seed, weight):
    model, path = letters
    head, x = CTC(["a", "b", " "]), random_scores(5, 4, seed)
    hot = ("ab", "B a", "a")
    plain = {"hotwords": hot, "hotword_weight": weight, "word_score": 0.4}

    def add(text):
        return weight * count_hot(text, ("ab", "b a", "a")) + 0.4 * len(text.split())

    def with_model(text):
        return add(text) + 0.5 * log_lm(model, [SPACE if char == " " else char for char in text])

    assert_same(head, plain, x, texts_of(x, head, add))
    assert_same(head, plain | {"lm": path}, x, texts_of(x, head, with_model))


@pytest.mark.parametrize("seed", range(3))
def test_hot_words_with_a_model_of_words(words, seed):
    model, path = words
    head, x = CTC(["a", " ", "b"]), random_scores(6, 4, seed)
    search = {
        "lm": path,
        "hotwords": ("ba", "a b", "aab"),
        "hotword_weight": 2.5,
        "word_score": 0.3,
    }

    def add(text):
        bonus = 2.5 * count_hot(text, ("ba", "a b", "aab"))
        return 0.5 * log_lm(model, text.split()) + bonus + 0.3 * len(text.split())

    # "aab" is not in the model: hot words join the lexicon, as unknown words of the model
    assert_same(head, search, x, texts_of(x, head, add, {"a", "b", "ba", "bb", "aab"}))


def test_hot_words_without_spaces_are_found_anywhere():
    head, x = CTC(["你", "好", "们"]), random_scores(5, 4)
    search = {"hotwords": ("你好", "好"), "hotword_weight": 1.5}

    def add(text):
        return 1.5 * (text.count("你好") + text.count("好"))

    assert_same(head, search, x, texts_of(x, head, add))


def test_a_head_without_a_space_writes_one_word(tmp_path):
    (tmp_path / "words.txt").write_text("ab\nb\nbaa\nbb\n")
    head, x = CTC(["a", "b"]), random_scores(6, 3)
    allowed = {"", "ab", "b", "baa", "bb"}
    expected = texts_of(x, head, lambda text: 0.0)
    expected = {text: score for text, score in expected.items() if text in allowed}
    assert_same(head, {"lexicon": str(tmp_path / "words.txt")}, x, expected)


def test_one_spelling_may_be_two_words_and_one_word_two_spellings(tmp_path):
    model = estimate([["to", "two"], ["two", "to"], ["to", "two"]], 2)
    model.write(tmp_path / "m.arpa")
    (tmp_path / "lexicon.txt").write_text("to\tt u\ntwo\tt u\nto\tt\n")
    head, x = CTC(["t", "u", " "]), random_scores(6, 4)
    spelled = {("t", "u"): ["to", "two"], ("t",): ["to"]}
    expected = defaultdict(float)
    for label, log in labels_of(x).items():
        parts = "".join(head.symbols[symbol - 1] for symbol in label).split()
        for choice in itertools.product(*(spelled.get(tuple(part), []) for part in parts)):
            expected[" ".join(choice)] += math.exp(log)
    expected = {t: math.log(p) + 0.9 * log_lm(model, t.split()) for t, p in expected.items()}
    search = {"lexicon": str(tmp_path / "lexicon.txt"), "lm": str(tmp_path / "m.arpa")}
    assert_same(head, search | {"lm_weight": 0.9}, x, expected)


class Joined(CTC):
    """A head whose symbols are pieces of words."""

    def join(self, symbols):
        return "".join(symbols).replace("▁", " ").strip()

    def split(self, text):
        return ["▁" + word if "▁" + word in self._index else "▁" for word in text.split()]


def test_pieces(tmp_path):
    pieces = ["▁to", "▁", "day"]
    model = estimate([["▁to", "day"], ["▁", "day"], ["▁to", "▁to"]], 2)
    model.write(tmp_path / "m.arpa")
    head, x = Joined(pieces), random_scores(5, 4)
    search = {"lm": str(tmp_path / "m.arpa"), "hotwords": ("to",), "word_score": 0.2}
    best = defaultdict(lambda: -math.inf)
    for label, log in labels_of(x).items():
        text = head.decode(torch.tensor(label, dtype=torch.long))
        units = [pieces[symbol - 1] for symbol in label]
        score = log + 0.5 * log_lm(model, units) + 0.2 * len(text.split())
        best[text] = max(best[text], score + 5.0 * count_hot(" ".join(text.split()), ("to",)))
    (found,) = Beam(head, Search(**search, **WIDE)).hypotheses(Scores(x))
    assert {one.text: one.score for one in found} == pytest.approx(dict(best), abs=2e-4)
    (tmp_path / "words.txt").write_text("to\n")
    with pytest.raises(ValueError, match="a head of pieces cannot be held to words"):
        Beam(head, Search(lexicon=str(tmp_path / "words.txt")))


def test_symbols_that_are_never_written():
    head = CTC(["<unk>", "a", "|"], rules={"case": "keep", "keep": "|"})
    x = torch.full((1, 3, 4), 0.05)
    x[0, 0, 2] = x[0, 1, 1] = x[0, 2, 3] = 0.85
    (found,) = Beam(head, Search(hotwords=("a|",))).hypotheses(Scores(x.log()))
    assert found[0].text == "a|" and found[0].symbols == [2, 1, 3]


@pytest.mark.parametrize("words", [False, True])
def test_padding_and_empty_examples(tmp_path, words):
    (tmp_path / "words.txt").write_text("ab\nb\n")
    search = Search(lexicon=str(tmp_path / "words.txt") if words else "")
    head = CTC(["a", "b", " "])
    x = torch.cat([random_scores(7, 4, seed) for seed in range(3)])
    beam = Beam(head, search)
    together = beam(Scores(x, torch.tensor([4, 0, 7])))
    assert together[1] == ("", 0.0)
    assert together[0] == beam(Scores(x[:1, :4]))[0]
    assert together[2] == beam(Scores(x[2:]))[0]
    assert beam(Scores(x[:, :0])) == [("", 0.0)] * 3
    half = beam(Scores(x.to(torch.float64).transpose(1, 2).contiguous().transpose(1, 2)))
    assert [one.value for one in half] == [one.value for one in beam(Scores(x))]


def test_confidence_is_of_the_head_alone(letters):
    _, path = letters
    head, x = CTC(["a", "b", " "]), random_scores(6, 4, 3)
    for search in (Search(nbest=8), Search(nbest=8, lm=path, lm_weight=3.0)):
        (found,) = Beam(head, search).hypotheses(Scores(x))
        assert len(found) == 8
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        for one in found:
            count = len(one.text)
            if not count:
                assert one.confidence == 0
                continue
            labels = Labels(torch.tensor([one.symbols]), torch.tensor([count]))
            nats = head.loss(Scores(x, torch.tensor([6])), labels).item()
            assert one.confidence == pytest.approx(math.exp(-nats))
            assert 0 <= one.confidence <= 1


@pytest.mark.parametrize("words", [False, True])
def test_scores_that_are_no_numbers_do_no_harm(tmp_path, words):
    (tmp_path / "words.txt").write_text("ab\n")
    beam = Beam(CTC(["a", "b", " "]), Search(lexicon=str(tmp_path / "words.txt") if words else ""))
    x = torch.full((2, 4, 4), -math.inf)
    x[0] = math.nan
    x[1, range(4), [1, 0, 2, 2]] = 0.0
    assert beam(Scores(x))[1] == ("ab", pytest.approx(1.0))
    assert 0 <= beam(Scores(x))[0].confidence <= 1


def test_a_word_that_sound_cuts_off_is_left_out(tmp_path):
    (tmp_path / "words.txt").write_text("ab\n")
    x = torch.full((1, 5, 4), 1e-30)
    x[0, range(5), [1, 2, 3, 1, 0]] = 1.0  # "ab a"
    beam = Beam(CTC(["a", "b", " "]), Search(lexicon=str(tmp_path / "words.txt"), beam=2))
    (found,) = beam(Scores(x.log()))
    assert found == ("ab", 0.0)


def test_what_is_missing_or_does_not_fit_is_named(tmp_path, words):
    head = CTC(["a", "b", " "])
    with pytest.raises(ValueError, match=r"^lm 'none.arpa': no such file"):
        Beam(head, Search(lm="none.arpa"))
    with pytest.raises(ValueError, match=r"^lexicon 'none.txt': no such file"):
        Beam(head, Search(lexicon="none.txt"))
    with pytest.raises(SymbolError, match="'z'"):
        Beam(head, Search(hotwords=("zab",)))
    with pytest.raises(
        ValueError, match="hot word 'a zab': 'zab': the head can spell none of its 1 words"
    ):
        Beam(head, Search(lm=words[1], hotwords=("a zab",)))
    with pytest.raises(ValueError, match="a Head head has no symbols"):
        Beam(Head())
    (tmp_path / "one.arpa").write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1\ta\n\n\\end\\\n")
    with pytest.raises(ValueError, match=r"one.arpa: KenLM cannot read it: .*bigram"):
        Beam(head, Search(lm=str(tmp_path / "one.arpa")))
    for wrong, message in (
        ({"beam": 0}, "^beam is 0"),
        ({"threshold": math.inf}, "^threshold is inf"),
        ({"lm_weight": math.nan}, "^lm_weight is nan"),
        ({"unit": "letters"}, "choose from auto, words, symbols"),
    ):
        with pytest.raises(ValueError, match=message):
            Search(**wrong)


@pytest.mark.parametrize("space", [SPACE, "|", "▁"])
def test_what_n_grams_are_of_is_found_out(tmp_path, space):
    estimate([["a", space, "b"]], 2).write(tmp_path / "letters.arpa")
    estimate([["a", "b"], ["ab"]], 2).write(tmp_path / "words.arpa")
    head = CTC(["a", "b", " "])
    x = torch.full((1, 3, 4), 0.02)
    x[0, range(3), [2, 2, 1]] = 0.94  # "ba", which is no word
    for name, unit, text in (
        ("letters", "auto", "ba"),
        ("words", "auto", "b"),
        ("words", "symbols", "ba"),
        ("letters", "words", "b"),
    ):
        search = Search(lm=str(tmp_path / f"{name}.arpa"), unit=unit, lm_weight=0.1)
        assert Beam(head, search)(Scores(x.log()))[0].value == text
