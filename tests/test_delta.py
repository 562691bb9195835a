import copy
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from test_contract import DIM
from torch import nn
from toy import LETTERS, assert_same_weights

from mtl.atomic import DiskFull
from mtl.batch import Batch
from mtl.delta import Delta, folder_beside, names, parts, read, save, size, take, wear
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model
from mtl.stems.frames import Frames
from mtl.trunks.conformer import Conformer
from mtl.trunks.transformer import Transformer
from mtl.tune.adapter import adapter
from mtl.tune.lhuc import lhuc
from mtl.tune.lin import lin
from mtl.tune.lora import lora
from mtl.tune.weighted import weighted

BINS = 6
LHUC_A = "trunk.after.b1.lhuc.a"


def made(depth=2, seed=0):
    torch.manual_seed(seed)
    tasks = [Task(lang, "speech", CTC(list(LETTERS))) for lang in ("nl", "cy")]
    trunk = Transformer(DIM, depth=depth, heads=2, expansion=2)
    return Model({"speech": Frames(BINS, DIM)}, trunk, tasks).eval()


@pytest.fixture
def base():
    return made()


def disturbed(model, *prefixes, seed=1):
    """Stand in for training: change all tensors of the names that begin like this."""
    g = torch.Generator().manual_seed(seed)
    for key, value in model.state_dict().items():
        if key.startswith(prefixes):
            value.add_(torch.randn(value.shape, generator=g))
    return model


def adapted(base, *edits, seed=1):
    """Copy the model, edit it and change what the edits added, except for member 0."""
    model = copy.deepcopy(base)
    for function, arguments in edits:
        function(model, **arguments)
    g = torch.Generator().manual_seed(seed)
    for key, value in model.state_dict().items():
        if key not in base.state_dict():
            value[1:].add_(torch.randn(value[1:].shape, generator=g))
    return model.eval()


def taken(base, name, *edits, seed=1, **more):
    return take(adapted(base, *edits, seed=seed), base, name, member=1, **more)


def heard(model, members=(0, 0, 0, 0), rows=slice(None)):
    """Give posteriors and features of four utterances, each by a speaker."""
    g = torch.Generator().manual_seed(2)
    x, lengths = torch.randn(4, 7, BINS, generator=g), torch.tensor([7, 5, 6, 3])
    batch = Batch(x, lengths, groups={"speaker": torch.tensor(members)})
    with torch.no_grad():
        features = model("speech", batch)
        return model.scores("nl", features).x[rows], features.x[rows]


def assert_same(one, two):
    for a, b in zip(one, two, strict=True):
        assert a.equal(b)


def assert_same_delta(one, two):
    assert one._replace(tensors={}) == two._replace(tensors={})
    assert one.tensors.keys() == two.tensors.keys()
    for key, value in one.tensors.items():
        assert value.dtype == two.tensors[key].dtype and value.equal(two.tensors[key]), key


EDITS = {
    "lhuc": [(lhuc, {"size": 3})],
    "one block": [(lhuc, {"size": 3, "blocks": ("b2",)})],
    "lin": [(lin, {"size": 3})],
    "adapter": [(adapter, {"size": 3, "dim": 2})],
    "two": [(adapter, {"size": 3}), (lhuc, {"size": 3})],
}


# What is taken, and its file


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_one_member_through_a_file(base, edits, tmp_path):
    model = adapted(base, *edits)
    ours = {key: v for key, v in model.state_dict().items() if key not in base.state_dict()}
    delta = take(model, base, "anna", member=2, utterances=10)
    path = save(delta, tmp_path / "speakers")
    assert path == tmp_path / "speakers/anna.safetensors" and names(path.parent) == ["anna"]
    loaded = read(path)
    assert_same_delta(loaded, delta)
    assert loaded.notes == {"strength": 1.0, "utterances": 10}
    assert loaded.base == parts(base, ["stems", "trunk"])
    assert [edit["size"] for edit in loaded.edits] == [1] * len(edits)
    assert loaded.tensors.keys() == ours.keys()
    assert all(value.equal(ours[key][2:3]) for key, value in loaded.tensors.items())
    assert wear(base, [loaded]) == {"": 0, "anna": 1}
    assert_same(heard(base, [1] * 4), heard(model, [2] * 4))


