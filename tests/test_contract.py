"""Contract: everything the framework is for, on random data, in one model and one training loop.

Two languages and a language-identification head on one stream, an image head on another, LHUC by
groups, a transformers trunk, gradient reversal without target labels, a GAN in two phases, a frozen
column with a lateral, and an edit that is saved and replayed. `two_processes.py` runs it again on two.
"""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mtl.batch import Batch, Example, Features, Flow
from mtl.config import Fit
from mtl.encoder import Encoder
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.method import Method, Phase
from mtl.methods.conservative import Conservative
from mtl.methods.l2sp import L2SP
from mtl.model import Model
from mtl.ops import masked_mean, reverse_gradient
from mtl.stream import Stream
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc

WIDTH, DIM = 6, 8


class Linear(Encoder):
    """A stem: frames or pixel rows into the common space."""

    def __init__(self, width, dim):
        super().__init__(dim)
        self.width = self.bins = width
        self.project = nn.Linear(width, dim)

    def enter(self, batch):
        x = batch.inputs.flatten(1, 2).transpose(1, 2) if batch.inputs.dim() == 4 else batch.inputs
        return Flow(self.project(x), batch.lengths, batch.groups)


class Toy:
    """Random examples; `make` gives one from its own generator."""

    def __init__(self, count, make, **columns):
        self.count, self.make, self.columns = count, make, columns
        self.seconds = np.array([1.0 + index % 3 for index in range(count)])
        self.ids = [f"x{index}" for index in range(count)]

    def __len__(self):
        return self.count

    def column(self, name):
        return self.columns.get(name, [""] * self.count)

    def labels(self, index):
        return self.make(index, torch.Generator().manual_seed(index))[1]

    def example(self, index, draw=None, targets=True):
        inputs, labels = self.make(index, torch.Generator().manual_seed(index))
        return Example(
            inputs, labels if targets else {}, 1.0, {"speaker": index % 2}, self.ids[index]
        )


def spoken(index, g):
    lang = ("nl", "cy")[index % 2]
    labels = {lang: torch.randint(1, 3, (2,), generator=g), "language": torch.tensor(index % 2)}
    return torch.randn(6 + index % 3, WIDTH, generator=g), labels


def pictured(index, g):
    return torch.randn(1, WIDTH, 5, generator=g), {"digit": torch.tensor(index % 3)}


def streams(**batches):
    kinds = {"speech": (spoken, 12), "images": (pictured, 9)}
    kinds["target"] = (lambda index, g: (spoken(index, g)[0] + 1, {}), 10)
    langs = [("nl", "cy")[index % 2] for index in range(12)]
    return {
        name: Stream(Toy(kinds[name][1], kinds[name][0], lang=langs[: kinds[name][1]]), size)
        for name, size in batches.items()
    }


def build(trunk=None):
    torch.manual_seed(0)
    stems = {"speech": Linear(WIDTH, DIM), "images": Linear(WIDTH, DIM)}
    trunk = trunk or Transformer(DIM, depth=2, heads=2, expansion=2, dropout=0.0)
    tasks = [Task("nl", "speech", CTC(["a", "b"])), Task("cy", "speech", CTC(["a", "b", "c"]))]
    tasks += [Task("language", "speech", Classify(["nl", "cy"]), at=next(iter(trunk.blocks)))]
    tasks += [Task("digit", "images", Classify(["0", "1", "2"]))]
    return Model(stems, trunk, tasks, streams={"target": "speech"})


def train(model, batches, methods=None, steps=6, **settings):
    config = Fit(steps=steps, precision="no", threads=1, log_every=steps, dry_run=False, **settings)
    return fit(model, streams(**batches), config, methods=methods, show=False)


class Reversal(Method):
    """DANN (Ganin 2015): a domain classifier behind reversed gradients; unequal batches are fine."""

    def build(self, model):
        self.domain = nn.Linear(model.trunk.dim, 1)

    def terms(self, view):
        assert not view.batches["target"].labels, "target labels must not leak"
        losses = []
        for stream, truth in (("speech", 0.0), ("target", 1.0)):
            f = view.features[stream]
            logits = self.domain(reverse_gradient(masked_mean(f.x, f.lengths), view.progress))
            each = F.binary_cross_entropy_with_logits(
                logits, torch.full_like(logits, truth), reduction="none"
            )
            losses.append(view.mean(stream, each[:, 0]))
        return {"domain": (losses[0] + losses[1]) / 2}


class Translate(Method):
    """A generator moves speech towards the target, a discriminator tells them apart: two phases."""

    def build(self, model):
        self.generator, self.discriminator = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def inputs(self, batches):
        return batches | {"speech": self.translate(batches["speech"])}

    def translate(self, batch: Batch):
        return batch._replace(inputs=self.generator(batch.inputs))

    def terms(self, view):
        fake, real = (
            masked_mean(view.batches[name].inputs, view.batches[name].lengths)
            for name in ("speech", "target")
        )
        judge = self.discriminator
        if view.phase == "train":
            return {"fool": view.mean("speech", F.softplus(-judge(fake))[:, 0])}
        told = view.mean("speech", F.softplus(judge(fake.detach()))[:, 0])
        return {"tell": told + view.mean("target", F.softplus(-judge(real))[:, 0])}

    def phases(self):
        return [Phase("discriminate", list(self.discriminator.parameters()))]


