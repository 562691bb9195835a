"""Model: stems, one shared trunk of named blocks, and a head per task."""

import inspect
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, cast

import torch
from torch import Tensor, nn

from mtl.atomic import atomic_folder, restore
from mtl.batch import Batch, Features
from mtl.bounded import STRANGE, no_larger_than
from mtl.encoder import Encoder
from mtl.head import Head, Scores, Task
from mtl.hub import FILES, folder_of
from mtl.layers import rest_frozen
from mtl.registry import construct, describe, replay
from mtl.summary import summary

P = ParamSpec("P")
FORMAT = 1  # of config.json; raised when an older reader would misread it
KEYS: dict[str, type] = {"format": int, "stems": list, "trunk": dict}  # of config.json
KEYS |= {"streams": list, "tasks": list, "edits": list}
TRANSFORMERS = {"model_type": "mtl", "architectures": ["MtlModel"]}  # by which AutoModel knows us


class Model(nn.Module):
    """Stems, a trunk and heads.

    `stems` maps a modality to its stem. `streams` maps further stream names to a modality, so that two
    streams (a source and a target domain) share a stem; a modality is always a stream itself.
    Raises ValueError for unknown streams, blocks, heads and for names that are taken.
    """

    def __init__(
        self,
        stems: Mapping[str, Encoder],
        trunk: Encoder,
        tasks: Sequence[Task] = (),
        streams: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.stems = nn.ModuleDict(dict(stems))
        self.trunk = trunk
        self.heads = nn.ModuleDict()
        self.streams = {name: name for name in stems} | dict(streams or {})
        if odd := set(self.streams.values()) - set(stems):
            raise ValueError(f"streams of {sorted(odd)}; there are stems for: {', '.join(stems)}")
        self.tasks: dict[str, Task] = {}
        self.edits: list[dict[str, Any]] = []
        for task in tasks:
            self.add(task)

    __repr__ = summary

    def add(self, task: Task) -> None:
        """Add a task; the others' outputs stay bit-identical. A head that has weights keeps them."""
        task = task._replace(at=self.trunk.resolve(task.at))
        self._check(task)
        if isinstance(task.head, Head):
            dim = self.trunk.dim_at(task.at)
            if next(task.head.parameters(), None) is None:
                task.head.build(dim)
            else:
                _try(task, dim)
            self.heads[task.name] = task.head.to(next(self.trunk.parameters()).device)
        self.tasks[task.name] = task

    def _check(self, task: Task) -> None:
        if task.name in self.tasks:
            raise ValueError(f"task {task.name!r} exists already; choose another name")
        if not task.name or "." in task.name:
            raise ValueError(f"task {task.name!r}: a name must not be empty or hold a dot")
        if hasattr(self.heads, task.name):
            raise ValueError(
                f"task {task.name!r}: torch needs this name itself; choose another, and give the "
                f"label's name as label={task.name!r}"
            )
        if any(task.head is head for head in self.heads.values()):
            raise ValueError(
                f"task {task.name!r}: its head serves another task; to share it, give that task's name"
            )
        if not 0 <= task.weight < math.inf:
            raise ValueError(f"task {task.name!r} has weight {task.weight}; give 0 or more")
        if task.stream not in self.streams:
            known = ", ".join(self.streams)
            raise ValueError(
                f"task {task.name!r} reads stream {task.stream!r}; this model has: {known}"
            )
        try:
            self.trunk.dim_at(task.at)
        except ValueError as error:
            known = ", ".join(self.trunk.blocks)
            raise ValueError(
                f"task {task.name!r} reads block {task.at!r}; this trunk has: {known}"
            ) from error
        if isinstance(task.head, str) and task.head not in self.heads:
            known = ", ".join(self.heads)
            raise ValueError(
                f"task {task.name!r} shares head {task.head!r}; this model has: {known}"
            )

    def head(self, task: str) -> Head:
        """Give a task's head."""
        if task not in self.tasks:
            raise ValueError(f"no task {task!r}; this model has: {', '.join(self.tasks)}")
        shared = self.tasks[task].head
        return cast(Head, self.heads[shared if isinstance(shared, str) else task])

    def stem(self, stream: str) -> Encoder:
        """Give a stream's stem."""
        if stream not in self.streams:
            raise ValueError(f"no stream {stream!r}; this model has: {', '.join(self.streams)}")
        return cast(Encoder, self.stems[self.streams[stream]])

    def tasks_of(self, stream: str) -> list[Task]:
        """List the tasks that read a stream."""
        return [task for task in self.tasks.values() if task.stream == stream]

    def forward(self, stream: str, batch: Batch, taps: Iterable[str] = ()) -> Features:
        """Run a stream's batch through its stem and the trunk, or from `batch.start` on."""
        if batch.start:
            started: Features = self.trunk(batch, taps, (batch.start, self.trunk.rejoin(batch)))
            return started
        stemmed = self.stem(stream)(batch)
        features: Features = self.trunk(
            batch._replace(inputs=stemmed.x, lengths=stemmed.lengths), taps
        )
        return features

    def train(self, mode: bool = True) -> "Model":
        """Set the training mode; what is frozen keeps evaluating: no dropout, no new statistics."""
        super().train(mode)
        if mode and not all(parameter.requires_grad for parameter in self.parameters()):
            rest_frozen(self)
        return self

    def scores(self, task: str, features: Features) -> Scores:
        """Run a task's head on the features of its stream."""
        return self.head(task).scores(features.at(self.tasks[task].at))

    def frames(self, task: str, lengths: Tensor) -> Tensor:
        """Count the score frames a task gets from prepared inputs of these lengths."""
        stem, trunk = self.stem(self.tasks[task].stream), self.trunk.reaching(self.tasks[task].at)
        return self.head(task).frames(trunk.frames(stem.frames(lengths)))

    def config(self) -> dict[str, Any]:
        """Describe the model so that `from_pretrained` can build it; lists keep their order in JSON."""
        tasks = [
            task._asdict()
            | {"head": task.head if isinstance(task.head, str) else describe(task.head)}
            for task in self.tasks.values()
        ]
        return {
            "library": "mtl",
            "format": FORMAT,
            "stems": [[name, describe(stem)] for name, stem in self.stems.items()],
            "trunk": describe(self.trunk),
            "streams": [[name, modality] for name, modality in self.streams.items()],
            "tasks": tasks,
            "edits": self.edits,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Model":
        """Build an untrained model from its description, replaying the edits."""
        if not isinstance(config, Mapping) or config.get("library") != "mtl":
            raise ValueError("not a configuration of mtl: the key 'library' is missing or foreign")
        if missing := [key for key in KEYS if key not in config]:
            raise ValueError(f"not a whole configuration: it lacks {', '.join(missing)}")
        if odd := [key for key, kind in KEYS.items() if not isinstance(config[key], kind)]:
            raise ValueError(f"{odd[0]} is {config[odd[0]]!r:.40}, not as mtl writes it")
        if config["format"] > FORMAT:
            raise ValueError(f"format {config['format']} is newer than {FORMAT}: upgrade mtl")
        stems = {name: construct("stems", stem) for name, stem in config["stems"]}
        model = cls(stems, construct("trunks", config["trunk"]), streams=dict(config["streams"]))
        replay(model, config["tasks"], config["edits"])
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], card: str | None = None) -> None:
        """Write `config.json` and `model.safetensors`; the folder changes at once or not at all.

        `card` (see `mtl.card.model_card`) becomes its README.md; without one, a README.md there stays.
        Raises `DiskFull` when the disk fills, FileExistsError where the folder holds other files.
        """
        from safetensors.torch import save_file

        # Copies: safetensors refuses tensors that share memory.
        weights = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in self.state_dict().items()
        }
        readme = Path(folder, "README.md")
        if card is None and readme.is_file():
            card = readme.read_text(encoding="utf-8")
        described = json.dumps(TRANSFORMERS | self.config(), ensure_ascii=False, indent=1)
        with atomic_folder(Path(folder)) as new:
            (new / "config.json").write_text(described, encoding="utf-8")
            save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
            if card is not None:
                (new / "README.md").write_text(card, encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str], revision: str | None = None
    ) -> "Model":
        """Load a folder that `save_pretrained` wrote, or a hub id of such a folder.

        Raises FileNotFoundError where neither exists, ValueError (with the names that differ) where the
        weights do not fit the configuration.
        """
        restore(Path(source))
        folder = folder_of(source, revision)
        for name in FILES:
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder} holds no {name}: not a model saved by mtl")
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{folder}/config.json is not JSON: {error}") from error
        try:
            with no_larger_than(folder / "model.safetensors"):
                model = cls.from_config(config)
        except STRANGE as error:
            what = f"no key {error} in a part" if isinstance(error, KeyError) else error
            raise ValueError(f"{folder}/config.json: {what}") from error
        load_weights(model, folder / "model.safetensors")
        return model.eval()

    def push_to_hub(self, repo_id: str, card: str | None = None, **options: Any) -> None:
        """Upload what `save_pretrained` writes; `options` go to `huggingface_hub.HfApi.upload_folder`."""
        import tempfile

        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(Path(folder, "model"), card)
            HfApi().create_repo(repo_id, exist_ok=True)
            HfApi().upload_folder(repo_id=repo_id, folder_path=Path(folder, "model"), **options)


