import json
import sys
from functools import wraps
from importlib import import_module

import pytest
import torch
from test_contract import DIM, WIDTH
from test_model import BATCH, build, three_tasks
from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel

from mtl.automodel import MtlConfig, MtlModel
from mtl.batch import Batch
from mtl.model import Model, WrongModel
from mtl.stems.frames import Frames
from mtl.trunks.transformer import Transformer


@pytest.fixture
def folder(tmp_path):
    model = build(*three_tasks())
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.1)
    model.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def test_the_config_is_found(folder):
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, MtlConfig)
    assert config.architectures == ["MtlModel"]
    saved = Model.from_pretrained(folder).config()
    assert json.loads(json.dumps(saved)) == {name: getattr(config, name) for name in saved}
    assert [task["name"] for task in config.tasks] == ["nl", "cy", "language"], "in their order"


def test_weights_and_outputs_are_bit_equal(folder):
    own, found = Model.from_pretrained(folder), AutoModel.from_pretrained(folder)
    assert isinstance(found, MtlModel) and not found.training
    for (name, a), (other, b) in zip(
        own.state_dict().items(), found.model.state_dict().items(), strict=True
    ):
        assert name == other and a.equal(b) and a.dtype == b.dtype
    expected = own("speech", BATCH)
    output = found(BATCH)
    assert output.last_hidden_state.equal(expected.x) and output.lengths.equal(expected.lengths)
    assert output[0].equal(expected.x), "a ModelOutput is a tuple as well"
    mask = torch.arange(BATCH.inputs.shape[1]) < BATCH.lengths[:, None]
    masked = found(BATCH.inputs, mask.long(), stream="speech")
    assert masked.last_hidden_state.equal(expected.x)
    whole = found(BATCH.inputs, stream="speech")
    lengths = torch.full((len(BATCH.lengths),), BATCH.inputs.shape[1])
    assert whole.last_hidden_state.equal(own("speech", Batch(BATCH.inputs, lengths)).x)


def test_buffers_that_are_not_saved_are_there(tmp_path, monkeypatch):
    """transformers fills models that were built without memory; such a buffer would hold anything."""
    model = build(*three_tasks())
    plain = type(model.trunk).__init__

    @wraps(plain)
    def with_table(self, *arguments, **options):
        plain(self, *arguments, **options)
        self.register_buffer("table", torch.arange(7.0), persistent=False)

    monkeypatch.setattr(type(model.trunk), "__init__", with_table)
    model.save_pretrained(tmp_path / "m")
    assert AutoModel.from_pretrained(tmp_path / "m").model.trunk.table.tolist() == list(range(7))


def test_it_saves_what_we_save(folder, tmp_path):
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_types_and_untrained_models(folder):
    half = AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    assert {weights.dtype for weights in half.parameters()} == {torch.bfloat16}
    fresh = AutoModel.from_config(AutoConfig.from_pretrained(folder))
    assert list(fresh.model.tasks) == ["nl", "cy", "language"]


def test_what_does_not_fit_is_refused(folder):
    other = build(*three_tasks()[:2])
    config = MtlConfig(**other.config())
    with pytest.raises(WrongModel, match=r"\+ heads.language"):
        MtlModel.from_pretrained(folder, config=config)
    with pytest.raises(TypeError, match="loads without quantization_config"):
        MtlModel.from_pretrained(folder, quantization_config={"bits": 4})
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a model"):
        MtlModel.from_pretrained("anna/none", local_files_only=True)
    stems = {name: Frames(WIDTH, DIM) for name in ("speech", "far")}
    several = Model(stems, Transformer(DIM, 1, heads=2)).config()
    with pytest.raises(ValueError, match=r"several stems: give stream, one of \['speech', 'far'\]"):
        MtlModel(MtlConfig(**several))(BATCH)


def test_the_trunks_file_registers_it(monkeypatch):
    for name in ("mtl.automodel", "mtl.trunks.huggingface"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import_module("mtl.trunks.huggingface")
    fresh = sys.modules["mtl.automodel"]
    try:
        assert CONFIG_MAPPING["mtl"] is fresh.MtlConfig is not MtlConfig
        assert MODEL_MAPPING[fresh.MtlConfig] is fresh.MtlModel
    finally:
        AutoConfig.register("mtl", MtlConfig, exist_ok=True)