class Columns(Encoder):
    """A frozen column beside a trained one, with a lateral from each block to the next (Rusu 2016)."""

    def __init__(self, old):
        super().__init__(old.dim)
        self.old = old.eval().requires_grad_(False)
        for name, block in old.blocks.items():
            self.blocks[name] = Lateral(copy.deepcopy(block).requires_grad_(True), old.dim)

    def train(self, mode=True):
        super().train(mode)
        self.old.eval()
        return self

    def enter(self, batch):
        with torch.no_grad():
            before = self.old(batch, taps=list(self.old.blocks))
        flow = self.old.enter(batch)
        states = iter([batch.inputs, *(tap.x for tap in before.taps.values())])
        return flow._replace(extra={**flow.extra, "old": states})

    def leave(self, flow):
        return self.old.leave(flow)


class Lateral(nn.Module):
    def __init__(self, block, dim):
        super().__init__()
        self.block, self.side = block, nn.Linear(dim, dim)

    def forward(self, flow):
        return self.block(flow._replace(x=flow.x + self.side(next(flow.extra["old"]))))


class Vit(Encoder):
    """The blocks of a transformers model as a trunk over any stem's frames."""

    def __init__(self, dim=DIM):
        super().__init__(dim)
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(hidden_size=dim, num_hidden_layers=2, num_attention_heads=2)
        config.intermediate_size, config.hidden_dropout_prob = 16, 0.0
        model = ViTModel(config, add_pooling_layer=False)
        self.norm = model.layernorm
        for index, layer in enumerate(model.layers):
            self.blocks[f"layer{index}"] = VitBlock(layer)

    def leave(self, flow):
        return Features(self.norm(flow.x), flow.lengths)


class VitBlock(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, flow):
        out = self.layer(flow.x)
        return flow._replace(x=out[0] if isinstance(out, tuple) else out)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def moved(before, model):
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


SPEECH, BOTH, DOMAINS = (
    {"speech": 6.0},
    {"speech": 6.0, "images": 6.0},
    {"speech": 6.0, "target": 9.0},
)


def run_tasks():
    model = build()
    lhuc(model, size=2)
    return train(model, BOTH).model


def run_reversal():
    return train(build(), DOMAINS, {"dann": Reversal()}).model


def run_gan():
    return train(build(), DOMAINS, {"gan": Translate()}).model


def run_accumulated():
    return train(build(), BOTH, accumulate=2).model


def run_unfreezing():
    return train(build(), BOTH, unfreeze=2, lr_decay=0.5).model


RUNS = {
    run.__name__: run for run in (run_tasks, run_reversal, run_gan, run_accumulated, run_unfreezing)
}
RUNS["conservative"] = lambda: train(build(), DOMAINS, {"kl": Conservative(), "sp": L2SP()}).model


def test_every_task_learns_in_one_run():
    before, model = weights(run_untrained()), run_tasks()
    for part in ("stems.speech", "stems.images", "trunk.blocks.b1", "trunk.after.b2.lhuc",
                 "heads.nl", "heads.cy", "heads.language", "heads.digit"):  # fmt: skip
        assert any(name.startswith(part) for name in moved(before, model)), part


def run_untrained():
    model = build()
    lhuc(model, size=2)
    return model


def test_an_edit_is_saved_and_replayed(tmp_path):
    torch.manual_seed(0)
    model = Model(
        {"speech": copy.deepcopy(STEM)},
        Transformer(DIM, 1, 2, 2, 0.0),
        [Task("nl", "speech", CTC(["a"]))],
    )
    lhuc(model, size=3)
    with torch.no_grad():
        model.trunk.after["b1"]["lhuc"].a.normal_()
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert loaded.edits == model.edits
    assert not moved(weights(model), loaded)


STEM = Linear(WIDTH, DIM)


def test_gradient_reversal_turns_the_features_only():
    model = build()
    before = weights(model)
    assert any(name.startswith("trunk") for name in moved(before, run_reversal()))


def test_a_phase_changes_its_own_parameters_only():
    method = Translate()
    model, copies = build(), {}
    from mtl.device import make_accelerator
    from mtl.step import Step
    from mtl.stream import Parts
    from mtl.update import Updater

    step = Step(model, {"gan": method})
    updater = Updater(step, Fit(steps=2, precision="no"), make_accelerator(Fit(precision="no")), 2)
    parts = [Parts(streams(**DOMAINS), 0)[0, 0]]
    for phase in updater.phases:
        copies = weights(step)
        updater._phase(phase, parts, 0.0)
        changed = moved(copies, step)
        own = {n for n, p in step.named_parameters() if any(p is q for q in phase.parameters)}
        assert changed and changed <= own, phase.name
    assert not any("generator" in name for name in model.state_dict())


def test_a_frozen_column_feeds_a_new_one():
    old = build().trunk
    model = build(Columns(old))
    before = weights(model)
    train(model, BOTH)
    changed = moved(before, model)
    assert not any(name.startswith("trunk.old.") for name in changed)
    assert any("side" in name for name in changed)


def test_a_transformers_trunk_serves_both_streams():
    model = build(Vit())
    before = weights(model)
    train(model, BOTH)
    assert any(name.startswith("trunk.blocks.layer0") for name in moved(before, model))


def test_parts_of_a_batch_add_up_to_the_whole():
    whole, parted = train(build(), BOTH).model, run_accumulated()
    for (name, a), b in zip(whole.state_dict().items(), parted.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["nl", "cy"])
def test_adding_a_task_leaves_others_bit_identical(name):
    model = build().eval()
    batch = Batch(torch.randn(2, 5, WIDTH), torch.tensor([5, 3]))
    before = model.scores(name, model("speech", batch, ["b1"])).x
    model.add(Task("fr", "speech", CTC(["x", "y"])))
    assert model.scores(name, model("speech", batch, ["b1"])).x.equal(before)
