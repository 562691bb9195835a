import json
import sys

import pytest
import torch

from mtl import Model, Task
from mtl.__main__ import main
from mtl.batch import Batch, Example, collate
from mtl.export import export, made
from mtl.heads.attention import Attention
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.registry import describe
from mtl.stems.frames import Frames
from mtl.stems.logmel import LogMel
from mtl.stems.pixels import Pixels
from mtl.trunks.conformer import Conformer
from mtl.trunks.resnet import ResNet
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc


def speaking(trunk):
    """Two tasks at the end, one on an inner block, and LHUC for three speakers."""
    torch.manual_seed(0)
    tasks = [
        Task("nl", "speech", CTC(["a", "b"])),
        Task("language", "speech", Classify(["nl", "cy"]), at="b1"),
        Task("spoken", "speech", Attention(describe(CTC(["a", "b"])), depth=1, heads=2)),
    ]
    model = Model({"speech": LogMel(8, bins=20, subsample=2)}, trunk, tasks)
    lhuc(model, size=3)
    with torch.no_grad():
        model.trunk.after["b1"]["lhuc"].a.normal_()
    return model.eval()


def seeing():
    torch.manual_seed(0)
    task = Task("digit", "images", Classify(["0", "1"]))
    return Model({"images": Pixels(1, size=16, dim=4)}, ResNet(4, widths=[4]), [task]).eval()


BATCH = collate(
    [
        Example(torch.randn(n, 20, generator=torch.Generator().manual_seed(n)))
        for n in (7, 90, 33, 52, 51)
    ]
)


def judge(model, found, speaker):
    """Compare what a graph gave of BATCH with the model: texts, and languages unless another spoke."""
    groups = {"speaker": torch.full((5,), speaker)}
    with torch.no_grad():
        features = model("speech", Batch(BATCH.inputs, BATCH.lengths, groups=groups), ["b1"])
        text, language = model.scores("nl", features), model.scores("language", features)
    assert list(found) == ["nl", "nl.lengths", "language"], "what writes step by step is left out"
    assert found["nl.lengths"].equal(text.lengths)
    rows = [(found["nl"][i, :n], text.x[i, :n]) for i, n in enumerate(text.lengths)]
    pairs = [*rows, (found["language"], language.x)]
    return all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in pairs)


def check_torch(trunk, path):
    model = speaking(trunk)
    done = export(model, path, kind="torch", members={"speaker": 2})
    assert done.inputs == {"inputs": ["batch", "length", 20], "lengths": ["batch"]}
    assert 0 <= done.difference <= 1e-4
    files = {"mtl.json": ""}
    program = torch.export.load(path, extra_files=files)
    found = dict(zip(done.outputs, program.module()(BATCH.inputs, BATCH.lengths), strict=True))
    about = json.loads(files["mtl.json"])
    assert about["stream"] == "speech" and about["tasks"][0]["head"]["symbols"] == ["a", "b"]
    assert judge(model, found, speaker=2)
    assert not judge(model, found, speaker=0), "the speaker is part of the graph"


def check_onnx(trunk, folder, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = speaking(trunk)
    model.save_pretrained(folder / "m")
    path = folder / "deep" / "speech.onnx"
    assert main(["export", "--model", str(folder / "m"), "--json", str(path)]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["bytes"] == path.stat().st_size
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    given = {"inputs": BATCH.inputs.numpy(), "lengths": BATCH.lengths.numpy()}
    found = map(torch.from_numpy, session.run(None, given))
    names = [each.name for each in session.get_outputs()]
    assert judge(model, dict(zip(names, found, strict=True)), speaker=0)
    about = json.loads(session.get_modelmeta().custom_metadata_map["mtl"])
    assert Model.from_config(about).tasks.keys() == model.tasks.keys()


def test_a_graph_of_onnx_gives_the_models_scores(tmp_path, capsys):
    check_onnx(Transformer(8, depth=1, heads=2), tmp_path, capsys)


@pytest.mark.slow
def test_graphs_of_torch_and_of_conformers_too(tmp_path, capsys):
    check_torch(Transformer(8, depth=1, heads=2), tmp_path / "speech.pt2")
    check_torch(Conformer(8, depth=2, heads=2), tmp_path / "speech.pt2")
    check_onnx(Conformer(8, depth=2, heads=2), tmp_path, capsys)


def test_pictures_by_command_and_a_graph_that_differs(tmp_path, capsys, monkeypatch):
    model = seeing()
    model.save_pretrained(tmp_path / "m")
    words = ["export", "--model", str(tmp_path / "m"), "--format", "torch"]
    assert main([*words, str(tmp_path)]) == 1
    assert "is a folder; name a file, such as" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "p.pt2")]) == 0
    shown = capsys.readouterr().out
    assert "takes inputs (batch, 1, 16, 16)" in shown and "gives digit\n" in shown
    batch = collate([Example(torch.randn(1, 16, 16)) for _ in range(2)])
    (found,) = torch.export.load(tmp_path / "p.pt2").module()(batch.inputs, batch.lengths)
    torch.testing.assert_close(found, model.scores("digit", model("images", batch)).x)

    before = (tmp_path / "p.pt2").read_bytes()
    wrong = torch.zeros(1, 2)
    monkeypatch.setattr("mtl.export._torch", lambda *_: b"")
    monkeypatch.setattr("mtl.export._reopened", lambda _: lambda x, _: [wrong.expand(len(x), 2)])
    assert main([*words, str(tmp_path / "p.pt2")]) == 1
    assert "is not written: its scores would differ from the model's by" in capsys.readouterr().err
    assert (tmp_path / "p.pt2").read_bytes() == before


class Wavering(ResNet):
    """Looks at its numbers, and then decides what to do."""

    def enter(self, batch):
        flow = super().enter(batch)
        return flow if bool((flow.x > 0).all()) else flow._replace(x=flow.x + 1)


def test_a_graph_that_depends_on_its_numbers_is_refused_quietly(tmp_path, capfd):
    task = Task("digit", "images", Classify(["0", "1"]))
    model = Model({"images": Pixels(1, size=16, dim=4)}, Wavering(4, widths=[4]), [task])
    with pytest.raises(
        ValueError, match=r"stream 'images' cannot be exported: .*data-depend"
    ) as error:
        export(model, tmp_path / "x", kind="torch")
    assert "\n" not in str(error.value) and capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said_in_one_line(tmp_path, monkeypatch):
    model = speaking(Transformer(8, depth=1, heads=2))
    for settings, says in (
        ({"kind": "tflite"}, "format 'tflite'; choose from onnx, torch"),
        ({"stream": "images"}, "no task reads stream 'images'; there are: speech"),
        ({"tasks": ["fr"]}, "has no task 'fr'; it has: nl, language, spoken"),
        ({"tasks": ["spoken"]}, "'spoken' writes symbol by symbol"),
        ({"tasks": []}, "has no task to export; it has: nl"),
    ):
        with pytest.raises(ValueError, match=says):
            export(model, tmp_path / "x", **{"kind": "torch", **settings})
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install 'mtl\[export\]'"):
        export(model, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_inputs_are_made_for_stems_of_frames():
    inputs, lengths = made(Frames(bins=13, dim=8, frames_per_second=50.0), (1.0, 0.5))
    assert inputs.shape == (2, 50, 13) and lengths.tolist() == [50, 25]
