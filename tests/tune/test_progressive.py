"""Growing: what was there stays to the bit, trained, saved, loaded, grown and dropped."""

import copy
import json

import pytest
import torch
from columns import assert_equal_outputs, awake, batch, grown, outputs, spoken_model
from test_contract import DIM, WIDTH, Linear, Toy, moved, spoken, streams, train, weights
from torch import nn

from mtl import grown as module
from mtl.config import Fit
from mtl.device import make_accelerator
from mtl.fit import fit
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model, WrongModel
from mtl.prefix import Prefix, prefix_end
from mtl.stems.pixels import Pixels
from mtl.step import Step
from mtl.stream import Parts, Stream
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc
from mtl.tune.lora_columns import lora_columns
from mtl.tune.progressive import progressive
from mtl.update import Updater

SPEECH = {"speech": 6.0}
KINDS = {"progressive": progressive, "lora_columns": lora_columns}


@pytest.fixture(params=KINDS)
def grow(request):
    return KINDS[request.param]


def test_growing_changes_no_output(grow):
    before = outputs(spoken_model())
    model = grown(grow)
    assert_equal_outputs(before, outputs(model))
    assert {name: task.at for name, task in model.tasks.items()} == {
        "nl": "nl",
        "language": "nl.b1",
        "cy": "cy",
    }


def test_old_tasks_are_bit_identical_through_everything(grow, tmp_path):
    old = outputs(spoken_model())
    model = train(grown(grow), SPEECH, lr=1e-2).model
    assert_equal_outputs(old, outputs(model))
    model.save_pretrained(tmp_path / "one")
    loaded = Model.from_pretrained(tmp_path / "one")
    assert loaded.edits == model.edits and list(loaded.tasks) == list(model.tasks)
    names = ("nl", "language", "cy")
    both = outputs(model, names)
    assert_equal_outputs(both, outputs(loaded, names))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {name for name, p in loaded.named_parameters() if p.requires_grad}

    grow(loaded, "it")
    loaded.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
    assert loaded.tasks["it"].at == "it"
    again = train(awake(loaded), SPEECH, lr=1e-2).model
    assert_equal_outputs(both, outputs(again, names))
    again.save_pretrained(tmp_path / "two")
    final = Model.from_pretrained(tmp_path / "two")
    assert_equal_outputs(both, outputs(final, names))
    assert_equal_outputs(old, outputs(final))
    assert_equal_outputs(outputs(again, ("it",)), outputs(final, ("it",)))


def test_loaded_and_live_models_train_alike(grow, tmp_path):
    model = grown(grow)
    model.save_pretrained(tmp_path)
    one = train(model, SPEECH).model
    two = train(Model.from_pretrained(tmp_path), SPEECH).model
    assert not moved(weights(one), two)


def test_a_second_task_on_an_old_column_keeps_its_place(tmp_path):
    """The order of weights, by which optimizers know them, survives loading."""
    model = grown()
    progressive(model, "it")
    model.add(Task("late", "speech", Classify(["nl", "cy"]), at="cy", label="language"))
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    flags = [(name, p.requires_grad) for name, p in model.named_parameters()]
    assert [(name, p.requires_grad) for name, p in loaded.named_parameters()] == flags
    assert dict(flags)["heads.late.output.weight"] and not dict(flags)["heads.cy.output.weight"]


class Normalised(Transformer):
    """With statistics and dropout, which a frozen column must not touch."""

    def __init__(self, dim, depth=2, heads=2, expansion=2, dropout=0.5):
        super().__init__(dim, depth, heads, expansion, dropout)
        self.statistics = nn.BatchNorm1d(dim)

    def enter(self, batch):
        x = self.statistics(batch.inputs.flatten(0, 1)).view(batch.inputs.shape)
        return super().enter(batch._replace(inputs=x))


