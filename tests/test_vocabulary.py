import copy

import pytest
import torch

from mtl import Model, Task
from mtl.batch import Features, Labels
from mtl.heads.attention import Attention
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.heads.pieces import Pieces
from mtl.joint import judge
from mtl.registry import describe
from mtl.stems.logmel import LogMel
from mtl.text import TextRules, normalise
from mtl.trunks.transformer import Transformer
from mtl.vocabulary import (
    Kind,
    ctc_head,
    labels_of,
    make_head,
    parse_symbols,
    renewed,
    replace_head,
)

TEXTS = ["Het weer, morgen!", "ñandú: meer weer"]
F = Features(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 3]))


def build(head=None, **more):
    """A language with an inner head and a second task on its head, and two other tasks."""
    torch.manual_seed(0)
    tasks = [
        Task("de", "speech", head or CTC([" ", "a", "b", "ß"], **more)),
        Task("de-b1", "speech", "de", "b1", label="de", auxiliary=True),
        Task("at", "speech", "de"),
        Task("nl", "speech", CTC(["a", "b"])),
        Task("language", "speech", Classify(["de", "nl"])),
    ]
    return Model({"speech": LogMel(8)}, Transformer(8, 1, 2, 2), tasks).eval()


@pytest.mark.parametrize(
    ("given", "kind"),
    [("chars", ("chars", 0)), ("phones", ("phones", 0)), ("unigram:20", ("unigram", 20))],
)
def test_the_grammar(given, kind):
    assert parse_symbols(given) == Kind(*kind)


@pytest.mark.parametrize(
    "wrong", ["", "char", "bpe", "bpe:", "bpe:0", "bpe:-1", "bpe:1.5", "bpe:²", "chars:5", "chars:"]
)
def test_what_the_grammar_lacks_is_named(wrong):
    with pytest.raises(ValueError) as error:
        parse_symbols(wrong, ("chars", "bpe"), "net.symbols")
    assert str(error.value) == f"net.symbols is {wrong!r}; give chars or bpe:N, such as bpe:500"


@pytest.mark.parametrize("given", ["chars", "bpe:24", "unigram:24"])
@pytest.mark.parametrize("rules", [None, {"case": "keep", "keep": ":!,"}])
def test_heads_spell_the_texts_they_are_made_from(given, rules):
    head = make_head(iter(TEXTS), given, rules, upsample=2)
    for text in TEXTS:
        assert head.decode(head.encode(text)) == normalise(text, TextRules(**rules or {}))
    assert (head.rules, head.upsample) == (rules, 2)
    assert type(head) is (CTC if given == "chars" else Pieces)
    if given == "chars":
        assert head.symbols == sorted(
            {c for t in TEXTS for c in normalise(t, TextRules(**rules or {}))}
        )


def test_heads_of_phones():
    head = make_head(["nˈeː t͡ʃə", "də"], "phones")
    assert isinstance(head, Phoneme) and head.symbols == [" ", "d", "eː", "n", "t͡ʃ", "ə"]
    assert make_head(["a"], "phones").symbols == [" ", "a"]  # two words will come


@pytest.mark.parametrize(
    ("texts", "given", "says"),
    [
        (["?!"], "chars", "no text is left"),
        ([], "bpe:9", "no text is left"),
        ([""], "phones", "no phonemes"),
        (["abc de"], "bpe:5", "hold 6 characters; give bpe:6 or more"),
    ],
)
def test_nothing_to_spell(texts, given, says):
    with pytest.raises(ValueError, match=says):
        make_head(texts, given)


@pytest.mark.parametrize("upsample", [1, 3])
def test_a_replaced_head_gives_what_it_has_kept(upsample):
    model = build(upsample=upsample)
    old = copy.deepcopy(model)
    change = replace_head(model, "de", CTC(["b", "c", " ", "é", "ß"], upsample))
    assert change == ("de", ["b", " ", "ß"], ["c", "é"], ["a"])
    assert str(change) == "task de: 3 of its 5 symbols are old ones, 2 new: c é, 1 gone: a"
    # logits of what both have, which the normalising of probabilities leaves in the same proportions
    before, after = (m.head("de").scores(F).x for m in (old, model))
    shared_before, shared_after = before[..., [0, 3, 1, 4]], after[..., [0, 1, 3, 5]]
    torch.testing.assert_close(shared_before.log_softmax(-1), shared_after.log_softmax(-1))
    assert not torch.allclose(before.exp().sum(-1), before[..., [0, 3, 1, 4]].exp().sum(-1))


