"""Source and target streams for methods of domain adaptation, and runs of all of them."""

from test_contract import DOMAINS, Toy, build, spoken, streams

from mtl.batch import collate
from mtl.config import Fit
from mtl.fit import fit
from mtl.head import Task
from mtl.method import Totals
from mtl.methods.cmd import CMD
from mtl.methods.coral import CORAL
from mtl.methods.dan import DAN
from mtl.methods.dann import DANN
from mtl.methods.ddc import DDC
from mtl.methods.dsn import DSN
from mtl.methods.sdt import SDT
from mtl.step import Step
from mtl.stream import Stream

SIDES = {"source": "speech", "target": "target"}
FEW = ["language", "few"]


def shifted(index, g):
    """A target: now and then its language is known."""
    inputs, labels = spoken(index + 50, g)
    return inputs + 1, {"language": labels["language"]} if index % 4 == 0 else {}


def net(**more):
    """The contract's model, whose stream `target` has no task; `more` streams by modality."""
    model = build()
    model.streams |= more
    return model


def few_labelled():
    """The same with a task for those targets whose language is known."""
    model = build()
    model.add(Task("few", "target", "language", at="b1", label="language"))
    return model


def batch(stream, count, labelled=False):
    """Examples of a stream, all different from those of the others."""
    make = spoken if stream == "speech" else shifted
    data = Toy(count, make)
    examples = [
        data.example(index, targets=stream == "speech" or labelled) for index in range(count)
    ]
    return collate(examples, multiple=4)


def viewed(step, batches, phase="train", progress=0.5):
    """Let a step's only method see batches as in training: its view, and its terms."""
    totals = Totals({name: int((b.weights > 0).sum()) for name, b in batches.items()})
    (method,) = step.methods.values()
    kept, terms = [], method.terms

    def spy(view):
        kept[:] = [view, terms(view)]
        return kept[1]

    method.terms = spy
    try:
        step(batches, phase, phase == "train", totals, progress)
    finally:
        del method.terms
    return kept


def stepped(model, method, progress=0.5, **sizes):
    """Build a method on a model, and let it see batches of these sizes: step, view, terms."""
    step = Step(model, {"method": method}).train()
    batches = {name: batch(name, count) for name, count in sizes.items()}
    return step, *viewed(step, batches, progress=progress)


def run(method, sizes=DOMAINS, model=build, given=None, **settings):
    """Train the contract's model for a few steps."""
    config = {
        "steps": 6,
        "precision": "no",
        "threads": 1,
        "log_every": 2,
        "dry_run": False,
    } | settings
    data = given() if given else streams(**sizes)
    return fit(model(), data, Fit(**config), methods={"method": method()}, show=False)


def few_streams():
    """Streams of which the target has a few labels."""
    return {"speech": streams(**DOMAINS)["speech"], "target": Stream(Toy(10, shifted), 5.0)}


METHODS = {
    "ddc": lambda: DDC(**SIDES),
    "dan": lambda: DAN(**SIDES, at=["b1", ""]),
    "coral": lambda: CORAL(**SIDES, scores=["language"]),
    "cmd": lambda: CMD(**SIDES),
    "dann": lambda: DANN(**SIDES),
    "sdt": lambda: SDT(**SIDES, weight=1.0),
    "dsn": lambda: DSN(**SIDES, reconstruct=1.0, separate=1.0, width=2),
}
RUNS = {name: lambda made=made: run(made).model for name, made in METHODS.items()}
RUNS["coral, tiny batches"] = lambda: run(METHODS["coral"], {"speech": 3.0, "target": 3.0}).model
RUNS["sdt, few labels"] = lambda: (
    run(
        lambda: SDT(**SIDES, weight=1.0, tasks=FEW, soft_weight=1.0),
        model=few_labelled,
        given=few_streams,
    ).model
)
RUNS["dann, accumulated"] = lambda: run(METHODS["dann"], accumulate=2).model
