"""Progressive networks to test with: fully connected trunks, and data of two tasks on one stream."""

import tempfile

import torch
import torch.nn.functional as F
from test_contract import DIM, WIDTH, Linear, streams, train
from torch import nn

from mtl.encoder import Encoder
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.trunks.transformer import Transformer
from mtl.tune.lora_columns import lora_columns
from mtl.tune.progressive import progressive


class Dense(Encoder):
    """Layers with a nonlinearity behind, on sequences of any length."""

    def __init__(self, takes, widths):
        super().__init__(widths[-1])
        self.takes, self.widths = takes, widths
        for index, (wide, dim) in enumerate(zip([takes, *widths], widths, strict=False)):
            self.blocks[f"b{index + 1}"] = Layer(wide, dim)


class Layer(nn.Module):
    def __init__(self, wide, dim):
        super().__init__()
        self.dim, self.linear = dim, nn.Linear(wide, dim)

    def forward(self, flow):
        return self.activate(self.weigh(flow))

    def weigh(self, flow):
        return flow._replace(x=self.linear(flow.x))

    def activate(self, flow):
        return flow._replace(x=F.relu(flow.x))


def awake(model):
    """Scales of order one, and updates that are not zero: what learns can be seen to do something."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and name.endswith("scales"):
                parameter.uniform_(0.5, 1.5)
            if parameter.requires_grad and ".updates." in name and name.endswith("up.weight"):
                parameter.normal_(0, 0.3)
    return model


def spoken_model(seed=0):
    """Two languages of `test_contract.streams` on one stream; the second comes later."""
    torch.manual_seed(seed)
    trunk = Transformer(DIM, depth=2, heads=2, expansion=2, dropout=0.0)
    tasks = [Task("nl", "speech", CTC(["a", "b"]))]
    tasks += [Task("language", "speech", Classify(["nl", "cy"]), at="b1")]
    return Model({"speech": Linear(WIDTH, DIM)}, trunk, tasks)


def grown(grow=progressive, **more):
    """The same with a new column for Welsh."""
    model = spoken_model()
    grow(model, "cy", first="nl", **more)
    model.add(Task("cy", "speech", CTC(["a", "b", "c"]), at="cy"))
    return awake(model)


def batch():
    """A batch of both languages."""
    from mtl.stream import Parts

    return Parts(streams(speech=6.0), 0)[0, 0].batches["speech"]


def outputs(model, tasks=("nl", "language")):
    """The scores of tasks on a batch, in evaluation mode."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        taps = {model.tasks[name].at for name in tasks} - {None}
        features = model("speech", batch(), taps)
        found = {name: model.scores(name, features).x for name in tasks}
    model.train(mode)
    return found


def assert_equal_outputs(one, two):
    for name, value in one.items():
        assert value.equal(two[name]), name


def grown_run(grow, **more):
    """A run for `two_processes.py`: columns grown, trained, saved, loaded, and the old outputs compared."""

    def run():
        model = grown(grow)
        for name in ("cy", "it"):
            if name == "it":
                grow(model, "it")
                model.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
                awake(model)
            done = [task for task in model.tasks if model.tasks[task].at != name]
            before = outputs(model, done)
            model = train(model, {"speech": 6.0}, lr=1e-2, **more).model
            assert_equal_outputs(before, outputs(model, done))
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                model = Model.from_pretrained(folder)
            assert_equal_outputs(before, outputs(model, done))
        return model

    return run


RUNS = {
    "progressive": grown_run(progressive),
    "progressive-accumulated": grown_run(progressive, accumulate=2),
    "lora-columns": grown_run(lora_columns),
}
