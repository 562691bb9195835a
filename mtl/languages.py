"""Languages: which task of a model writes which language, and how one is chosen."""

from collections.abc import Mapping
from typing import NamedTuple

from mtl.head import Prediction
from mtl.model import Model

AUTO = "auto"
SPEECH = "speech"
PHONEMES = "-phonemes"  # behind a language: its label in IPA


class Transcript(NamedTuple):
    """The text in the language that was given or told, and what every language's head wrote."""

    text: str
    lang: str
    confidence: float
    texts: dict[str, Prediction]


class Choice(NamedTuple):
    """Which tasks write which language, and the language: given, or told by the task `detector`."""

    writers: dict[str, str]
    lang: str = "und"
    detector: str | None = None

    def tasks(self) -> list[str]:
        """Give the tasks to ask: with a detector all, as heads cost little beside the trunk."""
        if self.detector is not None:
            return [self.detector, *self.writers.values()]
        return [self.writers.get(self.lang) or self.writers["text"]]

    def transcript(self, said: Mapping[str, Prediction]) -> Transcript:
        """Choose from what the tasks said. Raises ValueError where no head writes the language heard."""
        lang = self.lang if self.detector is None else said[self.detector].value
        task = self.writers.get(lang) or self.writers.get("text")
        if task is None:
            known = ", ".join(self.writers)
            raise ValueError(f"sounds like {lang!r}, not written here; give lang (--lang): {known}")
        texts = {name: said[writer] for name, writer in self.writers.items() if writer in said}
        return Transcript(said[task].value, lang, said[task].confidence, texts)


def choose(model: Model, lang: str = AUTO, stream: str = SPEECH) -> Choice:
    """Decide how a language is chosen; `lang` may be "auto".

    Raises ValueError, naming the languages, where the model does not know `lang` or cannot choose.
    """
    tasks = writers(model, stream)
    known = ", ".join(tasks)
    if not tasks:
        raise ValueError(
            f"this model writes no text from {stream}; its tasks: {', '.join(model.tasks) or 'none'}"
        )
    if lang != AUTO:
        if lang not in tasks and "text" not in tasks:
            raise ValueError(f"language {lang!r} is not known; this model has: {known} (or {AUTO})")
        return Choice(tasks, lang)
    if len(tasks) == 1 and "text" not in tasks:
        return Choice(tasks, known)
    detector = language_task(model, stream)
    if detector is None and "text" not in tasks:
        raise ValueError(
            f"this model has no task 'language' to choose by; give lang (--lang): {known}"
        )
    return Choice(tasks, detector=detector)


def writers(model: Model, stream: str = SPEECH) -> dict[str, str]:
    """Give the languages that a model writes, each with its task; "text" is a task for all languages.

    A language that no task writes in letters has the task that writes its phonemes, if there is one.
    """
    letters, phones = dict[str, str](), dict[str, str]()
    for task in model.tasks_of(stream):
        label, metrics = task.label or task.name, model.head(task.name).metrics
        if task.auxiliary or label == PHONEMES.strip("-"):
            continue
        if label.endswith(PHONEMES) and "per" in metrics:
            phones[label.removesuffix(PHONEMES)] = task.name
        elif "cer" in metrics and not label.endswith(PHONEMES):
            letters[label] = task.name
    if "text" in letters:
        return letters
    return letters | {lang: task for lang, task in phones.items() if lang not in letters}


def language_task(model: Model, stream: str = SPEECH) -> str | None:
    """Give the name of the task that tells languages apart, if there is one."""
    tasks = model.tasks_of(stream)
    return next((task.name for task in tasks if (task.label or task.name) == "language"), None)