def test_frozen_columns_learn_nothing_and_rest():
    torch.manual_seed(0)
    tasks = [Task("nl", "speech", CTC(["a", "b"]))]
    model = Model({"speech": Linear(WIDTH, DIM)}, Normalised(DIM), tasks)
    progressive(model, "cy", first="nl")
    model.add(Task("cy", "speech", CTC(["a", "b", "c"])))
    awake(model)
    before, old = weights(model), outputs(model, ("nl",))
    step = Step(model)
    updater = Updater(step, Fit(steps=2, precision="no"), make_accelerator(Fit(precision="no")), 2)
    for index in range(2):
        updater.run(index, [Parts(streams(**SPEECH), 0)[index, 0]])
    frozen = ("stems.", "heads.nl.", "trunk.blocks.nl.")
    assert not any(name.startswith(frozen) for name in moved(before, model))
    assert any("blocks.cy.trunk.statistics" in name for name in moved(before, model))
    held = {id(p) for group in updater.optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in held) != name.startswith(frozen), name
        assert parameter.grad is None or not name.startswith(frozen), name
    model.trunk.train()
    assert model.trunk.trunk("cy").training and model.trunk.trunk("cy").statistics.training
    assert not any(module.training for module in model.trunk.column("nl").modules())
    assert_equal_outputs(old, outputs(model, ("nl",)))


def test_a_step_of_old_tasks_only_moves_nothing(grow):
    """Also not by the momentum of what other steps taught the new column."""
    model = grown(grow)
    step = Step(model)
    updater = Updater(step, Fit(steps=4, precision="no"), make_accelerator(Fit(precision="no")), 4)
    part = Parts(streams(**SPEECH), 0)[0, 0]
    assert updater.run(0, [part]).finite
    before = weights(model)
    old = {n: v for n, v in part.batches["speech"].labels.items() if n != "cy"}
    alone = part._replace(batches={"speech": part.batches["speech"]._replace(labels=old)})
    done = updater.run(1, [alone])
    assert set(done.sums) == {"nl", "language"} and not moved(before, model)
    assert updater.run(2, [alone, part]).finite and moved(before, model)


def test_two_new_columns_learn_in_one_step():
    model = spoken_model()
    progressive(model, "cy", first="nl")
    progressive(model, "language2", laterals=["nl"])
    model.trunk.column("cy").requires_grad_(True)
    model.add(Task("cy", "speech", CTC(["a", "b", "c"]), at="cy"))
    model.add(Task("second", "speech", Classify(["nl", "cy"]), label="language"))
    before = weights(model)
    with pytest.warns(
        UserWarning, match=r"blocks\.cy was frozen when column 'language2' was grown"
    ):
        trained = train(awake(model), SPEECH).model
    for part in ("trunk.blocks.cy.", "trunk.blocks.language2.", "heads.cy", "heads.second"):
        assert any(name.startswith(part) for name in moved(before, trained)), part


def test_other_weights_are_refused(grow, tmp_path):
    model = grown(grow)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    sealed = config["edits"][0]["sealed"]
    base = {"progressive": "trunk.blocks.nl", "lora_columns": "trunk.base"}[grow.__name__]
    assert set(sealed) == {"stems.speech", "heads.nl", "heads.language", base}
    with torch.no_grad():
        next(model.get_submodule(base).parameters()).view(-1)[0] += 1e-6
    model.save_pretrained(tmp_path)
    with pytest.raises(WrongModel, match=rf"{base}: not as frozen when column 'cy' was grown"):
        Model.from_pretrained(tmp_path)
    module.seal(model)
    model.save_pretrained(tmp_path)
    assert_equal_outputs(outputs(model), outputs(Model.from_pretrained(tmp_path)))


def test_a_run_is_not_resumed_on_another_base(tmp_path):
    kept = {"steps": 4, "save_every": 2, "precision": "no", "threads": 1, "dry_run": False}
    fit(grown(), streams(**SPEECH), Fit(**kept), out=tmp_path, show=False)
    state = json.loads((tmp_path / "checkpoints/step-00000004/state.json").read_text())
    other = spoken_model(seed=1)
    progressive(other, "cy", first="nl")
    other.add(Task("cy", "speech", CTC(["a", "b", "c"])))
    assert "the model" in state["signature"]
    with pytest.raises(ValueError, match="differs in the model"):
        fit(other, streams(**SPEECH), Fit(**kept), out=tmp_path, show=False)
    weights_of = Step(grown()).state_dict()
    with pytest.raises(WrongModel, match="when column 'cy' was grown"):
        Step(other).load_state_dict(weights_of)


