import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mtl.data import espeak, synthetic
from mtl.data.manifest import read_manifest
from mtl.data.synthetic import make_corpus, make_voice

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
    monkeypatch.setattr(synthetic, "_render", None)  # would fail
    folder = corpus["train"].parents[2]
    assert tiny(folder) == corpus
    monkeypatch.setenv("MTL_CACHE", str(folder))
    assert tiny(None) == corpus


def test_two_at_once_make_it_once(tmp_path, monkeypatch):
    made, render = [], synthetic._render
    monkeypatch.setattr(
        synthetic, "_render", lambda job, folder: made.append(job.id) or render(job, folder)
    )
    found = []  # a lock of `flock` belongs to the open file: threads stand for processes here
    threads = [threading.Thread(target=lambda: found.append(tiny(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(made) == 17


def test_waits_for_a_living_process_and_not_for_a_dead_one(corpus, tmp_path):
    name = corpus["train"].parent.name
    lock = tmp_path / "corpus" / f"{name}.lock"
    lock.parent.mkdir()
    left = tmp_path / "corpus" / f"{name}.part-1" / "train"
    left.mkdir(parents=True)
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    hold += "; print('held', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        found = []
        thread = threading.Thread(target=lambda: found.append(tiny(tmp_path)))
        thread.start()
        time.sleep(0.3)
        assert left.is_dir()  # nobody touches what the holder may be making
        holder.kill()
    thread.join(20)
    assert digests(found[0]) == digests(corpus)
    assert {path.name for path in lock.parent.iterdir()} == {name, lock.name}


def test_an_interrupted_make_leaves_nothing(tmp_path, monkeypatch):
    made, render = [], synthetic._render

    def stop(job, folder):
        made.append(render(job, folder))
        if len(made) == 3:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(synthetic, "_render", stop)
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path)
    assert len(made) == 3
    assert [path.suffix for path in (tmp_path / "corpus").iterdir()] == [".lock"]
    with next((tmp_path / "corpus").iterdir()).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it


def stand_in(folder, monkeypatch, commands):
    """Let a shell script be the interpreter that the workers run."""
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{commands}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_workers_end_when_the_maker_is_interrupted(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "printf '{\"pid\": %d}\\n' $$; exec sleep 60")
    rows = synthetic._rows([], tmp_path, 2)
    pid = next(rows)["pid"]
    os.kill(pid, 0)  # it lives
    rows.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_fails_is_an_error(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exit 7")
    with pytest.raises(RuntimeError, match="worker that made speech ended with code 7"):
        tiny(tmp_path, workers=2)
    assert [path.suffix for path in (tmp_path / "corpus").iterdir()] == [".lock"]


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
    assert [lang for lang in known if synthetic._spoken(lang) not in espeak.languages()] == []


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


@pytest.mark.parametrize("pink", [False, True])
def test_noise_has_the_level_and_colour_asked_for(pink):
    class Fixed:
        """Draws in the order of `_recorded`: level -26 dB, the noise, its colour, 20 dB SNR."""

        def __init__(self):
            self.uniforms = iter([-26.0, 20.0])

        def uniform(self, low, high):
            value = next(self.uniforms)
            assert low < value < high
            return value

        def standard_normal(self, size):
            return np.random.default_rng(0).standard_normal(size)

        def random(self):
            return 0.1 if pink else 0.9

    speech = np.sin(np.arange(32000) * 0.3)
    sound = synthetic._recorded(speech, Fixed()).astype(float) / 32767
    pad = round(synthetic.PAD_SECONDS * synthetic.HZ)
    assert len(sound) == 32000 + 2 * pad
    clean = np.pad(speech * 10 ** (-26 / 20) / np.sqrt(0.5), pad)
    noise = sound - clean
    assert 10 * np.log10(np.mean(clean[pad:-pad] ** 2)) == pytest.approx(-26, abs=0.1)
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-46, abs=0.5)
    power = np.abs(np.fft.rfft(noise)) ** 2
    quarter = len(power) // 4
    assert (power[:quarter].sum() > 5 * power[-quarter:].sum()) == pink


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


def test_progress_leaves_the_standard_output_alone(tmp_path, capsys):
    tiny(tmp_path, train={"en": 1}, dev=1, test=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "making speech" in shown.err
