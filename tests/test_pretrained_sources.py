"""Where trunks come from: transformers, mtl itself, other libraries; and the heads that come along."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import save_file

from mtl import Batch, Model, Task
from mtl.batch import Features, Labels
from mtl.data.manifest import read_manifest
from mtl.heads.classify import Classify
from mtl.heads.ctc import CTC
from mtl.pretrained import pretrained
from mtl.recogniser import Net, recogniser
from mtl.stems.frames import Frames
from mtl.stems.huggingface import HuggingFace as Processor
from mtl.trunks.transformer import Transformer
from mtl.tune.lhuc import lhuc

RECIPE = Path(__file__).parents[1] / "recipes" / "multilingual_asr.py"
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "layerdrop": 0.0,
    "conv_dim": (12, 12, 12),
    "conv_stride": (10, 8, 4),
    "conv_kernel": (20, 16, 4),
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
}
VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>", "|", "E", "T", "A", "'", "O"]


def shake(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model.eval()


def write_ctc(folder, **settings):
    """A wav2vec2 with `lm_head`, whose blank is not the first row."""
    settings = {"vocab_size": len(VOCABULARY), "pad_token_id": 1} | settings
    model = shake(transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**TINY | settings)))
    model.save_pretrained(folder)
    write_vocabulary(folder, {token: index for index, token in enumerate(VOCABULARY)})
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return model


def write_vocabulary(folder, vocabulary, **options):
    path = folder / "vocab.json"
    path.write_text(json.dumps(vocabulary))
    transformers.Wav2Vec2CTCTokenizer(str(path), **options).save_pretrained(folder)


def test_lm_head_gives_the_originals_logits_and_loss(tmp_path):
    original = write_ctc(tmp_path)
    stem, trunk, head, what = pretrained(tmp_path)
    assert isinstance(head, CTC) and head.rules == {"case": "upper"}
    assert head.symbols == ["<s>", "</s>", "<unk>", " ", "E", "T", "A", "'", "O"]
    assert "2 blocks, width 16" in what and "a CTC head" in what
    model = Model({"speech": stem}, trunk, [Task("en", "speech", head)]).eval()
    torch.manual_seed(1)
    wave, text = torch.randn(9000), "ate o'toe"
    batch = Batch(stem.prepare(wave)[None], torch.tensor([9000]))
    scores = model.scores("en", model("speech", batch))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    labels = torch.tensor([tokenizer(text.upper()).input_ids])
    expected = original(batch.inputs, labels=labels)
    rows = [1, 0, *range(2, 10)]
    torch.testing.assert_close(
        scores.x, expected.logits[..., rows].log_softmax(-1), rtol=1e-5, atol=1e-5
    )
    encoded = head.encode(text)
    loss = head.loss(scores, Labels(encoded[None], torch.tensor([len(encoded)])))
    torch.testing.assert_close(loss * len(encoded), expected.loss[None], rtol=1e-5, atol=1e-5)
    heard = re.sub("<.*?>", "", tokenizer.decode(expected.logits.argmax(-1)[0]))
    assert head.predict(scores)[0].value.strip() == heard.strip()


def test_without_a_vocabulary_there_is_no_head(tmp_path):
    write_ctc(tmp_path)
    for path in [tmp_path / "vocab.json", tmp_path / "tokenizer_config.json"]:
        path.unlink()
    _, trunk, head, what = pretrained(tmp_path)
    assert head is None and what.endswith("no head") and len(trunk.blocks) == 2


def test_heads_with_weights_survive_saving(tmp_path):
    write_ctc(tmp_path / "hf")
    stem, trunk, head, _ = pretrained(tmp_path / "hf")
    Model({"speech": stem}, trunk, [Task("en", "speech", head)]).save_pretrained(tmp_path / "ours")
    again = Model.from_pretrained(tmp_path / "ours").head("en")
    assert again.output.weight.equal(head.output.weight) and again.symbols == head.symbols


def adapter_of(model, symbols, seed):
    """Weights of the adapters and scores of a language."""
    torch.manual_seed(seed)
    names = [name for name, _ in model.named_parameters() if "adapter_layer" in name]
    weights = {name: torch.randn_like(model.get_parameter(name)) for name in names}
    weights |= {"lm_head.weight": torch.randn(symbols, 16), "lm_head.bias": torch.randn(symbols)}
    return weights


def test_mms_takes_the_adapter_and_vocabulary_of_a_language(tmp_path):
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "adapter_attn_dim": 4}
    model = write_ctc(tmp_path, pad_token_id=0, **stable)
    symbols = {"eng": ["<pad>", "|", "a", "b"], "cym": ["<pad>", "|", "a", "b", "ŵ", "</s>"]}
    nested = {lang: {s: i for i, s in enumerate(known)} for lang, known in symbols.items()}
    write_vocabulary(tmp_path, nested, target_lang="eng", unk_token="<pad>", bos_token=None)
    for seed, (lang, known) in enumerate(symbols.items()):
        save_file(adapter_of(model, len(known), seed), tmp_path / f"adapter.{lang}.safetensors")
    stem, trunk, head, _ = pretrained(tmp_path, adapter="cym")
    assert head.symbols == [" ", "a", "b", "ŵ", "</s>"] and head.rules == {"keep": ""}
    original = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    original.load_adapter("cym")
    batch = Batch(stem.prepare(torch.randn(6000))[None], torch.tensor([6000]))
    got = head.scores(trunk.eval()(batch)).x
    expected = original.eval()(batch.inputs).logits.log_softmax(-1)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(FileNotFoundError, match="has no adapter 'xyz'"):
        pretrained(tmp_path, adapter="xyz")


def test_an_adapter_of_a_model_without_any_is_refused(tmp_path):
    write_ctc(tmp_path)
    with pytest.raises(ValueError, match="has no language adapters: leave out adapter='eng'"):
        pretrained(tmp_path, adapter="eng")


IMAGES = {
    "vit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32},
    "swin": {
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "image_size": 32,
        "window_size": 2,
    },
    "convnext": {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]},
    "resnet": {"hidden_sizes": [8, 12], "depths": [1, 1], "embedding_size": 8},
    "dinov2": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_image_classifiers_give_the_originals_logits(kind, tmp_path):
    classes = {0: "ant", 1: "bee", 2: "cat"}
    config = transformers.AutoConfig.for_model(kind, **IMAGES[kind], id2label=classes)
    original = shake(transformers.AutoModelForImageClassification.from_config(config))
    original.save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    stem, trunk, head, _ = pretrained(tmp_path)
    if kind == "dinov2":  # reads the token beside the mean of the others
        assert head is None
        return
    pixels = stem.prepare(torch.randint(0, 255, (3, 40, 50), dtype=torch.uint8))
    model = Model({"images": stem}, trunk, [Task("what", "images", head)]).eval()
    got = model.scores("what", model("images", Batch(pixels[None], torch.tensor([32])))).x
    assert head.classes == ["ant", "bee", "cat"]
    torch.testing.assert_close(got, original(pixels[None]).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_image_stem_runs_the_checkpoints_processor():
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    stem = Processor(processor.to_dict())
    image = torch.randint(0, 255, (3, 20, 30), dtype=torch.uint8)
    expected = processor(images=image, return_tensors="pt").pixel_values[0]
    assert torch.equal(stem.prepare(image), expected)
    assert stem.settings["image_mean"] == [0.5, 0.5, 0.5] and stem.dim == 3
    torch.testing.assert_close(stem.prepare(image / 255), expected, atol=0.01, rtol=0)


def test_recordings_a_processor_cannot_take_are_named():
    stem = Processor({"feature_extractor_type": "SeamlessM4TFeatureExtractor"})
    assert (stem.dim, stem.frames_per_second) == (160, 50.0)
    assert stem.prepare(torch.randn(8000)).shape == (24, 160)
    assert stem.prepare(torch.zeros(560)).isfinite().all()
    with pytest.raises(ValueError, match="559 samples; this stem needs 560"):
        stem.prepare(torch.zeros(559))
    with pytest.raises(ValueError, match="no processor 'Ear'"):
        Processor({"feature_extractor_type": "Ear"})


def own_model(**stems):
    stems = {name: Frames(bins=bins, dim=8, subsample=1) for name, bins in stems.items()}
    return Model(stems, Transformer(8, 2, 2), [Task("t", next(iter(stems)), Classify(["a", "b"]))])


def test_a_model_of_mtl_is_a_trunk_with_its_stem(tmp_path):
    model = own_model(speech=3, gesture=5).eval()
    model.save_pretrained(tmp_path)
    stem, trunk, head, what = pretrained(tmp_path, modality="gesture")
    assert stem.bins == 5 and "2 blocks, width 8" in what and "a Classify head" in what
    assert head.classes == ["a", "b"] and head.output.weight.equal(model.head("t").output.weight)
    batch = Batch(torch.randn(1, 6, 5), torch.tensor([6]))
    again = Model({"gesture": stem}, trunk).eval()
    assert torch.equal(again("gesture", batch).x, model("gesture", batch).x)
    with pytest.raises(ValueError, match="has stems for speech, gesture: name one as modality="):
        pretrained(tmp_path)


def test_of_several_heads_none_is_the_trunks_own(tmp_path):
    model = own_model(speech=3)
    model.add(Task("u", "speech", Classify(["a", "b"])))
    model.save_pretrained(tmp_path)
    assert pretrained(tmp_path).head is None


def test_a_trunk_that_edits_changed_is_refused(tmp_path):
    model = own_model(speech=3)
    lhuc(model, 4)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"was changed by lhuc, .* Model\.from_pretrained"):
        pretrained(tmp_path)


def test_other_libraries_load_by_their_own_file(monkeypatch):
    asked = []
    trunk = Transformer(8, 2, 2)

    def load(name):
        asked.append(name)
        return Frames(3, 8), trunk, Classify(["a"])

    monkeypatch.setitem(sys.modules, "mtl.trunks.torchvision", SimpleNamespace(load=load))
    found = pretrained("torchvision:resnet18/IMAGENET1K_V1")
    assert asked == ["resnet18/IMAGENET1K_V1"] and found.trunk is trunk
    assert found.what == "torchvision:resnet18/IMAGENET1K_V1: 2 blocks, width 8, 0.0 M weights, " \
        "a Classify head"  # fmt: skip


@pytest.mark.parametrize("error", ["LocalEntryNotFoundError", "OfflineModeIsEnabled"])
def test_without_a_network_the_id_and_the_remedy_are_named(error, monkeypatch):
    from huggingface_hub import errors

    def offline(*_, **__):
        raise getattr(errors, error)("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(
        FileNotFoundError,
        match=r"(?s)'some/model' is neither.*no connection\nCheck the name.*cache",
    ):
        pretrained("some/model")


def test_what_is_no_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing/model: no such folder"):
        pretrained(tmp_path / "missing" / "model")
    (tmp_path / "ok.wav").write_bytes(b"RIFF")
    with pytest.raises(FileNotFoundError, match=r"ok\.wav is a file; give the folder"):
        pretrained(tmp_path / "ok.wav")
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        pretrained(tmp_path)
    write_ctc(tmp_path)
    for path in tmp_path.glob("*processor_config.json"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="rate and normalisation are unknown"):
        pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        pretrained(tmp_path)


def test_a_recogniser_takes_the_trunk_and_no_inner_block(tmp_path):
    write_ctc(tmp_path)
    manifest = tmp_path / "train.jsonl"
    manifest.write_text('{"audio_filepath": "a.wav", "duration": 1.0, "text": "ab", "lang": "en"}')
    utterances = read_manifest(manifest)
    model, notes = recogniser(utterances, Net(trunk=str(tmp_path)))
    assert list(model.tasks) == ["en"] and model.head("en").symbols == ["a", "b"]
    assert model.trunk.dim == 16 and notes == [f"trunk {pretrained(tmp_path).what}"]
    model, _ = recogniser(utterances, Net(trunk=str(tmp_path), inner="b1"))
    assert list(model.tasks) == ["en", "en-b1"]
    features = model("speech", Batch(torch.randn(1, 4000), torch.tensor([4000])), ["b1"])
    assert isinstance(features.at("b1"), Features)
    assert list(recogniser(utterances)[0].tasks) == ["en", "en-b2"]


def test_the_recipe_trains_on_a_pretrained_trunk(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    write_ctc(tmp_path / "hf")
    spec = importlib.util.spec_from_file_location("multilingual_asr_trunk", RECIPE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    argv = ["--smoke", "--languages", "en=6,nl=4", "--low-resource", "nl=3", "--no-baseline"]
    module.main([*argv, "--trunk", str(tmp_path / "hf"), "--out", str(tmp_path / "run")])
    trained = Model.from_pretrained(tmp_path / "run" / "model")
    before = pretrained(tmp_path / "hf").trunk.state_dict()
    moved = [n for n, value in trained.trunk.state_dict().items() if not value.equal(before[n])]
    assert len(moved) > len(before) / 2
    assert {"en", "nl"} <= set(trained.tasks) and trained.trunk.dim == 16
