import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtl.data import espeak, render, synthetic
from mtl.data.manifest import read_manifest
from mtl.data.synthetic import make_corpus, make_voice, make_words

SPLITS = {
    "train": synthetic.TRAIN_VOICES,
    "dev": synthetic.DEV_VOICES,
    "test": synthetic.TEST_VOICES,
    "far": synthetic.FAR_VOICES,
}


def tiny(folder, **changed):
    settings = {"dev": 2, "test": 3, "workers": 1, "progress": False, **changed}
    return make_corpus(settings.pop("train", {"en": 4, "nl": 3}), folder=folder, **settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("corpus"))


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def digests(manifests):
    root = manifests["train"].parent
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def test_manifest_and_sound_agree(corpus):
    rows = {split: lines(path) for split, path in corpus.items()}
    assert {split: len(found) for split, found in rows.items()} == {"train": 7, "dev": 4, "test": 6}
    assert rows["train"][5]["id"] == "nl-train-00001"
    for split, found in rows.items():
        for row in found:
            sound, hz = soundfile.read(corpus[split].parent / row["audio_filepath"], dtype="int16")
            assert (hz, sound.ndim) == (16000, 1)
            assert row["duration"] == round(len(sound) / hz, 4)
            assert row["speaker"] in SPLITS[split]
            assert row["phonemes"] == espeak.ipa(row["text"], row["lang"])
            edge, middle = sound[:1280].astype(float), sound[1600:-1600].astype(float)
            assert np.abs(sound).max() > 500  # speech, and not clipped ...
            assert np.abs(sound).max() < 32767
            assert 10 < 10 * np.log10(np.mean(middle**2) / np.mean(edge**2)) < 45  # ... over noise
    assert [u.id for u in read_manifest(corpus["dev"])] == [row["id"] for row in rows["dev"]]


def test_texts_and_speakers_of_the_splits_are_disjoint(corpus):
    rows = {split: lines(path) for split, path in corpus.items()}
    texts = [(row["lang"], row["text"]) for found in rows.values() for row in found]
    assert len(set(texts)) == len(texts)
    voices = [voice for split in SPLITS.values() for voice in split]
    assert len(set(voices)) == len(voices)
    assert set(voices) <= set(espeak.variants())


def test_equal_settings_give_equal_bytes_with_any_number_of_workers(corpus, tmp_path):
    again = tiny(tmp_path, train={"nl": 3, "en": 4}, workers=2)
    assert digests(again) == digests(corpus)
    assert again["train"].parent.name == corpus["train"].parent.name
    other = tiny(tmp_path, seed=1)
    assert other["train"].parent != again["train"].parent
    assert not set(digests(other).values()) & set(digests(again).values())


def test_a_made_corpus_is_not_made_again(corpus, monkeypatch):
    monkeypatch.setattr(render, "_render", None)  # would fail
    folder = corpus["train"].parents[2]
    assert tiny(folder) == corpus
    monkeypatch.setenv("MTL_CACHE", str(folder))
    assert tiny(None) == corpus


