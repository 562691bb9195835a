"""Config: the settings of a training run. Each field's docstring is its `--help`."""

import json
import math
import os
import sys
import tempfile
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from mtl.lock import claim


@dataclass
class Fit:
    """How `fit` trains."""

    steps: int = 1000
    """optimizer steps; 0 takes `epochs`"""
    epochs: float = 0.0
    """passes over the longest stream, used where `steps` is 0"""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """what moves the weights: AdamW, or gradient descent with `momentum`"""
    momentum: float = 0.9
    """of sgd; AdamW has its own"""
    lr: float = 2e-3
    """peak learning rate"""
    warmup: float = 0.1
    """share of the steps over which the learning rate rises"""
    schedule: Literal["cosine", "linear", "constant", "inverse"] = "cosine"
    """how the learning rate falls after the warm-up; inverse: to 1 / (1 + 10 p) ** 0.75 at share p of it"""
    lr_decay: float = 1.0
    """learning rate of each block as a share of the block above it; heads learn at `lr`"""
    unfreeze: int = 0
    """steps between unfreezing: heads first, then block by block from the top; 0 trains all at once"""
    weight_decay: float = 0.01
    """weight decay, on matrices only: decoupled in AdamW, added to the gradient in sgd"""
    clip: float = 1.0
    """largest gradient norm; 0 does not clip"""
    accumulate: int = 1
    """parts into which each process cuts a global batch, to save memory"""
    balance: str = ""
    """method of `mtl/balance` that weighs the tasks, such as mgda; none takes the sum of their losses"""
    gramian: Literal["all", "last", "features"] = "all"
    """gradients that `balance` compares: exactly, or of the last shared matrix or features, far cheaper"""
    diagnose: int = 0
    """steps between looks at how the tasks' gradients agree, for `mtl.diagnosis`; 0 never looks"""
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """auto: bf16 where the processor or GPU computes in it, else 32 bit"""
    seed: int = 0
    """seed of everything: initialisation, order, augmentation, dropout"""
    keep: int = 3
    """checkpoints kept beside the best"""
    average: int = 1
    """last checkpoints whose weights are averaged at the end; 1 does not average"""
    patience: int = 0
    """evaluations without a better dev score before stopping; 0 never stops early"""
    log_every: int = 20
    """steps between log lines"""
    eval_every: int = 0
    """steps between evaluations on the dev data; 0 evaluates only at the end"""
    save_every: int = 200
    """steps between checkpoints"""
    trackers: str = ""
    """Accelerate trackers, comma separated: tensorboard, wandb, ..."""
    threads: int = 0
    """torch threads per process; 0 takes the physical cores of this process"""
    workers: int = 0
    """data-loading processes; they do not change the order"""
    overfit: int = 0
    """train on the first N examples of each stream only, to see that the loss can fall"""
    max_skipped: int = 10
    """steps in a row whose loss or gradient is not finite before giving up"""
    one_pass: bool = False
    """run streams of one stem together, where inputs have one shape: batch norm then sees all of them"""
    checkpoint_blocks: bool = False
    """compute the trunk's blocks again in the backward pass: less memory, about a third more time"""
    dry_run: bool = True
    """run the largest batch once before training, so that too little memory shows at once"""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if choices and value not in choices:
                raise ValueError(f"fit.{field.name} is {value!r}; choose from {', '.join(choices)}")
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise ValueError(f"fit.{field.name} is {value}; it must be 0 or positive")
        positive = ("lr", "accumulate", "keep", "average", "log_every", "save_every", "max_skipped")
        for name in positive:
            if not getattr(self, name):
                raise ValueError(f"fit.{name} is {getattr(self, name)}; it must be positive")
        if not (self.steps or self.epochs):
            raise ValueError("fit.steps and fit.epochs are both 0: nothing would be trained")
        if not 0 < self.lr_decay <= 1:
            raise ValueError(
                f"fit.lr_decay is {self.lr_decay}; it is a factor, above 0 and up to 1"
            )
        if not 0 <= self.warmup < 1:
            raise ValueError(f"fit.warmup is {self.warmup}; it is a share of the steps, 0 to 1")
        if self.momentum >= 1:
            raise ValueError(f"fit.momentum is {self.momentum}; it must be below 1")

    def decisive(self) -> dict[str, Any]:
        """Give the fields that change what is learnt: a run resumes only where they are equal."""
        free = {"keep", "log_every", "trackers", "threads", "workers", "max_skipped", "dry_run"}
        free |= {"checkpoint_blocks", "diagnose"}
        # Fields that came later are left out where they change nothing, so that older runs go on.
        later = {"optimizer", "momentum", "one_pass"}
        free |= {
            f.name for f in fields(self) if f.name in later and getattr(self, f.name) == f.default
        }
        return {name: value for name, value in asdict(self).items() if name not in free}


Settings = TypeVar("Settings")
_STRANGE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)  # of odd files
DEEPEST = 100  # brackets within brackets in a file of settings
HELP = (
    "Options may have dashes (--low-resource); a list takes several words (--data a.jsonl b.jsonl)."
)


