"""The n-gram model against the definition, worked out from the sentences, and against KenLM."""

import gzip
import math
import random
from collections import Counter

import pytest

from mtl.decode.lm import BOS, EOS, FALLBACK, UNK, discounts_of, estimate, tokens, vocabulary

TEXT = "the cat sat on the mat . the dog sat on the cat . a dog and a cat . on the mat . on a mat the cat"
SENTENCES = [part.split() for part in TEXT.split(" . ")]


def babble(count=400, seed=0):
    """Sentences that a chain over 30 words draws, with words as unequal as those of a language."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(30)]
    sentences = []
    for _ in range(count):
        sentence = [words[min(int(rng.expovariate(0.2)), 29)]]
        while rng.random() < 0.85:
            last = words.index(sentence[-1])
            sentence.append(words[(last + int(rng.expovariate(0.3))) % 30])
        sentences.append(sentence)
    return sentences


class Reference:
    """Kneser-Ney as the paper has it, with every count taken from the sentences when it is asked for."""

    def __init__(self, sentences, order, prune):
        self.sentences = [(BOS, *sentence, EOS) for sentence in sentences]
        self.words = {word for sentence in self.sentences for word in sentence[1:]} | {UNK}
        self.order, self.prune = order, prune
        self.grams = [self.all(length) for length in range(1, order + 1)]
        self.discounts = [
            discounts_of(map(self.count, set(grams) - {(BOS,)})) or FALLBACK for grams in self.grams
        ]

    def all(self, length):
        return [
            sentence[start : start + length]
            for sentence in self.sentences
            for start in range(len(sentence) - length + 1)
        ]

    def count(self, gram):
        """How often, or after how many words, a gram occurs."""
        if len(gram) == self.order or (gram[0] == BOS and len(gram) > 1):
            return self.grams[len(gram) - 1].count(gram)
        return len({longer[0] for longer in self.grams[len(gram)] if longer[1:] == gram})

    def probability(self, word, history):
        gram = (*history, word)
        followers = [(w, self.count((*history, w))) for w in self.words]
        total = sum(count for _, count in followers)
        lower = self.probability(word, history[1:]) if history else 1 / len(self.words)
        if not total:
            return lower
        taken = (0, *self.discounts[len(history)])
        own = freed = 0.0
        for w, count in followers:
            kept = self.grams[len(history)].count((*history, w)) > self.prune[len(history)]
            freed += taken[min(count, 3)] if kept or not history else count
            if (*history, w) == gram and (kept or not history):
                own = count - taken[min(count, 3)]
        return own / total + freed / total * lower


@pytest.mark.parametrize(
    ("order", "prune"), [(2, (0, 0)), (3, (0, 0, 0)), (3, (0, 0, 1)), (4, (0, 1, 1, 2))]
)
def test_probabilities_are_those_of_the_definition(order, prune):
    sentences = babble(30) if order == 3 else SENTENCES
    model, reference = estimate(sentences, order, prune), Reference(sentences, order, prune)
    histories = {gram[:-1] for grams in reference.grams for gram in grams}
    rng = random.Random(1)
    for history in rng.sample(sorted(histories), min(len(histories), 12)):
        for word in rng.sample(sorted(reference.words), 8):
            expected = reference.probability(word, history)
            assert model.probability(word, history) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("prune", [(), (0, 1), (0, 1, 3)])
@pytest.mark.parametrize("sentences", [SENTENCES, babble(), [["a"]]], ids=["few", "many", "one"])
def test_probabilities_sum_to_one_after_every_context(sentences, prune):
    model = estimate(sentences, 3, prune)
    contexts = [(), (BOS,), ("never", "seen"), *model.backoffs]
    for context in contexts:
        total = sum(model.probability(word, context) for word in model.words)
        assert total == pytest.approx(1, abs=1e-9), context
    assert set(model.words) == {EOS, UNK}.union(*sentences)


def test_discounts_come_from_counts_of_counts():
    y = 6 / (6 + 2 * 3)
    expected = (1 - 2 * y * 3 / 6, 2 - 3 * y * 2 / 3, 3 - 4 * y * 1 / 2)
    counts = [1] * 6 + [2] * 3 + [3] * 2 + [4] + [9] * 5
    assert discounts_of(counts) == pytest.approx(expected)
    assert discounts_of([1] * 6 + [2] * 3 + [4]) is None  # none is seen three times
    assert discounts_of([1] * 9 + [2] + [3] * 3) is None  # below 0
    little, much = estimate(SENTENCES, 3), estimate(babble(), 3)
    assert little.fallen_back == [3]
    assert little.discounts[2] == FALLBACK not in little.discounts[:2]
    assert 3 not in much.fallen_back
    trigrams = Counter(Reference(babble(), 3, ()).grams[2])
    assert much.discounts[2] == discounts_of(trigrams.values()) != FALLBACK


def test_it_expects_new_text_better_than_shorter_n_grams_do():
    train, test = babble(2000, seed=0), babble(300, seed=1)
    model = estimate(train, 3)
    words = [word for sentence in test for word in [*sentence, EOS]]
    single = math.exp(-sum(math.log(model.probability(word)) for word in words) / len(words))
    assert model.perplexity(test) < 0.7 * single
    assert estimate(train, 2).perplexity(test) < 0.7 * single
    with pytest.raises(ValueError, match="no sentence"):
        model.perplexity([])


def test_pruning_drops_what_is_rare():
    whole, pruned = estimate(babble(), 3), estimate(babble(), 3, (0, 1, 2))
    sizes = [[len(found) for found in model.probabilities] for model in (whole, pruned)]
    assert sizes[0][0] == sizes[1][0]
    counted = Reference(babble(), 3, ()).grams
    for length, most in ((2, 1), (3, 2)):
        kept = {gram for gram, count in Counter(counted[length - 1]).items() if count > most}
        assert set(pruned.probabilities[length - 1]) == kept


@pytest.mark.parametrize("prune", [(), (0, 0, 1)])
def test_kenlm_reads_the_file_and_agrees(tmp_path, prune):
    fusion = pytest.importorskip("mtl.decode.fusion", reason="needs the extra lm")
    model = estimate(babble(), 3, prune)
    model.write(tmp_path / "m.arpa")
    words = [*(w for w in model.words if w not in (EOS, UNK)), "never"]
    ken = fusion.ken_lm(str(tmp_path / "m.arpa"), words)
    for sentence in [*babble(20, seed=2), ["w0", "never", "w1"], []]:
        state, history = ken.start(False), [BOS]
        for word in sentence:
            state, score = ken.score(state, words.index(word))
            assert score == pytest.approx(math.log10(model.probability(word, history)), abs=1e-5)
            history.append(word)
        end = math.log10(model.probability(EOS, history))
        assert ken.finish(state)[1] == pytest.approx(end, abs=1e-5)


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "m.arpa"
    estimate(SENTENCES, 2).write(path)
    before = path.read_text()
    sections = before.split("\n\n")
    for length in (1, 2):
        (size,) = [line for line in sections[0].splitlines() if line.startswith(f"ngram {length}=")]
        assert int(size.split("=")[1]) == len(sections[length].splitlines()) - 1
    broken = estimate(SENTENCES, 2)._replace(backoffs={(BOS,): -1.0})
    with pytest.raises(ValueError):
        broken.write(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("sentences", "order", "prune", "message"),
    [
        ([], 3, (), "no sentence"),
        ([["a", UNK]], 3, (), "sentence 1 holds <unk>"),
        ([["a"]], 1, (), "order is 1; KenLM reads 2 to 6"),
        ([["a"]], 7, (), "order is 7"),
        ([["a"]], 3, (1,), r"prune is \(1,\)"),
        ([["a"]], 3, (0, 2, 1), "none below the one before"),
        ([["a"]], 2, (0, 0, 0), "at most 2"),
    ],
)
def test_what_cannot_be_is_named(sentences, order, prune, message):
    with pytest.raises(ValueError, match=message):
        estimate(sentences, order, prune)


def test_the_words_of_a_model_are_read_from_its_file(tmp_path):
    words = ["the", "cat", "ñandú"]
    plain, packed = tmp_path / "m.arpa", tmp_path / "m.arpa.gz"
    estimate([words], 2).write(plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert vocabulary(plain) == vocabulary(packed) == words
    head = b"mmap lm http://kheafield.com/code format version 5\n\0"
    tables = bytes(range(256)) * 9
    listed = "\0".join(["<unk>", "<s>", *words, "</s>", ""]).encode()
    (tmp_path / "m.bin").write_bytes(head + tables + listed)
    assert vocabulary(tmp_path / "m.bin") == words
    (tmp_path / "bare.bin").write_bytes(head + tables)
    with pytest.raises(ValueError, match="give its words as a lexicon"):
        vocabulary(tmp_path / "bare.bin")
    (tmp_path / "notes.txt").write_text("no model\n")
    with pytest.raises(ValueError, match="neither an ARPA file nor a KenLM binary"):
        vocabulary(tmp_path / "notes.txt")


def test_texts_are_cut_into_units():
    assert tokens(" a  bc ", "words") == ["a", "bc"]
    assert tokens("a bc", "characters") == ["a", "<space>", "b", "c"]