@pytest.mark.parametrize("prefixes", [("",), ("heads.cy.",), ("stems.", "trunk.blocks.b1.")])
def test_replaced_tensors_through_a_file(base, prefixes, tmp_path):
    model = disturbed(copy.deepcopy(base), *prefixes)
    delta = read(save(take(model, base, "anna"), tmp_path))
    chosen = [key for key in base.state_dict() if key.startswith(prefixes)]
    assert list(delta.tensors) and set(delta.tensors) == set(chosen)
    heads = {"": ["heads.nl", "heads.cy"], "heads.cy.": ["heads.cy"]}.get(prefixes[0], [])
    assert delta.base == parts(base, ["stems", "trunk", *heads])
    assert wear(base, [delta]) == {"": 0, "anna": 1}
    assert_same_weights(base, model)
    assert_same(heard(base), heard(model))


def test_low_rank_updates_and_a_head_through_a_file(base, tmp_path):
    model = copy.deepcopy(base)
    lora(model, rank=2)
    disturbed(model, *[key for key in model.state_dict() if "lora_B" in key], "heads.nl.").eval()
    delta = read(save(take(model, base, "anna"), tmp_path))
    head = {key for key in base.state_dict() if key.startswith("heads.nl.")}
    assert {key for key in delta.tensors if "lora_" not in key} == head
    assert delta.base == parts(base, ["stems", "trunk", "heads.nl"])
    wear(base, [delta])
    assert_same_weights(base, model)
    assert_same(heard(base), heard(model))


def test_taking_and_wearing_draw_no_random_numbers_and_leave_the_base(base):
    before, after = copy.deepcopy(base), copy.deepcopy(base)
    state = torch.get_rng_state()
    lora(after)
    torch.set_rng_state(state)
    delta = take(after, base, "anna")
    assert_same_weights(base, before)
    assert base.edits == [] and all(p.requires_grad for p in base.parameters())
    wear(base, [delta])
    assert torch.get_rng_state().equal(state)


def test_later_training_does_not_change_a_delta(base):
    model = adapted(base, *EDITS["two"])
    delta = take(model, base, "anna", member=1)
    before = copy.deepcopy(delta)
    disturbed(model, "")
    assert_same_delta(delta, before)


def test_a_base_with_edits_of_its_own(base, tmp_path):
    weighted(base)
    disturbed(base, "trunk.after")
    base.save_pretrained(tmp_path / "model")
    base = Model.from_pretrained(tmp_path / "model")
    model = adapted(base, *EDITS["one block"])
    delta = take(model, base, "anna", member=1)
    assert delta.edits == [{"name": "lhuc", "size": 1, "blocks": ["b2"]}]
    assert set(delta.tensors) == {"trunk.after.b2.lhuc.a"}
    wear(base, [delta])
    assert_same(heard(base, [1] * 4), heard(model, [1] * 4))


def test_a_delta_of_lhuc_takes_kilobytes(tmp_path):
    trunk = Conformer(144, depth=4)
    base = Model({"speech": Frames(80, 144)}, trunk)
    delta = taken(base, "anna", (lhuc, {"size": 2}))
    assert size(delta) == 4 * 144 * 4
    assert save(delta, tmp_path).stat().st_size < size(delta) + 1500


# Strength


@pytest.mark.parametrize("edits", EDITS.values(), ids=EDITS)
def test_strength_goes_from_the_base_to_the_adapted_model(base, edits):
    model = adapted(base, *edits)
    without, full = copy.deepcopy(base), copy.deepcopy(base)
    wear(without, [take(model, base, "anna", member=1, strength=0.0)])
    wear(full, [take(model, base, "anna", member=1, strength=1.0)])
    assert_same(heard(without, [1] * 4), heard(base))
    assert_same(heard(full, [1] * 4), heard(model, [1] * 4))


