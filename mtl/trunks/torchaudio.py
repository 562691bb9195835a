"""torchaudio: its wav2vec 2.0, HuBERT and WavLM as trunks. Yang et al. 2022; Hwang et al. 2023."""

import pickle
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio import models, pipelines

from mtl.batch import Batch, Features, Flow
from mtl.encoder import Encoder
from mtl.foreign.states import fit, read, tensors_only
from mtl.head import Head
from mtl.ops import valid
from mtl.registry import construct

FAR = -1e4  # on a score: as the original hides padding; finite, so that a row of padding is no NaN


class TorchAudio(Encoder):
    """Samples (B, N) -> frames (B, T, dim) through blocks b1 ... bN.

    `params` are those of `torchaudio.models.wav2vec2_model`, or of `wavlm_model` where they hold
    "encoder_num_buckets". Padding changes nothing: utterances in a batch give what each gives alone.

    Differs: also where the first layer normalises over time, which here are an utterance's own frames,
    and for WavLM, which in torchaudio takes no lengths; no layer is ever dropped.
    """

    def __init__(self, params: dict[str, Any]) -> None:
        self._fill(_model(params), params)

    @classmethod
    def around(cls, model: nn.Module, params: dict[str, Any]) -> "TorchAudio":
        """Cut a model of torchaudio that has its weights; the model is used up."""
        trunk = cls.__new__(cls)
        trunk._fill(model, params)
        return trunk

    def _fill(self, model: Any, params: dict[str, Any]) -> None:
        super().__init__(params["encoder_embed_dim"])
        self.params = params | {"aux_num_out": None}
        transformer = model.encoder.transformer
        self.extractor, self.projection = model.feature_extractor, model.encoder.feature_projection
        self.positions, self.norm = transformer.pos_conv_embed, transformer.layer_norm
        self.dropout, self._norm_first = transformer.dropout, transformer.layer_norm_first
        self.last = () if self._norm_first else ("norm",)
        kind = Biased if "encoder_num_buckets" in self.params else Layer
        layers = enumerate(transformer.layers, 1)
        self.blocks = nn.ModuleDict({f"b{index}": kind(layer) for index, layer in layers})

    def frames(self, lengths: Tensor) -> Tensor:
        """Count the frames of samples."""
        for layer in self.extractor.conv_layers:
            lengths = (lengths - layer.kernel_size).div(layer.stride, rounding_mode="floor") + 1
            lengths = lengths.clamp(min=0)
        return lengths

    def enter(self, batch: Batch) -> Flow:
        """Run the convolutions, the projection and the positions."""
        least = 1
        for layer in reversed(self.extractor.conv_layers):
            least = (least - 1) * layer.stride + layer.kernel_size
        x = batch.inputs.to(self.projection.projection.weight.dtype)
        x = F.pad(x, (0, max(least - x.shape[1], 0)))[:, None]
        lengths = batch.lengths
        for layer in self.extractor.conv_layers:
            x, lengths = _convolve(layer, x, lengths)
        x = self.projection(x.mT)
        x = x.masked_fill(~valid(lengths, x.shape[1])[..., None], 0.0)
        x = x + self.positions(x)
        x = self.dropout(self.norm(x) if self._norm_first else x)
        return self._flow(x, lengths, batch.groups)

    def rejoin(self, batch: Batch) -> Flow:
        """Make the mask and the position bias for stored frames."""
        return self._flow(batch.inputs, batch.lengths, batch.groups)

    def _flow(self, x: Tensor, lengths: Tensor, groups: dict[str, Tensor]) -> Flow:
        padding = ~valid(lengths, x.shape[1])
        # Of the weights' type, as WavLM's position bias is, which it is added to.
        keys = FAR * padding.to(self.norm.weight.dtype) if padding.any() else None
        extra: dict[str, Any] = {"keys": keys}
        first = next(iter(self.blocks.values()))
        if isinstance(first, Biased):
            bias = cast(Any, first.layer).attention.compute_bias(x.shape[1], x.shape[1])
            extra["bias"] = bias.expand(len(x), -1, -1, -1)
        return Flow(x, lengths, groups, extra)

    def leave(self, flow: Flow) -> Features:
        """Normalise, where the layers normalise behind."""
        return Features(flow.x if self._norm_first else self.norm(flow.x), flow.lengths)