def test_corpora_keep_the_folders_that_they_have_in_the_cache(tmp_path, monkeypatch):
    """Names that earlier versions gave; a cell of a study that was made with one is found again."""
    monkeypatch.setattr(render.metadata, "version", lambda package: "1.0")
    for name in ("44c510638e0e7f51", "ae12bf2e94c66da3"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    assert tiny(tmp_path)["dev"] == tmp_path / "corpus" / "44c510638e0e7f51" / "dev.jsonl"
    voice = make_voice("nl", "whisper", 3, folder=tmp_path, exclude=("b", "a"))
    assert voice == tmp_path / "corpus" / "ae12bf2e94c66da3" / "whisper.jsonl"


def test_one_voice_with_texts_of_its_own(corpus, tmp_path):
    exclude = [row["text"] for row in lines(corpus["train"])]
    path = make_voice("nl", "whisper", 3, folder=tmp_path, exclude=exclude, progress=False)
    rows = lines(path)
    assert [row["id"] for row in rows] == [f"nl-whisper-{index:05d}" for index in range(3)]
    assert {row["speaker"] for row in rows} == {"whisper"}
    assert not {row["text"] for row in rows} & set(exclude)
    assert all((path.parent / row["audio_filepath"]).is_file() for row in rows)
    taken = [rows[0]["text"]]
    other = make_voice("nl", "whisper", 3, folder=tmp_path, exclude=taken, progress=False)
    assert taken[0] not in {row["text"] for row in lines(other)}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    return make_words(
        "en", [0, 21, "Good  morning!"], 10, dev=1, test=9, folder=folder, progress=False
    )


def test_words_are_labelled_and_said_by_as_many_voices_as_there_are(words):
    for split, takes in (("train", 10), ("dev", 1), ("test", 9)):
        said = read_manifest(words[split])
        assert len({u.id for u in said}) == 3 * takes
        assert all(0.2 < u.seconds < 2.5 and u.audio.is_file() for u in said)
        for label, text in (
            ("0", "zero"),
            ("21", "twenty one"),
            ("Good  morning!", "good morning"),
        ):
            own = [u for u in said if u.label == label]
            assert len(own) == takes and {u.text for u in own} == {text}
            voices = {u.speaker for u in own}
            assert voices <= set(SPLITS[split]) and len(voices) == min(takes, len(SPLITS[split]))
    orders = [tuple(u.speaker for u in said if u.label == label) for label in ("0", "21")]
    assert orders[0] != orders[1], "each word has its own order of voices"
    sounds = [u.audio.read_bytes() for u in said]
    assert len(set(sounds)) == len(sounds), "the same voice speaks otherwise the second time"


def test_words_come_from_the_cache_by_their_settings(words, monkeypatch):
    folder = words["train"].parents[2]
    monkeypatch.setattr(render, "_render", None)  # would fail
    given = {"dev": 1, "test": 9, "folder": folder, "progress": False}
    assert make_words("en", [0, 21, "Good  morning!"], 10, **given) == words
    for other in ({"seed": 1}, {"test": 8}, {"dev": 2}):
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            make_words("en", [0, 21, "Good  morning!"], 10, **(given | other))


@pytest.mark.parametrize(
    ("lang", "words", "message"),
    [
        ("nll", [1], r"no language 'nll'.* nl"),
        ("nl", [1, 2, "1"], "'1' stands twice in the words"),
        ("nl", [1, "2"], "'2' cannot be said: write letters, or give a number as such"),
    ],
)
def test_words_that_cannot_be_said_are_refused(lang, words, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_words(lang, words, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_value_and_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"no language 'nll'.* nl"):
        tiny(tmp_path, train={"en": 1, "nll": 1})
    with pytest.raises(ValueError, match=r"no voice 'wisper'.* whisper"):
        make_voice("nl", "wisper", 1, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_languages_without_a_voice_are_left_out():
    known = synthetic.languages()
    assert {"en", "kz", "no", "es_CO", "cy"} <= set(known)
    assert not {"ja", "he", "tet"} & set(known)
    assert [lang for lang in known if render.spoken_code(lang) not in espeak.languages()] == []


def pitch_hz(sound, hz):
    """Median of the strongest autocorrelation lag over 46 ms windows."""
    found = []
    for start in range(0, len(sound) - 1024, 512):
        window = sound[start : start + 1024] - sound[start : start + 1024].mean()
        lags = np.fft.irfft(np.abs(np.fft.rfft(window, 2048)) ** 2)[:512]
        lag = 50 + (lags / (1 - np.arange(512) / 1024))[50:400].argmax()
        if lags[0] > 0.3 and lags[lag] > 0.4 * lags[0]:
            found.append(hz / lag)
    return np.median(found)


def test_voices_are_audible_and_differ():
    sounds = {}
    for voice in {voice for split in SPLITS.values() for voice in split}:
        sound, hz = espeak.speak("ten past four", "en", voice)
        assert np.abs(sound).max() > 0.1, voice
        sounds[voice] = sound
    assert len({sound.tobytes() for sound in sounds.values()}) == len(sounds)
    for split in ("train", "dev", "test"):
        pitches = [pitch_hz(sounds[voice], hz) for voice in SPLITS[split]]
        assert min(pitches) < 120  # a man
        assert max(pitches) > 165  # a woman


@pytest.mark.slow
def test_a_script_without_a_main_guard_can_use_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from mtl.data.synthetic import make_corpus\n"
        f"made = make_corpus({{'nl': 2}}, dev=0, test=0, folder=Path({str(tmp_path)!r}), workers=2)\n"
        "print(made['train'].read_text().count('nl-train'), made['dev'].read_text() == '')\n"
    )
    root = str(Path(synthetic.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": root}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "4 True"