def _try(task: Task, dim: int) -> None:
    """Raise ValueError where a head that came with weights takes features of another width."""
    head, device = cast(Head, task.head), next(cast(Head, task.head).parameters()).device
    probe = Features(torch.zeros(1, 1, dim, device=device), torch.ones(1, dtype=torch.long))
    try:
        with torch.no_grad():
            head.scores(probe)
    except RuntimeError as error:
        raise ValueError(
            f"task {task.name!r}: its head was made for other features than these of width {dim}"
        ) from error


class WrongModel(ValueError):
    """Weights that belong to another model."""


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file whose names and shapes must fit `module`.

    Raises WrongModel that lists missing (-), unexpected (+) and misshaped (!) tensors, and
    ValueError for a file that is not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    own = module.state_dict()
    report = [f"- {name}" for name in own if name not in loaded]
    report += [f"+ {name}" for name in loaded if name not in own]
    report += [
        f"! {name}: file {tuple(loaded[name].shape)}, model {tuple(value.shape)}"
        for name, value in own.items()
        if name in loaded and loaded[name].shape != value.shape
    ]
    if report:
        more = [f"... and {len(report) - 20} more"] if len(report) > 20 else []
        raise WrongModel("\n".join([f"{path} is of another model:", *report[:20], *more]))
    module.load_state_dict(loaded)


def edit(function: Callable[P, None]) -> Callable[P, None]:
    """Make a function `(model, **arguments)` of `mtl/tune` an edit: recorded, replayed on loading."""

    @wraps(function)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> None:
        (_, model), *given = inspect.signature(function).bind(*args, **kwargs).arguments.items()
        function(*args, **kwargs)
        cast(Model, model).edits.append({"name": function.__name__, **dict(given)})

    return recorded
