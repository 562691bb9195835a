"""Two processes give what one gives on the same global batches. Run under torchrun:

ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 tests/two_processes.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import PartialState
from adapting import RUNS as ADAPTED
from columns import RUNS as GROWN
from painting import RUNS as PAINTED
from test_contract import DOMAINS, RUNS, build, streams
from test_rows import RUNS as BALANCED
from tiny_norms import trained

from mtl.evaluate import evaluate
from mtl.stream import Parts


def main():
    """Train each contract on two processes and on one, and compare weights and evaluations."""
    if sys.argv[1:] and sys.argv[1] == "--one":
        torch.save(compute(), sys.argv[2])
        return
    state = PartialState(cpu=True)
    assert state.num_processes == 2, f"{state.num_processes} process(es): start this with torchrun"
    check_order(state.process_index)
    two = compute(state)
    check_statistics()
    everyone = [None, None]
    dist.all_gather_object(everyone, two)
    if state.process_index == 0:
        assert_equal(*everyone, "the two ranks", exact=True)
        assert_equal(alone(), two, "one process and two", exact=False)
        print(f"two processes = one: {', '.join(two)}")
    state.wait_for_everyone()
    state.destroy_process_group()


def compute(accelerator=None):
    """Give the weights that each contract run ends with, and an evaluation."""
    every = RUNS | BALANCED | ADAPTED | PAINTED | GROWN
    found = {name: run().state_dict() for name, run in every.items()}
    data = {"speech": streams(**DOMAINS)["speech"].data}
    found["evaluate"] = {"rows": torch.tensor(counted(build(), data, accelerator))}
    return found


def counted(model, data, accelerator):
    if accelerator is not None:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True, mixed_precision="no")
    tasks = {name: task for name, task in model.tasks.items() if name == "language"}
    model.tasks = tasks
    # The toy labels are encoded already: compare numbers.
    model.heads["language"].reference = lambda label: model.heads["language"].classes[int(label)]
    result = evaluate(model, data, batch=6.0, accelerator=accelerator)
    return [[len(row.id), row.counts["accuracy"][0], row.confidence] for row in result.rows]


def alone():
    """Run the same on one process, outside torchrun's environment."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    clean = {key: value for key, value in os.environ.items() if key not in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.pt")
        subprocess.run([sys.executable, __file__, "--one", str(path)], env=clean, check=True)
        return torch.load(path)


def assert_equal(one, two, what, exact):
    tolerance = {"atol": 0, "rtol": 0} if exact else {"atol": 1e-5, "rtol": 1e-4}
    for run, weights in one.items():
        for name, value in weights.items():
            message = f"{what} differ in {run}: {name}"
            torch.testing.assert_close(value, two[run][name], **tolerance, msg=message)


def check_statistics():
    """Batch norm sees a process' own part of a batch, but all end with the same means."""
    states, weights = [None, None], trained().state_dict()
    dist.all_gather_object(states, weights)
    assert weights["trunk.blocks.b1.norm.running_mean"].any()
    assert_equal(*({"domain_norm": state} for state in states), "the two ranks", exact=True)


def check_order(rank):
    """The two ranks' parts make up the global batch of every step, in order."""
    both = streams(speech=6.0)
    for step in range(12):
        draws = [both["speech"].data.ids[d.example] for d in both["speech"].draws(step)]
        mine = list(Parts(both, 0, rank, 2)[step, 0].batches["speech"].ids)
        assert mine == (draws[rank::2] or draws[:1]), (step, mine, draws)


if __name__ == "__main__":
    main()
