"""Tiny checkpoints of transformers, and sound to feed them."""

import torch
import transformers

from mtl import Batch
from mtl.batch import pad

LAYERS = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "layerdrop": 0.0,
}
FRONT = {
    "conv_dim": (12, 12, 12),
    "conv_stride": (5, 4, 2),
    "conv_kernel": (10, 8, 3),
    "num_conv_pos_embedding_groups": 4,
}
WAVE = LAYERS | FRONT | {"num_conv_pos_embeddings": 6}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
BERT = LAYERS | {"feature_projection_input_dim": 20, "conv_depthwise_kernel_size": 5}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_mel_bins": 8,
    "max_source_positions": 50,
    "vocab_size": 9,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
SAMPLES = {"feature_extractor": transformers.Wav2Vec2FeatureExtractor, "do_normalize": True}
MEL = {"feature_extractor": transformers.SeamlessM4TFeatureExtractor}
MEL |= {"num_mel_bins": 10, "feature_size": 10}
WINDOW = {"feature_extractor": transformers.WhisperFeatureExtractor}
WINDOW |= {"feature_size": 8, "chunk_length": 1}
FAMILIES = {
    "wav2vec2": ("wav2vec2", WAVE, SAMPLES),
    "xls-r": ("wav2vec2", WAVE | STABLE, SAMPLES),
    "mms": ("wav2vec2", WAVE | STABLE | {"adapter_attn_dim": 4}, SAMPLES),
    "wav2vec2-short": (
        "wav2vec2",
        WAVE | {"add_adapter": True, "output_hidden_size": 20, "num_adapter_layers": 2},
        SAMPLES | {"do_normalize": False},
    ),
    "hubert": ("hubert", WAVE, SAMPLES),
    "hubert-large": ("hubert", WAVE | STABLE | {"feat_proj_layer_norm": False}, SAMPLES),
    "hubert-batch-norm": ("hubert", WAVE | {"conv_pos_batch_norm": True}, SAMPLES),
    "wavlm": ("wavlm", WAVE | {"num_buckets": 8, "max_bucket_distance": 20}, SAMPLES),
    "wavlm-large": ("wavlm", WAVE | STABLE, SAMPLES),
    "data2vec": (
        "data2vec-audio",
        LAYERS | FRONT | {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5},
        SAMPLES,
    ),
    "w2v-bert": ("wav2vec2-bert", BERT, MEL),
    "w2v-bert-short": (
        "wav2vec2-bert",
        BERT
        | {"add_adapter": True, "num_adapter_layers": 2, "position_embeddings_type": "relative"}
        | {"use_intermediate_ffn_before_adapter": True, "output_hidden_size": 20},
        MEL,
    ),
    "w2v-bert-rotary": ("wav2vec2-bert", BERT | {"position_embeddings_type": "rotary"}, MEL),
    "whisper": ("whisper", WHISPER, WINDOW),
}
LENGTHS = [9001, 3700, 12345]


def shake(model):
    """Move every weight, also those that start at 0 or 1."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.eval()


def write(folder, name, kind=transformers.AutoModel):
    """Write a tiny checkpoint with its extractor; give the model as transformers loads it."""
    model_type, settings, extractor = FAMILIES[name]
    config = transformers.AutoConfig.for_model(model_type, **settings)
    shake(kind.from_config(config)).save_pretrained(folder)
    options = {key: value for key, value in extractor.items() if key != "feature_extractor"}
    extractor["feature_extractor"](**options).save_pretrained(folder)
    return kind.from_pretrained(folder).eval()


def sound(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=generator).cumsum(0) * 0.01


def batch_of(stem, waves, garbage=0.0):
    prepared = [stem.prepare(wave) for wave in waves]
    inputs, lengths = pad(prepared), torch.tensor([len(p) for p in prepared])
    for row, length in enumerate(lengths.tolist()):
        inputs[row, length:] = garbage
    return Batch(inputs, lengths)
