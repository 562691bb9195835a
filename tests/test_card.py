import math

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData

from mtl import Model, Task
from mtl.card import model_card
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.heads.multilabel import MultiLabel
from mtl.heads.regress import Regress
from mtl.stems.logmel import LogMel
from mtl.stems.patches import Patches
from mtl.trunks.transformer import Transformer

FIGURES = {
    "nl": {"cer": 0.078812, "cer_interval": [0.05, 0.1], "wer": 0.4216, "n": 100},
    "a|b": {"accuracy": 0.9934, "accuracy_interval": [-math.inf, math.inf], "n": 30},
}


def build():
    torch.manual_seed(0)
    tasks = [Task("nl", "speech", CTC(["a", "b"])), Task("a|b", "speech", Classify(["x", "y"]))]
    tasks.append(Task("nl-b1", "speech", "nl", "b1", auxiliary=True))
    return Model({"speech": LogMel(8, bins=20)}, Transformer(8, 1, heads=2), tasks)


def test_the_header_comes_back_with_an_entry_per_task():
    text = model_card(build(), FIGURES, "anna/x", dataset="made up", license="mit", language="nl")
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.license, data.language) == ("mtl", "mit", "nl")
    assert data.pipeline_tag == "automatic-speech-recognition"
    assert data.metrics == ["cer", "wer", "accuracy"]
    (index,) = data.to_dict()["model-index"]
    assert index["name"] == "anna/x"
    assert [entry["task"]["name"] for entry in index["results"]] == ["nl", "a|b"]
    first, second = index["results"]
    assert {m["type"]: m["value"] for m in first["metrics"]} == {"cer": 7.88, "wer": 42.16}
    assert first["dataset"] == {
        "name": "made up (nl)", "type": "made up", "config": "nl", "args": {"examples": 100},
    }  # fmt: skip
    assert second["task"]["type"] == "audio-classification"
    assert [m["value"] for m in second["metrics"]] == [99.34]


def test_the_text_says_what_it_does_and_how_well():
    text = model_card(build(), FIGURES, "anna/x", dataset="made up")
    assert "# anna/x" in text and 'mtl.load("anna/x")' in text and "on made up" in text
    assert "| nl | speech | text in 2 symbols |" in text
    assert "| a\\|b | speech | one of 2 classes: x, y |" in text
    assert "| nl | 100 | cer | 7.88 | 5.0 to 10.0 |" in text
    assert "| a\\|b | 30 | accuracy | 99.34 |  |" in text
    assert "nl-b1" not in text


def test_a_model_without_figures_has_a_card():
    stem = Patches(channels=1, size=8, patch=4, dim=8)
    task = Task("digit", "images", Classify([str(n) for n in range(12)]))
    text = model_card(Model({"images": stem}, Transformer(8, 1, heads=2), [task]), {})
    data = ModelCard(text).data
    assert data.pipeline_tag == "image-classification"
    assert data.eval_results is None
    assert "8, 9, ... |" in text and "photo.png" in text


def test_the_card_is_saved_kept_and_pushed(tmp_path, monkeypatch):
    model, folder = build(), tmp_path / "model"
    model.save_pretrained(folder, model_card(model, FIGURES))
    first = (folder / "README.md").read_text("utf-8")
    assert ModelCard.load(folder / "README.md").data.library_name == "mtl"
    model.save_pretrained(folder)
    assert (folder / "README.md").read_text("utf-8") == first, "saving again keeps it"
    model.save_pretrained(folder, "new")
    assert (folder / "README.md").read_text("utf-8") == "new"
    assert set(Model.from_pretrained(folder).tasks) == {"nl", "a|b", "nl-b1"}
    pushed = {}

    class Api:
        def create_repo(self, *_, **__):
            pass

        def upload_folder(self, repo_id, folder_path):
            pushed.update({file.name: file.read_bytes() for file in folder_path.iterdir()})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    model.push_to_hub("anna/x", model_card(model, FIGURES, "anna/x"))
    assert set(pushed) == {"README.md", "config.json", "model.safetensors"}
    assert ModelCard(pushed["README.md"].decode()).data.model_name == "anna/x"


def test_a_header_that_the_hub_does_not_know_is_kept():
    assert ModelCard(model_card(build(), {}, base_model="anna/y")).data.base_model == "anna/y"
    with pytest.raises(TypeError):
        model_card(build(), {}, "x", "made up")


def test_figures_with_a_unit_are_not_made_per_cent():
    tasks = [
        Task("age", "images", Regress([4.0], [1.0])),
        Task("marks", "images", MultiLabel(["x", "y"])),
    ]
    model = Model({"images": Patches(1, 8, 4, dim=8)}, Transformer(8, 1, heads=2), tasks)
    figures = {
        "age": {"mae": 2.5, "mae_interval": [2.0, 3.0], "n": 7},
        "marks": {"f1": 0.5, "n": 7},
    }
    text = model_card(model, figures)
    assert "| age | 7 | mae | 2.50 | 2.0 to 3.0 |" in text and "| marks | 7 | f1 | 50.00 |" in text
    assert "any of 2 classes: x, y" in text
    (index,) = ModelCard(text).data.to_dict()["model-index"]
    found = [metric for entry in index["results"] for metric in entry["metrics"]]
    assert [(m["name"], m["value"]) for m in found] == [("mae", 2.5), ("f1 in per cent", 50.0)]
