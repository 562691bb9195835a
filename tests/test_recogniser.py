"""What a recogniser cannot be built of."""

import json

import pytest
import torch
import transformers

from mtl.data.manifest import read_manifest
from mtl.recogniser import Net, recogniser


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 0}, "net.dim is 0; give 1 or more"),
        ({"depth": 0}, "net.depth is 0; give 1 or more"),
        ({"subsample": -1}, "net.subsample is -1; give 0 or more"),
        ({"bins": -1}, "net.bins is -1; give 0 or more"),
        ({"dropout": 1.0}, "net.dropout is 1.0; it is a share"),
    ],
)
def test_sizes_that_make_no_network_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        Net(**wrong)


def test_a_trunk_that_sees_is_refused(tmp_path):
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16}
    config = transformers.ViTConfig(**size, intermediate_size=24, patch_size=8)
    transformers.ViTModel(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    line = {"audio_filepath": "a.wav", "duration": 1, "text": "ab", "lang": "nl"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    with pytest.raises(ValueError, match=r"trunk .* sees pictures; the data are speech"):
        recogniser(read_manifest(tmp_path / "m.jsonl"), Net(trunk=str(tmp_path)))
