import json

import pytest
import torch
from test_contract import DIM, WIDTH
from torch import nn

from mtl.batch import Batch
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.model import Model, WrongModel, load_weights
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc

BATCH = Batch(torch.randn(2, 9, WIDTH), torch.tensor([9, 5]))


def build(*tasks, seed=0):
    torch.manual_seed(seed)
    trunk = Transformer(DIM, depth=2, heads=2, expansion=2, dropout=0.1)
    return Model({"speech": Frames(WIDTH, DIM)}, trunk, tasks, streams={"target": "speech"}).eval()


def three_tasks():
    return [
        Task("nl", "speech", CTC(["a", "b"], upsample=2), weight=0.5),
        Task("cy", "target", "nl", metric="wer", label="text"),
        Task("language", "speech", Classify(["nl", "cy"], pool="attention"), at="b1"),
    ]


def outputs(model, name):
    task = model.tasks[name]
    return model.scores(name, model(task.stream, BATCH, ["b1"])).x


def test_a_saved_model_comes_back_bit_equal(tmp_path):
    model = build(*three_tasks())
    model.save_pretrained(tmp_path / "model")
    loaded = Model.from_pretrained(tmp_path / "model")
    assert not loaded.training
    for name in ("nl", "cy", "language"):
        assert outputs(model, name).equal(outputs(loaded, name))
    assert loaded.config() == model.config()
    assert sorted(path.name for path in tmp_path.glob("model/*")) == [
        "config.json",
        "model.safetensors",
    ]


def test_the_config_keeps_the_order_and_every_field_of_the_tasks(tmp_path):
    tasks = three_tasks()
    for order in (tasks, [tasks[0], tasks[2], tasks[1]]):
        build(*order).save_pretrained(tmp_path)
        loaded = Model.from_pretrained(tmp_path)
        assert list(loaded.tasks) == [task.name for task in order]
    cy = loaded.tasks["cy"]
    assert (cy.stream, cy.head, cy.metric, cy.label, cy.weight) == (
        "target",
        "nl",
        "wer",
        "text",
        1.0,
    )
    assert (loaded.tasks["nl"].weight, loaded.tasks["language"].at) == (0.5, "b1")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["library"] == "mtl" and config["format"] == 1
    assert config["streams"] == [["speech", "speech"], ["target", "speech"]]


def test_tied_and_strided_weights_are_saved(tmp_path):
    model = build(*three_tasks())
    model.heads["copy"] = model.heads["nl"]
    model.heads["language"].output.weight = nn.Parameter(torch.randn(DIM, 2).T)
    model.save_pretrained(tmp_path)
    model.heads["language"].output.weight = nn.Parameter(torch.zeros(2, DIM))
    with torch.no_grad():
        model.heads["nl"].output.weight.zero_()
    load_weights(model, tmp_path / "model.safetensors")
    assert model.heads["copy"].output.weight.any() and model.heads["language"].output.weight.any()


def test_a_language_added_to_a_loaded_model_leaves_the_others_bit_identical(tmp_path):
    build(*three_tasks()).save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    before = {name: outputs(loaded, name) for name in loaded.tasks}
    loaded.add(Task("fy", "speech", CTC(["x", "y", "z"])))
    assert all(outputs(loaded, name).equal(was) for name, was in before.items())
    assert outputs(loaded, "fy").shape == (2, 5, 4)
    loaded.save_pretrained(tmp_path)
    assert list(Model.from_pretrained(tmp_path).tasks) == ["nl", "cy", "language", "fy"]


def test_a_shared_head_is_one_module_with_one_set_of_weights():
    model = build(*three_tasks())
    assert model.head("cy") is model.head("nl") and set(model.heads) == {"nl", "language"}
    assert outputs(model, "cy").equal(outputs(model, "nl"))


def test_frames_count_what_the_scores_have():
    model = build(*three_tasks())
    assert int(model.frames("nl", torch.tensor(9))) == outputs(model, "nl").shape[1] == 10
    assert model.frames("nl", torch.tensor([9, 5])).tolist() == [10, 6]


def test_tasks_of_a_stream_and_stems():
    model = build(*three_tasks())
    assert [task.name for task in model.tasks_of("speech")] == ["nl", "language"]
    assert model.stem("target") is model.stem("speech") is model.stems["speech"]


SHARED = CTC(["a"])


