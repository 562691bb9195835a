"""torchvision: pictures as the weights of torchvision expect them: resized, cropped, normalised."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, functional

from mtl.encoder import Encoder


class TorchVision(Encoder):
    """Pixels (B, 3, crop, crop), prepared as the `transforms()` of torchvision's weights do.

    The shorter side becomes `resize`, the centre `crop` is kept, and a value from 0 to 1 becomes
    (value - mean) / std per channel.

    >>> stem = TorchVision(crop=224)
    >>> stem.prepare(torch.zeros(1, 300, 400, dtype=torch.uint8)).shape
    torch.Size([3, 224, 224])
    """

    def __init__(
        self,
        crop: int,
        resize: int = 256,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        interpolation: str = "bilinear",
        antialias: bool = True,
    ) -> None:
        super().__init__(dim=len(mean))
        self.crop, self.resize = crop, resize
        self.mean, self.std = list(mean), list(std)
        self.interpolation, self.antialias = interpolation, antialias

    def prepare(self, raw: Tensor) -> Tensor:
        """Turn a picture (C, H, W), bytes or 0 to 1, into (3, crop, crop); grey is repeated.

        Raises ValueError for another number of channels.
        """
        if raw.dim() != 3 or len(raw) not in (1, self.dim):
            raise ValueError(
                f"pixels {tuple(raw.shape)}; expected (C, H, W) of 1 or {self.dim} channels"
            )
        mode = InterpolationMode(self.interpolation)
        x = raw.expand(self.dim, -1, -1)
        x = functional.resize(x, [self.resize], interpolation=mode, antialias=self.antialias)
        x = functional.convert_image_dtype(functional.center_crop(x, [self.crop]), torch.float)
        normal: Tensor = functional.normalize(x, self.mean, self.std)
        return normal

    def prepare_map(self, raw: Tensor) -> Tensor:
        """Fit a map (H, W) to the picture: (crop, crop)."""
        near = InterpolationMode.NEAREST_EXACT
        x = functional.resize(raw.float()[None], [self.resize], interpolation=near)
        fitted: Tensor = functional.center_crop(x, [self.crop])[0]
        return fitted
