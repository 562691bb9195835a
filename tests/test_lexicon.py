import base64

import pytest
import sentencepiece

from mtl.data import espeak
from mtl.heads.ctc import CTC
from mtl.heads.phoneme import Phoneme
from mtl.lexicon import LexiconError, describe_left, read_lexicon, spell, write_lexicon
from mtl.phones import phones
from mtl.vocabulary import make_head

LEXICON = {"goed": [["ɣ", "u", "t"], ["ɣ", "u", "d"]], "'s": [["s"]], "3": [["a", " ", "b"]]}


def test_words_in_characters():
    head = CTC(["'", "a", "b", " "])
    lexicon, left = spell(head, ["Ab", "ab!", "’b", "baß", "a-b", "?"])
    assert lexicon == {"ab": [["a", "b"]], "'b": [["'", "b"]]}
    assert [word.word for word in left] == ["baß", "a-b", "?"]
    assert left[0].reason == "the head has 4 symbols, but not 'ß'"
    assert left[1].reason == "the rules make it 'a b', which is no single word"
    (line,) = describe_left(left, 6)
    wanted = "left out 3 of 6 words, such as 'baß': the head has 4 symbols, but not 'ß'"
    assert line == wanted
    assert describe_left([], 6) == []


def test_words_in_pieces():
    texts = ["het weer van morgen", "meer weer morgen"] * 3
    head = make_head(texts, "unigram:18")
    direct = sentencepiece.SentencePieceProcessor(model_proto=base64.b64decode(head.pieces))
    words = sorted({word for text in texts for word in text.split()})
    lexicon, left = spell(head, words)
    assert left == [] and lexicon == {w: [direct.encode(w, out_type=str)] for w in words}


def test_words_in_phones():
    words = ["good", "night", "US", "us"]
    said = [espeak.ipa(word, "en-us") for word in words]
    head = make_head(said, "phones")
    lexicon, left = spell(head, [*words, "us!", "Zürich"], "en-us")
    assert lexicon["night"] == [phones(said[1])] and lexicon["good"] == [phones(said[0])]
    assert lexicon["us"] == [phones(said[2]), phones(said[3])]  # letters, and a word
    assert [word.word for word in left] == ["Zürich"] and "symbols, but not" in left[0].reason


@pytest.mark.parametrize(
    ("lang", "says"), [("", "give lang, such as 'de'"), ("xx", "there is no language 'xx'")]
)
def test_phones_need_a_language(lang, says):
    with pytest.raises(ValueError, match=says):
        spell(Phoneme(["a"]), ["a"], lang)


def test_files_come_back(tmp_path):
    path = tmp_path / "nl.txt"
    write_lexicon(path, LEXICON)
    assert path.read_text("utf-8").splitlines()[:3] == ["goed\tɣ u t", "goed\tɣ u d", "'s\ts"]
    assert read_lexicon(path) == (LEXICON, [])


def test_symbols_that_the_head_lacks_are_named(tmp_path):
    write_lexicon(tmp_path / "nl.txt", LEXICON)
    lexicon, left = read_lexicon(tmp_path / "nl.txt", Phoneme(["ɣ", "u", "t", "a", "b"]))
    assert lexicon == {"goed": [["ɣ", "u", "t"]]}
    assert [str(word) for word in left] == [
        "nl.txt:2: 'goed': the head has 5 symbols, but not 'd'",
        "nl.txt:3: \"'s\": the head has 5 symbols, but not 's'",
        "nl.txt:4: '3': the head has 5 symbols, but not ' '",
    ]
    assert describe_left(left, 4) == [f"left out 3 of 4 words, such as {left[0]}"]


def test_kaldi_and_windows_files_are_read(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_bytes("\ufeffja j a\r\n\r\nnee  n e:\r\nja j a\r\n".encode())
    assert read_lexicon(path)[0] == {"ja": [["j", "a"]], "nee": [["n", "e:"]]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a\ta\nja\n", "l.txt:2: 'ja' spells nothing: write WORD, a tab"),
        (b"\ta b\n", "l.txt:1: .* spells nothing"),
        (b"new york\tn j\n", "l.txt:1: 'new york' is more than one word"),
        (b"a\ta\n\n\xff\ta\n", "l.txt:3: not UTF-8"),
    ],
)
def test_bad_lines_are_named(data, says, tmp_path):
    (tmp_path / "l.txt").write_bytes(data)
    with pytest.raises(LexiconError, match=says):
        read_lexicon(tmp_path / "l.txt")


@pytest.mark.parametrize(
    ("word", "spelling"), [("a b", ["a"]), ("", ["a"]), ("a", []), ("a", ["|"]), ("a", ["b\n"])]
)
def test_what_no_line_can_hold_is_refused(word, spelling, tmp_path):
    with pytest.raises(ValueError):
        write_lexicon(tmp_path / "l.txt", {"ok": [["a"]], word: [spelling]})
    assert not (tmp_path / "l.txt").exists()
