import pytest
from tiny_checkpoints import write

from mtl import Model, Task
from mtl.export import export
from mtl.heads.classify import Classify
from mtl.pretrained import pretrained


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "xls-r", "whisper", "w2v-bert"])
def test_pretrained_trunks_are_exported(name, tmp_path):
    write(tmp_path / "tiny", name)
    found = pretrained(str(tmp_path / "tiny"))
    task = Task("kind", "speech", Classify(["a", "b"]))
    model = Model({"speech": found.stem}, found.trunk, [task]).eval()
    assert export(model, tmp_path / "x.pt2", kind="torch").difference <= 1e-4