def test_all_else_stays_bit_for_bit_and_sharers_follow(tmp_path):
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    change = replace_head(model, "de-b1", CTC(["a", "x"]))
    assert (change.task, change.gone) == ("de", [" ", "b", "ß"])
    after = model.state_dict()
    assert list(after) == list(before)
    changed = {name for name, value in after.items() if not value.equal(before[name])}
    assert changed == {"heads.de.output.weight", "heads.de.output.bias"}
    assert model.head("at") is model.head("de-b1") is model.head("de")
    assert after["heads.de.output.weight"][:2].equal(before["heads.de.output.weight"][[0, 2]])
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m")
    assert again.head("at").symbols == ["a", "x"]
    assert all(value.equal(after[name]) for name, value in again.state_dict().items())


def test_an_attention_head_goes_along():
    model = build()
    head = Attention(describe(model.head("de")), heads=2, depth=1)
    model.add(Task("de-attention", "speech", head, label="de", auxiliary=True))
    old = copy.deepcopy(model.eval())
    replace_head(model, "de", CTC(["ß", "x", "a", "y", "b"]))
    new = model.head("de-attention")
    assert judge(model, "de") == "de-attention" and model.tasks["de-attention"].head is new
    for name, value in new.named_parameters():
        before = head.get_parameter(name)
        if name.startswith(("decoder.embed", "decoder.output")):
            assert (
                value[[0, 1, 3, 5]].equal(before[[0, 4, 2, 3]]) and len(value) == 6
            )  # end, ß, a, b
        else:
            assert value.equal(before)
    # the same text in the symbols of both: logits in proportion, of which the new symbols take a share
    labels = [Labels(h.encode("aßb")[None].repeat(2, 1), torch.tensor([3, 3])) for h in (head, new)]
    was, now = (
        m.head("de-attention").likelihood(m.scores("de-attention", F), label)
        for m, label in zip((old, model), labels, strict=True)
    )
    assert was.isfinite().all() and now.isfinite().all() and not was.equal(now)


def test_another_head_on_the_same_label_is_in_the_way():
    model = build()
    model.add(Task("de-own", "speech", CTC([" ", "a"]), label="de"))
    with pytest.raises(ValueError, match=r"'de-own' learns from label 'de' as well.*head='de'"):
        replace_head(model, "de", CTC(["a"]))
    assert model.head("de").symbols == [" ", "a", "b", "ß"]


def test_new_rows_depend_on_the_seed_alone():
    def rows(seed, noise):
        torch.manual_seed(noise)
        model = build()
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        replace_head(model, "de", CTC(["x", "y"]), seed)
        assert torch.get_rng_state().equal(state)
        return model.head("de").output.weight[1:]

    assert rows(0, 1).equal(rows(0, 2)) and not rows(0, 1).equal(rows(1, 1))


def test_what_cannot_be_replaced_is_named():
    model = build()
    with pytest.raises(ValueError, match="no task 'fr'; this model has: de, de-b1, at"):
        ctc_head(model, "fr")
    with pytest.raises(
        ValueError, match=r"'language' has a head Classify.* CTC heads have: de, nl"
    ):
        replace_head(model, "language", CTC(["a"]))
    with pytest.raises(ValueError, match="upsample is 1 in the old head and 2 in the new"):
        replace_head(model, "de", CTC(["a"], upsample=2))
    model.head("nl").output = torch.nn.Sequential(model.head("nl").output)
    with pytest.raises(ValueError, match="'nl': Sequential is no plain output layer"):
        replace_head(model, "nl", CTC(["a"]))


def test_labels_are_those_of_all_who_share():
    assert labels_of(build(), "de-b1") == ["de", "at"]
    assert labels_of(build(), "nl") == ["nl"]


def test_a_frozen_head_stays_frozen_and_on_its_dtype():
    model = build()
    model.head("de").requires_grad_(False).double()
    replace_head(model, "de", CTC(["a"]))
    assert {(p.requires_grad, p.dtype) for p in model.head("de").parameters()} == {
        (False, torch.float64)
    }


# What `renewed` makes of each kind of head


OLD = CTC(["<unk>", " ", "b", "a"], 2, {"case": "keep"})
PIECES = make_head(["ab abc", "cab cab"], "bpe:8", {"case": "keep"}, 2)


@pytest.mark.parametrize(
    ("given", "add", "symbols"),
    [("", False, [" ", "C", "a"]), ("chars", True, ["<unk>", " ", "b", "a", "C"])],
)
def test_characters_for_characters(given, add, symbols):
    head = renewed(OLD, ["a! C"], given, add)
    assert (type(head), head.symbols, head.upsample) == (CTC, symbols, 2)
    assert head.rules == {"case": "keep"}


