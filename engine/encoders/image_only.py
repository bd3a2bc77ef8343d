"""An encoder of pictures alone, in PyTorch: the common half of the timm and inception families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.torch_features import batch_to_unit_features
from engine.errors import InvalidQuery
from engine.records import EncoderIdentity

Float32 = NDArray[np.float32]


class ImageOnlyEncoder:
    """Pictures to unit-norm features; a text is a clear error. Threads may share it."""

    def __init__(
        self,
        identity: EncoderIdentity,
        prepare: Callable[[Image.Image], Float32],
        forward: Callable[[Any], Any],
        device: str,
    ) -> None:
        """Take the preprocessing and the network's forward function."""
        self._identity = identity
        self._prepare = prepare
        self._forward = forward
        self._device = device

    @property
    def identity(self) -> EncoderIdentity:
        """See ``Encoder``."""
        return self._identity

    def prepare(self, image: Image.Image) -> Float32:
        """See ``Encoder``."""
        return self._prepare(image)

    def prepared_to_features(self, batch: Float32) -> Float32:
        """See ``Encoder``."""
        return batch_to_unit_features(self._forward, batch, self._device)

    def texts_to_features(self, texts: Sequence[str]) -> Float32:
        """Always refused.

        Raises:
            InvalidQuery
        """
        raise InvalidQuery(
            f"the encoder {self._identity.name!r} is image-only and cannot encode {len(texts)} text(s)",
            hint="search by image, sketch or model, or use an open_clip encoder",
        )
