"""What a recogniser is built of, and what it cannot be."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from toy import assert_same_weights

from mtl.data.manifest import read_manifest, write_manifest
from mtl.data.speech import Speech, screen
from mtl.evaluate import evaluate
from mtl.heads.ctc import CTC
from mtl.heads.pieces import Pieces
from mtl.languages import choose, writers
from mtl.members import numbers
from mtl.polyglot import BY_LANGUAGE
from mtl.recogniser import Net, recogniser
from mtl.text import TextRules
from mtl.tune.lhuc import lhuc
from mtl.vocabulary import renewed, replace_head


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "net.dim is 0; give 1 or more"),
        ({"depth": 0}, "net.depth is 0; give 1 or more"),
        ({"subsample": -1}, "net.subsample is -1; give 0 or more"),
        ({"bins": -1}, "net.bins is -1; give 0 or more"),
        ({"dropout": 1.0}, "net.dropout is 1.0; it is a share"),
        ({"symbols": "bpe"}, "net.symbols is 'bpe'; give chars or bpe:N or unigram:N"),
        ({"attention": -0.1}, r"net.attention is -0\.1; give 0 or more"),
        ({"language": "lin"}, "net.language is 'lin'; choose from none, vector, adapter, lhuc"),
        ({"target": "phonemes", "shared": True}, "phonemes has no symbols of texts"),
        ({"target": "char"}, "net.target is 'char'; choose from chars, phonemes, both"),
        ({"target": "both", "inner": ""}, "target both needs an inner block"),
        ({"symbols": "phones"}, "net.symbols is 'phones'; give chars or bpe:N or unigram:N"),
    ],
)
def test_sizes_that_make_no_network_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Net(**wrong)


def test_only_a_new_network_is_made_tiny():
    """A smoke run that goes on from a saved one must not ask for another size."""
    for made, size in ((Net(), (16, 2)), (Net(init="saved"), (144, 4)), (Net(trunk="w"), (144, 4))):
        made.shrink(16, 2)
        assert (made.dim, made.depth) == size


def test_a_trunk_that_sees_is_refused(tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16}
    config = transformers.ViTConfig(**size, intermediate_size=24, patch_size=8)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    line = {"audio_filepath": "a.wav", "duration": 1, "text": "ab", "lang": "nl"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    with pytest.raises(ValueError, match=r"trunk .* sees pictures; the data are speech"):
        recogniser(read_manifest(tmp_path / "m.jsonl"), Net(trunk=str(tmp_path)))


SAID = {"nl": ["een twee drie", "twee drie", "een een"], "cy": ["un dau tri", "Dau, TRI!", "dŵr"]}


@pytest.fixture
def said(tmp_path):
    """Three utterances of two languages each, of one second."""
    write_manifest(
        tmp_path / "m.jsonl",
        [
            {
                "audio_filepath": "a.wav",
                "duration": 1,
                "text": text,
                "lang": lang,
                "id": f"{lang}{n}",
            }
            for lang, texts in SAID.items()
            for n, text in enumerate(texts)
        ],
    )
    return read_manifest(tmp_path / "m.jsonl")


SMALL = {"dim": 8, "depth": 2}


def test_each_language_has_its_own_characters(said):
    model, _ = recogniser(said, Net(**SMALL))
    assert list(model.tasks) == ["cy", "nl", "cy-b2", "nl-b2", "language"]
    for lang, texts in SAID.items():
        written = {char for text in texts for char in text.lower() if char not in ",!"}
        assert model.head(lang).symbols == sorted(written)
        assert type(model.head(lang)) is CTC and model.head(lang).rules is None
        assert model.head(f"{lang}-b2") is model.head(lang)


@pytest.mark.parametrize("symbols", ["chars", "bpe:16", "unigram:16"])
def test_one_head_may_write_all_languages(said, symbols, tmp_path):
    model, notes = recogniser(said, Net(symbols=symbols, shared=True, inner="b1", **SMALL))
    assert list(model.tasks) == ["text", "text-b1", "language"] and notes == []
    assert writers(model) == {"text": "text"}
    assert choose(model, "nl").tasks() == ["text"] and choose(model).detector == "language"
    assert screen(said, model) == (said, [])
    head = model.head("text-b1")
    data = Speech(said, model)
    for index in range(len(said)):
        text = data.labels(index)["text"]
        assert head.decode(head.encode(text)) == head.reference(text)
    model.save_pretrained(tmp_path / "model")
    assert type(model).from_pretrained(tmp_path / "model").head("text").symbols == head.symbols


def test_pieces_per_language(said):
    model, notes = recogniser(said, Net(symbols="bpe:500", **SMALL))
    assert [note.partition(" pieces")[2] for note in notes] == [", as its texts hold no more"] * 2
    for lang, texts in SAID.items():
        head = model.head(lang)
        assert f"{lang}: {len(head.symbols)} pieces" in "".join(notes)
        assert all(head.decode(head.encode(text)) == head.reference(text) for text in texts)
    with pytest.raises(ValueError, match=r"symbols of cy: 3 pieces are too few.*bpe:9"):
        recogniser(said, Net(symbols="bpe:3", **SMALL), TextRules())


def test_the_frame_rate_follows_the_symbols(tmp_path):
    """8 frames are too few for 11 characters and enough for pieces; too few at 4x, when no more."""
    line = {"audio_filepath": "a.wav", "duration": 0.3, "text": "banabanaban", "lang": "nl"}
    write_manifest(tmp_path / "m.jsonl", [line | {"id": str(n)} for n in range(4)])
    utterances = read_manifest(tmp_path / "m.jsonl")
    chars, notes = recogniser(utterances, Net(**SMALL))
    assert chars.stem("speech").subsample == 2
    assert notes == [
        f"nl: 100.0% of the utterances have more symbols than frames at {factor}x: 2x is taken"
        for factor in (4, 3)
    ]
    pieces, _ = recogniser(utterances, Net(symbols="bpe:7", **SMALL))
    assert pieces.stem("speech").subsample == 4
    for model in (chars, pieces):
        assert screen(utterances, model)[1] == []


def test_rules_go_into_the_heads(said):
    model, _ = recogniser(said, Net(**SMALL), TextRules(case="keep", keep="!,"))
    assert model.head("cy").decode(model.head("cy").encode("Dau, TRI!")) == "Dau, TRI!"


def test_telephones_get_half_the_spectrum(said):
    stem = recogniser(said, Net(hz=8000, **SMALL))[0].stem("speech")
    assert (stem.hz, stem.bins) == (8000, 40)
    noise = torch.randn(8000, generator=torch.Generator().manual_seed(0))
    assert (stem.prepare(noise).std(0) > 0.5).all(), "no filter is empty"


def test_a_saved_recogniser_goes_on(said, tmp_path):
    torch.manual_seed(0)
    saved, _ = recogniser(said, Net(**SMALL))
    saved.save_pretrained(tmp_path / "saved")
    dutch = [replace(u, text=f"{u.text} já") for u in said if u.lang == "nl"]
    more = [*dutch, *(replace(u, lang="fy", id=f"fy{u.id}") for u in dutch)]
    torch.manual_seed(1)
    model, notes = recogniser(more, Net(init=str(tmp_path / "saved")))
    assert list(model.tasks) == ["fy", "nl", "fy-b2", "nl-b2", "language"]
    assert_same_weights(model.trunk, saved.trunk)
    assert_same_weights(model.stem("speech"), saved.stem("speech"))
    old, new = saved.head("nl"), model.head("nl")
    assert new.symbols == [*old.symbols, "j", "á"]
    assert new.output.weight[: len(old.symbols) + 1].equal(old.output.weight)
    assert notes[1:] == [
        "fy: new head",
        f"task nl: {len(old.symbols)} of its {len(new.symbols)} symbols are old ones, 2 new: j á, 0 gone",
    ]
    assert screen(more, model) == (more, [])


def test_what_cannot_go_on_is_named(said, tmp_path):
    with pytest.raises(ValueError, match=r"net.trunk a and net.init b: give one"):
        Net(trunk="a", init="b")
    saved, _ = recogniser(said, Net(**SMALL))
    saved.save_pretrained(tmp_path / "chars")
    with pytest.raises(ValueError, match=r"head 'cy' is a CTC, net.symbols asks for a Pieces"):
        recogniser(said, Net(init=str(tmp_path / "chars"), symbols="bpe:16"))
    lhuc(saved, 3)
    saved.save_pretrained(tmp_path / "lhuc")
    with pytest.raises(ValueError, match=r"no plain recogniser: it has lhuc; try net.trunk"):
        recogniser(said, Net(init=str(tmp_path / "lhuc")))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hz": 8000}, "net.hz is 8000, but .* has 16000: leave it out"),
        ({"dim": 16}, "net.dim is 16, but .* has 8: leave it out"),
        ({"depth": 3}, "net.depth is 3, but .* has 2: leave it out"),
        ({"dropout": 0.5}, "net.dropout is 0.5, but .* has 0.1: leave it out"),
        ({"subsample": 1}, "net.subsample is 1, but .* has 4: leave it out"),
        ({"bins": 80}, "net.bins is 80, but .* has 0: leave it out"),
    ],
)
def test_a_size_that_a_saved_network_does_not_have_is_refused(said, asked, message, tmp_path):
    saved, _ = recogniser(said, Net(**SMALL))
    saved.save_pretrained(tmp_path / "saved")
    goes_on = {"init": str(tmp_path / "saved")}
    assert recogniser(said, Net(**goes_on, **SMALL))[0].trunk.dim == 8, "its own are allowed"
    with pytest.raises(ValueError, match=message):
        recogniser(said, Net(**goes_on, **asked))


def test_saved_heads_keep_their_own_kind(said, tmp_path):
    """`mtl symbols` gives one language pieces; the other goes on in characters."""
    saved, _ = recogniser(said, Net(**SMALL))
    replace_head(saved, "nl", renewed(saved.head("nl"), SAID["nl"], "bpe:12"))
    saved.save_pretrained(tmp_path / "mixed")
    more = [replace(u, text=f"{u.text} já") if u.lang == "nl" else u for u in said]
    model, notes = recogniser(more, Net(init=str(tmp_path / "mixed")))
    assert (type(model.head("nl")), type(model.head("cy"))) == (Pieces, CTC)
    old, new = saved.head("nl"), model.head("nl")
    assert new.symbols == [*old.symbols, "j", "á"]
    assert new.output.weight[: len(old.symbols) + 1].equal(old.output.weight)
    assert notes[1:] == [
        "nl: 12 pieces, as saved",
        "task nl: 12 of its 14 symbols are old ones, 2 new: j á, 0 gone",
    ]
    assert screen(more, model) == (more, [])


@pytest.mark.parametrize("way", BY_LANGUAGE)
def test_what_tells_languages_goes_on(said, way, tmp_path):
    torch.manual_seed(0)
    saved, _ = recogniser(said, Net(language=way, **SMALL))
    rows = {n: p for n, p in saved.named_parameters() if f"{way}-lang" in n}
    with torch.no_grad():
        for value in rows.values():
            value[1:] += torch.randn(value[1:].shape)  # cy, nl
    saved.save_pretrained(tmp_path / "told")
    more = [u for u in said if u.lang == "nl"]
    more += [replace(u, lang="aa", id=f"aa{u.id}") for u in more]
    model, _ = recogniser(more, Net(init=str(tmp_path / "told")))
    assert numbers(model) == {"lang": {"": 0, "aa": 1, "nl": 2}}
    assert [entry["name"] for entry in model.edits] == [way, "members"]
    for name, value in model.named_parameters():
        if name in rows:
            assert value[0].equal(rows[name][0]) and value[2].equal(rows[name][2])
            assert value[1].equal(rows[name][0]), "a new language starts as nobody"
    assert [n for n, _ in model.named_parameters() if f"{way}-lang" in n] == list(rows)
    model.save_pretrained(tmp_path / "again")
    assert type(model).from_pretrained(tmp_path / "again").edits == model.edits
    alone, _ = recogniser(more[:3], Net(init=str(tmp_path / "told")))
    assert numbers(alone) == {"lang": {"": 0, "nl": 1}}
    other = next(name for name in BY_LANGUAGE if name != way)
    with pytest.raises(ValueError, match=f"net.language is {other}, but .* has {way}: leave it"):
        recogniser(more, Net(init=str(tmp_path / "told"), language=other))


def test_a_single_language_is_not_told_and_that_is_said(said):
    model, notes = recogniser(said[:3], Net(language="vector", **SMALL))
    assert model.edits == []
    assert notes == [f"net.language vector tells nothing: {said[0].lang} is the only language"]


SPOKEN = {"nl": "eːn tʋeː dri", "cy": "ɪn daɪ tri"}


def test_phonemes_alone_or_below_the_texts(said, tmp_path):
    spoken = [replace(u, phonemes=SPOKEN[u.lang]) for u in said]
    alone, _ = recogniser(spoken, Net(target="phonemes", **SMALL))
    names = ["cy-phonemes", "nl-phonemes"]
    assert list(alone.tasks) == [*names, *(f"{name}-b2" for name in names), "language"]
    assert alone.head("nl-phonemes").symbols == sorted([" ", *"dnritʋ", "eː"])
    assert screen(spoken, alone) == (spoken, [])
    both, _ = recogniser(spoken, Net(target="both", inner="b1,b2", **SMALL))
    below = [*names, *(f"{name}-b2" for name in names)]
    assert list(both.tasks) == ["cy", "nl", *below, "language"]
    assert [both.tasks[name].at for name in below] == ["b1", "b1", "b2", "b2"]
    assert both.head("nl-phonemes-b2") is both.head("nl-phonemes")
    assert writers(both) == {"cy": "cy", "nl": "nl"}
    assert writers(alone) == {"cy": "cy-phonemes", "nl": "nl-phonemes"}
    for model in (alone, both):
        model.save_pretrained(tmp_path / "model")
        assert list(type(model).from_pretrained(tmp_path / "model").tasks) == list(model.tasks)
        figures = evaluate(model, {"speech": Speech(spoken, model)}).tasks()
        assert set(figures["nl-phonemes"]) >= {"per", "n"}
    with pytest.raises(ValueError, match=r"m.jsonl:4: no phonemes to learn; give them in IPA"):
        recogniser(said, Net(target="both", **SMALL))