def test_half_a_vector_is_half_its_exponent(base):
    model = adapted(base, (lhuc, {"size": 2, "blocks": ["b2"]}))
    delta = take(model, base, "anna", member=1, strength=0.5)
    assert delta.notes == {"strength": 0.5}
    half = copy.deepcopy(base)
    wear(half, [delta])
    a = model.trunk.after["b2"]["lhuc"].a[1]
    g = torch.Generator().manual_seed(2)
    batch = Batch(torch.randn(4, 7, BINS, generator=g), torch.full((4,), 7))
    spoken = batch._replace(groups={"speaker": torch.ones(4, dtype=torch.long)})
    taps = [network("speech", spoken, ["b2"]).taps["b2"].x for network in (half, base)]
    torch.testing.assert_close(taps[0], taps[1] * 2 * torch.sigmoid(a / 2))


def test_half_of_a_product_is_not_a_quarter(base):
    """A linear layer with the sum W + strength alpha / r B A, and the narrow network half as loud."""
    low = copy.deepcopy(base)
    lora(low, rank=2, targets=r"blocks\.b1\.attention\.inward")
    disturbed(low, "trunk.blocks.b1.attention.inward.lora_B")
    layer = low.trunk.blocks["b1"].attention.inward
    x, inner = torch.randn(3, DIM), copy.deepcopy(base)
    wear(inner, [take(low, base, "anna", strength=0.5)])
    expected = (base.trunk.blocks["b1"].attention.inward(x) + layer(x)) / 2
    torch.testing.assert_close(inner.trunk.blocks["b1"].attention.inward(x), expected)
    model = adapted(base, *EDITS["adapter"])
    delta = take(model, base, "anna", member=1, strength=0.5)
    narrow = model.trunk.after["b1"]["adapter"]
    assert delta.tensors["trunk.after.b1.adapter.down"].equal(narrow.down.data[1:2])
    assert delta.tensors["trunk.after.b1.adapter.up"].equal(narrow.up.data[1:2] / 2)


def test_replaced_tensors_are_interpolated(base):
    base.trunk.register_buffer("count", torch.tensor(4))
    model = disturbed(copy.deepcopy(base), "stems.", "heads.cy.")
    model.trunk.count.add_(10)
    none = take(model, base, "anna", strength=0.0)
    assert none.tensors == {} and none.base.keys() == {"stems", "trunk"}
    old, new = base.state_dict(), model.state_dict()
    for key, value in take(model, base, "anna", strength=0.25).tensors.items():
        if key == "trunk.count":
            assert value == 6
        else:
            torch.testing.assert_close(value, 0.75 * old[key] + 0.25 * new[key])
    assert take(model, base, "anna").tensors["trunk.count"] == 14


# Many speakers in one batch


def test_a_batch_of_speakers_with_deltas_of_several_kinds(base):
    kinds = {"anna": "lhuc", "ben": "lin", "carl": "two"}
    models = {
        name: adapted(base, *EDITS[kind], seed=seed)
        for seed, (name, kind) in enumerate(kinds.items())
    }
    # carl has an adapter ahead of the LHUC that anna has alone: it must come first for her, too
    deltas = [take(model, base, name, member=1) for name, model in models.items()]
    worn = copy.deepcopy(base)
    numbers = wear(worn, deltas)
    assert numbers == {"": 0, "anna": 1, "ben": 2, "carl": 3}
    assert [edit["size"] for edit in worn.edits] == [4, 4, 4]
    together = heard(worn, [3, 0, 1, 2])
    for row, network in enumerate([models["carl"], base, models["anna"], models["ben"]]):
        alone = heard(network, [1 if network is not base else 0] * 4, row)
        assert_same([part[row] for part in together], alone)
    assert_same(heard(worn), heard(base))


def test_equal_edits_are_made_once_however_they_are_written(base):
    one = taken(base, "anna", (lhuc, {"size": 2}))
    two = taken(base, "ben", (lhuc, {"size": 5, "column": "speaker", "blocks": None}), seed=2)
    wear(base, [one, two])
    assert len(base.edits) == 1
    rows = base.trunk.after["b1"]["lhuc"].a.data
    assert rows.equal(torch.cat([torch.zeros(1, DIM), one.tensors[LHUC_A], two.tensors[LHUC_A]]))


def test_the_mode_stays_and_a_worn_model_can_be_saved(base, tmp_path):
    delta = taken(base, "anna", *EDITS["two"])
    wear(base, [delta])
    assert not any(module.training for module in base.modules())
    base.save_pretrained(tmp_path / "model")
    assert_same_weights(Model.from_pretrained(tmp_path / "model"), base)
    training = made().train()
    wear(training, [delta])
    assert all(module.training for module in training.modules())


