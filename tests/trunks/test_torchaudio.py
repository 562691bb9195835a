"""torchaudio's wav2vec 2.0, HuBERT and WavLM, cut: the same numbers at every block, also in a batch."""

import copy
from functools import cache
from itertools import pairwise
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchaudio import models, pipelines

from mtl.batch import Batch, pad
from mtl.head import Task
from mtl.heads.ctc import CTC
from mtl.model import Model, WrongModel
from mtl.stems.waveform import Waveform
from mtl.trunks.torchaudio import TorchAudio, load

SMALL = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[8, 10, 5], [12, 3, 2]],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 24,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
LARGE = {
    "extractor_mode": "layer_norm",
    "extractor_conv_bias": True,
    "encoder_layer_norm_first": True,
}
WAVLM = {"encoder_num_buckets": 16, "encoder_max_distance": 20}
PARAMS = {
    "base": SMALL,
    "large": SMALL | LARGE,
    "wavlm base": SMALL | WAVLM,
    "wavlm large": SMALL | LARGE | WAVLM,
}
SAMPLES = [400, 97, 260, 20]


def build(params):
    torch.manual_seed(0)
    make = models.wavlm_model if "encoder_num_buckets" in params else models.wav2vec2_model
    model = make(**params)
    for name, tensor in model.named_parameters():
        if "norm" in name or "bias" in name:
            nn.init.normal_(tensor, 0.5, 0.2)
    return model.eval()


@cache
def pair(kind):
    model = build(PARAMS[kind])
    return model, TorchAudio.around(copy.deepcopy(model), PARAMS[kind]).eval()


@pytest.fixture(params=PARAMS)
def kind(request):
    return request.param


def waves(lengths=SAMPLES):
    torch.manual_seed(1)
    return [torch.randn(length) for length in lengths]


def together(parts):
    batch = pad(parts)
    for row, part in enumerate(parts):
        batch[row, len(part) :] = 50.0  # padding holds anything
    return Batch(batch, torch.tensor([len(part) for part in parts]))


@torch.no_grad()
def test_every_block_gives_what_the_original_gives_alone_and_in_a_batch(kind):
    model, trunk = pair(kind)
    names = list(trunk.blocks)
    batch = trunk(together(waves()), names)
    for row, wave in enumerate(waves()):
        expected, _ = model.extract_features(wave[None])
        last = model(wave[None])[0]
        alone = trunk(Batch(wave[None], torch.tensor([len(wave)])), names)
        count = last.shape[1]
        assert alone.lengths.tolist() == [count] and batch.lengths[row] == count
        for name, wanted in zip([*names, None], [*expected, last], strict=True):
            torch.testing.assert_close(alone.at(name).x, wanted, rtol=0, atol=1e-5)
            padded = batch.at(name).x[row : row + 1, :count]
            torch.testing.assert_close(padded, wanted, rtol=0, atol=1e-5)


@torch.no_grad()
def test_every_block_takes_stored_inputs(kind):
    _, trunk = pair(kind)
    names = list(trunk.blocks)
    whole = trunk(together(waves()), names)
    for before, name in pairwise(names):
        stored = Batch(whole.at(before).x, whole.lengths, start=name)
        again = trunk(stored, start=(name, trunk.rejoin(stored)))
        for row, count in enumerate(whole.lengths.tolist()):
            got, wanted = again.x[row, :count], whole.x[row, :count]
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)


