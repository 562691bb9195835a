"""Export: the stem, the trunk and the heads of one stream as a graph that runs without mtl.

The graph takes `inputs`, what the stem prepares of a recording or picture, and their `lengths`, and gives the
scores of each task. Batch and length are free. The only file that imports onnxruntime (extra `export`).
"""

import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mtl.atomic import atomic_file
from mtl.batch import Batch, Example, collate
from mtl.encoder import Encoder
from mtl.heads.attention import Attention
from mtl.load import takes_images
from mtl.model import Model

FORMATS = ("onnx", "torch")
INPUTS = ("inputs", "lengths")
LENGTHS = ".lengths"  # behind a task's name, which holds no dot
TOLERANCE = 1e-4  # largest difference from the model that is only rounding, for scores of size 1
ONNX_BYTES = 2_000_000_000  # what one file of ONNX can hold
TRACED, CHECKED = (1.0, 0.8, 0.5), ((1.3,), (0.6, 0.9, 0.4, 0.9))  # seconds of made examples

Run = Callable[[Tensor, Tensor], Sequence[Tensor]]


class Exported(NamedTuple):
    """A file that was written: its inputs and outputs by name, with their shapes, and how exact it is.

    `difference` is the largest from the model's scores, on examples that the graph was not made with.
    """

    path: Path
    inputs: dict[str, list[int | str]]
    outputs: list[str]
    difference: float


