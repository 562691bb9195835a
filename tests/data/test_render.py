"""Making a corpus: by one process at a time, whole or not at all, at the level and noise asked for."""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

from mtl.data import espeak, render
from mtl.data.render import Job, cached

WORDS = {"train": ("one", "two", "three"), "test": ("four",)}


def plan():
    return {
        split: [
            Job(f"{split}-{n}", f"{split}/{n}.flac", "en", word, "m3", (0, n), word.upper())
            for n, word in enumerate(words)
        ]
        for split, words in WORDS.items()
    }


def make(folder, workers=1, progress=False):
    return cached({"words": 4}, plan, folder, workers, progress)


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(f.relative_to(root)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make(tmp_path_factory.mktemp("corpus"))


def test_manifests_say_what_was_made(corpus):
    for split, words in WORDS.items():
        rows = [json.loads(line) for line in (corpus / f"{split}.jsonl").read_text().splitlines()]
        assert [row["text"] for row in rows] == list(words)
        assert [row["label"] for row in rows] == [word.upper() for word in words]
        for row in rows:
            sound, hz = soundfile.read(corpus / row["audio_filepath"])
            assert (hz, row["duration"]) == (16000, round(len(sound) / 16000, 4))
            assert row["phonemes"] == espeak.ipa(row["text"], "en")


def test_the_folder_is_named_by_the_settings_and_the_versions_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(render.metadata, "version", lambda package: f"{package} 1.0")
    settings = {"seed": 0, "dev": 2}
    key = '[1, ["espeakng-loader 1.0", "num2words 1.0"], {"dev": 2, "seed": 0}]'
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    (tmp_path / "corpus" / name).mkdir(parents=True)
    assert cached(settings, plan, tmp_path, 1, False) == tmp_path / "corpus" / name
    monkeypatch.setattr(render, "VERSION", 2)
    assert cached(settings, plan, tmp_path, 1, False) != tmp_path / "corpus" / name


def test_two_at_once_make_it_once(tmp_path, monkeypatch):
    made, real = [], render._render
    monkeypatch.setattr(
        render, "_render", lambda job, folder: made.append(job.id) or real(job, folder)
    )
    found = []  # a lock of `flock` belongs to the open file: threads stand for processes here
    threads = [threading.Thread(target=lambda: found.append(make(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(made) == 4


def test_waits_for_a_living_process_and_not_for_a_dead_one(corpus, tmp_path):
    name = corpus.name
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
        thread = threading.Thread(target=lambda: found.append(make(tmp_path)))
        thread.start()
        time.sleep(0.3)
        assert left.is_dir()  # nobody touches what the holder may be making
        holder.kill()
    thread.join(20)
    assert digests(found[0]) == digests(corpus)
    assert {path.name for path in lock.parent.iterdir()} == {name, lock.name}


def test_an_interrupted_make_leaves_nothing(tmp_path, monkeypatch):
    made, real = [], render._render

    def stop(job, folder):
        made.append(real(job, folder))
        if len(made) == 3:
            raise KeyboardInterrupt
        return made[-1]

    monkeypatch.setattr(render, "_render", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path)
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
    rows = render._rows([], tmp_path, 2)
    pid = next(rows)["pid"]
    os.kill(pid, 0)  # it lives
    rows.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_fails_is_an_error(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exit 7")
    with pytest.raises(ChildProcessError, match="worker that made speech ended with code 7"):
        make(tmp_path, workers=2)
    assert [path.suffix for path in (tmp_path / "corpus").iterdir()] == [".lock"]


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
    sound = render._recorded(speech, Fixed()).astype(float) / 32767
    pad = round(render.PAD_SECONDS * render.HZ)
    assert len(sound) == 32000 + 2 * pad
    clean = np.pad(speech * 10 ** (-26 / 20) / np.sqrt(0.5), pad)
    noise = sound - clean
    assert 10 * np.log10(np.mean(clean[pad:-pad] ** 2)) == pytest.approx(-26, abs=0.1)
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-46, abs=0.5)
    power = np.abs(np.fft.rfft(noise)) ** 2
    quarter = len(power) // 4
    assert (power[:quarter].sum() > 5 * power[-quarter:].sum()) == pink


def test_progress_leaves_the_standard_output_alone(tmp_path, capsys):
    make(tmp_path, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "making speech" in shown.err