def test_no_deltas_change_nothing(base):
    assert wear(base, []) == {"": 0} and base.edits == []


# What cannot be


def test_a_model_that_is_no_adapted_copy_is_refused(base):
    with pytest.raises(ValueError, match=r"no copy of the base .*: trunk differ"):
        take(made(depth=1), base, "anna")
    more = copy.deepcopy(base)
    more.add(Task("de", "speech", CTC(["x"])))
    with pytest.raises(ValueError, match=r": tasks differ"):
        take(more, base, "anna")
    lhuc(base, 2)
    with pytest.raises(ValueError, match=r": edits differ"):
        take(made(), base, "anna")
    with pytest.raises(ValueError, match=r"not as in the base after these edits: .*\.weight"):
        take(made().bfloat16(), made(), "anna")
    odd = made()
    odd.trunk.put_after("b1", "own", nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"not as in the base after these edits: .*b1\.own\.bias"):
        take(odd, made(), "anna")


def test_a_member_without_rows_and_changes_beyond_them_are_refused(base):
    model = adapted(base, (lhuc, {"size": 2}))
    for member in (2, -1):
        with pytest.raises(ValueError, match=f"member {member} has no row of its own in .*lhuc"):
            take(model, base, "anna", member=member)
    disturbed(model, "heads.cy.")
    with pytest.raises(ValueError, match=r"heads\.cy\.\S+: changed for all members"):
        take(model, base, "anna", member=1)
    wear(base, [take(model, base, "anna")])
    assert_same_weights(base, model)
    low = made()
    lora(low)
    with pytest.raises(ValueError, match=r"member 1 has no row of its own in .*lora"):
        take(low, made(), "anna", member=1)
    with pytest.raises(ValueError, match=r"one member only in .*lhuc.*: give member=0"):
        take(adapted(made(), (lhuc, {"size": 1})), made(), "anna")


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_strengths_beyond_the_ends_are_refused(base, strength):
    with pytest.raises(ValueError, match=r"strength is .* from 0"):
        take(base, base, "anna", strength=strength)


def test_an_empty_name_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="name of a speaker is empty"):
        take(base, base, "")
    with pytest.raises(ValueError, match="name of a speaker is empty"):
        save(Delta("", {}, [], {}, {}), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "Zoë K.", "0aF9" * 32, "张伟" * 20, "a.b"])
def test_any_name_goes_through_a_file(base, name, tmp_path):
    path = save(take(base, base, name), tmp_path)
    assert path.parent == tmp_path and read(path).name == name and names(tmp_path) == [name]


def test_a_name_is_one_however_it_is_composed(base):
    assert take(base, base, "Zoe\u0308").name == "Zo\u00eb"


def test_who_renames_the_file_renames_the_speaker(base, tmp_path):
    for name in ("anna", "x" * 200):
        path = save(take(base, base, name), tmp_path)
        assert read(path.rename(tmp_path / "Bob.safetensors")).name == "Bob"


def unchanged(model, deltas, match):
    before = copy.deepcopy(model)
    with pytest.raises(ValueError, match=match):
        wear(model, deltas)
    assert model.edits == before.edits
    assert_same_weights(model, before)


def test_deltas_of_another_model_are_refused_before_anything_changes(base):
    good, other = taken(base, "anna", *EDITS["lhuc"]), made(seed=3)
    fully = take(disturbed(copy.deepcopy(base), ""), base, "ben")
    unchanged(
        other,
        [good],
        r"delta 'anna' was made on another model \(stems differs, trunk differs\): adapt again, or "
        "load the model it was made on",
    )
    tuned = disturbed(copy.deepcopy(base), "trunk.")
    unchanged(tuned, [good], r"'anna' was made on another model \(trunk differs\)")
    headed = disturbed(copy.deepcopy(base), "heads.cy.")
    unchanged(headed, [fully], r"'ben' was made on another model \(heads\.cy differs\)")
    del headed.tasks["cy"], headed.heads["cy"]
    unchanged(headed, [fully], r"'ben' was made on another model \(heads\.cy is missing\)")
    assert wear(headed, [good]) == {"": 0, "anna": 1}, "a head that it does not use is no matter"
    unchanged(headed, [good], r"\(stems differs, trunk differs\)")


