import numpy as np
import pytest
from layouts import bring, heard, tone

HEADER = "client_id path sentence up_votes down_votes age gender accents locale segment"
NAMES = HEADER.split()
CD = 48000


def line(name, sentence, client="c1", locale="nl"):
    return "\t".join([client, f"{name}.mp3", sentence, "2", "0", "", "", "", locale, ""])


def write(folder, rows, split="train", names=NAMES):
    folder.mkdir(exist_ok=True, parents=True)
    text = "\n".join(["\t".join(names), *rows, ""])
    (folder / f"{split}.tsv").write_text(text, "utf-8")


@pytest.fixture
def dutch(tmp_path):
    """The folder of a language with two clips, and their samples."""
    folder = tmp_path / "cv-corpus-17.0" / "nl"
    clips = [tone(folder / "clips" / f"nl_{n}.mp3", 0.6 + 0.2 * n, CD) for n in range(2)]
    write(folder, [line("nl_0", '"Ja", zei hij'), line("nl_1", 'een "aanhaling\tdan niets', "c2")])
    return folder, clips


def test_clips_quotes_tabs_and_speakers(dutch):
    folder, clips = dutch
    found = bring("common_voice", folder)
    assert found.skips == []
    assert found.words("text", "lang", "speaker") == {
        "nl_0": ('"Ja", zei hij', "nl", "c1"),
        "nl_1": ('een "aanhaling\tdan niets', "nl", "c2"),
    }
    for utterance, samples in zip(found.utterances.values(), clips, strict=True):
        # mp3 keeps the shape of a sound, not its samples
        read = heard(utterance, CD)
        assert utterance.seconds == pytest.approx(len(samples) / CD)
        assert np.corrcoef(read, samples)[0, 1] > 0.99
        assert heard(utterance, 16000).size == pytest.approx(len(samples) / 3, abs=1)


def test_several_languages_and_the_first_releases(dutch):
    folder, _ = dutch
    old = folder.parent / "cy"
    tone(old / "clips" / "cy_0.mp3", 0.5, CD)
    write(old, ["c1\tcy_0\tbore da\t2\t0"], names=NAMES[:5])
    found = bring("common_voice", folder.parent, split="train")
    assert found.words("lang", "text")["cy_0"] == ("cy", "bore da")
    assert [u.lang for u in found.utterances.values()] == ["cy", "nl", "nl"]


def test_what_cannot_be_used_is_named(dutch):
    folder, _ = dutch
    (folder / "clips" / "noise.mp3").write_bytes(b"not a sound" * 40)
    bad = {
        line("away", "is er niet"): "missing",
        line("noise", "is geen geluid"): "audio",
        line("nl_0", ""): "text",
        line("nl_0", " ... "): "text",
        "c1\tnl_0.mp3\teen zin die": "columns",
        "c1\t\tgeen clip\t2\t0\t\t\t\tnl\t": "missing",
        "c1\tnl_0.mp3\teen zin\tveel\t0\t\t\t\tnl\t": "columns",
    }
    write(folder, [line("nl_1", "goed"), *bad], "validated")
    found = bring("common_voice", folder, split="validated")
    assert list(found.utterances) == ["nl_1"]
    assert found.kinds == {
        f"nl/validated.tsv:{number}": kind for number, kind in enumerate(bad.values(), start=3)
    }
    remedies = " ".join(skip.message for skip in found.skips)
    for part in ("away.mp3", "ffmpeg", "transcribe", "copy the file again"):
        assert part in remedies


def test_other_folders_and_splits_are_refused(dutch, tmp_path):
    folder, _ = dutch
    write(folder, [], "dev")
    with pytest.raises(ValueError, match="--split can be: dev, train"):
        bring("common_voice", folder, split="valid")
    with pytest.raises(ValueError, match="holds no clips/"):
        bring("common_voice", tmp_path / "out")
    (folder / "odd.tsv").write_text("a\tb\n")
    with pytest.raises(ValueError, match=r"odd.tsv:1: has columns a, b"):
        bring("common_voice", folder, split="odd")
    with pytest.raises(ValueError, match=r"nothing could be imported \(it holds no utterances\)"):
        bring("common_voice", folder, split="dev")


def test_a_missing_clip_comes_with_a_remedy_that_there_is(dutch):
    """Common Voice has its clips beside its tables: --root means nothing to it."""
    folder, _ = dutch
    write(folder, [line("nl_0", "ja"), line("gone", "nee")])
    (skip,) = bring("common_voice", folder).skips
    assert skip.message.endswith("clips/gone.mp3: no such file; copy it again")