def test_dropping_undoes_growing(grow, tmp_path):
    model = grown(grow)
    before = outputs(model, ("nl", "language", "cy"))
    grow(model, "it")
    model.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
    if grow is lora_columns:
        with pytest.raises(ValueError, match="column 'cy' is read by it: drop that first"):
            module.drop(model, "cy")
    module.drop(model, "it")
    assert list(model.tasks) == ["nl", "language", "cy"]
    assert_equal_outputs(before, outputs(model, ("nl", "language", "cy")))
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert_equal_outputs(before, outputs(loaded, ("nl", "language", "cy")))
    assert not loaded.heads["cy"].output.weight.requires_grad  # as in the live model
    with pytest.raises(ValueError, match="column 'nl' was not grown; these were: cy"):
        module.drop(model, "nl")
    module.drop(model, "cy")
    assert type(model.trunk) is Transformer and not model.edits
    assert model.tasks["language"].at == "b1"
    assert_equal_outputs(outputs(spoken_model()), outputs(model))


def test_what_is_thawed_on_purpose_trains_resumes_and_is_sealed_again(tmp_path):
    model = spoken_model()
    progressive(model, "cy", first="nl")
    model.add(Task("cy", "speech", CTC(["a", "b", "c"])))
    progressive(model, "it", laterals=["nl"])
    model.trunk.column("cy").requires_grad_(True)
    settings = Fit(steps=4, save_every=2, average=2, precision="no", threads=1, dry_run=False)
    with pytest.warns(UserWarning, match="trained now: old tasks change, and what is saved"):
        fit(model, streams(**SPEECH), settings, out=tmp_path / "run", show=False)
    assert any(p.requires_grad for p in model.trunk.column("cy").parameters())
    model.save_pretrained(tmp_path / "one")
    with pytest.raises(WrongModel, match=r"trunk\.blocks\.cy: not as frozen when column 'it'"):
        Model.from_pretrained(tmp_path / "one")
    again = copy.deepcopy(model)
    module.seal(model)
    progressive(again, "fr")  # freezes and seals as well
    for each in (model, again):
        each.save_pretrained(tmp_path / "two")
        loaded = Model.from_pretrained(tmp_path / "two")
        assert_equal_outputs(outputs(each, ("nl", "cy")), outputs(loaded, ("nl", "cy")))
        assert not any(p.requires_grad for p in loaded.trunk.column("cy").parameters())
    assert not any(p.requires_grad for p in again.trunk.column("cy").parameters())


def test_an_edit_inside_a_frozen_column_comes_back(tmp_path):
    model = grown()
    lhuc(model, size=2, blocks=["nl.b1"])
    inner = "trunk.blocks.nl.trunk.after.b1.lhuc.a"
    with torch.no_grad():
        model.get_parameter(inner).normal_()
    for name in ("one", "two"):
        model.save_pretrained(tmp_path / name)
        loaded = Model.from_pretrained(tmp_path / name)
        assert loaded.get_parameter(inner).equal(model.get_parameter(inner))
        flags = [p.requires_grad for p in model.parameters()]
        assert [p.requires_grad for p in loaded.parameters()] == flags
        if name == "one":
            train(model, SPEECH)  # without a word: what was frozen still is
            progressive(model, "it")
    assert not model.get_parameter(inner).requires_grad


