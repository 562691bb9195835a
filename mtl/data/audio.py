"""audio: sound files and precomputed frames into arrays, or an error that says what to do."""

import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from mtl.data.archives import DAMAGED, refuse_bomb

# A header outside these limits is damaged or hostile: believing it would take gigabytes of memory.
MAX_SECONDS = 24 * 3600
MAX_CHANNELS = 192
MIN_HZ, MAX_HZ = 1_000, 768_000
# Sound that people have and libsndfile does not read; copying it again would not help.
FOREIGN = {".3gp", ".aac", ".ac3", ".amr", ".ape", ".dss", ".m4a", ".m4b", ".mka", ".mkv", ".mov"}
FOREIGN |= {".mp4", ".ra", ".webm", ".wma", ".wv"}

_BLOCK = 1 << 22  # samples (over all channels) decoded at a time
_STREAMED = 0x7FFF_0000  # a program that writes into a pipe states a length from here up
# libsndfile quietly shortens a truncated file to what is there, and says so only in its log.
_LENGTHS = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_CUT = re.compile(
    r"^Ogg ?: ?(?:File ended unexpectedly|Junk after the last page)", re.MULTILINE
)


class AudioError(ValueError):
    """A sound or feature file that cannot be used; the message names the path and the remedy."""


def read_audio(
    path: str | Path, hz: int, offset: float = 0.0, seconds: float | None = None
) -> NDArray[np.float32]:
    """Samples (n,) at `hz`, mono (mean of the channels), from `offset` for `seconds`.

    Reads what libsndfile reads: wav, flac, ogg, opus, mp3, aiff and more, at any rate.
    Raises `AudioError` for a file that is missing, unreadable, truncated (w64, rf64 and NIST
    excepted: only the manifest's `duration` shows it), empty, or with samples that are not finite.

    >>> read_audio("flac/7_george_3.flac", hz=16000)
    Traceback (most recent call last):
    mtl.data.audio.AudioError: flac/7_george_3.flac: no such file; ...
    """
    with open_audio(path) as recording:
        return recording.cut(hz, offset, seconds)


@contextmanager
def open_audio(path: str | Path) -> Iterator["Recording"]:
    """Open a sound file to read a part of it, or all in blocks. Raises as `read_audio` does."""
    path = Path(path)
    with _opened(path) as file:
        yield Recording(path, file)