class Layer(nn.Module):
    """A layer of wav2vec 2.0 or HuBERT."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, flow: Flow) -> Flow:
        """Run the layer on the frames that are no padding."""
        keys, frames = flow.extra["keys"], flow.x.shape[1]
        mask = None if keys is None else keys[:, None, None].expand(-1, 1, frames, -1)
        return flow._replace(x=self.layer(flow.x, mask)[0])


class Biased(Layer):
    """A layer of WavLM: all share the position bias (B, heads, T, T), whose table the first one owns."""

    def forward(self, flow: Flow) -> Flow:
        """Run the layer on the frames that are no padding."""
        bias, keys = flow.extra["bias"], flow.extra["keys"]
        return flow._replace(x=self.layer(flow.x, None, bias, keys)[0])


def _convolve(layer: Any, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Run a layer (B, C, N) of the extractor; normalise over the valid frames where it does so over time."""
    if not isinstance(layer.layer_norm, nn.GroupNorm):
        x, lengths = layer(x, lengths)
        return x, lengths
    norm, x = layer.layer_norm, layer.conv(x)
    lengths = (lengths - layer.kernel_size).div(layer.stride, rounding_mode="floor") + 1
    lengths = lengths.clamp(min=0)
    if bool((lengths == x.shape[2]).all()):
        return F.gelu(norm(x)), lengths
    x, mask = x.float(), valid(lengths, x.shape[2])[:, None]
    count = lengths.clamp(min=1)[:, None, None]
    mean = (x * mask).sum(2, keepdim=True) / count
    variance = ((x - mean).square() * mask).sum(2, keepdim=True) / count
    x = ((x - mean) * (variance + norm.eps).rsqrt()).to(norm.weight.dtype)
    return F.gelu(x * norm.weight[:, None] + norm.bias[:, None]), lengths


def load(name: str) -> tuple[Encoder, TorchAudio, Head | None]:
    """Give (stem, trunk, head) of a bundle of `torchaudio.pipelines`, such as "WAV2VEC2_BASE".

    "WAV2VEC2_BASE=FILE" takes the weights from a file instead of the network. The stem passes samples on
    at the bundle's rate, normalised where the bundle does so. Bundles fine-tuned for recognition have a
    CTC head with their weights, `|` being our space; others None.

    Raises ValueError for unknown names and damaged files, FileNotFoundError for weights that are neither
    here nor can be downloaded, `mtl.model.WrongModel` (+ - !) for a file of another architecture.
    """
    name, _, file = name.partition("=")
    bundle = getattr(pipelines, name, None)
    if not isinstance(bundle, pipelines.Wav2Vec2Bundle):
        known = [each for each in dir(pipelines) if _is_bundle(each)]
        near = get_close_matches(name, known) or known
        raise ValueError(f"torchaudio has no bundle {name!r}; did you mean {', '.join(near)}?")
    state = _of_bundle(bundle, read(Path(file))) if file else _download(name, bundle)
    model = _model(bundle._params)
    fit(model, state, file or name)
    trunk = TorchAudio.around(model, bundle._params)
    settings = {"hz": int(bundle.sample_rate), "normalise": bundle._normalize_waveform}
    stem: Encoder = construct("stems", {"name": "waveform", **settings})
    return stem, trunk.eval(), None if model.aux is None else _head(bundle, model.aux)


def _is_bundle(name: str) -> bool:
    return isinstance(getattr(pipelines, name), pipelines.Wav2Vec2Bundle)


def _model(params: dict[str, Any]) -> Any:
    """Build the original."""
    build = models.wavlm_model if "encoder_num_buckets" in params else models.wav2vec2_model
    return build(**params)


def _download(name: str, bundle: Any) -> dict[str, Tensor]:
    """Give a bundle's weights, from torch's cache or the network."""
    place = f"{torch.hub.get_dir()}/checkpoints"
    try:
        with tensors_only():
            return cast(dict[str, Tensor], bundle._get_state_dict({"progress": False}))
    except OSError as error:
        raise FileNotFoundError(
            f"{name} cannot be downloaded ({error}): put its file {bundle._path} into {place}, or use "
            f"the file by '{name}=FILE'"
        ) from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{name}: delete its damaged file in {place}: {error}") from error


def _of_bundle(bundle: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop the rows of the output layer that the bundle drops, where a file still has them."""
    unused = getattr(bundle, "_remove_aux_axis", None) or ()
    rows = (bundle._params["aux_num_out"] or 0) + len(unused)
    for key in ("aux.weight", "aux.bias"):
        if unused and key in state and len(state[key]) == rows:
            state[key] = state[key][[row for row in range(rows) if row not in unused]]
    return state


def _head(bundle: Any, output: nn.Module) -> Head:
    """Make a CTC head that gives the logits of `output`, in the case in which the bundle spells."""
    symbols = [" " if label == "|" else label for label in bundle._labels]
    case = "upper" if any(symbol.isupper() for symbol in symbols) else "lower"
    head: Any = construct("heads", {"name": "ctc", "symbols": symbols, "rules": {"case": case}})
    head.build(bundle._params["encoder_embed_dim"])
    head.output.load_state_dict(output.state_dict())
    return cast(Head, head.eval())
