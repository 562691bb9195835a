"""Update: the arithmetic of one training step: backward, gradient hygiene, optimizer, per phase."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mtl.batch import Batch
from mtl.config import Fit
from mtl.grown import warn_thawed
from mtl.looks import Looks
from mtl.method import Phase, Totals
from mtl.optimizer import depths, make_optimizer, rate
from mtl.rows import Rows
from mtl.step import TOUCH, Output, Step
from mtl.stream import Part


class Update(NamedTuple):
    """What one step did: (loss sum, count) by task or term; whether it was finite; guilty ids."""

    sums: dict[str, Tensor]
    finite: bool = True
    guilty: tuple[str, ...] = ()


Buffers = list[tuple[nn.Module, str, Tensor]]


class Updater:
    """Runs the phases of a step on this process' parts and moves the weights."""

    def __init__(self, step: Step, config: Fit, accelerator: Any, steps: int) -> None:
        self.step, self.config, self.accelerator, self.steps = step, config, accelerator, steps
        self.phases = step.phases()
        self.depths = depths(step)
        # Walking a network of many columns or heads in every step would cost as much as a small one does.
        self.buffered = [module for module in step.modules() if module._buffers]
        self.held = {name: p for name, p in step.named_parameters() if p.requires_grad}
        warn_thawed(step.model)
        step.model.trunk.checkpointing = config.checkpoint_blocks
        self.wrapped, self.optimizer = accelerator.prepare(step, make_optimizer(step, config))
        balance = step.balance
        self.rows = Rows(balance, step, accelerator) if balance and balance.gradients else None
        self.looks = Looks(step, accelerator, self.phases[0])
        step.train()  # what is frozen rests

    def run(self, index: int, parts: list[Part]) -> Update:
        """Run step `index`. A phase that is not finite leaves its weights, and all buffers, as they were."""
        factor = rate(index, self.steps, self.config.warmup, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor * group["scale"]
        self._unfreeze(index)
        # With many heads it costs to walk all modules in every step.
        if self.config.unfreeze or not (self.step.training and self.step.model.training):
            self.step.train()
        if self.config.diagnose and index % self.config.diagnose == 0:
            groups = self.optimizer.param_groups
            self.looks.look(parts, index / self.steps, groups, lambda: self._seed(index))
        self._seed(index)
        buffers = self._buffers()
        sums: dict[str, Tensor] = {}
        for phase in self.phases:
            if index % phase.every:
                continue
            done = self._phase(phase, parts, index / self.steps)
            if not done.finite:
                self._restore(buffers)
                return done
            sums |= done.sums
        return Update(sums)

    def dry_run(self, parts: list[Part]) -> None:
        """Run a batch forward and backward without learning from it.

        Raises MemoryError, with what to change, where it does not fit.
        """
        buffers = self._buffers()
        self.step.train()
        try:
            self._backward(self.phases[0], parts[:1], 0.0)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            sizes = [f"{name} {tuple(b.inputs.shape)}" for name, b in parts[0].batches.items()]
            raise MemoryError(
                f"the largest batch ({', '.join(sizes)}) does not fit into memory: lower the "
                "seconds per batch or raise fit.accumulate"
            ) from error
        self.optimizer.zero_grad(set_to_none=True)
        self._restore(buffers)

    def finish(self) -> None:
        """Leave the model as it came, but for its weights, and alike in all processes."""
        if self.accelerator.num_processes > 1:
            # Each has taken its own part of the last batch into means such as batch norm's.
            for module, name, _ in self._buffers():
                torch.distributed.broadcast(module.get_buffer(name), 0)
        for parameter in self.held.values():
            parameter.requires_grad_(True)
        self.step.model.trunk.checkpointing = False
        self.step.zero_grad(set_to_none=True)

    def _unfreeze(self, index: int) -> None:
        """Train what lies at most so many blocks below the heads as its time has come."""
        if self.config.unfreeze:
            reached = index // self.config.unfreeze
            for name, parameter in self.held.items():
                parameter.requires_grad_(self.depths[name] <= reached)

    def _buffers(self) -> Buffers:
        """Copy what a forward pass may change besides gradients, such as running means."""
        held = [(module, *item) for module in self.buffered for item in module._buffers.items()]
        return [(module, name, b.clone()) for module, name, b in held if b is not None]

    def _restore(self, buffers: Buffers) -> None:
        with torch.no_grad():
            for module, name, before in buffers:
                module.get_buffer(name).copy_(before)

    def _phase(self, phase: Phase, parts: list[Part], progress: float) -> Update:
        self.optimizer.zero_grad(set_to_none=True)
        apart = self.rows is not None and phase.tasks and self.rows.begin()
        outputs = (self._apart if apart else self._backward)(phase, parts, progress)
        several = self.accelerator.num_processes > 1
        self._drop(phase, zeros=len(parts) > 1 or (self.step.idle and several))
        norm = self.accelerator.clip_grad_norm_(phase.parameters, self.config.clip or math.inf)
        # The norm is of the reduced gradients, so all processes take the same decision.
        if norm is not None and not bool(torch.isfinite(torch.as_tensor(norm))):
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.update()  # fp16: a smaller loss scale next time
            guilty = [name for output in outputs for name in output.guilty()]
            return Update({}, False, tuple(dict.fromkeys(self._gather(guilty))))
        self.optimizer.step()
        sums: dict[str, Tensor] = {}
        for output in outputs:
            for name, value in output.sums.items():
                sums[name] = sums[name] + value if name in sums else value
        if self.step.balance is not None and phase.tasks:
            self.step.balance.saw(sums, self.accelerator)
        return Update(sums)

    def _gather(self, items: list[Any]) -> list[Any]:
        """Join the lists of all processes."""
        from accelerate.utils import gather_object

        joined: list[Any] = gather_object(items)
        return joined

    def _backward(self, phase: Phase, parts: list[Part], progress: float) -> list[Output]:
        """Accumulate the gradients of all parts; processes exchange them in the last one only."""
        totals = Totals(parts[0].examples, self.accelerator.num_processes, len(parts))
        weights = self._weights() if phase.tasks else {}
        outputs = []
        for number, part in enumerate(parts):
            wait = number + 1 < len(parts)
            with self.accelerator.no_sync(self.wrapped) if wait else nullcontext():
                output = self._forward(phase, part.batches, totals, progress)
                if output.losses:
                    self.accelerator.backward(_total(output.losses, weights))
            outputs.append(output._replace(losses={}))  # their graph is used up
        return outputs

    def _forward(
        self, phase: Phase, batches: Mapping[str, Batch], totals: Totals, progress: float
    ) -> Output:
        moved = {name: batch.to(self.accelerator.device) for name, batch in batches.items()}
        output: Output = self.wrapped(moved, phase.name, phase.tasks, totals, progress)
        return output

    def _weights(self) -> dict[str, float]:
        """Weigh the tasks by their losses so far, where that is all the method looks at."""
        balance = self.step.balance
        if balance is None or balance.gradients:
            return {}
        return dict(zip(balance.tasks, balance.weights().tolist(), strict=True))

    def _apart(self, phase: Phase, parts: list[Part], progress: float) -> list[Output]:
        """Accumulate the gradients of all parts task by task, and combine them."""
        assert self.rows is not None
        totals = Totals(parts[0].examples, self.accelerator.num_processes, len(parts))
        scaler = self.accelerator.scaler
        outputs, added = [], False
        for part in parts:
            moved = {n: batch.to(self.accelerator.device) for n, batch in part.batches.items()}
            with self.accelerator.autocast():
                output, read = self.step.compute(moved, phase.name, True, totals, progress)
            terms = [v.float() for n, v in output.losses.items() if n not in read and n != TOUCH]
            if scaler is not None:
                terms = [scaler.scale(value) for value in terms]
                read = {n: task._replace(loss=scaler.scale(task.loss)) for n, task in read.items()}
            self.rows.add(read, torch.stack(terms).sum() if terms else None)
            added = added or bool(terms)
            outputs.append(output._replace(losses={}))
        self.rows.finish(added)
        return outputs

    def _drop(self, phase: Phase, zeros: bool) -> None:
        """Drop gradients outside the phase, and (`zeros`) those that no part contributed to.

        With several parts the last forward touches every parameter, so that processes agree on what
        they exchange; a head that no part used then has a zero gradient, which would still move it by
        the optimizer's momentum.
        """
        inside = {id(parameter) for parameter in phase.parameters}
        held = [(p, p.grad) for p in self.held.values() if p.grad is not None]
        used = [True] * len(held)
        if zeros and held:
            # One look at the device, not one per parameter.
            used = torch.stack([gradient.any() for _, gradient in held]).tolist()
        for (parameter, _), keep in zip(held, used, strict=True):
            if not keep or id(parameter) not in inside:
                parameter.grad = None

    def _seed(self, index: int) -> None:
        """Seed dropout and methods from the step, so that a resumed run draws the same."""
        rank = self.accelerator.process_index
        draw = np.random.default_rng([self.config.seed, index, rank, 3]).integers(2**62)
        if self.accelerator.device.type == "cpu":
            # torch.manual_seed keeps a stack, 1 ms, for devices that are not there
            torch.default_generator.manual_seed(int(draw))
        else:
            torch.manual_seed(int(draw))


def _total(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Add losses, each as often as `weights` says."""
    total = torch.stack([loss.float() for loss in losses.values()])
    if weights:
        total = total * torch.tensor([weights.get(n, 1.0) for n in losses], device=total.device)
    return total.sum()


def _out_of_memory(error: BaseException) -> bool:
    """Recognise what devices and the processor raise; the latter has no class of its own."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or "allocate memory" in str(error)