def test_pieces_for_characters():
    head = renewed(OLD, ["ab ab", "C"], "bpe:6")
    assert head.symbols == make_head(["ab ab", "C"], "bpe:6", {"case": "keep"}).symbols
    more = renewed(OLD, ["ab ab", "C"], "bpe:6", add=True)
    assert more.symbols == [" ", "b", "a", *(s for s in head.symbols if s not in ("a", "b"))]
    assert more.decode(more.encode("ab C")) == "ab C"  # and never "<unk>", which is dropped


@pytest.mark.parametrize("given", ["", "chars"])
def test_characters_beside_pieces(given):
    head = renewed(PIECES, ["cab ñß", "ß ab"], given, add=True)
    assert head.symbols == [*PIECES.symbols, "ß", "ñ"] and head.pieces == PIECES.pieces
    assert head.decode(head.encode("cab ñß")) == "cab ñß"
    assert head.encode("cab abc").equal(PIECES.encode("cab abc"))


def test_other_pieces_for_pieces():
    fresh = make_head(["xy xyz"] * 3, "unigram:6")
    head = renewed(PIECES, ["xy xyz"] * 3, "unigram:6")
    assert head.symbols == fresh.symbols
    more = renewed(PIECES, ["xy xyz"] * 3, "unigram:6", add=True)
    assert more.symbols[: len(PIECES.symbols)] == PIECES.symbols
    assert set(more.symbols) == {*PIECES.symbols, *fresh.symbols}
    with pytest.raises(ValueError, match=r"say what it is to get \(--symbols\), such as bpe:500"):
        renewed(PIECES, ["ab"])


def test_phones_for_phones_only():
    old = Phoneme([" ", "b", "ˈ"], 2, stress=True)
    assert renewed(old, ["ˈab"], add=True).symbols == [" ", "b", "ˈ", "a"]
    head = renewed(old, ["ˈab"], "phones")
    assert (head.symbols, head.stress, head.upsample) == ([" ", "a", "b", "ˈ"], True, 2)
    with pytest.raises(ValueError, match="symbols is 'chars'; give phones"):
        renewed(old, ["ab"], "chars")
    with pytest.raises(ValueError, match="symbols is 'phones'; give chars or bpe:N or unigram:N"):
        renewed(OLD, ["ab"], "phones")


def test_a_head_of_another_kind_is_refused():
    class Own(CTC):
        """One of a user's."""

    with pytest.raises(ValueError, match="Own has symbols of its own kind"):
        renewed(Own(["a"]), ["a"])


def test_long_lists_are_cut():
    model = build()
    shown = str(replace_head(model, "de", CTC([" ", *map(chr, range(300, 400))])))
    assert shown.endswith("3 gone: a b ß") and " and 60 more, " in shown  # of 100
    back = str(replace_head(model, "de", CTC(["a"])))
    assert "100 gone" not in back and "101 gone: ' ' Ĭ" in back


@pytest.mark.parametrize("judged", [False, True])
def test_the_space_goes_from_characters_to_pieces_and_back(judged):
    model = build(CTC(list(" abcß")))
    name = "de"
    if judged:
        name = "judge"
        head = Attention(describe(model.head("de")), heads=2, depth=1)
        model.add(Task(name, "speech", head, label="de", auxiliary=True))
    layer = "decoder.output.weight" if judged else "output.weight"
    rows = model.head(name).get_parameter(layer).clone()
    change = replace_head(model, "de", make_head(["ab abc", "cab cab"], "bpe:8"))
    symbols = model.head("de").symbols
    assert "▁" in change.kept and change.gone == ["ß"]
    begins = [symbol for symbol in symbols if symbol.startswith("▁") and symbol != "▁"]
    assert begins and set(begins) <= set(change.new)
    at = 1 + symbols.index("▁")
    assert model.head(name).get_parameter(layer)[at].equal(rows[1])
    assert not model.head(name).get_parameter(layer)[1 + symbols.index(begins[0])].equal(rows[1])
    change = replace_head(model, "de", CTC(list("ab ")))
    assert change.kept == ["a", "b", " "] and "▁" not in change.gone
    assert model.head(name).get_parameter(layer)[3].equal(rows[1])


def test_what_has_both_signs_for_a_space_gives_each_its_own():
    model = build(Pieces(PIECES.pieces, [" ", *PIECES.symbols]))
    rows = model.head("de").output.weight.clone()
    change = replace_head(model, "de", make_head(["ab abc", "cab cab"], "bpe:8"))
    at = 1 + model.head("de").symbols.index("▁")
    assert model.head("de").output.weight[at].equal(rows[2 + PIECES.symbols.index("▁")])
    assert change.gone == [" "]
