"""What each way of tuning trains, on a trunk with a head and on one without."""

import json
import re

import jiwer
import numpy as np
import pytest
import soundfile
import torch
import transformers
from test_pretrained_sources import write_ctc

import mtl.ways
from mtl.config import Fit
from mtl.data.audio import read_audio
from mtl.data.images import from_arrays
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.model import Model
from mtl.problem import Pictures, figures, learn, read_problem
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.trunks.resnet import ResNet
from mtl.ways import OLD, WAYS, onto, read_ways, refuse_unfit, tune

VIT = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 16}
VIT |= {"intermediate_size": 24, "patch_size": 8}


def quick(**more):
    return Fit(**{"steps": 2, "precision": "no", "threads": 1, "dry_run": False} | more)


def pictures(count=6):
    x = np.random.default_rng(0).integers(0, 255, (count, 16, 16), np.uint8)
    return from_arrays(x, np.arange(count) % 2, "made")


@pytest.fixture(scope="module")
def problem():
    return Pictures(pictures(), pictures())


def write_resnet(folder, seed=0, scale=1.0):
    """A model of mtl that has one head."""
    torch.manual_seed(seed)
    task = Task("sign", "images", Classify(["A", "B", "C"]), label="label")
    model = Model({"images": Pixels(1, 16, 4)}, ResNet(4, [8, 8, 8]), [task])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale).add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(folder)
    return folder


def write_vit(folder):
    """A model of transformers without a head, whose stem has no weights."""
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**VIT)).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trunks")
    return {"resnet": write_resnet(folder / "resnet"), "vit": write_vit(folder / "vit")}


def weights(model):
    """By the names they had before low-rank updates came."""
    named = model.named_parameters()
    return {name.replace(".base_layer", ""): value.detach().clone() for name, value in named}


def moved(model, problem, way, **more):
    before = weights(model)
    tune(model, problem, problem.train, way, quick(lr=1e-2, **more))
    return {
        n for n, value in weights(model).items() if n not in before or not value.equal(before[n])
    }


def part(name):
    """Where a parameter lies: stem, enter, b1 ... b3, leave, old, new."""
    first, second, *rest = name.split(".")
    if first == "heads":
        return "old" if second == OLD else "new"
    if first == "stems":
        return "stem"
    if second == "blocks":
        return rest[0]
    return "leave" if second == "norm" or "layernorm" in rest else "enter"


SHARED = {"stem", "enter", "b1", "b2", "b3", "leave"}
PARTS = {
    "head": {"new"},
    "last": {"new", "b3", "leave"},
    "first": {"new", "stem", "enter", "b1"},
    "full": {"new", *SHARED},
    "l2sp": {"new", *SHARED},
    "kl": {"new", "old", *SHARED},
    "lpft": {"new", *SHARED},
    "scratch": {"new", "old", *SHARED},
}
RULES = {
    "lora": lambda name: part(name) == "new" or ".lora_" in name,
    "bitfit": lambda name: part(name) == "new" or name.endswith("bias") or "norm" in name,
}


def chosen(way, names):
    allowed = {name for name in names if RULES.get(way, lambda n: part(n) in PARTS[way])(name)}
    if way != "kl" and way != "scratch":  # its stream is not trained on
        allowed -= {name for name in names if part(name) == "old"}
    return allowed


@pytest.mark.parametrize("way", WAYS)
def test_a_way_trains_exactly_what_it_says(way, trunks, problem):
    model = onto(str(trunks["resnet"]), problem)
    found, names = moved(model, problem, way), set(weights(model))
    assert found == chosen(way, names)
    assert {part(name) for name in names} == {"new", "old", *SHARED} - {"enter"}
    if way == "lora":
        updated = {name.split(".lora_")[0] for name in found if ".lora_" in name}
        blocks = dict(model.trunk.blocks.named_modules(prefix="trunk.blocks"))
        assert updated == {
            n for n in blocks if n.endswith(("convolution1", "convolution2", "skip"))
        }


@pytest.mark.parametrize("way", [way for way in WAYS if way != "kl"])
def test_a_trunk_without_a_head_goes_the_same_ways(way, trunks, problem):
    model = onto(str(trunks["vit"]), problem)
    assert list(model.tasks) == ["target-label"]
    found, names = moved(model, problem, way), set(weights(model))
    unused = {name for name in names if "pooler" in name or "mask_token" in name}
    if way == "scratch":  # zeros and ones begin where they were
        assert {part(name) for name in found} == {part(name) for name in names}
        return
    assert found - unused == chosen(way, names) - unused


