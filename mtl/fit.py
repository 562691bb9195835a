"""Fit: the training loop, for any streams, tasks and methods, on any number of processes."""

import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl import checkpoint
from mtl.balancing import Balance
from mtl.config import Fit
from mtl.device import make_accelerator, processes_here, set_threads
from mtl.evaluate import Evaluation, evaluate
from mtl.loading import load_parts
from mtl.lock import alone
from mtl.method import Method
from mtl.model import Model
from mtl.progress import Bar
from mtl.step import Step
from mtl.stream import Data, Parts, Stream
from mtl.update import Update, Updater


@dataclass
class Fitted:
    """What `fit` gives: the trained model, how it came about, and what was skipped (id: reason)."""

    model: Model
    steps: int
    chosen: str
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    dev: Evaluation | None = None


def fit(
    model: Model,
    streams: Mapping[str, Stream],
    config: Fit | None = None,
    *,
    methods: Mapping[str, Method] | None = None,
    dev: Mapping[str, Data] | None = None,
    out: Path | None = None,
    title: str = "training",
    show: bool = True,
) -> Fitted:
    """Train `model` on all `streams` at once, one batch of each per step.

    `dev` (data by stream) chooses the weights: the last, the best seen, or the mean of the last
    `config.average` checkpoints. With `out`, the run checkpoints there, and resumes exactly when it is
    started again. Raises ValueError where a checkpoint belongs to another run or another process writes to
    `out`, FloatingPointError where losses stay not finite, MemoryError where the largest batch does not fit.
    """
    config = config or Fit()
    if not streams:
        raise ValueError("fit needs at least one stream")
    for name in (*streams, *(dev or {})):
        model.stem(name)
    if odd := [name for name, given in streams.items() if not isinstance(given, Stream)]:
        raise ValueError(f"stream {odd[0]!r} is no `mtl.Stream`: write Stream(data, 60.0)")
    if config.patience and not (dev and config.eval_every):
        raise ValueError(
            f"fit.patience is {config.patience}, but nothing is evaluated on the way: give dev data "
            "and fit.eval_every"
        )
    if config.overfit:
        streams = {name: stream.first(config.overfit) for name, stream in streams.items()}
    with ExitStack() as stack:
        accelerator = make_accelerator(config, out)
        balance = Balance(model, config.balance, config.gramian) if config.balance else None
        step = Step(model, methods, balance, config.one_pass)
        run = _Run(accelerator, step, streams, config, dev or {}, title)
        run.folder = run.checkpoint_folder(out, stack)
        return run.train(show)