def test_configuration_and_edits_belong_to_a_part(base):
    before = parts(base, ["trunk", "heads.nl"])
    base.heads["nl"].symbols = ["b", "a"]
    assert parts(base, ["trunk"])["trunk"] == before["trunk"]
    assert parts(base, ["heads.nl"]) != {"heads.nl": before["heads.nl"]}
    base.edits.append({"name": "lhuc", "size": 2, "blocks": []})
    assert parts(base, ["trunk"])["trunk"] != before["trunk"]
    with pytest.raises(ValueError, match=r"no part 'heads\.de'; this model has: stems, trunk, "):
        parts(base, ["heads.de"])


def test_a_model_and_its_copy_from_disk_are_the_same(base, tmp_path):
    base.save_pretrained(tmp_path / "model")
    every = ["stems", "trunk", "heads.nl", "heads.cy"]
    assert parts(Model.from_pretrained(tmp_path / "model"), every) == parts(base, every)


def test_deltas_that_do_not_go_together_are_refused(base):
    anna = taken(base, "anna", *EDITS["two"])
    ben = taken(base, "ben", *EDITS["lin"])
    whole = take(disturbed(copy.deepcopy(base), "heads."), base, "carl")
    unchanged(base, [anna, whole, ben], "'carl' changes the whole model: .* 'anna', 'carl', 'ben'")
    unchanged(base, [anna, ben._replace(name="anna")], "'anna', 'anna': two of one name")
    turned = taken(base, "ben", *reversed(EDITS["two"]))
    unchanged(base, [anna, turned], "'anna', 'ben' do not go together: nodes are in a cycle")
    narrow = taken(base, "ben", *EDITS["adapter"])
    unchanged(base, [anna, narrow], "'anna', 'ben' do not go together: block 'b1' already has")


def test_files_that_are_no_deltas(base, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no delta 'anna' in .*speakers; it has: none"):
        read(tmp_path / "speakers/anna.safetensors")
    for name in ("ben", "carl"):
        path = save(take(base, base, name), tmp_path)
    (tmp_path / "._ben.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"no delta 'anna' in .*; it has: ben, carl"):
        read(tmp_path / "anna.safetensors")
    (tmp_path / "x.safetensors").write_text("hello")
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged or not a safetensors file"):
        read(tmp_path / "x.safetensors")
    for about in ("[]", "[" * 10**5, '{"format": 1, "base": {}, "edits": [], "notes": null}'):
        save_file({"a": torch.ones(1)}, tmp_path / "strange.safetensors", {"mtl": about})
        with pytest.raises(ValueError, match=r"strange\.safetensors is (damaged|no delta of mtl)"):
            read(tmp_path / "strange.safetensors")
    base.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"is no delta of mtl: its metadata lack base, edits, fo"):
        read(tmp_path / "model/model.safetensors")
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["mtl"])
    save_file({}, path, metadata={"mtl": json.dumps(about | {"format": 2})})
    with pytest.raises(ValueError, match=r"carl\.safetensors: format 2 is newer than 1: upgrade"):
        read(path)


def test_an_interrupted_save_leaves_the_old_file(base, tmp_path, monkeypatch):
    path = save(take(base, base, "anna", take=1), tmp_path)

    def stop(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    second = take(base, base, "anna", take=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pathlib.Path.replace", stop)
        save(second, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(DiskFull, match=r"anna\.safetensors"):
        patch.setattr("os.fsync", full)
        save(second, tmp_path)
    assert read(path).notes["take"] == 1 and list(tmp_path.iterdir()) == [path]
    save(second, tmp_path)
    assert read(path).notes["take"] == 2


def test_deltas_lie_beside_the_model(tmp_path, monkeypatch):
    (tmp_path / "run/model").mkdir(parents=True)
    assert folder_beside(tmp_path / "run/model") == tmp_path / "run/speakers"
    monkeypatch.chdir(tmp_path / "run")
    assert folder_beside("model").as_posix() == "speakers"
    monkeypatch.chdir(tmp_path / "run/model")
    assert folder_beside(".") == tmp_path / "run/speakers"
    assert folder_beside("someone/model").as_posix() == "speakers"
