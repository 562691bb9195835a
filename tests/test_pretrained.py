import json

import pytest
from test_model import build, three_tasks

from mtl.model import Model


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def change(**entries):
    def apply(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return apply


def drop(name):
    def apply(folder):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        del config[name]
        path.write_text(json.dumps(config))

    return apply


HALF = {
    "empty": (
        lambda f: [p.unlink() for p in f.iterdir()],
        FileNotFoundError,
        "holds no config.json",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        FileNotFoundError,
        "holds no model.safet",
    ),
    "no config": (
        lambda f: (f / "config.json").unlink(),
        FileNotFoundError,
        "holds no config.json",
    ),
    "cut weights": (cut_weights, ValueError, "model.safetensors is damaged or not a safetensors"),
    "cut config": (
        lambda f: (f / "config.json").write_text('{"a":'),
        ValueError,
        "config.json is not JSON",
    ),
    "deep config": (
        lambda f: (f / "config.json").write_text("[" * 10**5),
        ValueError,
        "config.json is not JSON",
    ),
    "bytes": (
        lambda f: (f / "config.json").write_bytes(b"\xff\xfe"),
        ValueError,
        "config.json is not JSON",
    ),
    "list": (
        lambda f: (f / "config.json").write_text("[]"),
        ValueError,
        "not a configuration of mtl",
    ),
    "foreign": (
        change(library="bert"),
        ValueError,
        "not a configuration of mtl: the key 'library'",
    ),
    "no trunk": (
        drop("trunk"),
        ValueError,
        r"config.json: not a whole configuration: .*lacks trunk",
    ),
    "null trunk": (change(trunk=None), ValueError, "config.json: trunk is None, not as mtl writes"),
    "null stem": (
        change(stems=[["speech", None]]),
        ValueError,
        "config.json: None describes none of stems",
    ),
    "odd format": (
        change(format="x"),
        ValueError,
        "config.json: format is 'x', not as mtl writes it",
    ),
    "odd tasks": (change(tasks=5), ValueError, "config.json: tasks is 5, not as mtl writes it"),
    "odd width": (
        change(trunk={"name": "transformer", "dim": -4, "depth": 1, "heads": 2}),
        ValueError,
        "config.json: .*negative dimension",
    ),
    "odd stream": (
        change(streams=[["a", "zz"]]),
        ValueError,
        r"config.json: streams of \['zz'\]; there are stems for: speech",
    ),
    "no format": (drop("format"), ValueError, "config.json: not a whole .*lacks format"),
    "nameless stem": (
        change(stems=[["speech", {"width": 6}]]),
        ValueError,
        "config.json: no key 'name' in a part",
    ),
    "odd trunk": (
        change(trunk={"name": "transformer", "wheels": 4}),
        ValueError,
        "config.json: .*unexpected keyword argument 'wheels'",
    ),
    "newer": (change(format=2), ValueError, "format 2 is newer than 1: upgrade mtl"),
    "unknown stem": (
        change(stems=[["speech", {"name": "ear"}]]),
        ValueError,
        "mtl/stems has no 'ear'; it",
    ),
    "unknown edit": (
        change(edits=[{"name": "glue"}]),
        ValueError,
        "mtl/tune has no 'glue'; it has:",
    ),
}


@pytest.mark.parametrize("case", HALF)
def test_what_is_not_a_whole_model_is_refused_in_plain_words(case, tmp_path):
    spoil, kind, message = HALF[case]
    build(*three_tasks()).save_pretrained(tmp_path)
    spoil(tmp_path)
    with pytest.raises(kind, match=message):
        Model.from_pretrained(tmp_path)


def test_no_name_is_no_model():
    with pytest.raises(FileNotFoundError, match="no model is named: give its folder or hub id"):
        Model.from_pretrained("")


def test_a_model_that_a_killed_process_was_replacing_is_found(tmp_path):
    folder = tmp_path / "model"
    build(*three_tasks()).save_pretrained(folder)
    folder.rename(tmp_path / ".model.old.x1")
    assert list(Model.from_pretrained(folder).tasks) == ["nl", "cy", "language"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("error", ["LocalEntryNotFoundError", "OfflineModeIsEnabled"])
def test_a_hub_model_without_a_network_is_refused_in_plain_words(error, monkeypatch):
    from huggingface_hub import errors

    def offline(*_, **__):
        raise getattr(errors, error)("no connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(FileNotFoundError) as caught:
        Model.from_pretrained("someone/model")
    assert str(caught.value) == (
        "'someone/model' is neither a folder here nor a model that the hub gives: no connection"
    )


def test_a_path_that_does_not_exist_is_no_hub_id(tmp_path):
    (tmp_path / "ok.wav").write_bytes(b"RIFF")
    with pytest.raises(FileNotFoundError, match=r"ok\.wav is a file; give the folder of a saved"):
        Model.from_pretrained(tmp_path / "ok.wav")
    for path in (tmp_path / "missing", "./missing", "../missing", "~/missing", "runs/some/model"):
        with pytest.raises(FileNotFoundError) as caught:
            Model.from_pretrained(path)
        assert str(caught.value) == f"{path}: no such folder"


def test_a_hub_model_is_the_folder_that_was_fetched(tmp_path, monkeypatch):
    build(*three_tasks()).save_pretrained(tmp_path)
    asked = []

    def fetch(name, **options):
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert list(Model.from_pretrained("someone/model", revision="v2").tasks) == [
        "nl",
        "cy",
        "language",
    ]
    wanted = {"revision": "v2", "allow_patterns": ["config.json", "model.safetensors"]}
    assert asked == [("someone/model", wanted)]


def test_pushing_uploads_a_saved_model(monkeypatch):
    seen = {}

    class Api:
        def create_repo(self, name, exist_ok):
            seen["repo"] = (name, exist_ok)

        def upload_folder(self, repo_id, folder_path, **options):
            seen["tasks"] = list(Model.from_pretrained(folder_path).tasks)
            seen["options"] = options

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    build(*three_tasks()).push_to_hub("someone/model", commit_message="first")
    assert seen == {
        "repo": ("someone/model", True),
        "tasks": ["nl", "cy", "language"],
        "options": {"commit_message": "first"},
    }