WRONG = {
    "negative": (
        Task("en", "speech", CTC(["a"]), weight=-1.0),
        "task 'en' has weight -1.0; give 0 or more",
    ),
    "not a number": (
        Task("en", "speech", CTC(["a"]), weight=float("nan")),
        "task 'en' has weight nan; give 0 or more",
    ),
    "taken": (Task("nl", "speech", CTC(["a"])), "task 'nl' exists already; choose another name"),
    "empty": (Task("", "speech", CTC(["a"])), "must not be empty or hold a dot"),
    "dot": (Task("nl.be", "speech", CTC(["a"])), "'nl.be': a name must not be empty or hold a dot"),
    "torch": (Task("to", "speech", CTC(["a"])), "task 'to': torch needs this name.*label='to'"),
    "stream": (
        Task("fy", "sound", CTC(["a"])),
        "'fy' reads stream 'sound'; this model has: speech, target",
    ),
    "block": (
        Task("fy", "speech", CTC(["a"]), at="b9"),
        "reads block 'b9'; this trunk has: b1, b2",
    ),
    "head": (Task("fy", "speech", "en"), "shares head 'en'; this model has: nl, language"),
    "chain": (Task("fy", "speech", "cy"), "shares head 'cy'; this model has: nl, language"),
    "object": (
        Task("fy", "speech", SHARED),
        "its head serves another task; to share it, give that",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_task_is_refused_and_leaves_the_model_as_it_was(case):
    task, message = WRONG[case]
    model = build(*three_tasks())
    model.heads["nl"] = SHARED
    config = model.config()
    with pytest.raises(ValueError, match=message):
        model.add(task)
    assert model.config() == config


def test_unknown_tasks_and_streams_are_named():
    model = build(*three_tasks())
    with pytest.raises(ValueError, match="no task 'fy'; this model has: nl, cy, language"):
        model.head("fy")
    with pytest.raises(ValueError, match="no stream 'sound'; this model has: speech, target"):
        model.stem("sound")
    with pytest.raises(ValueError, match=r"no block \['b9'\]; this encoder has: \['b1', 'b2'\]"):
        model("speech", BATCH, ["b9"])


def test_a_stream_without_a_stem_is_refused():
    with pytest.raises(ValueError, match=r"streams of \['zz'\]; there are stems for: speech"):
        Model({"speech": Frames(WIDTH, DIM)}, Transformer(DIM, 1, heads=2), streams={"a": "zz"})


def test_weights_of_another_model_are_listed(tmp_path):
    build(*three_tasks()).save_pretrained(tmp_path)
    other = build(
        Task("nl", "speech", CTC(["a", "b", "c"], upsample=2)), Task("fy", "speech", CTC(["a"]))
    )
    with pytest.raises(WrongModel) as error:
        load_weights(other, tmp_path / "model.safetensors")
    lines = str(error.value).splitlines()
    assert lines[0] == f"{tmp_path / 'model.safetensors'} is of another model:"
    assert "- heads.fy.output.weight" in lines
    assert "+ heads.language.weigh.weight" in lines
    assert "! heads.nl.output.bias: file (6,), model (8,)" in lines


def test_a_long_list_of_differences_is_cut(tmp_path):
    build().save_pretrained(tmp_path)
    with pytest.raises(WrongModel) as error:
        load_weights(nn.ModuleDict({"else": build()}), tmp_path / "model.safetensors")
    lines = str(error.value).splitlines()
    assert len(lines) == 22 and lines[-1].startswith("... and ")
    assert int(lines[-1].split()[2]) == 2 * len(build().state_dict()) - 20


def test_edits_are_replayed_in_order(tmp_path):
    model = build(*three_tasks())
    lhuc(model, size=3, blocks=["b2"])
    lhuc(model, 2, column="domain", blocks=["b1"])
    with torch.no_grad():
        model.trunk.after["b1"]["lhuc-domain"].a.normal_()
    model.save_pretrained(tmp_path)
    loaded = Model.from_pretrained(tmp_path)
    assert loaded.edits == [
        {"name": "lhuc", "size": 3, "blocks": ["b2"]},
        {"name": "lhuc", "size": 2, "column": "domain", "blocks": ["b1"]},
    ]
    assert loaded.trunk.after["b1"]["lhuc-domain"].a.equal(model.trunk.after["b1"]["lhuc-domain"].a)


def test_an_edit_that_fails_is_not_recorded():
    model = build()
    with pytest.raises(ValueError, match=r"no block \['b9'\]"):
        lhuc(model, size=3, blocks=["b9"])
    assert model.edits == []


def test_frozen_modules_keep_evaluating():
    model = build(*three_tasks())
    model.trunk.blocks["b1"].requires_grad_(False)
    model.train()
    assert not any(module.training for module in model.trunk.blocks["b1"].modules())
    assert all(module.training for module in model.trunk.blocks["b2"].modules())
    model.requires_grad_(False).train()
    assert not any(module.training for module in model.modules())


def test_a_run_starts_at_a_block_from_what_was_stored():
    model = build(*three_tasks())
    whole = model("speech", BATCH, ["b1"])
    stored = whole.at("b1")
    cut = BATCH._replace(inputs=stored.x, lengths=stored.lengths, start="b2")
    assert model("speech", cut).x.equal(whole.x)
    with pytest.raises(ValueError, match=r"\['b1'\] are not run: inputs enter at 'b2'"):
        model("speech", cut, ["b1"])


def test_recomputed_blocks_give_the_same_gradients():
    model, gradients = build(*three_tasks()), []
    for model.trunk.checkpointing in (False, True):
        model.train().zero_grad()
        torch.manual_seed(3)
        model("speech", BATCH).x.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.trunk.parameters()])
    assert all(one.equal(two) for one, two in zip(*gradients, strict=True))


def test_a_head_with_weights_keeps_them_and_must_fit():
    head = Classify(["a", "b"])
    head.build(DIM)
    weight = head.output.weight.detach().clone()
    assert build(Task("tone", "speech", head)).heads["tone"].output.weight.equal(weight)
    wide = Classify(["a", "b"])
    wide.build(DIM + 1)
    with pytest.raises(ValueError, match=f"task 'tone'.*width {DIM}"):
        build(Task("tone", "speech", wide))