class Recording:
    """An open sound file, mono (mean of the channels): `seconds` long, at `hz` of its own.

    It is read once, and opened again for another part: libsndfile 1.2 gives wrong samples, up to 45 ms of
    them, where it seeks in ogg or mp3 after it has read. Raises RuntimeError where that is forgotten.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self._path, self._file = path, file
        self.hz: int = file.samplerate
        self.seconds: float = file.frames / file.samplerate

    def cut(
        self, hz: int, offset: float = 0.0, seconds: float | None = None
    ) -> NDArray[np.float32]:
        """Give the samples (n,) from `offset` for `seconds`, at `hz`. Raises `AudioError`."""
        _refuse_outside(self._path, self.seconds, offset, seconds)
        start = min(round(offset * self.hz), self._file.frames - 1)
        count = self._file.frames - start
        if seconds is not None:
            count = min(max(round(seconds * self.hz), 1), count)
        self._seek(start)
        return resample(self._read(count), self.hz, hz)

    def blocks(self, seconds: float = 1.0) -> Iterator[NDArray[np.float32]]:
        """Give all samples at its own rate, in blocks (n,) of `seconds`. Raises `AudioError`."""
        self._seek(0)
        size, left = max(round(seconds * self.hz), 1), self._file.frames
        while left:
            yield self._read(min(size, left))
            left -= min(size, left)

    def _seek(self, start: int) -> None:
        if self._file.tell():
            raise RuntimeError(f"{self._path} was read; open it again for another part")
        if start:
            self._file.seek(start)

    def _read(self, count: int) -> NDArray[np.float32]:
        samples = _mono(self._file, count)
        if len(samples) < count:
            raise _truncated(self._path, f"{count} samples promised, {len(samples)} found")
        if not np.isfinite(samples).all():
            raise AudioError(
                f"{self._path}: holds samples that are NaN or infinite; write it again as 16-bit "
                "(a float file scaled by zero does this), or leave it out"
            )
        return samples


def audio_seconds(path: str | Path) -> float:
    """Length in seconds by the header alone, nothing decoded. Raises `AudioError`."""
    with _opened(Path(path)) as file:
        return float(file.frames / file.samplerate)


def read_frames(path: str | Path, key: str | None = None) -> NDArray[np.float32]:
    """Precomputed frames (T, D) from a .npy file, or from array `key` of a .npz file.

    `key` may be left out where the .npz holds a single array. Nothing pickled is ever loaded.
    Raises `AudioError` for a file, key, shape or value that cannot be used.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise _missing(path)
    try:
        # Mapped: a header that claims more than the file holds then takes no memory.
        single = path.suffix != ".npz"
        frames = np.lib.format.open_memmap(path, mode="r") if single else _member(path, key)
    except AudioError:
        raise
    except DAMAGED as error:
        raise AudioError(
            f"{path}: cannot be read as numpy arrays ({error}); write it again with "
            "numpy.save or numpy.savez, without Python objects"
        ) from error
    name = f"{path}[{key}]" if key else str(path)
    if frames.ndim != 2 or 0 in frames.shape or frames.dtype.kind not in "fiu":
        raise AudioError(
            f"{name}: is {frames.dtype} of shape {frames.shape}; wanted numbers of shape (T, D), "
            "frames first, neither of them 0"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        numbers = np.array(frames, np.float32)
    if not np.isfinite(numbers).all():
        raise AudioError(f"{name}: holds NaN or infinite values; compute it again or leave it out")
    return numbers


def write_flac(path: Path, samples: NDArray[Any], hz: int) -> None:
    """Write samples (n,) with 16 bits; unlike libsndfile, an OSError then says that the disk is full."""
    encoded = BytesIO()
    soundfile.write(encoded, samples, hz, format="FLAC", subtype="PCM_16")
    path.write_bytes(encoded.getvalue())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not os.path.isfile(path):  # False, too, for what can be no name of a file
        raise _missing(path)
    if not path.stat().st_size:
        raise AudioError(f"{path}: is an empty file; copy it again, or leave it out")
    try:
        with soundfile.SoundFile(path) as file:
            _refuse_absurd(path, file)
            _refuse_truncated(path, file.extra_info)
            yield file
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: .raw, which has no header
        reason = getattr(error, "error_string", error)
        raise AudioError(f"{path}: cannot be read as audio ({reason}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    """Say what makes a file readable: the command that converts it."""
    flac = path.with_suffix(".flac")
    if flac.exists():
        flac = path.with_suffix(".mono.flac")  # nobody's file is overwritten by what we advise
    command = shlex.join(["ffmpeg", "-i", str(path), "-vn", "-ac", "1", str(flac)])
    if path.suffix.lower() in FOREIGN:
        return f"{path.suffix.lower()} files are not read here, convert it: {command}"
    return f"copy it again, or convert it: {command}"


def _refuse_absurd(path: Path, file: Any) -> None:
    hz, channels = file.samplerate, file.channels
    if not MIN_HZ <= hz <= MAX_HZ:
        raise AudioError(f"{path}: header claims {hz} Hz, wanted {MIN_HZ} to {MAX_HZ}; {_REWRITE}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(
            f"{path}: header claims {channels} channels, at most {MAX_CHANNELS} are read; {_REWRITE}"
        )
    if file.frames > MAX_SECONDS * hz:
        raise AudioError(
            f"{path}: header claims {file.frames / hz / 3600:.3g} hours, at most "
            f"{MAX_SECONDS // 3600} are read; cut it, or if that is wrong {_REWRITE}"
        )
    if file.frames < 1:
        raise AudioError(f"{path}: holds no samples; record or copy it again, or leave it out")


_REWRITE = "write the file again (ffmpeg and sox do it)"


def _refuse_truncated(path: Path, log: str) -> None:
    for claimed, found in _LENGTHS.findall(log):
        if int(found) < int(claimed) < _STREAMED:
            raise _truncated(path, f"{claimed} bytes of sound promised, {found} found")
    if _OGG_CUT.search(log):
        raise _truncated(path, "its last page is not whole")


def _refuse_outside(path: Path, length: float, offset: float, seconds: float | None) -> None:
    if not 0 <= offset < length or (seconds is not None and not seconds > 0):
        raise AudioError(
            f"{path}: is {length:.3f} s long; a cut of {seconds} s from {offset} s lies outside; "
            "correct offset and duration in the manifest"
        )
    # Manifests round durations: a cut that passes the end by a little takes what there is.
    if seconds is not None and length - offset < seconds - max(0.05 * seconds, 0.01):
        raise AudioError(
            f"{path}: is {length:.3f} s long, too short for {seconds} s from {offset} s; "
            "copy the file again, or correct offset and duration in the manifest"
        )


def _mono(file: Any, count: int) -> NDArray[np.float32]:
    # In blocks, so that memory follows the sound that is there and not what the header claims.
    block = max(1, _BLOCK // file.channels)
    parts = [np.zeros(0, np.float32)]
    while count > 0:
        part = file.read(min(block, count), dtype="float32", always_2d=True)
        parts.append(part.mean(axis=1))
        count -= len(part)
        if len(part) == 0:
            break
    return np.concatenate(parts)


def resample(samples: NDArray[np.float32], rate: int, hz: int) -> NDArray[np.float32]:
    """Turn samples (n,) at `rate` into samples (ceil(n * hz / rate),) at `hz`."""
    if rate == hz:
        return samples
    # The filter bank grows with the terms of the ratio (44101 -> 16000 Hz would take 3 GB), so
    # odd ratios are rounded to a thousandth of a denominator: at most 1e-6 / ratio off in pitch.
    ratio = Fraction(rate, hz).limit_denominator(1000)
    resampled: torch.Tensor = _resampler(ratio.numerator, ratio.denominator)(
        torch.from_numpy(samples)
    )
    return resampled.numpy()


@lru_cache(maxsize=16)
def _resampler(source: int, target: int) -> Any:
    import torchaudio  # here, as `import mtl` should stay quick

    return torchaudio.transforms.Resample(source, target)


def _member(path: Path, key: str | None) -> NDArray[Any]:
    archive = _archive(str(path), path.stat().st_mtime_ns, os.getpid())
    if key is None and len(archive.files) == 1:
        key = archive.files[0]
    if key not in archive:
        some = ", ".join(archive.files[:3])
        raise AudioError(
            f"{path}: has no array {key!r} among its {len(archive.files)}, such as {some}; "
            "correct feature_key in the manifest"
        )
    return np.asarray(archive[key])


@lru_cache(maxsize=8)
def _archive(path: str, changed_ns: int, process: int) -> Any:
    # By process: forked workers would share, and move, one position in the open file.
    with zipfile.ZipFile(path) as archive:  # np.load would leave a damaged file open
        refuse_bomb(Path(path), archive)
    return np.load(path, allow_pickle=False)


def _missing(path: Path) -> AudioError:
    return AudioError(f"{path}: no such file; paths in a manifest start at the manifest's folder")


def _truncated(path: Path, how: str) -> AudioError:
    return AudioError(f"{path}: is truncated ({how}); copy it again, or leave it out")
