"""espeak: the espeak-ng speech synthesiser in this process, through ctypes.

espeak-ng keeps state that nothing in its interface resets (flutter phase, noise generators), so the
same call gives other samples each time. `speak` therefore loads the library anew for every
utterance, which takes about 2 ms and makes the samples a function of its arguments alone.
"""

import _ctypes
import ctypes
import difflib
import functools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: the callback runs inside espeak_Synth
_UTF8 = 1  # espeakCHARS_UTF8
_IPA = 2  # espeakPHONEMES_IPA
_RATE, _PITCH = 1, 3  # espeakRATE, espeakPITCH
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)
_LOCK = threading.RLock()  # one engine per process, and ctypes lets other threads run meanwhile
_engine: tuple[ctypes.CDLL, int] | None = None  # the loaded library and its sample rate


class _Voice(ctypes.Structure):
    """`espeak_VOICE` of speak_lib.h, as far as it is read here."""

    _fields_ = tuple((name, ctypes.c_char_p) for name in ("name", "languages", "identifier"))


def speak(
    text: str,
    voice: str = "nl",
    variant: str = "m3",
    words_per_minute: int = 160,
    pitch: int = 50,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float32], int]:
    """Return the samples (N,) in [-1, 1] of `text` and their rate in hz; the same for equal calls.

    `voice` is one of `languages()`, `variant` one of `variants()`; `words_per_minute` lies in
    80..450 and `pitch` in 0..99; `seed` varies the breath of breathy voices. Raises ValueError
    for a value outside these and ImportError without espeak-ng.

    >>> samples, hz = speak("goedemorgen", "nl", "f2")
    >>> hz, 0.5 < len(samples) / hz < 2.0
    (22050, True)
    """
    check("language", voice, languages())
    check("variant", variant, variants())
    if not (80 <= words_per_minute <= 450 and 0 <= pitch <= 99):
        raise ValueError(
            f"words_per_minute {words_per_minute} must lie in 80..450 and pitch {pitch} in 0..99"
        )
    chunks = [np.zeros(0, np.int16)]

    def collect(samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    data = text.encode()
    with _LOCK:
        library, hz = _restart(seed)
        library.espeak_SetSynthCallback(callback := _CALLBACK(collect))
        # by its file: given a bare code, espeak reads all its voices to find the one
        library.espeak_SetVoiceByName(f"{_identifiers()[voice]}+{variant}".encode())
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 1, 0, _UTF8, None, None)
        del callback  # it had to live until here; the next call brings its own
    return np.concatenate(chunks).astype(np.float32) / np.float32(32768), hz


def ipa(text: str, language: str) -> str:
    """Return the phonemes of `text` in IPA, words apart by spaces.

    Raises ValueError for a language that is not in `languages()`.

    >>> ipa("goedemorgen", "nl")
    'ɣˈudəmˌɔrɣən'
    """
    check("language", language, languages())
    clauses = []
    with _LOCK:
        library, _ = _engine or _restart(0)
        library.espeak_SetVoiceByName(_identifiers()[language].encode())
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        while rest.value is not None:  # one clause a call; the pointer is null after the last
            found = library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA)
            clauses.append((found or b"").decode())
    # "(en)...(nl)" marks a word that espeak reads in another language
    return " ".join(re.sub(r"\([\w-]+\)", "", " ".join(clauses)).split())


def languages() -> tuple[str, ...]:
    """Return the codes of the languages that espeak-ng speaks, in order.

    >>> {"en", "en-us", "nl", "pt-br"} <= set(languages())
    True
    """
    return tuple(sorted(_identifiers()))


@functools.cache
def variants() -> tuple[str, ...]:
    """Return the names of the voice variants, the speakers of the corpus, in order.

    >>> len(variants()) > 90 and "whisper" in variants()
    True
    """
    folder = Path(_loader().get_data_path()) / "voices" / "!v"
    return tuple(sorted(path.name for path in folder.iterdir()))


@functools.cache
def _identifiers() -> dict[str, str]:
    """Map the code of a language to its file, such as "nl" to "gmw/nl"."""
    with _LOCK:
        library, _ = _engine or _restart(0)
        library.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_Voice))
        listed, files = library.espeak_ListVoices(None), list[str]()
        while listed[len(files)]:
            files.append(listed[len(files)].contents.identifier.decode())
    # the file's name, not the language inside it: espeak loads "fr" but not its "fr-fr"
    return {file.rpartition("/")[2].lower(): file for file in files}


def check(what: str, name: str, known: Sequence[str]) -> None:
    """Raise a ValueError that names the nearest of `known` when `name` is not one of them."""
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.3) or known[:3]
        raise ValueError(f"there is no {what} {name!r} to speak; near it are {', '.join(near)}")


def _loader() -> Any:
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError("speech synthesis needs espeak-ng: pip install 'mtl[corpus]'") from error
    return espeakng_loader


def _restart(seed: int) -> tuple[ctypes.CDLL, int]:
    """Load espeak-ng with all its static variables as new, and seed both its generators."""
    global _engine
    loader = _loader()
    if _engine is not None:
        library, _engine = _engine[0], None  # nothing may call it from here on
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)
    library = ctypes.CDLL(loader.get_library_path())
    hz = library.espeak_Initialize(_SYNCHRONOUS, 0, str(loader.get_data_path()).encode(), 0)
    if hz <= 0:
        raise RuntimeError(f"espeak-ng did not start from {loader.get_data_path()}: code {hz}")
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    ctypes.CDLL(None).srand(ctypes.c_uint(seed & 0xFFFFFFFF))  # the Klatt voices use C's rand()
    _engine = library, hz
    return _engine