def test_a_head_is_needed_to_hold_its_answers(trunks, problem):
    model = onto(str(trunks["vit"]), problem)
    with pytest.raises(
        ValueError, match="'kl' holds the answers of a head, but this trunk came without"
    ):
        moved(model, problem, "kl")


def test_the_old_head_keeps_its_weights_beside_the_new_one(trunks, problem):
    model, source = onto(str(trunks["resnet"]), problem), Model.from_pretrained(trunks["resnet"])
    assert list(model.tasks) == [OLD, "target-label"]
    assert model.streams == {"images": "images", OLD: "images"}
    old = Pictures(
        *2 * [from_arrays(np.stack([p.source for p in pictures()]), list("ABCABC"), "x")]
    )
    expected = figures(source, old, old.test)["counts"]
    assert figures(model, old, old.test, OLD)["counts"] == expected


def test_a_problem_that_a_trunk_cannot_learn_is_refused(problem, tmp_path):
    stem, trunk = Pixels(1, 16, 4), ResNet(4, [8, 8, 8])
    for ways, k in ((["first", "last"], 3), (["head", "full"], 9)):
        refuse_unfit(stem, trunk, problem, ways, k)
    for way, k in (("first", 4), ("last", -1)):
        with pytest.raises(ValueError, match=f"--k is {k}, but this trunk has 3 blocks"):
            refuse_unfit(stem, trunk, problem, ["full", way], k)
    with pytest.raises(ValueError, match="this trunk hears speech; the data are pictures"):
        refuse_unfit(LogMel(4), trunk, problem, ["full"], 1)
    line = {"audio_filepath": "a.wav", "duration": 1, "text": "ab", "lang": "nl"}
    for name in ("train", "test"):
        (tmp_path / name).write_text(json.dumps(line | {"id": name}))
    (said := tmp_path / "m.jsonl").write_text((tmp_path / "train").read_text())
    (heard := tmp_path / "t.jsonl").write_text((tmp_path / "test").read_text())
    with pytest.raises(ValueError, match="this trunk sees pictures; the data are speech"):
        refuse_unfit(stem, trunk, read_problem([said], [heard]), ["full"], 1)


def refuse(*_, **__):
    raise AssertionError("it trained")


