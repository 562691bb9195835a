"""huggingface: what a checkpoint of transformers wants as input, made by its own processor."""

import json
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtl.encoder import Encoder

NEAREST = 0  # of Pillow's ways to resize


class HuggingFace(Encoder):
    """Runs the feature extractor or image processor that `settings` (its `to_dict`) describes.

    So rate, normalisation and image size are the checkpoint's. Samples become samples (N,) or frames (T, D);
    images (C, H, W), integers up to 255 or floats up to 1, become pixels (C, H, W) of one size. There is
    nothing to learn: `enter` hands the batch on. Raises ValueError for settings of no known processor.

    >>> stem = HuggingFace({"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True})
    >>> stem.hz, stem.frames_per_second, stem.prepare(torch.arange(3.0)).tolist()
    (16000, 16000.0, [-1.224..., 0.0, 1.224...])
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        import transformers

        self.settings = json.loads(json.dumps(settings))
        self._image = "image_processor_type" in settings
        kind = settings.get("image_processor_type") or settings.get("feature_extractor_type", "")
        if not hasattr(transformers, kind):
            raise ValueError(f"transformers has no processor {kind!r}, which the settings name")
        self._processor: Any = getattr(transformers, kind).from_dict(dict(settings))
        super().__init__(dim=3 if self._image else self._processor.feature_size)
        if not self._image:
            self._pace()

    def _pace(self) -> None:
        """Set the rates of samples and of what `prepare` gives."""
        self.hz = self._processor.sampling_rate
        self._hop, self._window, self._most = 1, 1, 0
        if "Whisper" in type(self._processor).__name__:
            self._hop, self._window = self._processor.hop_length, self._processor.n_fft
            self._most = self._processor.n_samples
            self.fixed_seconds = self._most / self.hz
        elif "SeamlessM4T" in type(self._processor).__name__:
            self.dim = self._processor.num_mel_bins * self._processor.stride
            hop = 160  # fixed in this processor, as is the window of 400
            self._hop, self._window = (
                hop * self._processor.stride,
                400 + hop,
            )  # two frames have variance
        self.frames_per_second = self.hz / self._hop

    def prepare(self, raw: Tensor) -> Tensor:
        """Run the processor on one recording (N,) at `hz`, or one image (C, H, W).

        Raises ValueError for a recording that is too short, or longer than `fixed_seconds`.
        """
        if self._image:
            rescale = {"do_rescale": False} if raw.is_floating_point() else {}
            raw = raw.expand(3, -1, -1) if raw.shape[0] == 1 else raw  # grey
            pixels: Tensor = self._processor(
                images=raw, return_tensors="pt", **rescale
            ).pixel_values[0]
            return pixels
        if len(raw) < self._window:
            raise ValueError(f"{len(raw)} samples; this stem needs {self._window} at least")
        return self._windowed(raw) if self._most else self._heard(raw)

    def prepare_map(self, raw: Tensor) -> Tensor:
        """Fit a map (H, W) to the picture; raises ValueError where the stem takes no pictures."""
        if not self._image:
            return super().prepare_map(raw)
        plain = {"do_rescale": False, "do_normalize": False, "resample": NEAREST}
        pictured = raw.float().expand(3, -1, -1)
        fitted: Tensor = self._processor(images=pictured, return_tensors="pt", **plain).pixel_values
        return fitted[0, 0]

    def _heard(self, samples: Tensor, **options: Any) -> Tensor:
        """Run a feature extractor, and keep what is not padding."""
        wave = samples.float().numpy()
        given = self._processor(wave, sampling_rate=self.hz, return_tensors="np", **options)
        frames = torch.from_numpy(np.asarray(given[self._processor.model_input_names[0]][0]))
        if frames.dim() == 2 and "attention_mask" in given:
            frames = frames[: int(given["attention_mask"][0].sum())]
        return frames.float()

    def _windowed(self, samples: Tensor) -> Tensor:
        """Give the frames that a recording reaches; the trunk adds the constant silence after them."""
        if len(samples) > self._most:
            seconds = len(samples) / self.hz
            raise ValueError(f"{seconds:.1f} s; this stem takes {self.fixed_seconds:.0f}")
        # Two windows of silence give the same frames as silence up to 30 s, in a tenth of the time.
        room = min(2 * self._window, self._most - len(samples))
        padded = torch.nn.functional.pad(samples, (0, room))
        frames = self._heard(padded, padding="longest").T
        return frames[: math.ceil((len(samples) + self._window // 2) / self._hop)].contiguous()