def test_frames_are_counted_and_too_few_samples_stay_finite(kind):
    _, trunk = pair(kind)
    lengths = torch.arange(0, 60)
    counted = trunk.frames(lengths)
    assert counted.tolist() == [
        max(((max(n - 10, -5) // 5 + 1) - 3) // 2 + 1, 0) for n in range(60)
    ]
    for samples in ([7], [400, 7], [0]):
        features = trunk(together(waves(samples)))
        assert features.lengths.tolist() == trunk.frames(torch.tensor(samples)).tolist()
        assert features.x.isfinite().all()


def test_gradients_reach_every_parameter_and_no_padding(kind):
    trunk = TorchAudio(PARAMS[kind]).eval()
    batch = together(waves([400, 97]))
    inputs = batch.inputs.requires_grad_()
    features = trunk(batch)
    sum(
        features.x[row, :count].pow(3).sum() for row, count in enumerate(features.lengths)
    ).backward()
    assert inputs.grad[1, :90].abs().sum() > 0 and not inputs.grad[1, 97:].any()
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_bfloat16_is_close(kind):
    _, trunk = pair(kind)
    exact, half = trunk(together(waves())), TorchAudio(PARAMS[kind]).eval()
    half.load_state_dict(trunk.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = [trunk(together(waves())).x]
    rough.append(half.bfloat16()(together(waves())).x)
    for x in rough:
        assert 0 < (x.float() - exact.x)[0].abs().mean() < 0.02


def test_a_saved_model_comes_back(kind, tmp_path):
    _, trunk = pair(kind)
    tasks = [Task("text", "speech", CTC(["a", "b"])), Task("inner", "speech", CTC(["a"]), at="b1")]
    model = Model({"speech": Waveform(normalise=True)}, trunk, tasks).eval()
    model.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    assert again.config() == model.config()
    for task in ("text", "inner"):
        scores = [m.scores(task, m("speech", together(waves()), ["b1"])).x for m in (model, again)]
        assert torch.equal(*scores)


class Bundle(pipelines.Wav2Vec2ASRBundle):
    """A bundle whose file lies on the disk."""


def bundle(monkeypatch, kind, labels=("|", "E", "'"), normalise=False):
    """Let torchaudio have the bundle TINY, and give its model."""
    params = PARAMS[kind] | {"aux_num_out": 1 + len(labels)}
    tiny = Bundle("tiny.pth", params, 16000, normalise, "Wav2Vec2", labels)
    monkeypatch.setattr(pipelines, "TINY", tiny, raising=False)
    return build(params)


def raw(model):
    """The weights as their authors gave them: with rows 1 to 3, which the bundle drops."""
    state = model.state_dict()
    for name in ("aux.weight", "aux.bias"):
        kept = state[name]
        state[name] = torch.cat([kept[:1], torch.full_like(kept[:3], 9.0), kept[1:]])
    return state


@torch.no_grad()
@pytest.mark.parametrize("full", [True, False])
def test_a_recogniser_comes_with_its_head(full, tmp_path, monkeypatch):
    model, file = bundle(monkeypatch, "large", normalise=True), tmp_path / "weights.pth"
    torch.save(raw(model) if full else model.state_dict(), file)
    stem, trunk, head = load(f"TINY={file}")
    assert (head.symbols, head.rules) == ([" ", "E", "'"], {"case": "upper"})
    assert head.encode("e e").tolist() == [2, 1, 2]
    whole = Model({"speech": stem}, trunk, [Task("text", "speech", head)]).eval()
    wave = 3 + 2 * torch.randn(300)
    normal = nn.functional.layer_norm(wave, wave.shape)  # as torchaudio's own wrapper does
    prepared = stem.prepare(wave)
    torch.testing.assert_close(prepared, normal)
    features = whole("speech", Batch(prepared[None], torch.tensor([300])))
    got = whole.scores("text", features).x
    wanted = model(normal[None])[0].log_softmax(-1)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_a_bundle_is_taken_from_the_cache_or_the_network(tmp_path, monkeypatch):
    model = bundle(monkeypatch, "base", labels=("|", "e"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "tiny.pth"
    place.parent.mkdir(parents=True)
    torch.save(raw(model), place)
    stem, trunk, head = load("TINY")
    assert (stem.hz, stem.normalise, stem.frames_per_second) == (16000, False, 16000.0)
    assert head.rules == {"case": "lower"}
    wave = waves()[0]
    got = trunk(Batch(wave[None], torch.tensor([400]))).x
    torch.testing.assert_close(model.aux(got), model(wave[None])[0], rtol=0, atol=1e-5)
    place.write_bytes(place.read_bytes()[:500])
    with pytest.raises(ValueError, match="TINY: delete its damaged file"):
        load("TINY")
    place.unlink()

    def offline(*_args, **_more):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        FileNotFoundError, match=r"TINY cannot be downloaded .*put its file tiny\.pth"
    ):
        load("TINY")


def test_every_bundle_can_be_described():
    """All that torchaudio names are of the two kinds that are cut here."""
    for name in dir(pipelines):
        found = getattr(pipelines, name)
        if isinstance(found, pipelines.Wav2Vec2Bundle):
            wavlm = "encoder_num_buckets" in found._params
            assert found._model_type == ("WavLM" if wavlm else "Wav2Vec2"), name


def test_wrong_names_and_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"no bundle 'WAV2VEC_BASE'; did you mean .*WAV2VEC2_BASE"):
        load("WAV2VEC_BASE")
    with pytest.raises(ValueError, match="no bundle 'HDEMUCS_HIGH_MUSDB'"):
        load("HDEMUCS_HIGH_MUSDB")
    bundle(monkeypatch, "base")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth does not exist"):
        load(f"TINY={tmp_path / 'nowhere.pth'}")
    other = tmp_path / "other.pth"
    torch.save(pair("wavlm large")[0].state_dict(), other)
    with pytest.raises(WrongModel, match=r"is of another model:\n- "):
        load(f"TINY={other}")


def test_a_waveform_is_passed_on():
    stem = Waveform(hz=8000)
    wave = torch.randn(50)
    assert torch.equal(stem.prepare(wave), wave) and stem.hz == stem.frames_per_second == 8000
    assert stem.frames(torch.tensor([50])).tolist() == [50]
    features = stem(Batch(wave[None], torch.tensor([50])))
    assert torch.equal(features.x[0], wave) and features.lengths.tolist() == [50]
    loud = Waveform(normalise=True).prepare(7 + 3 * wave)
    assert loud.mean().abs() < 1e-5 and abs(loud.std(correction=0) - 1) < 1e-3
    assert not Waveform(normalise=True).prepare(torch.ones(9)).any()
    with pytest.raises(ValueError, match=r"samples of shape \(2, 50\); expected \(N,\)"):
        stem.prepare(torch.zeros(2, 50))
