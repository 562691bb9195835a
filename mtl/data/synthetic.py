"""synthetic: a multilingual speech corpus with texts, phonemes and speakers, made on this machine.

espeak-ng speaks sentences of `mtl.data.sentences` with one of its voice variants as speaker, at a
random rate, pitch, level and noise. A corpus is a function of its settings: made once, then read
from the cache. All randomness of an utterance comes from (seed, language, split, index).
"""

import functools
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtl.data import espeak
from mtl.data import sentences as texts
from mtl.data.render import Job, cached, spoken_code

# The variants differ from one another in spectrum at equal settings; near twins share a split.
_FEMALE = "f1 f2 f4 f5 aunty linda belinda anika Alicia"
_MALE = (
    "m1 m2 m4 m5 m6 m7 m8 Alex Denis Diogo Gene Hugo Marco Michael RicishayMax Storm Tweaky antonio"
    " boris ed iven4 john marcelo max michel rob travis victor"
)
# Whispered, creaky, aged, childlike, distorted and formant-filter voices: speakers to adapt to.
_FAR = "whisper whisperf croak grandma zac caleb klatt klatt3 Demonic kaukovalta UniRobot ian"
TRAIN_VOICES = (*_FEMALE.split(), *_MALE.split())
DEV_VOICES = ("Annie", "shelby", "Mario", "norbert", "paul", "sandro")
TEST_VOICES = ("Andrea", "f3", "steph", "Andy", "Nguyen", "m3", "pablo", "quincy")
FAR_VOICES = tuple(_FAR.split())
_VOICES = {"train": TRAIN_VOICES, "dev": DEV_VOICES, "test": TEST_VOICES}
_UNREADABLE = ("he", "ja")  # espeak-ng spells kanji out, and Hebrew without its vowels


def make_corpus(
    train: Mapping[str, int],
    *,
    dev: int = 40,
    test: int = 100,
    seed: int = 0,
    folder: Path | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Return the manifests {"train": ..., "dev": ..., "test": ...} of a corpus, made if need be.

    `train` maps a language to its number of training utterances; `dev` and `test` are numbers per
    language. Speakers and texts of the splits are disjoint. The corpus is a folder
    `corpus/<hash of the settings>` in `folder`, by default `$MTL_CACHE` or `~/.cache/mtl`, with
    16 kHz FLAC files. Equal settings give equal bytes, whatever the number of `workers`.

    Raises ValueError for a language that cannot be spoken, ImportError without `mtl[corpus]`.
    """
    for lang in train:
        espeak.check("language", lang, languages())
    settings = {"train": dict(train), "dev": dev, "test": test, "seed": seed}

    def plan() -> dict[str, list[Job]]:
        splits: dict[str, list[Job]] = {"train": [], "dev": [], "test": []}
        for lang, count in sorted(train.items()):
            taken: list[str] = []
            for split, size in (("test", test), ("dev", dev), ("train", count)):
                jobs = _jobs(lang, split, size, seed, _VOICES[split], taken)
                taken += [job.text for job in jobs]
                splits[split] += jobs
        return splits

    made = cached(settings, plan, folder, workers, progress)
    return {split: made / f"{split}.jsonl" for split in _VOICES}


def make_voice(
    lang: str,
    voice: str,
    count: int,
    *,
    seed: int = 0,
    folder: Path | None = None,
    exclude: Collection[str] = (),
    progress: bool = True,
) -> Path:
    """Return the manifest of `count` utterances of one `voice`, such as one of FAR_VOICES.

    No text is in `exclude`: give it the texts of a training split. Cached, and raises, as
    `make_corpus` does.
    """
    espeak.check("language", lang, languages())
    espeak.check("voice", voice, espeak.variants())
    settings = {"voice": voice, "lang": lang, "count": count, "seed": seed}

    def plan() -> dict[str, list[Job]]:
        return {voice: _jobs(lang, voice, count, seed, (voice,), exclude)}

    return (
        cached({**settings, "exclude": sorted(exclude)}, plan, folder, None, progress)
        / f"{voice}.jsonl"
    )


def make_words(
    lang: str,
    words: Sequence[int | str],
    takes: int = 20,
    *,
    dev: int = 2,
    test: int = 10,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Path]:
    """Return the manifests {"train": ..., "dev": ..., "test": ...} of single words, each with its `label`.

    A number in `words` is spoken in words of the language; the label is the number or the text as it is
    given. Each is said `takes` times for training, `dev` and `test` times for the others, by as many of the
    voices of that split as there are. Cached as what `make_corpus` makes.

    Raises ValueError for words that repeat or of which nothing can be said, and as `make_corpus` does.
    """
    espeak.check("language", lang, languages())
    labels = [str(word) for word in words]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"{twice[0]!r} stands twice in the words; give each once")
    said = [texts.spelled(w, lang) if isinstance(w, int) else texts.normalise(w) for w in words]
    if mute := [label for label, text in zip(labels, said, strict=True) if not text]:
        raise ValueError(f"{mute[0]!r} cannot be said: write letters, or give a number as such")
    counts = {"test": test, "dev": dev, "train": takes}
    settings = {"words": labels, "said": said, "lang": lang, "takes": counts, "seed": seed}

    def plan() -> dict[str, list[Job]]:
        return {
            split: [
                job
                for place, (label, text) in enumerate(zip(labels, said, strict=True))
                for job in _takes(lang, split, counts[split], (label, text), (seed, place))
            ]
            for split in _VOICES
        }

    made = cached(settings, plan, folder, None, progress)
    return {split: made / f"{split}.jsonl" for split in _VOICES}


@functools.cache
def languages() -> tuple[str, ...]:
    """Return the codes of the languages of which a corpus can be made, in order.

    >>> {"cy", "en", "nl", "pt_BR", "uk"} <= set(languages())
    True
    """
    spoken = espeak.languages()
    codes = (lang for lang in texts.languages() if lang not in _UNREADABLE)
    return tuple(lang for lang in codes if spoken_code(lang) in spoken)


def _jobs(
    lang: str,
    split: str,
    count: int,
    seed: int,
    voices: tuple[str, ...],
    exclude: Collection[str],
) -> list[Job]:
    key = zlib.crc32(f"{lang}/{split}".encode())  # as hash(), but the same in every process
    jobs = []
    for index, text in enumerate(texts.sentences(lang, count, seed ^ key, exclude)):
        drawn = (seed, key, index)
        speaker = voices[np.random.default_rng(drawn).integers(len(voices))]
        name = f"{lang}-{split}-{index:05d}"
        jobs.append(Job(name, f"{split}/{name}.flac", lang, text, speaker, drawn))
    return jobs


def _takes(
    lang: str, split: str, count: int, word: tuple[str, str], seed: tuple[int, int]
) -> list[Job]:
    """Let voices of a split say a word (label, text), in random order until all have, and so on."""
    label, text = word
    key = zlib.crc32(f"{lang}/{split}".encode())
    drawn = (seed[0], key, seed[1])
    voices = np.random.default_rng(drawn).permutation(_VOICES[split]).tolist()
    jobs = []
    for index in range(count):
        name = f"{lang}-{split}-{seed[1]:03d}-{index:04d}"
        speaker = voices[index % len(voices)]
        file = f"{split}/{name}.flac"
        jobs.append(Job(name, file, lang, text, speaker, (*drawn, index), label))
    return jobs