def test_a_column_that_an_edit_may_hold_is_not_dropped(tmp_path):
    model = grown()
    progressive(model, "it", laterals=["nl"])
    lhuc(model, size=2, column="lang", blocks=["cy", "nl.b1"])
    with pytest.raises(ValueError, match="edit 'lhuc' came after column 'cy' was grown"):
        module.drop(model, "cy")
    assert list(model.tasks) == ["nl", "language", "cy"]
    module.drop(model, "it")
    model.save_pretrained(tmp_path)
    Model.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="edit 'lhuc' came after column 'cy' was grown"):
        module.drop(model, "cy")
    assert list(model.trunk.blocks) == ["nl", "cy"]


def test_columns_begin_with_given_weights_and_shapes():
    model = spoken_model()
    progressive(model, "cy", first="nl", begin="nl")
    one, two = (model.trunk.trunk(name).state_dict() for name in ("nl", "cy"))
    assert all(value.equal(two[name]) for name, value in one.items())
    wide = {"name": "conformer", "dim": 12, "depth": 3, "heads": 2}
    progressive(model, "it", wide)
    assert model.trunk.dim_at("it") == 12
    progressive(model, "fr")  # as the one before
    assert model.trunk.dim_at("fr") == 12
    model.add(Task("fr", "speech", CTC(["a"])))
    again = Model.from_config(model.config())
    assert again.state_dict().keys() == model.state_dict().keys()
    before = copy.deepcopy(model.state_dict())
    for more, message in (
        ({"column": "fr"}, "other than: nl, cy, it, fr"),
        ({"column": "es", "laterals": ["x"]}, "no column 'x'"),
        ({"column": "es", "begin": "x"}, "no column 'x'"),
        ({"column": "es", "begin": "cy"}, "cannot begin with the weights of 'cy'"),
    ):
        with pytest.raises(ValueError, match=message):
            progressive(model, **more)
    with pytest.raises(ValueError, match="columns of another kind: grow them with `progressive`"):
        lora_columns(model, "es")
    assert model.state_dict().keys() == before.keys()


def test_a_new_modality_runs_the_frozen_columns_on_its_own_stem(tmp_path):
    model = spoken_model()
    progressive(model, "digits", first="nl")
    model.stems["images"], model.streams["images"] = Linear(WIDTH, DIM), "images"
    model.add(Task("digit", "images", Classify(["0", "1", "2"])))
    awake(model)
    old, before = outputs(model), weights(model)
    both = streams(images=6.0)
    config = Fit(steps=4, precision="no", threads=1, dry_run=False)
    trained = fit(model, both, config, show=False).model
    changed = moved(before, trained)
    assert any(name.startswith("stems.images") for name in changed)
    assert not any(name.startswith(("stems.speech", "trunk.blocks.nl")) for name in changed)
    assert_equal_outputs(old, outputs(trained))
    trained.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    assert next(again.stems["images"].parameters()).requires_grad
    assert_equal_outputs(old, outputs(again))


def test_edits_on_columns_come_back(tmp_path):
    model = spoken_model()
    lhuc(model, size=2)  # on the first trunk, before it becomes a column
    progressive(model, "cy", first="nl")
    lhuc(model, size=2, column="lang", blocks=["cy", "cy.b1"])
    model.add(Task("cy", "speech", CTC(["a", "b", "c"])))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lhuc-lang" in name:
                parameter.normal_()
    given = batch()
    given = given._replace(groups=given.groups | {"lang": torch.ones_like(given.lengths)})
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    one, two = (m.eval()("speech", given, ["cy"]).x for m in (model, loaded))
    assert one.equal(two)
    assert not model.get_parameter("trunk.blocks.nl.trunk.after.b1.lhuc.a").requires_grad
    assert model.get_parameter("trunk.after.cy.lhuc-lang.a").requires_grad


class Varying(Toy):
    """Examples that an augmentation changes: each draw has noise of its own."""

    def example(self, index, draw=None, targets=True):
        found = super().example(index, draw, targets)
        noise = torch.Generator().manual_seed(97 * index + (0 if draw is None else draw + 1))
        return found._replace(input=found.input + torch.randn(found.input.shape, generator=noise))


