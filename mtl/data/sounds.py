"""sounds: audio that a source holds as bytes, as files in a folder that appears whole or not at all."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import soundfile

from mtl.atomic import atomic_folder
from mtl.data.audio import AudioError, audio_seconds
from mtl.data.imports import READABLE, Sound, Unusable

_IN_FOLDER = 1000  # files written into one folder
_SUFFIX = {"OGG": ".ogg", "FLAC": ".flac", "MP3": ".mp3", "AIFF": ".aiff"}  # by libsndfile's name


@contextmanager
def sounds(folder: Path) -> Iterator[Callable[[Sound], tuple[Path, Path]]]:
    """Give a function that writes a sound, and says where it lies now and where it will in the end.

    `folder` appears when the block ends well, if a sound was written. The bytes are written as they are.
    The function raises `Unusable` for bytes that are no audio.
    """
    with ExitStack() as stack:
        store = _Store(lambda: stack.enter_context(atomic_folder(folder)), folder)
        yield store.write


class _Store:
    def __init__(self, open_folder: Callable[[], Path], folder: Path) -> None:
        self._open, self._folder, self._now = open_folder, folder, Path()
        self._count, self._last = 0, b""
        self._places = (Path(), Path())

    def write(self, sound: Sound) -> tuple[Path, Path]:
        if sound.data is self._last:  # several utterances of one recording
            return self._places
        if not self._count:
            self._now = self._open()
        place = Path(f"{self._count // _IN_FOLDER:04d}", _file_name(sound))
        if (self._now / place).exists():
            place = place.with_name(f"{place.stem}-{self._count}{place.suffix}")
        self._count += 1
        path = self._now / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(sound.data)
        try:
            audio_seconds(path)
        except AudioError as error:
            path.unlink()
            reason = str(error).replace(str(path), sound.name).split(";")[0]
            remedy = "the source holds it as bytes: write the source again with flac or wav in it"
            raise Unusable("audio", f"{reason}; {remedy}") from error
        self._last, self._places = sound.data, (path, self._folder / place)
        return self._places


def _file_name(sound: Sound) -> str:
    """Give a name that every file system takes, with the suffix of what the bytes are."""
    name = Path(sound.name)
    stem, suffix = (name.stem, name.suffix.lower())
    if suffix not in READABLE:
        stem = name.name
        try:
            suffix = _SUFFIX.get(soundfile.info(BytesIO(sound.data)).format, ".wav")
        except soundfile.SoundFileError:
            suffix = ".unreadable"
    return re.sub(r"[^\w.-]+", "_", stem)[-100:] + suffix
