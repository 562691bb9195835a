"""Trunks of transformers give what the original gives, block by block, and padding changes nothing."""

import copy
import json

import pytest
import torch
import transformers
from tiny_checkpoints import FAMILIES, LENGTHS, batch_of, sound, write

from mtl import Batch, Model, Task
from mtl.heads.classify import Classify
from mtl.pretrained import pretrained


@pytest.fixture(params=FAMILIES, scope="module")
def found(request, tmp_path_factory):
    """(the original, its extractor, ours)."""
    folder = tmp_path_factory.mktemp(request.param)
    original = write(folder, request.param)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    return original, extractor, pretrained(folder)


@torch.no_grad()
def heard(original, extractor, wave):
    """What goes into the first layer, what comes out of each, and the end."""
    encoder = getattr(original, "encoder", original)
    seen = []
    hooks = [
        encoder.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0])),
        *[
            layer.register_forward_hook(
                lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
            )
            for layer in encoder.layers
        ],
    ]
    given = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
    if len(
        mask := given.pop("attention_mask", [])
    ):  # half a frame at the end of w2v-BERT's is padding
        given["input_features"] = given["input_features"][:, : int(mask.sum())]
    if original.config.model_type == "whisper":
        end = encoder(given["input_features"]).last_hidden_state
    else:
        end = original(**given).last_hidden_state
    for hook in hooks:
        hook.remove()
    return [*seen, end]


def test_every_block_gives_what_the_original_gives(found):
    original, extractor, (stem, trunk, head, _) = found
    trunk.eval()
    assert head is None
    for samples in LENGTHS:
        wave = sound(samples)
        expected = heard(original, extractor, wave)
        batch = batch_of(stem, [wave])
        with torch.no_grad():
            features = trunk(stem_of(stem, batch), list(trunk.blocks))
            entered = trunk.enter(stem_of(stem, batch))
        assert list(trunk.blocks) == ["b1", "b2", "b3"]
        got = [entered.x, *[features.at(name).x for name in trunk.blocks], features.x]
        for index, (ours, theirs) in enumerate(zip(got, expected, strict=True)):
            frames = int(features.lengths if index == 4 else entered.lengths)
            assert frames > 2
            torch.testing.assert_close(
                ours[:, :frames], theirs[:, :frames], rtol=1e-5, atol=1e-5, msg=f"part {index}"
            )
        assert features.lengths.item() == int(trunk.frames(batch.lengths))
        assert features.x.shape[2] == trunk.dim
        assert not features.x[0, int(features.lengths) :].any()


def stem_of(stem, batch):
    features = stem(batch)
    return batch._replace(inputs=features.x, lengths=features.lengths)


@torch.no_grad()
def test_padding_changes_nothing(found):
    _, _, (stem, trunk, _, _) = found
    trunk.eval()
    waves = [sound(samples, seed) for seed, samples in enumerate(LENGTHS)]
    taps = list(trunk.blocks)
    together = trunk(batch_of(stem, waves, garbage=50.0), taps)
    for row, wave in enumerate(waves):
        alone = trunk(batch_of(stem, [wave]), taps)
        for tap in [None, *taps]:
            kept = int(together.at(tap).lengths[row])
            assert kept == int(alone.at(tap).lengths)
            torch.testing.assert_close(
                together.at(tap).x[row, :kept], alone.at(tap).x[0, :kept], rtol=1e-5, atol=1e-5
            )
            assert not together.at(tap).x[row, kept:].any()


@torch.no_grad()
def test_stored_inputs_of_any_block_give_the_same_end(found):
    _, _, (stem, trunk, _, _) = found
    trunk.eval()
    batch = batch_of(stem, [sound(samples, 1) for samples in LENGTHS])
    expected, flow = trunk(batch), trunk.enter(batch)
    for name, block in trunk.blocks.items():
        stored = Batch(flow.x, flow.lengths, start=name)
        again = trunk(stored, start=(name, trunk.rejoin(stored)))
        torch.testing.assert_close(again.x, expected.x, rtol=0, atol=1e-6)
        flow = block(flow)


def test_a_saved_model_needs_no_other_folder(found, tmp_path):
    _, _, (stem, trunk, _, _) = found
    model = Model({"speech": stem}, trunk, [Task("word", "speech", Classify(["a", "b"]))]).eval()
    model.save_pretrained(tmp_path)
    again = Model.from_pretrained(tmp_path)
    wave = sound(7000)
    results = [
        m.scores("word", m("speech", batch_of(m.stem("speech"), [wave]))).x for m in (model, again)
    ]
    assert torch.equal(*results)
    assert again.config() == model.config() == json.loads(json.dumps(model.config()))
    part = pretrained(tmp_path)
    assert torch.equal(
        copy.deepcopy(trunk)(batch_of(stem, [wave])).x, trunk(batch_of(stem, [wave])).x
    )
    assert torch.equal(
        part.trunk.eval()(batch_of(part.stem, [wave])).x, trunk(batch_of(stem, [wave])).x
    )


def test_gradients_reach_every_weight_also_when_blocks_are_computed_again(found):
    _, _, (stem, trunk, _, _) = found
    batch = batch_of(stem, [sound(samples) for samples in LENGTHS[:2]])
    results = []
    for again in (False, True):
        trunk.eval().zero_grad()
        for name in trunk.blocks:
            trunk.blocks[name].train()
            for module in trunk.blocks[name].modules():
                if isinstance(module, torch.nn.Dropout):
                    module.eval()
        trunk.training, trunk.checkpointing = True, again
        torch.manual_seed(3)
        trunk(batch).x.square().sum().backward()
        trunk.training, trunk.checkpointing = False, False
        results.append({n: p.grad for n, p in trunk.named_parameters() if p.requires_grad})
    for name, gradient in results[0].items():
        if not name.endswith("masked_spec_embed"):
            assert gradient is not None and gradient.abs().sum() > 0, name
            torch.testing.assert_close(results[1][name], gradient, rtol=1e-3, atol=1e-4)


def test_bfloat16_is_close(found):
    _, _, (stem, trunk, _, _) = found
    trunk.eval()
    batch = batch_of(stem, [sound(samples) for samples in LENGTHS[:2]])
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rough = trunk(batch).x.float()
    exact = trunk(batch).x
    assert 0 < (rough - exact).abs().mean() < 0.1 * exact.abs().mean()


@pytest.mark.parametrize("found", ["wav2vec2"], indirect=True)
def test_too_short_and_empty_utterances_stay_finite(found):
    _, _, (_, trunk, _, _) = found
    batch = Batch(torch.randn(3, 30), torch.tensor([30, 0, 3]))
    features = trunk.eval()(batch)
    assert features.lengths.tolist() == [0, 0, 0] and features.x.isfinite().all()
