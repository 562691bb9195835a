import re

import pytest

from mtl.decode.captions import GAP, LETTERS, SECONDS, SHOWN, WIDTH, Cue, clock, ctm, cues, srt, vtt


def talk(gaps, text="word", lasts=0.2):
    """Words, each after a gap in seconds."""
    found, now = [], 0.0
    for gap in gaps:
        now += gap
        found.append((text, now, now + lasts, 0.9))
        now += lasts
    return found


def test_pauses_part_cues():
    found = cues(talk([0.5, 0.1, GAP + 0.1, 0.1, GAP - 0.1]))
    assert [cue.text for cue in found] == ["word word", "word word word"]
    assert found[0].start == 0.5


def test_cues_are_short_enough_to_read_and_hold_every_word():
    words = talk([0.15] * 200, "longish") + talk([0.1] * 3, "x" * 100)
    words = [
        (text, start + 1e-3 * n, end, sure) for n, (text, start, end, sure) in enumerate(words)
    ]
    words = sorted(words, key=lambda word: word[1])
    found = cues(words)
    assert " ".join(cue.text for cue in found).split() == [word[0] for word in words]
    for cue in found:
        assert len(cue.text) <= LETTERS or " " not in cue.text
        assert cue.end - cue.start <= SECONDS + 1e-9


def test_a_short_cue_stays_to_be_read_unless_the_next_comes():
    first, last = cues([("a", 1.0, 1.1, 1.0), ("b", 1.9, 2.0, 1.0)])
    assert (first.end, last.end) == (1.9, 1.9 + SHOWN)
    assert cues([]) == []


def test_words_without_spaces_between():
    assert cues(talk([0, 0.1], "字"), space="")[0].text == "字字"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "00:00:00.000"),
        (0.0004, "00:00:00.000"),
        (59.9996, "00:01:00.000"),
        (3599.5, "00:59:59.500"),
        (360000.25, "100:00:00.250"),
    ],
)
def test_clock(seconds, shown):
    assert clock(seconds) == shown


def test_srt_can_be_read_back():
    said = [Cue(0.5, 2.25, "a & b"), Cue(3661.0, 3662.5, "word " * 12 + "end")]
    blocks = srt(said).split("\n\n")
    assert len(blocks) == 2
    for number, (block, cue) in enumerate(zip(blocks, said, strict=True), 1):
        lines = block.strip().split("\n")
        assert lines[0] == str(number)
        h, m, s, t, *end = map(int, re.findall(r"\d+", lines[1]))
        assert h * 3600 + m * 60 + s + t / 1000 == cue.start
        assert end[0] * 3600 + end[1] * 60 + end[2] + end[3] / 1000 == cue.end
        assert re.fullmatch(r"\S+,\d{3} --> \S+,\d{3}", lines[1])
        assert " ".join(lines[2:]) == cue.text
        assert max(map(len, lines[2:])) <= WIDTH and len(lines) <= 4
    assert srt([]) == ""


def test_vtt_escapes_its_marks():
    shown = vtt([Cue(0.5, 2.25, "a <b> & --> 'c'")])
    assert shown == "WEBVTT\n\n00:00:00.500 --> 00:00:02.250\na &lt;b&gt; &amp; --&gt; 'c'\n"
    assert vtt([]) == "WEBVTT\n"


def test_ctm_has_six_fields_whatever_the_name():
    shown = ctm("my folder/a.wav", [("n eː", 0.1, 0.35, 0.98765), ("b", 3601, 3602, 1.0)])
    rows = [line.split(" ") for line in shown.splitlines()]
    assert rows == [
        ["my_folder/a.wav", "1", "0.100", "0.250", "neː", "0.9877"],
        ["my_folder/a.wav", "1", "3601.000", "1.000", "b", "1.0000"],
    ]