class Repeating(Varying):
    """Repeats its first two draws, as `Prefix` makes of any data."""

    def example(self, index, draw=None, targets=True):
        return super().example(index, None if draw is None else draw % 2, targets)


def cached(model, kind, make, wrap):
    data = kind(12, make)
    data = Prefix(data, model, wrap, draws=2) if wrap else data
    config = Fit(steps=14, precision="no", threads=1, dry_run=False, log_every=1, lr=1e-2)
    stream = "speech" if "speech" in model.streams else "images"
    fitted = fit(model, {stream: Stream(data, 6.0)}, config, show=False)
    return data, torch.tensor([v for e in fitted.history for v in e["loss"].values()])


def test_stored_columns_give_the_losses_of_running_them():
    """Also those of old tasks, and with augmentation; the frozen columns run once for each draw."""

    def build():
        model = grown()
        progressive(model, "it")
        model.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
        return awake(model)

    _, expected = cached(build(), Repeating, spoken, "")
    model = build()
    rows = []
    for name in ("nl", "cy"):
        count = lambda _, given: rows.append(len(given[0].x))  # noqa: E731
        model.trunk.column(name).register_forward_pre_hook(count)
    assert prefix_end(model, "speech") == "it"
    data, found = cached(model, Varying, spoken, "speech")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert sum(rows) == 2 * (12 * 2 + 2)  # each draw, and a trial up to the column and whole
    stored = data.example(0)
    assert stored.start == "it" and stored.input.shape == (6, 5 * DIM)
    model.tasks["language"] = model.tasks["language"]._replace(at="cy.b2")
    assert prefix_end(model, "speech") == "cy"  # no lateral reads this block: it must run


def test_a_column_that_the_newest_does_not_read_runs():
    model = grown()
    progressive(model, "it", laterals=["nl"])
    model.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
    awake(model)
    assert prefix_end(model, "speech") == "cy"  # a task reads it, and nothing else would store it
    _, expected = cached(copy.deepcopy(model), Repeating, spoken, "")
    _, found = cached(model, Varying, spoken, "speech")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_low_rank_columns_begin_with_what_is_stored():
    """What arrives at the first block, whichever column the tasks read."""

    def build():
        model = grown(lora_columns)
        lora_columns(model, "it")
        model.add(Task("it", "speech", CTC(["a", "b"]), label="nl"))
        return awake(model)

    _, expected = cached(build(), Repeating, spoken, "")
    model, rows = build(), []
    model.stems["speech"].register_forward_pre_hook(
        lambda _, given: rows.append(len(given[0].inputs))
    )
    data, found = cached(model, Varying, spoken, "speech")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert sum(rows) == 12 * 2 + 2  # each draw, and a trial up to the block and whole
    assert data.example(0).input.shape == (6, DIM)


def test_stored_maps_give_the_losses_of_running_them():
    def build():
        torch.manual_seed(0)
        stem = Pixels(1, 12, 4)
        model = Model({"images": stem}, ResNet(4, [6, 8]), [Task("old", "images", Classify("ab"))])
        progressive(model, "new", {"name": "resnet", "channels": 3, "widths": [5, 6, 4]})
        model.add(Task("digit", "images", Classify(["0", "1", "2"])))
        return awake(model)

    def make(index, g):
        return torch.randn(1, 12, 12, generator=g), {"digit": torch.tensor(index % 3)}

    _, expected = cached(build(), Repeating, make, "")
    data, found = cached(build(), Varying, make, "images")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert data.example(0).input.dim() == 1  # packed


def test_a_trained_stem_or_another_weight_is_not_cached():
    model = grown()
    data = Prefix(Toy(12, spoken), model, "speech")
    with torch.no_grad():
        model.get_parameter("trunk.blocks.nl.trunk.norm.weight").add_(1)
    with pytest.raises(ValueError, match="weights before block 'cy' have changed"):
        data.example(0)
    model.stems["speech"].requires_grad_(True)
    with pytest.raises(ValueError, match="the stem of stream 'speech' is trained"):
        Prefix(Toy(12, spoken), model, "speech")
