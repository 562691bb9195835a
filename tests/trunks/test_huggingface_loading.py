"""Loading checkpoints: what fits, what is refused; and what happens only while training."""

import json
import sys

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny_checkpoints import FAMILIES, WHISPER, batch_of, shake, sound, write

from mtl import Batch
from mtl.foreign.wav2vec2 import spans
from mtl.model import WrongModel
from mtl.registry import construct, describe
from mtl.stems.huggingface import HuggingFace as Processor
from mtl.trunks.huggingface import HuggingFace, load


def test_masking_hides_spans_while_training_only(tmp_path):
    write(tmp_path, "wav2vec2")
    trunk = load(str(tmp_path)).trunk
    trunk.rest.config.mask_time_prob, trunk.rest.config.mask_time_length = 0.5, 2
    for module in trunk.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = Batch(torch.randn(2, 4000), torch.tensor([4000, 3000]))
    plain = trunk.eval().enter(batch).x
    torch.manual_seed(1)
    hidden = trunk.train().enter(batch).x
    torch.manual_seed(1)
    assert not torch.equal(hidden, plain) and torch.equal(trunk.enter(batch).x, hidden)
    frozen = trunk.eval().requires_grad_(False)
    assert torch.equal(frozen.enter(batch).x, plain)
    unmasked = construct("trunks", describe(trunk) | {"masking": False}).train()
    assert not unmasked.rest.config.apply_spec_augment and not unmasked.masking


CODE = """
from pathlib import Path
from transformers import PretrainedConfig
Path({!r}).touch()
class Own(PretrainedConfig):
    model_type = "own"
"""


def test_code_that_comes_with_a_model_runs_only_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "own.py").write_text(CODE.format(str(tmp_path / "ran")))
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        load(str(folder))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="own"):
        load(str(folder), remote_code=True)
    assert (tmp_path / "ran").exists(), "else the test shows nothing"


def test_spans_stay_inside_and_cover_their_share():
    torch.manual_seed(0)
    lengths = torch.tensor([200, 100, 7, 3, 0] * 40)
    hidden = spans(lengths, 200, share=0.3, size=5, least=1)
    for row, length in zip(hidden, lengths.tolist(), strict=True):
        assert not row[length:].any()
        starts = (row & ~row.roll(1)).nonzero().flatten().tolist()
        assert all(row[start : start + 5].all() for start in starts)
        assert row.any() == (length >= 5)
    share = hidden[::5].float().mean().item()
    assert 0.3 * 0.75 < share < 0.3  # spans overlap


def test_the_silence_that_whisper_fills_in_is_the_extractors():
    extractor = transformers.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    stem = Processor(extractor.to_dict())
    assert (stem.hz, stem.frames_per_second, stem.fixed_seconds) == (16000, 100.0, 1.0)
    config = transformers.WhisperConfig(**WHISPER | {"decoder_layers": 0})
    trunk = HuggingFace.around(shake(transformers.WhisperModel(config)))
    seen = []
    trunk.rest.encoder.conv1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    waves = [torch.zeros(800), sound(5001), 1e-4 * sound(15900), sound(16000)]
    trunk(batch_of(stem, waves, garbage=99.0))
    for row, wave in zip(seen[0], waves, strict=True):
        expected = extractor(wave.numpy(), sampling_rate=16000)["input_features"][0]
        np.testing.assert_allclose(row.numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"1\.1 s; this stem takes 1"):
        stem.prepare(torch.zeros(17600))
    with pytest.raises(ValueError, match="101 frames; this Whisper takes 100"):
        trunk(Batch(torch.zeros(1, 101, 8), torch.tensor([101])))
    with pytest.raises(ValueError, match="all 50 frames; 20 were stored"):
        trunk.rejoin(Batch(torch.zeros(1, 20, 16), torch.tensor([20]), start="b2"))


def test_a_front_end_is_frozen_by_name_and_the_end_is_known(tmp_path):
    write(tmp_path, "xls-r")
    trunk = load(str(tmp_path)).trunk
    trunk.get_submodule("rest.feature_extractor").requires_grad_(False)
    trunk.train()(Batch(torch.randn(1, 4000), torch.tensor([4000]))).x.sum().backward()
    reached = {n for n, p in trunk.named_parameters() if p.grad is not None}
    assert not any(name.startswith("rest.feature_extractor") for name in reached)
    assert any(name.startswith("rest.feature_projection") for name in reached)
    assert trunk.last == ("rest.final_norm",)


def spoil_weights(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def cut_short(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def configure(**values):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


NORM = "encoder.layers.1.layer_norm.weight"
SPOILT = {
    "missing": (
        lambda f: spoil_weights(f, lambda w: w.pop(NORM)),
        WrongModel,
        rf"of another model:\n- {NORM}$",
    ),
    "misshaped": (
        lambda f: spoil_weights(f, lambda w: w.update({NORM: torch.ones(5)})),
        WrongModel,
        rf"! {NORM}: file \(5,\), model \(16,\)",
    ),
    "deeper": (configure(num_hidden_layers=2), WrongModel, r"\+ encoder\.layers\.2\.attention"),
    "other": (configure(model_type="wavlm"), WrongModel, r"- encoder.layers.0.attention.gru_rel"),
    "cut short": (cut_short, ValueError, "the weights of .* are damaged or cut short"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        FileNotFoundError,
        "gives no whole model: .*no file named model.safetensors",
    ),
    "no file of ours": (
        configure(model_type="bert"),
        ValueError,
        "model type 'bert' cannot be cut into blocks; these can: .*wav2vec2",
    ),
    "unknown": (
        configure(model_type="ear"),
        ValueError,
        "does not recognize this architecture|ear",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_does_not_fit_is_refused_in_plain_words(case, tmp_path):
    spoil, kind, message = SPOILT[case]
    write(tmp_path, "wav2vec2")
    spoil(tmp_path)
    with pytest.raises(kind, match=message):
        load(str(tmp_path))


def test_what_belongs_to_other_heads_may_be_left_over_and_masks_may_be_missing(tmp_path):
    settings = FAMILIES["wav2vec2"][1] | {"proj_codevector_dim": 8, "codevector_dim": 8}
    config = transformers.Wav2Vec2Config(**settings, num_codevectors_per_group=4)
    transformers.Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path)
    spoil_weights(tmp_path, lambda weights: weights.pop("wav2vec2.masked_spec_embed"))
    assert list(load(str(tmp_path)).trunk.blocks) == ["b1", "b2", "b3"]
