"""What files hold, as problems; and learning them."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import mtl.problem
from mtl.config import Fit
from mtl.data.images import Images, from_arrays
from mtl.data.speech import Speech
from mtl.evaluate import evaluate
from mtl.head import Task
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.made import languages, signs
from mtl.model import Model
from mtl.prefix import Prefix
from mtl.problem import Pictures, Recordings, build, figures, kept, learn, read_problem, trained
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer
from mtl.tune.layers import freeze, top

HZ = 16000


def quick(**more):
    return Fit(**{"steps": 3, "precision": "no", "threads": 1, "dry_run": False} | more)


def spoken(folder, count=12, name="train.jsonl", sound=False, **columns):
    """A manifest whose columns are functions of the line's number."""
    lines = []
    for index in range(count):
        line = {"audio_filepath": f"{index}.wav", "duration": 0.5, "speaker": f"s{index % 6}"}
        lines.append(line | {"id": f"{name}{index}"} | {k: f(index) for k, f in columns.items()})
        if sound:
            noise = np.random.default_rng(index).standard_normal(HZ // 2) * 0.1
            soundfile.write(folder / f"{index}.wav", noise, HZ)
    path = folder / name
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def painted(folder, classes="ab", count=5, start=0):
    for shade, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(start, start + count):
            Image.new("L", (8, 8), 100 * shade + index).save(folder / name / f"{index}.png")
    return folder


def ids(items):
    return [item.id for item in items]


def assert_parted(problem):
    assert problem.train and problem.test and not set(ids(problem.train)) & set(ids(problem.test))


def test_manifests_with_texts_give_a_head_per_language(tmp_path):
    texts = {"text": lambda i: ("Aa b", "a ŵ")[i % 2], "lang": lambda i: ("nl", "cy")[i % 2]}
    problem = read_problem([spoken(tmp_path, **texts, label=lambda i: "noise")])
    assert_parted(problem)
    assert not {u.speaker for u in problem.train} & {u.speaker for u in problem.test}
    assert isinstance(problem, Recordings) and problem.metric == "cer"
    tasks = {task.name: task for task in problem.tasks("target-")}
    assert {name: task.label for name, task in tasks.items()} == {
        "target-cy": "cy",
        "target-nl": "nl",
    }
    assert tasks["target-nl"].head.symbols == [" ", "a", "b"]
    assert tasks["target-cy"].head.symbols == [" ", "a", "ŵ"]


def test_lines_without_a_text_make_no_language(tmp_path):
    texts = {"text": lambda i: "ab" if i % 2 else "", "lang": lambda i: ("nl", "cy")[i % 2]}
    assert [task.name for task in read_problem([spoken(tmp_path, **texts)]).tasks()] == ["cy"]


@pytest.mark.parametrize("labels", [["no", "yes"], [1, 2]])
def test_manifests_with_labels_only_give_a_classifier(labels, tmp_path):
    train = spoken(tmp_path, label=lambda i: labels[i // 6])
    test = spoken(tmp_path, count=4, name="test.jsonl", label=lambda i: labels[i % 2])
    problem = read_problem([train], [test])
    assert len(problem.train) == 12 and len(problem.test) == 4
    (task,) = problem.tasks()
    assert problem.metric == "accuracy" and task.label == "label"
    assert isinstance(task.head, Classify) and task.head.classes == labels
    few = problem.few(2, seed=0)
    assert sorted(str(u.label) for u in few) == sorted(2 * list(map(str, labels)))


def test_languages_of_the_test_that_are_not_trained_on_are_noted(tmp_path):
    train = spoken(tmp_path, text=lambda i: "ab", lang=lambda i: "nl")
    lang = {"lang": lambda i: ("nl", "cy")[i % 2]}
    test = spoken(tmp_path, count=4, name="test.jsonl", text=lambda i: "ba", **lang)
    problem = read_problem([train], [test])
    assert {u.lang for u in problem.test} == {"nl"}
    assert problem.notes == ["test: left out utterances of languages not trained on: cy 2"]
    assert read_problem([train]).notes == [], "of dev, which chose nothing here"


def test_a_folder_of_classes_is_held_out_from_or_tested_on_another(tmp_path):
    folder = painted(tmp_path / "some.pictures")
    problem = read_problem([folder])
    assert_parted(problem)
    assert isinstance(problem, Pictures) and len(problem.train) == 8 and len(problem.test) == 2
    assert {picture.label for picture in problem.test} == {"a", "b"}
    (task,) = problem.tasks("target-")
    assert (task.name, task.label, task.head.classes) == ("target-label", "label", ["a", "b"])
    other = painted(tmp_path / "other", start=50)
    tested = read_problem([folder], [other])
    assert len(tested.train) == 10 and len(tested.test) == 10
    assert all(picture.source.is_relative_to(other) for picture in tested.test)


def arrays(path, train=6, test=4, shade=0):
    x = np.full((train + test, 8, 8), shade, np.uint8)
    y = np.arange(train + test) % 2
    np.savez(path, x_train=x[:train], y_train=y[:train], x_test=x[train:], y_test=y[train:])
    return path


def test_an_npz_has_its_own_test_part_or_takes_that_of_another(tmp_path):
    own, other = (arrays(tmp_path / f"{n}.npz", shade=n) for n in (0, 1))
    problem = read_problem([own])
    assert_parted(problem)
    assert len(problem.train) == 6 and len(problem.test) == 4
    tested = read_problem([own], [other])
    assert [p.source.max() for p in (tested.train[0], tested.test[0])] == [0, 1]


WRONG = {
    "nothing": ("", "", "nothing: give manifests"),
    "a test only": ("", "folder", "folder: give manifests"),
    "two kinds": ("train.jsonl folder", "", "train.jsonl, .*folder: give manifests"),
    "another kind to test": ("folder", "train.jsonl", "folder, .*train.jsonl: give manifests"),
    "another kind to learn": ("made.npz", "folder", "made.npz, .*folder: give manifests"),
    "a missing manifest": ("no.jsonl", "", "no.jsonl: no such file or folder"),
    "a missing folder": ("folder", "missing", "missing: no such file or folder"),
    "two folders": ("folder folder", "", "folder, .*folder: give manifests"),
    "a text": ("list.txt", "", "list.txt: give manifests"),
    "an empty folder": ("empty", "", "empty holds no folders"),
    "one picture each": ("single", "", "single gives 2 pictures .* and 0 to test on"),
    "an empty test part": ("made.npz", "", "made.npz gives 6 .* and 0 to test on"),
    "nothing to learn": ("bare.jsonl", "", "bare.jsonl: no line has a text or a label"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_anything_else_is_named(kind, tmp_path):
    painted(tmp_path / "folder")
    painted(tmp_path / "single", count=1)
    arrays(tmp_path / "made.npz", test=0)
    spoken(tmp_path, text=lambda i: "ab")
    spoken(tmp_path, name="bare.jsonl")
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("a")
    data, test, message = WRONG[kind]
    data, test = ([tmp_path / name for name in names.split()] for names in (data, test))
    with pytest.raises(ValueError, match=message) as error:
        read_problem(data, test)
    assert "\n" not in str(error.value)


def test_one_class_leaves_nothing_to_tell_apart(tmp_path):
    message = "class 'a' is the only one: there is nothing to tell apart"
    with pytest.raises(ValueError, match=message):
        read_problem([painted(tmp_path / "one", "a")]).tasks()
    with pytest.raises(ValueError, match=message):
        read_problem([spoken(tmp_path, label=lambda i: "a")]).tasks()


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    problem = read_problem([painted(tmp_path / "learn")], [painted(tmp_path / "test")])
    for part in ("learn", "test"):
        (tmp_path / part / "a" / "0.png").write_bytes(b"none")
    torch.manual_seed(0)
    model = build(problem)
    learnt, found = (
        learn(model, problem, problem.train, quick()),
        figures(model, problem, problem.test),
    )
    assert list(learnt) == list(found["skipped"]) == ["a/0.png"]
    assert "learn/a/0.png is damaged" in learnt["a/0.png"]
    assert "test/a/0.png is damaged" in found["skipped"]["a/0.png"]
    assert found["n"] == 10 and found["counts"][0] == [0.0, 1.0, "a/0.png"], "it is an error"
    assert "skipped" not in figures(model, problem, problem.test[1:])


def assert_nested(problem, group, counts=(1, 2, 4)):
    small, middle, large = (set(ids(problem.few(count, seed=3))) for count in counts)
    assert small < middle < large <= set(ids(problem.train))
    groups = [group(item) for item in problem.few(2, seed=3)]
    assert sorted(groups) == sorted(2 * list({group(item) for item in problem.train}))
    assert ids(problem.few(2, seed=3)) == ids(problem.few(2, seed=3))
    assert any(ids(problem.few(2, seed=seed)) != ids(problem.few(2, seed=3)) for seed in range(3))
    assert problem.few(0, seed=3) is problem.train
    with pytest.raises(ValueError, match="99 are wanted"):
        problem.few(99, seed=3)


def test_few_examples_are_nested_and_of_every_class(tmp_path):
    assert_nested(read_problem([painted(tmp_path, "xyz", 8)]), lambda picture: picture.label)


def test_few_utterances_are_nested_and_of_every_language(tmp_path):
    texts = {"text": lambda i: "ab", "lang": lambda i: ("nl", "cy")[i % 2]}
    assert_nested(read_problem([spoken(tmp_path, **texts)]), lambda utterance: utterance.lang)


def test_signs_are_two_halves_of_the_classes():
    for seed in (0, 1):
        a, b = signs(seed, 5)
        assert_parted(a)
        assert_parted(b)
        labels = [{picture.label for picture in problem.train} for problem in (a, b)]
        assert [len(each) for each in labels] == [17, 17] and not labels[0] & labels[1]
        assert len(a.train) == 3 * 17 and len(a.test) == 2 * 17
    assert {p.label for p in signs(0, 5)[0].train} != labels[0], "other halves in another seed"


def test_languages_are_tested_on_unheard_voices(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path))
    german, dutch = languages("de", "nl", (6, 3), test=2)
    for problem, lang, count in ((german, "de", 6), (dutch, "nl", 3)):
        assert_parted(problem)
        assert (len(problem.train), len(problem.test)) == (count, 2)
        assert {u.lang for u in (*problem.train, *problem.test)} == {lang}
        assert not {u.speaker for u in problem.train} & {u.speaker for u in problem.test}


def test_a_model_is_made_once_and_loaded_after(tmp_path):
    made = []

    def make():
        made.append(build(Pictures(*2 * [from_arrays(np.zeros((2, 8, 8), np.uint8), [0, 1], "x")])))
        return made[-1]

    first, again = kept(tmp_path / "net", make), kept(tmp_path / "net", make)
    assert len(made) == 1
    for model in (first, again):
        for name, value in made[0].state_dict().items():
            assert value.equal(model.state_dict()[name]), name


def test_a_trained_network_follows_from_its_seed(tmp_path):
    problem = signs(0, 5)[0]
    one, same, other = (
        trained(tmp_path / name, problem, quick(seed=seed)).state_dict()
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    assert all(value.equal(same[name]) for name, value in one.items())
    assert not any(value.equal(other[n]) for n, value in one.items() if n.endswith("n.weight"))
    torch.manual_seed(0)
    fresh = build(problem).state_dict()
    assert not any(value.equal(fresh[name]) for name, value in one.items()), "it was trained"


def learnt(problem, prepare, monkeypatch, prefix=True, **config):
    """Weights after learning, and the blocks at which a Prefix was made."""
    torch.manual_seed(0)
    model, made = build(problem), []
    prepare(model)

    class Noted(Prefix):
        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            made.append(self.block)

    with monkeypatch.context() as patched:
        patched.setattr(mtl.problem, "Prefix", Noted)
        if not prefix:
            patched.setattr(mtl.problem, "prefix_end", lambda model, stream: None)
        learn(model, problem, problem.train, quick(**config))
    return model.state_dict(), made


def assert_prefix_changes_nothing(problem, prepare, block, monkeypatch, **config):
    with_, made = learnt(problem, prepare, monkeypatch, **config)
    without, none = learnt(problem, prepare, monkeypatch, prefix=False, **config)
    start, _ = learnt(problem, prepare, monkeypatch, **config | {"lr": 1e-12})
    assert made == [block] and none == []
    moved = [n for n in with_ if not torch.allclose(with_[n], start[n], rtol=1e-4, atol=1e-6)]
    assert moved and all(name.startswith(("heads", f"trunk.blocks.{block}")) for name in moved)
    for name, value in with_.items():
        torch.testing.assert_close(value, without[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_frozen_front_is_computed_once_and_learns_the_same(monkeypatch):
    problem = signs(0, 5)[0]
    assert_prefix_changes_nothing(problem, lambda model: top(model, 1), "b3", monkeypatch, lr=1e-4)
    assert learnt(problem, lambda model: None, monkeypatch)[1] == [], "nothing is frozen"


def test_a_frozen_front_hears_the_same_augmentations(tmp_path, monkeypatch):
    """More epochs than there are kept augmentations."""
    path = spoken(tmp_path, sound=True, text=lambda i: "ab", lang=lambda i: "nl")
    problem = read_problem([path])

    def prepare(model):
        freeze(model, ["stems", ":b3", "trunk.blocks.b4.attention"])

    config = {"steps": mtl.problem.DRAWS + 2, "lr": 1e-4}
    assert_prefix_changes_nothing(problem, prepare, "b4", monkeypatch, **config)


def test_figures_of_pictures_are_those_of_an_evaluation():
    problem = signs(0, 5)[0]
    torch.manual_seed(0)
    model = build(problem)
    learn(model, problem, problem.train, quick(steps=12, lr=4e-3))
    found = figures(model, problem, problem.test)
    result = evaluate(model, {"images": Images(problem.test, model)})
    assert found["metric"] == "accuracy" and found["n"] == len(problem.test)
    assert found["value"] == result.tasks()["label"]["accuracy"] > 2 / 17
    hits = [
        row.prediction == picture.label
        for row, picture in zip(result.rows, problem.test, strict=True)
    ]
    assert found["counts"] == [[h, 1.0, p.id] for h, p in zip(hits, problem.test, strict=True)]


def listener(*tasks):
    torch.manual_seed(0)
    return Model({"speech": Frames(4, 8)}, Transformer(8, 1, 2), tasks)


def framed(folder, **columns):
    """A manifest of frames, which need no sound."""
    rng = np.random.default_rng(0)
    for index in range(4):
        np.save(folder / f"{index}.npy", rng.standard_normal((20, 4), np.float32))
    sources = {"feature_path": lambda i: f"{i}.npy", "audio_filepath": lambda i: None}
    test = spoken(folder, 4, "test.jsonl", **sources, **columns)
    return read_problem([spoken(folder, **columns)], [test])


def test_figures_of_speech_count_all_languages_and_no_other_task(tmp_path):
    texts = {"text": lambda i: ("abba", "aa b b a")[i % 2], "lang": lambda i: ("xx", "aa")[i % 2]}
    problem = framed(tmp_path, **texts)
    tasks = [Task(lang, "speech", CTC([" ", "a", "b"])) for lang in ("xx", "aa")]
    model = listener(Task("language", "speech", Classify(["aa", "xx"])), *tasks)
    found = figures(model, problem, problem.test)
    result = evaluate(model, {"speech": Speech(problem.test, model)})
    pairs = [result.counts(task, "cer") for task in ("aa", "xx")]
    errors, lengths = ([n for pair in pairs for n in pair[place]] for place in (0, 1))
    assert found["value"] == sum(errors) / sum(lengths) and sum(lengths) == 2 * 4 + 2 * 8
    assert (found["metric"], found["n"]) == ("cer", 4)
    assert sorted(row[2] for row in found["counts"]) == ["s0", "s1", "s2", "s3"]


def test_figures_of_nothing_are_refused(tmp_path):
    problem = framed(tmp_path, text=lambda i: "ab", lang=lambda i: "xx")
    model = listener(Task("language", "speech", Classify(["xx"])))
    with pytest.raises(ValueError, match="nothing to test in cer: tasks of stream 'speech': lang"):
        figures(model, problem, problem.test)