class Graph(nn.Module):
    """One stream as a function of tensors: (inputs, lengths) -> scores, and their lengths, by task.

    `groups` says who is heard, {"speaker": 2}, where edits by member want to know.
    """

    def __init__(
        self, model: Model, stream: str, tasks: Sequence[str], groups: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.model, self.stream = model, stream
        self.tasks, self.groups = list(tasks), dict(groups)
        self.taps = {at for task in tasks if (at := model.tasks[task].at) is not None}

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Give the scores of each task (B, ...), and for sequences how many are valid (B,)."""
        return tuple(self.named(inputs, lengths).values())

    def named(self, inputs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Give the outputs by name."""
        groups = {name: torch.full_like(lengths, number) for name, number in self.groups.items()}
        features = self.model(self.stream, Batch(inputs, lengths, groups=groups), self.taps)
        found = {}
        for task in self.tasks:
            scores = self.model.scores(task, features)
            found[task] = scores.x
            if scores.lengths is not None:
                found[task + LENGTHS] = scores.lengths
        return found


def export(
    model: Model,
    path: Path,
    *,
    kind: str = "onnx",
    stream: str | None = None,
    tasks: Sequence[str] | None = None,
    members: Mapping[str, int] | None = None,
) -> Exported:
    """Write a stream of a model as one file, "onnx" or "torch" (for `torch.export.load`), once it is checked.

    `tasks` are those of the stream that are not auxiliary; `members` numbers who is heard by edits such
    as LHUC, {"speaker": 2}, 0 unless told. The file holds the model's configuration as `mtl.json`
    (torch), or under the key `mtl` of its metadata. The model is left on the CPU, in evaluation mode.
    Raises ValueError for what cannot be exported, or gives other scores than the model, and ImportError
    where the extra `export` is missing.
    """
    if kind not in FORMATS:
        raise ValueError(f"format {kind!r}; choose from {', '.join(FORMATS)}")
    stream = _stream(model, stream)
    chosen = _tasks(model, stream, tasks)
    groups = dict.fromkeys(_columns(model), 0) | dict(members or {})
    stem, runtime = model.stem(stream), _runtime() if kind == "onnx" else None
    graph = Graph(model.cpu().eval(), stream, chosen, groups)
    inputs = made(stem, TRACED)
    free = {0: Dim.DYNAMIC} if takes_images(stem) else {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    with torch.no_grad(), _quiet():
        outputs = list(graph.named(*inputs))
        try:
            program = torch.export.export(graph, inputs, dynamic_shapes=(free, {0: Dim.DYNAMIC}))
            about = json.dumps({"stream": stream, **model.config()}, ensure_ascii=False)
            data = _torch(program, about) if kind == "torch" else _onnx(program, outputs, about)
            run = _reopened(data) if runtime is None else _session(runtime, data)
            difference = max(_differ(graph, run, made(stem, seconds)) for seconds in CHECKED)
        except (AssertionError, RuntimeError, TypeError) as error:
            line = str(error).strip().partition("\n")[0]
            raise ValueError(f"stream {stream!r} cannot be exported: {line}") from error
    if not difference <= TOLERANCE:
        raise ValueError(
            f"{path} is not written: its scores would differ from the model's by {difference:.2g}"
        )
    with atomic_file(path) as file:
        file.write_bytes(data)
    shape: list[int | str] = list(inputs[0].shape)
    shape[: len(free)] = ["batch", "length"][: len(free)]
    return Exported(path, {"inputs": shape, "lengths": ["batch"]}, outputs, difference)


def made(stem: Encoder, seconds: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Make inputs of a stem (B, ...) and their lengths (B,): noise so many seconds long, or pictures."""
    drawn = torch.Generator().manual_seed(len(seconds))
    batch = collate([Example(stem.prepare(_raw(stem, each, drawn))) for each in seconds])
    return batch.inputs, batch.lengths


def _raw(stem: Encoder, seconds: float, drawn: torch.Generator) -> Tensor:
    """Make pixels (3, H, W), samples (N,) or, for stems of precomputed frames, frames (T, bins)."""
    if takes_images(stem):
        return torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8, generator=drawn)
    seconds = min(seconds, stem.fixed_seconds or seconds)
    samples = torch.randn(round(seconds * stem.hz), generator=drawn)
    try:
        stem.prepare(samples)
    except ValueError:
        if not isinstance(bins := getattr(stem, "bins", None), int):
            raise
        return torch.randn(round(seconds * stem.frames_per_second), bins, generator=drawn)
    return samples


@contextmanager
def _quiet() -> Iterator[None]:
    """Let libraries keep to themselves what they will do differently, and graphs that went wrong."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _stream(model: Model, stream: str | None) -> str:
    """Give the stream that is asked for, or the only one that tasks read."""
    known = [name for name in model.streams if model.tasks_of(name)]
    if stream is None and len(known) != 1:
        raise ValueError(f"name a stream: this model has tasks on {', '.join(known) or 'none'}")
    if stream is not None and stream not in known:
        raise ValueError(f"no task reads stream {stream!r}; there are: {', '.join(known)}")
    return stream or known[0]


def _tasks(model: Model, stream: str, wanted: Sequence[str] | None) -> list[str]:
    """Give the tasks that are asked for, or all that one forward pass can decide."""
    known = [task.name for task in model.tasks_of(stream)]
    if strange := [task for task in wanted or () if task not in known]:
        raise ValueError(
            f"stream {stream!r} has no task {strange[0]!r}; it has: {', '.join(known)}"
        )
    stepwise = [task for task in known if isinstance(model.head(task), Attention)]
    if asked := [task for task in wanted or () if task in stepwise]:
        raise ValueError(f"task {asked[0]!r} writes symbol by symbol, which is no single graph")
    shown = [task for task in known if not (model.tasks[task].auxiliary or task in stepwise)]
    if not (chosen := list(shown if wanted is None else wanted)):
        raise ValueError(f"stream {stream!r} has no task to export; it has: {', '.join(known)}")
    return chosen


def _columns(model: Model) -> set[str]:
    """Name the groups that edits by member ask a batch for."""
    names = (getattr(module, "column", None) for module in model.modules())
    return {name for name in names if isinstance(name, str)}


def _torch(program: ExportedProgram, about: str) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"mtl.json": about})
    return file.getvalue()


def _onnx(program: ExportedProgram, outputs: Sequence[str], about: str) -> bytes:
    names = {"input_names": INPUTS, "output_names": outputs}
    made = cast(Any, torch.onnx.export(program, **names, dynamo=True, verbose=False))  # type: ignore[arg-type]
    made.model.metadata_props["mtl"] = about
    size = sum(value.nbytes for value in program.state_dict.values())
    if size > ONNX_BYTES:
        raise ValueError(f"{size / 1e9:.1f} GB of weights; one ONNX file holds 2: take torch")
    data: bytes = made.model_proto.SerializeToString()
    return data


def _reopened(data: bytes) -> Run:
    """Run what a file of torch.export holds."""
    module = torch.export.load(io.BytesIO(data)).module()
    return lambda inputs, lengths: cast(tuple[Tensor, ...], module(inputs, lengths))


def _runtime() -> Any:
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ImportError(f"ONNX needs more ({error}): pip install 'mtl[export]'") from error
    assert onnx and onnxscript  # which torch imports itself, and with less to say
    return onnxruntime


def _session(runtime: Any, data: bytes) -> Run:
    """Run a graph of ONNX."""
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def run(inputs: Tensor, lengths: Tensor) -> list[Tensor]:
        given = dict(zip(INPUTS, (inputs.numpy(), lengths.numpy()), strict=True))
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run


def _differ(graph: Graph, run: Run, inputs: tuple[Tensor, Tensor]) -> float:
    """Give the largest difference from the model's scores, as a share of those above 1."""
    pairs = zip(graph(*inputs), run(*inputs), strict=True)
    far = [0.0]
    for wanted, found in pairs:
        if wanted.shape != found.shape:
            return math.inf
        unlike = wanted != found  # infinities that are alike have no difference
        gaps = (wanted - found).abs() / wanted.abs().clamp(min=1)
        far.append(float(gaps[unlike].double().max()) if unlike.any() else 0.0)
    return max(far)
