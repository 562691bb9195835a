"""render: the sound of synthetic utterances, made by several processes and kept in a cache."""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torchaudio
from rich.console import Console
from rich.progress import Progress

from mtl.atomic import naming_a_full_disk
from mtl.data import espeak
from mtl.data.audio import write_flac

VERSION = 1  # of what is made from given settings; part of the cache's key
HZ = 16_000
PAD_SECONDS = 0.1  # of silence left at both ends
_WORTH_A_WORKER = 400  # utterances: made in the time that a worker takes to start


@dataclasses.dataclass(frozen=True)
class Job:
    """One utterance to make; its sound goes to `file` in the corpus folder.

    All that chance does to it comes from `seed`. Its manifest line has a label where `label` is not empty.
    """

    id: str
    file: str
    lang: str
    text: str
    speaker: str
    seed: tuple[int, ...]
    label: str = ""


def cached(
    settings: dict[str, Any],
    plan: Callable[[], dict[str, list[Job]]],
    folder: Path | None,
    workers: int | None,
    progress: bool,
) -> Path:
    """Return the folder of the corpus that `settings` describe, made by one process only.

    `plan` gives the jobs of each split, and decides nothing that `settings`, which JSON can hold, do not
    say. The folder lies in `folder`, by default `$MTL_CACHE` or `~/.cache/mtl`, and holds a manifest
    `<split>.jsonl` for each. An interrupted make leaves nothing behind. Raises `mtl.atomic.DiskFull`, and
    ChildProcessError where a worker fails.
    """
    root = folder or Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl")
    versions = [metadata.version(package) for package in ("espeakng-loader", "num2words")]
    key = json.dumps([VERSION, versions, settings], sort_keys=True).encode()
    made = root / "corpus" / hashlib.sha256(key).hexdigest()[:16]
    if made.is_dir():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with naming_a_full_disk(made), made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel frees it when its holder dies
        if made.is_dir():
            return made
        for left in made.parent.glob(f"{made.name}.part-*"):
            # Of a process that died, as this one has the lock; its workers may not have noticed yet.
            shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{made.name}.part-", dir=made.parent))
        part.chmod(0o755)
        try:
            _make(plan(), part, workers, progress)
            os.replace(part, made)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return made


def spoken_code(lang: str) -> str:
    """Return espeak-ng's code of a language of num2words.

    >>> spoken_code("es_CO"), spoken_code("kz")
    ('es', 'kk')
    """
    code = {"kz": "kk", "no": "nb"}.get(lang, lang.lower().replace("_", "-"))
    return code if code in espeak.languages() else code.partition("-")[0]


def _make(plan: dict[str, list[Job]], folder: Path, workers: int | None, progress: bool) -> None:
    for split in plan:
        (folder / split).mkdir()
    jobs = [job for split in plan.values() for job in split]
    workers = workers or min(os.cpu_count() or 1, 1 + len(jobs) // _WORTH_A_WORKER)
    with (
        Progress(console=Console(stderr=True), disable=not progress) as bar,
        contextlib.closing(_rows(jobs, folder, workers)) as made,
    ):
        tracked = bar.track(made, total=len(jobs), description="making speech")
        rows = {row["id"]: row for row in tracked}
    for split, its in plan.items():
        lines = (json.dumps(rows[job.id], ensure_ascii=False) + "\n" for job in its)
        (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def _rows(jobs: list[Job], folder: Path, workers: int) -> Generator[dict[str, Any], None, None]:
    """Make the jobs and yield their manifest lines as they are done, in any order.

    Workers are fresh interpreters, not children of `multiprocessing`: a fork would copy torch's
    locks and threads, and a spawn would run the caller's script again if it has no main guard.
    """
    if workers == 1:
        yield from (_render(job, folder) for job in jobs)
        return
    command = [sys.executable, "-c", "from mtl.data.render import work; work()"]
    paths = os.pathsep.join(filter(None, sys.path))
    settings = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    read, write = os.pipe()  # one for all: a line written in one call stays whole
    running: list[subprocess.Popen[bytes]] = []
    try:
        with open(read, encoding="utf-8") as lines:
            with open(write, "w") as sink:
                for index in range(workers):
                    share = [dataclasses.astuple(job) for job in jobs[index::workers]]
                    with tempfile.TemporaryFile("w+") as orders:
                        json.dump([str(folder), share], orders)
                        orders.seek(0)
                        worker = subprocess.Popen(command, stdin=orders, stdout=sink, env=settings)
                        running.append(worker)
            yield from map(json.loads, lines)
        for process in running:
            if code := process.wait():
                raise _failure(code)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _failure(code: int) -> OSError:
    """Say what ended a worker: a signal, a full disk, or an error that it has shown."""
    if code == errno.ENOSPC:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    how = (
        f"was killed (signal {-code}), was memory short?" if code < 0 else f"ended with code {code}"
    )
    return ChildProcessError(f"a worker that made speech {how}: start the same command again")


def work() -> None:
    """Be a worker: make the jobs on standard input; print a manifest line for each."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end quietly when the reader is gone
    folder, share = json.load(sys.stdin)
    for values in share:
        try:
            line = json.dumps(_render(Job(*values), Path(folder))) + "\n"
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            sys.exit(errno.ENOSPC)
        os.write(sys.stdout.fileno(), line.encode())


def _render(job: Job, folder: Path) -> dict[str, Any]:
    """Write the sound of `job` and return its manifest line."""
    rng = np.random.default_rng((*job.seed, 1))
    rate, pitch, seed = (int(rng.integers(*span)) for span in ((130, 191), (30, 71), (0, 2**31)))
    language = spoken_code(job.lang)
    samples, hz = espeak.speak(job.text, language, job.speaker, rate, pitch, seed)
    # float64, so that no other order of summation (threads, processor) changes a rounded sample
    speech = _resampler(hz)(torch.from_numpy(samples).double()).numpy()
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.abs(speech).max())
    if len(loud) == 0:
        raise RuntimeError(f"{job.id}: espeak-ng gave no sound for {job.text!r}")
    wave = _recorded(speech[loud[0] : loud[-1] + 1], rng)
    write_flac(folder / job.file, wave, HZ)
    seconds, phonemes = round(len(wave) / HZ, 4), espeak.ipa(job.text, language)
    spoken = {"text": job.text, "lang": job.lang, "speaker": job.speaker, "phonemes": phonemes}
    spoken |= {"label": job.label} if job.label else {}
    return {"id": job.id, "audio_filepath": job.file, "duration": seconds, **spoken}


def _recorded(speech: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return speech (N,) with silence at its ends, at a random level, in white or pink noise."""
    rms, peak = np.sqrt(np.mean(speech**2)), np.abs(speech).max()
    gain = min(_amplitude(rng.uniform(-32, -20)) / rms, 0.8 / peak)
    clean = np.pad(gain * speech, round(PAD_SECONDS * HZ))
    noise = rng.standard_normal(1 << len(clean).bit_length())  # a length that the FFT is quick on
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(noise)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))  # pink: power falls as 1 / frequency
        noise = np.fft.irfft(spectrum)
    noise = noise[: len(clean)]
    noise *= gain * rms * _amplitude(-rng.uniform(15, 40)) / np.sqrt(np.mean(noise**2))
    return np.clip(np.round(32767 * (clean + noise)), -32768, 32767).astype(np.int16)


def _amplitude(decibels: float) -> float:
    return float(10 ** (decibels / 20))


@functools.cache
def _resampler(hz: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(hz, HZ, dtype=torch.float64)  # keeps its filter