@pytest.mark.parametrize(
    ("way", "more", "message"),
    [
        ("fulll", {}, "way 'fulll' is not known; choose from scratch, head, last,"),
        ("first", {"k": 4}, "this trunk has 3 blocks"),
        ("last", {"k": 4}, "this trunk has 3 blocks"),
        ("last", {"k": -1}, "this trunk has 3 blocks"),
        ("lpft", {"steps": 1}, "trains twice: fit.steps is 1"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    way, more, message, trunks, problem, monkeypatch
):
    monkeypatch.setattr(mtl.ways, "learn", refuse)
    model, k = onto(str(trunks["resnet"]), problem), more.pop("k", 1)
    with pytest.raises(ValueError, match=message):
        tune(model, problem, problem.train, way, quick(**more), k)


def test_unknown_ways_are_refused_with_the_choices():
    assert read_ways(",".join(WAYS)) == list(WAYS)
    with pytest.raises(ValueError, match=f"way 'no' is not known; choose from {', '.join(WAYS)}"):
        read_ways("full,no")


@pytest.mark.parametrize("steps", [{"steps": 7}, {"steps": 0, "epochs": 3.0}])
def test_lpft_takes_all_steps_in_two_parts(steps, trunks, problem, monkeypatch):
    seen = []

    def noted(model, problem, items, config, methods=()):
        parts = {part(name) for name, p in model.named_parameters() if p.requires_grad}
        seen.append((config.steps, config.epochs, parts, len(items)))
        return {f"half {len(seen)}": "damaged"}

    monkeypatch.setattr(mtl.ways, "learn", noted)
    model = onto(str(trunks["resnet"]), problem)
    skipped = tune(model, problem, problem.train, "lpft", quick(**steps))
    assert list(skipped) == ["half 1", "half 2"]
    (first, some, head, n), (second, more, everything, m) = seen
    assert head == {"new", "old"} and everything == {"new", "old", *SHARED} - {"enter"}
    assert first + second == steps["steps"] and some + more == steps.get("epochs", 0.0)
    assert abs(first - second) <= 1 and n == m == len(problem.train)


@pytest.mark.parametrize("k", [0, 2, 3])
def test_k_blocks_are_trained_at_either_end(k, trunks, problem, monkeypatch):
    monkeypatch.setattr(mtl.ways, "learn", lambda *_, **__: {})
    found = {}
    for way in ("first", "last"):
        model = onto(str(trunks["resnet"]), problem)
        tune(model, problem, problem.train, way, quick(), k)
        found[way] = {part(name) for name, p in model.named_parameters() if p.requires_grad}
    blocks = ["b1", "b2", "b3"]
    heads = {"new", "old"}
    assert found["first"] - {"leave"} == {"stem", *blocks[:k], *heads}
    assert found["last"] == {*blocks[3 - k :], *heads} | ({"leave"} if k else set())


def test_scratch_forgets_what_was_pretrained(trunks, problem, tmp_path):
    other = write_resnet(tmp_path / "other", seed=5, scale=3.0)
    ends = []
    for trunk in (trunks["resnet"], other):
        model = onto(str(trunk), problem)
        moved(model, problem, "scratch", seed=4)
        ends.append(model.state_dict())
    assert all(value.equal(ends[1][name]) for name, value in ends[0].items())
    model = onto(str(other), problem)
    moved(model, problem, "scratch", seed=3)
    assert not model.trunk.blocks["b1"].convolution1.weight.equal(
        ends[0]["trunk.blocks.b1.convolution1.weight"]
    )


def test_the_penalty_of_l2sp_is_on_what_is_trained_only(trunks, problem):
    """A strong one holds the shared weights, draws the new head to zero, and leaves the old head."""
    ends = {}
    for alpha in (0.0, 1e4):
        model = onto(str(trunks["resnet"]), problem)
        start, method = weights(model), mtl.ways._l2sp(model)
        method.alpha = alpha
        learn(model, problem, problem.train, quick(weight_decay=0.0, lr=1e-3), {"l2sp": method})
        ends[alpha] = sum(
            float((value - start[name]).square().sum())
            for name, value in weights(model).items()
            if part(name) in SHARED
        )
        assert not any("heads.source" in name for name in [*method.old, *method.new])
    assert ends[1e4] < 0.9 * ends[0.0]


def speech(folder):
    """Noises that say things, in the letters of `write_ctc`."""
    lines = []
    for index in range(4):
        wave = np.random.default_rng(index).standard_normal(8000) * 0.1
        soundfile.write(folder / f"{index}.wav", wave, 16000)
        line = {"audio_filepath": f"{index}.wav", "duration": 0.5, "speaker": f"s{index}"}
        lines.append(line | {"text": ("ate a toe", "eat")[index % 2], "lang": "en"})
    path = folder / "speech.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return read_problem([path], [path])


def test_a_head_that_writes_is_compared_with_the_text(tmp_path):
    original, problem = write_ctc(tmp_path / "hf"), speech(tmp_path)
    model = onto(str(tmp_path / "hf"), problem)
    assert {name: task.label for name, task in model.tasks.items()} == {
        OLD: "text",
        "target-en": "en",
    }
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "hf")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    heard = []
    for utterance in problem.test:
        wave = read_audio(utterance.audio, 16000)
        inputs = extractor(wave, sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            ids = original(inputs).logits.argmax(-1)[0]
        heard.append(" ".join(re.sub("<.*?>", "", tokenizer.decode(ids)).split()))
    expected = jiwer.cer([u.text.upper() for u in problem.test], heard)
    before = figures(model, problem, problem.test, OLD)
    assert (before["metric"], before["n"]) == ("cer", 4)
    assert before["value"] == pytest.approx(expected)
    for way in ("kl", "scratch"):
        tuned = onto(str(tmp_path / "hf"), problem)
        names = {part(name) for name in moved(tuned, problem, way)}
        assert {"old", "new", "b1", "b2"} <= names
        assert figures(tuned, problem, problem.test)["metric"] == "cer"
        assert figures(tuned, problem, problem.test, OLD)["n"] == 4
