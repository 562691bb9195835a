"""Unlike: a recogniser of precomputed frames beside others that hear sound, on one trunk."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtl.config import Fit
from mtl.data.audio import read_frames
from mtl.data.augment import Augment
from mtl.data.cache import Cache
from mtl.data.cepstra import as_cepstra
from mtl.data.manifest import Utterance, read_manifest
from mtl.data.speech import Speech, describe_skips, screen
from mtl.data.synthetic import make_corpus
from mtl.device import start_processes
from mtl.fit import fit
from mtl.model import Model
from mtl.problem import Recordings, figures, read_problem
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.stream import Stream
from mtl.trunks.conformer import Conformer

FRAMES, SOUND = "frames", "speech"  # the streams
ALONE, TOGETHER = "alone", "together"
SUBSAMPLE = 3
LANGUAGES = ("de", "en", "es", "fr", "it")


class Unlike:
    """A target of frames (T, D), few of them with texts, and sources of sound with texts.

    Raises ValueError for a target without precomputed frames, and sources without sound.
    """

    def __init__(self, target: Recordings, sources: Recordings, width: int, depth: int) -> None:
        first = target.train[0]
        if first.features is None:
            raise ValueError(f"{first.where}: the target is of precomputed frames; it has sound")
        if any(u.audio is None for u in sources.train):
            raise ValueError("the sources are heard; give manifests with audio_filepath")
        self.target, self.sources, self.notes = target, sources, list(target.notes)
        self.width, self.depth = width, depth
        self.bins = read_frames(first.features, first.key).shape[1]
        self._cache = Cache()

    def network(self, arm: str) -> Model:
        """Make a conformer with a stem for frames and, TOGETHER, one for sound, from torch's random state.

        Tasks are prefixed, as a language may be both.
        """
        stems: dict[str, Any] = {FRAMES: Frames(self.bins, self.width, SUBSAMPLE)}
        tasks = [task._replace(stream=FRAMES) for task in self.target.tasks("target-")]
        if arm == TOGETHER:
            stems[SOUND] = LogMel(self.width, subsample=SUBSAMPLE)
            tasks += self.sources.tasks("source-")
        return Model(stems, Conformer(self.width, self.depth), tasks)

    def run(
        self, model: Model, items: Sequence[Utterance], config: Fit, seconds: tuple[float, float]
    ) -> dict[str, Any]:
        """Train on items of the target and, where the model has them, on the sources: figures of the target.

        `seconds` of the target and of the sources are what a step takes.
        """
        masks = Augment(time_masks=2, time_frames=25, bin_masks=2, bins=15, seed=config.seed)
        few = replace(masks, bin_masks=1, bins=max(self.bins // 6, 1))
        streams = {FRAMES: Stream(self._data(model, FRAMES, items, few), seconds[0])}
        if SOUND in model.streams:
            heard = self._data(model, SOUND, self.sources.train, masks)
            streams[SOUND] = Stream(heard, seconds[1])
        fitted = fit(model, streams, config, show=False)
        task: Any = self.target
        found = figures(model, task, self.target.test, FRAMES)
        return found | {"untrained": fitted.skipped}

    def _data(
        self, model: Model, name: str, items: Sequence[Utterance], augment: Augment
    ) -> Speech:
        """Give what a model can use of utterances; `notes` says what it cannot."""
        usable, skips = screen(items, model, name)
        self.notes += [n for n in describe_skips(skips, len(items)) if n not in self.notes]
        return Speech(usable, model, name, augment=augment, cache=self._cache)


def made(count: int, most: int, small: bool = False) -> tuple[Recordings, Recordings]:
    """Make Dutch as 13 cepstra with `count` texts, and five languages as sound.

    Raises ImportError without `mtl[corpus]`.
    """
    sizes = dict.fromkeys(LANGUAGES[:2] if small else LANGUAGES, 6 if small else 1500)
    parts = make_corpus(sizes | {"nl": count}, dev=4, test=4 if small else 100)
    train, test = (read_manifest(parts[part]) for part in ("train", "test"))
    state = start_processes()
    if state.is_main_process:
        _ = [as_cepstra(parts[part]) for part in ("train", "test")]
    state.wait_for_everyone()
    cut = [read_manifest(as_cepstra(parts[part])) for part in ("train", "test")]
    known, tested = ([u for u in part if u.lang == "nl"] for part in cut)
    heard, held = ([u for u in part if u.lang != "nl"] for part in (train, test))
    return Recordings(known, tested[:most]), Recordings(heard, held)


def read(
    data: Sequence[Path], test: Sequence[Path], source: Sequence[Path], most: int
) -> tuple[Recordings, Recordings]:
    """Read manifests of frames and of sound. Raises ValueError where one is missing, or no manifest."""
    if not (data and source):
        raise ValueError("--data and --source belong together: give both, or none")
    target, sources = read_problem(data, test), read_problem(source)
    if not (isinstance(target, Recordings) and isinstance(sources, Recordings)):
        raise ValueError("give speech manifests (.jsonl), --data of frames and --source of sound")
    return Recordings(target.train, list(target.test)[:most], target.notes), sources