class _Run:
    """One training run: what its steps share."""

    def __init__(
        self,
        accelerator: Any,
        step: Step,
        streams: Mapping[str, Stream],
        config: Fit,
        dev: Mapping[str, Data],
        title: str,
    ) -> None:
        self.accelerator, self.step, self.model = accelerator, step, step.model
        self.streams, self.config, self.dev, self.title = streams, config, dev, title
        self.signature = checkpoint.signature(step, streams, config, dev)
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.threads = set_threads(config.threads, processes_here())
        self.total = config.steps or math.ceil(config.epochs * max(map(len, streams.values())))
        self.updater = Updater(self.step, config, self.accelerator, self.total)
        self.parts = Parts(streams, config.seed, rank, world, config.accumulate, not config.overfit)
        self.folder: Path | None = None
        self.bad_in_row = 0
        self.history: list[dict[str, Any]] = []
        self.written = 0  # entries of the history that are in its file
        self.state: dict[str, Any] = {"skipped": {}, "seconds": 0.0}
        self.state |= {"best": None, "stale": 0, "stopped": False}

    def checkpoint_folder(self, out: Path | None, stack: ExitStack) -> Path | None:
        """Without `out`, weights that may be wanted again go to a temporary folder."""
        if out is not None:
            if self.accelerator.is_main_process:
                stack.enter_context(alone(out))
            return out / "checkpoints"
        if self.config.average == 1 and not (self.dev and self.config.eval_every):
            return None
        from accelerate.utils import broadcast_object_list

        names = [""]
        if self.accelerator.is_main_process:
            names = [stack.enter_context(tempfile.TemporaryDirectory())]
        return Path(broadcast_object_list(names)[0])

    def train(self, show: bool) -> Fitted:
        """Run the steps that are left, then choose the weights."""
        start = self._resume()
        if self.config.trackers:
            self.accelerator.init_trackers("log", config=self.config.decisive())
        show = show and self.accelerator.is_main_process
        with Bar(self.title, self.total, start, show) as bar:
            bar.say(self._heading(start))
            if not self.state["stopped"]:
                self._steps(start, bar)
            fitted = self._finish(bar)
        if self.config.trackers:
            self.accelerator.end_training()
        return fitted

    def _steps(self, start: int, bar: Bar) -> None:
        if self.config.dry_run and start < self.total:
            draws = {n: stream.largest(self.config.seed) for n, stream in self.streams.items()}
            self.updater.dry_run([self.parts.load(draws)])
        began = time.monotonic() - self.state["seconds"]
        sums: dict[str, Tensor] = {}
        loaded = load_parts(self.parts, start, self.total, self.config.workers)
        for index in range(start, self.total):
            parts = [next(loaded) for _ in range(self.config.accumulate)]
            for part in parts:
                self.state["skipped"].update(part.skipped)
            self._record(index, self.updater.run(index, parts), sums, bar)
            self.state["seconds"] = time.monotonic() - began
            self._after(index + 1, sums, bar)
            if self.state["stopped"]:
                return

    def _heading(self, start: int) -> str:
        size = sum(parameter.numel() for parameter in self.model.parameters())
        precision = self.accelerator.mixed_precision.replace("no", "fp32")
        begun = f", resumed at step {start}" if start else ""
        return (
            f"{self.title}: {size / 1e6:.2f} M parameters, {self.accelerator.num_processes} "
            f"process(es) x {self.threads} thread(s), {self.accelerator.device.type}, "
            f"{precision}{begun}"
        )

    def _record(self, index: int, update: Update, sums: dict[str, Tensor], bar: Bar) -> None:
        """Add up what a step reports; count one that was not finite and name who is to blame."""
        if update.finite:
            self.bad_in_row = 0
            for name, value in update.sums.items():
                sums[name] = sums[name] + value if name in sums else value
            return
        self.bad_in_row += 1
        named = ", ".join(update.guilty[:5]) or "no single example, the gradient overflowed"
        bar.say(f"step {index + 1} skipped, loss or gradient not finite: {named}")
        for name in update.guilty or (f"step {index + 1}",):
            self.state["skipped"][name] = "loss or gradient not finite"
        if self.bad_in_row >= self.config.max_skipped:
            raise FloatingPointError(
                f"{self.bad_in_row} steps in a row were not finite (last: {named}): lower fit.lr, "
                f"now {self.config.lr}, or look at these examples"
            )

    def _after(self, done: int, sums: dict[str, Tensor], bar: Bar) -> None:
        """Log, evaluate and save after a step, whichever is due."""
        every, last = self.config, done == self.total
        if done % every.log_every == 0 or last:
            self._log(done, sums, bar)
        better = False
        if self.dev and every.eval_every and (done % every.eval_every == 0 or last):
            better = self._evaluate(done, bar)
        if done % every.save_every == 0 or last or better or self.state["stopped"]:
            self._save(done)

    def _log(self, done: int, sums: dict[str, Tensor], bar: Bar) -> None:
        names = [*self.model.tasks, *sorted(set(sums) - set(self.model.tasks))]
        empty = torch.zeros(2, device=self.accelerator.device)
        rows = [sums[name].float() if name in sums else empty for name in names]
        table = self.accelerator.reduce(torch.stack(rows), "sum").tolist()
        losses = {
            name: total / count for name, (total, count) in zip(names, table, strict=True) if count
        }
        sums.clear()
        self.history.append({"step": done, "loss": losses, **self.updater.looks.take()})
        self.accelerator.log({f"loss/{name}": value for name, value in losses.items()}, step=done)
        each = sum(len(stream.data) / len(stream) for stream in self.streams.values())
        speed = done * each / max(self.state["seconds"], 1e-9)
        hidden = {task.name for task in self.model.tasks.values() if task.auxiliary}
        shown = " ".join(f"{n} {value:.3f}" for n, value in losses.items() if n not in hidden)
        bar.update(done, f"{speed:.0f} examples/s  loss: {shown}")

    def _evaluate(self, done: int, bar: Bar) -> bool:
        """Evaluate on dev; say whether this is the best so far, and count how long it is not."""
        score = evaluate(self.model, self.dev, accelerator=self.accelerator).score()
        best = self.state["best"]
        better = best is None or score < best["score"]
        self.history.append({"step": done, "dev": score})
        self.accelerator.log({"dev/error": score}, step=done)
        bar.say(f"step {done}: dev error {score:.2%}{' (best so far)' if better else ''}")
        if better:
            self.state["best"] = {"step": done, "score": score}
        self.state["stale"] = 0 if better else self.state["stale"] + 1
        patience = self.config.patience
        self.state["stopped"] = bool(patience and self.state["stale"] >= patience)
        return better

    def _save(self, done: int) -> None:
        if self.folder is None:
            return
        self._share_skipped()
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = self.state | {"signature": self.signature}
            state["scaler"] = None if scaler is None else scaler.state_dict()
            # First the history: what it holds beyond the checkpoint does no harm.
            checkpoint.log(self.folder, self.history, self.written)
            self.written = len(self.history)
            checkpoint.save(self.folder, done, self.step, self.updater.optimizer, state)
            best, count = self.state["best"] or {}, max(self.config.keep, self.config.average)
            checkpoint.prune(self.folder, done, count, best.get("step"))
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        """Load the newest checkpoint of this run; give the number of steps done."""
        if self.folder is None or not checkpoint.steps(self.folder):
            return 0
        checkpoint.refuse_others(self.folder, self.signature)
        state = checkpoint.resume(self.folder, self.step, self.updater.optimizer)
        if state is None:
            return 0
        if state["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.state = {name: state[name] for name in self.state}
        self.history = checkpoint.read_log(self.folder, state["step"])
        return int(state["step"])

    def _share_skipped(self) -> None:
        """Let every process know what any of them skipped."""
        from accelerate.utils import gather_object

        self.state["skipped"] = dict(gather_object(list(self.state["skipped"].items())))

    def _finish(self, bar: Bar) -> Fitted:
        """Choose between the last, the best and the averaged weights, on dev where there is one."""
        steps, chosen, result = self.total, "last", None
        folder, saved = self.folder, checkpoint.whole(self.folder) if self.folder else []
        if folder is not None and saved:
            steps, candidates = saved[-1], self._candidates(saved)
            chosen, results = list(candidates)[-1], {}
            for name, members in candidates.items() if self.dev else ():
                checkpoint.average(folder, members, self.step)
                results[name] = evaluate(self.model, self.dev, accelerator=self.accelerator)
                chosen = min(results, key=lambda name: results[name].score())
            checkpoint.average(folder, candidates[chosen], self.step)
            result = results.get(chosen)
        elif self.dev:
            result = evaluate(self.model, self.dev, accelerator=self.accelerator)
        scored = f", dev error {result.score():.2%}" if result else ""
        bar.say(f"{self.title}: kept the {chosen} weights{scored}")
        self.updater.finish()
        self._share_skipped()
        for name, reason in list(self.state["skipped"].items())[:1]:
            bar.say(f"{len(self.state['skipped'])} skipped, the first {name}: {reason}")
        self.accelerator.wait_for_everyone()  # a temporary folder goes when the first process leaves
        state, model = self.state, self.model.eval()
        return Fitted(
            model, steps, chosen, state["seconds"], self.history, state["skipped"], result
        )

    def _candidates(self, saved: list[int]) -> dict[str, list[int]]:
        """Name the checkpoints to choose from, the one preferred without dev data last."""
        candidates = {"last": saved[-1:]}
        best = self.state["best"]
        if best and best["step"] in saved[:-1]:
            candidates["best"] = [best["step"]]
        if self.config.average > 1 and len(saved) > 1:
            candidates["averaged"] = saved[-self.config.average :]
        return candidates
