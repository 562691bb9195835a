import numpy as np
import pytest
from layouts import bring, heard, same, sound, tone

IDS = ("12_3_000001", "12_3_000002", "45_6_000001")


@pytest.fixture
def dutch(tmp_path):
    """mls_dutch with three utterances, and their samples."""
    train = tmp_path / "mls_dutch" / "train"
    samples = {}
    for name in IDS:
        speaker, book, _ = name.split("_")
        samples[name] = sound(train / "audio" / speaker / book / f"{name}.flac")
    (train / "transcripts.txt").write_text(
        "".join(f"{name}\tdit is {name[-1]} ok\n" for name in IDS)
    )
    for part, names in {"9hr": IDS[:1], "1hr/0": IDS[1:2], "1hr/5": IDS[2:]}.items():
        handles = train / "limited_supervision" / part / "handles.txt"
        handles.parent.mkdir(parents=True)
        handles.write_text("\n".join(names))
    return tmp_path / "mls_dutch", samples


def test_ids_speakers_language_and_sound(dutch):
    folder, samples = dutch
    found = bring("mls", folder)
    assert found.skips == []
    assert found.words("text", "lang", "speaker") == {
        name: (f"dit is {name[-1]} ok", "nl", name[:2]) for name in IDS
    }
    assert all(same(found.utterances[name], samples[name]) for name in IDS)


def test_opus_and_another_split(tmp_path):
    folder = tmp_path / "mls_polish_opus"
    samples = tone(folder / "dev" / "audio" / "1" / "2" / "1_2_000003.opus", 0.8, 48000)
    (folder / "dev" / "transcripts.txt").write_text("1_2_000003\tdzień dobry\n", "utf-8")
    (utterance,) = bring("mls", folder, split="dev").utterances.values()
    assert (utterance.lang, utterance.text) == ("pl", "dzień dobry")
    assert np.corrcoef(heard(utterance, 48000), samples)[0, 1] > 0.98  # opus


@pytest.mark.parametrize(
    ("subset", "ids"), [("9hr", IDS[:1]), ("1hr", IDS[1:]), ("1hr/5", IDS[2:]), ("10hr", IDS)]
)
def test_limited_supervision(dutch, subset, ids):
    assert set(bring("mls", dutch[0], subset=subset).utterances) == set(ids)


def test_what_cannot_be_used_is_named(dutch):
    folder, _ = dutch
    train = folder / "train"
    with (train / "transcripts.txt").open("a") as file:
        file.write("12_3_000009\tgeen geluid\n12_3\tgeen id\n12_3_000004 zonder tab\n")
    with (train / "limited_supervision" / "9hr" / "handles.txt").open("a") as file:
        file.write("\n99_9_000000\n")
    found = bring("mls", folder)
    places = [f"train/transcripts.txt:{n}" for n in (4, 5, 6)]
    assert found.kinds == dict(zip(places, ["missing", "columns", "columns"], strict=True))
    found = bring("mls", folder, subset="9hr")
    assert found.kinds == {"limited_supervision/9hr/handles.txt:2": "missing"}
    assert "99_9_000000" in found.skips[0].message


def test_other_folders_and_subsets_are_refused(dutch):
    folder, _ = dutch
    with pytest.raises(ValueError, match="mls_LANGUAGE, --split"):
        bring("mls", folder / "train")
    with pytest.raises(ValueError, match="--subset can be: 1hr/0, 1hr/5, 9hr"):
        bring("mls", folder, subset="2hr")