def parse(
    settings: type[Settings],
    description: str,
    argv: Sequence[str] | None = None,
    recipe: str = "",
) -> Settings:
    """Read a recipe's dataclass from the command line and YAML files.

    Every field is an option, nested ones with dots (`--fit.lr 1e-3`); `--config FILE` reads YAML. A dash
    counts as an underscore, `--flag` alone as `--flag true`, `--no-flag` as `--flag false`, and a list
    takes several words. Raises ValueError for options and values that there are not, for a `fit.seed` where
    `seeds` counts them, and where `out` cannot be a folder for the figures of `recipe` or another process
    writes there: from now on this one does.

    >>> from dataclasses import field
    >>> @dataclass
    ... class Tiny:
    ...     smoke: bool = False
    ...     low_resource: str = ""
    ...     data: list[Path] = field(default_factory=list)
    >>> parse(Tiny, "A tiny recipe.", ["--smoke", "--low-resource", "nl=60", "--data", "a", "b"])
    Tiny(smoke=True, low_resource='nl=60', data=[PosixPath('a'), PosixPath('b')])
    """
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(description=description, epilog=HELP, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the settings")
    parser.add_class_arguments(settings)
    flags = set(_flags(settings))
    many = {field.name for field in fields(settings) if get_origin(field.type) is list}  # type: ignore[arg-type]
    words = sys.argv[1:] if argv is None else argv
    try:
        options = _plain(words, flags, many)
        for name in [w.partition("=")[2] for w in options if w.startswith("--config=")]:
            _refuse_strange(Path(name))
        read = parser.parse_args(options)
        built = parser.instantiate(read)
    except (ArgumentError, *_STRANGE) as error:
        said = error.message if isinstance(error, ArgumentError) else str(error)
        raise ValueError(f"{' '.join(said.split())}; see --help") from error
    _refuse_out(built.get("out"), recipe)
    if "seeds" in built and (seed := getattr(built.get("fit"), "seed", 0)):
        raise ValueError(f"--fit.seed is {seed}; seeds are 0, 1, ... here: give --seeds alone")
    if isinstance(built.get("out"), Path) and os.environ.get("RANK", "0") == "0":
        claim(built["out"])
    return settings(**{field.name: built[field.name] for field in fields(settings)})  # type: ignore[arg-type]


def _refuse_strange(file: Path) -> None:
    """Raise ValueError for a little YAML that would fill the memory or keep its reader busy for hours."""
    import yaml

    data = file.read_bytes() if file.is_file() else b""
    if max(accumulate((sign in b"[{") - (sign in b"]}") for sign in data), default=0) > DEEPEST:
        raise ValueError(f"--config {file} nests lists more than {DEEPEST} deep: no setting does")
    try:
        repeated = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(data))
    except (yaml.YAMLError, ValueError):
        return  # no YAML, which its reader tells better
    if repeated:
        raise ValueError(f"--config {file} repeats values by aliases (*name): write them out")


def _flags(settings: Any, prefix: str = "") -> Iterator[str]:
    """Name the settings that are true or false, nested ones with dots."""
    for field in fields(settings):
        if field.type is bool:
            yield prefix + field.name
        elif is_dataclass(field.type):
            yield from _flags(field.type, f"{prefix}{field.name}.")


def _refuse_out(out: Any, recipe: str) -> None:
    """Raise ValueError where nothing can be written, or another recipe did: now, not after the training."""
    if not isinstance(out, Path):
        return
    for path in (out, *out.parents):
        if path.is_file():
            raise ValueError(f"--out {path} is a file; give a folder")
    try:
        with tempfile.TemporaryDirectory(dir=next(p for p in (out, *out.parents) if p.is_dir())):
            pass  # only this shows that one can write there
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written: {error.strerror}") from error
    try:
        other = json.loads((out / "metrics.json").read_text("utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing that a recipe wrote
    if recipe and other != recipe:
        raise ValueError(f"--out {out} holds the figures of {other}; give another folder")


def _plain(words: Sequence[str], flags: set[str], many: set[str]) -> list[str]:
    """Write options as jsonargparse wants them: `--a-b x y` as `--a_b=["x", "y"]`, `--no-c` as false."""
    options: list[tuple[str, list[str]]] = []
    loose: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, *value = word.removeprefix("--").split("=", 1)
            options.append((name.replace("-", "_"), value))
        else:
            (options[-1][1] if options else loose).append(word)
    plain = loose
    for name, values in options:
        if name.removeprefix("no_") in flags and not values:
            plain.append(f"--{name.removeprefix('no_')}={str(name in flags).lower()}")
        elif name in many and not (len(values) == 1 and values[0].startswith("[")):
            plain.append(f"--{name}={json.dumps(values)}")
        else:
            plain += ["=".join([f"--{name}", *values[:1]]), *values[1:]]
    return plain


def write(settings: Any, path: Path) -> None:
    """Write the resolved settings as YAML, so that `--config` repeats the run."""
    import yaml

    from mtl.atomic import atomic_text

    text = yaml.safe_dump(_simple(asdict(settings)), sort_keys=False, allow_unicode=True)
    atomic_text(path, text)


def _simple(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def launch(main: Callable[[], None]) -> None:
    """Run a recipe's `main`; an error that its message explains ends it with that message alone.

    MTL_DEBUG=1 in the environment shows the traceback.
    """
    try:
        main()
        from torch import distributed  # here, as `--help` needs no torch

        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()  # or a process may abort while it ends
    except KeyboardInterrupt:
        sys.stderr.write("stopped; start the same command again to resume\n")
        sys.exit(130)  # what shells report of a program that Ctrl-C ended
    except (ValueError, OSError, FloatingPointError, MemoryError, ImportError) as error:
        if os.environ.get("MTL_DEBUG"):
            raise
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        if os.environ.get("MTL_DEBUG") or not _lost(error):
            raise
        sys.exit(
            f"error: another process of this run is gone ({str(error).splitlines()[0]}): start the same "
            "command again, it resumes"
        )


def _lost(error: RuntimeError) -> bool:
    """Recognise what a process raises whose fellows have died: gloo has no class of its own for it."""
    from torch import distributed

    known = isinstance(error, distributed.DistError) or "/gloo/" in str(error)
    return known and int(os.environ.get("WORLD_SIZE", "1")) > 1
