"""``efficientnet``: EfficientNet-Lite0's own features, ImageNet weights, image-only, works offline.

The network that ``compact`` is built on, without its head: the spatial means of the 112 channels of block 10, where
features are still of shapes rather than of ImageNet's classes. It has seen photographs and no drawings, and is here to
compare with, and as a space for ``engine learn`` to improve on.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders import compact_backbone, compact_prepare
from engine.encoders.compact_export import image_session
from engine.encoders.external import LOGIT_SCALE
from engine.encoders.image_only import ImageOnlyEncoder
from engine.encoders.torch_features import rows_to_unit
from engine.records import EncoderIdentity

NAME = "efficientnet"
BLOCK = 10
Float32 = NDArray[np.float32]


def load_efficientnet(device: str = "auto") -> EfficientNetEncoder:
    """The encoder; its network is opened when it is first used.

    Raises:
        MissingDependency: the extra ``compact`` is not installed.
        MissingWeights: the packaged file is not there.
    """
    return EfficientNetEncoder(device)


class EfficientNetEncoder(ImageOnlyEncoder):
    """Pictures to 112-d unit-norm features. Threads may share it."""

    def __init__(self, device: str = "auto") -> None:
        """Read the weights' fingerprint; see ``load_efficientnet``."""
        digest = hashlib.sha256(f"{NAME} block {BLOCK} {compact_prepare.VERSION}".encode())
        digest.update(hashlib.sha256(compact_backbone.weights_path().read_bytes()).digest())
        identity = EncoderIdentity(
            NAME, digest.hexdigest(), compact_backbone.STAGE_ENDS[BLOCK], LOGIT_SCALE, frozenset({"image"})
        )
        super().__init__(identity, compact_prepare.prepare, self._levels, device)

    @cached_property
    def _session(self) -> Any:
        return image_session(self._device)

    def _levels(self, batch: Float32) -> Float32:
        before = sum(width for block, width in compact_backbone.STAGE_ENDS.items() if block < BLOCK)
        levels: Float32 = self._session.run(None, {"images": batch})[0]
        return levels[:, before : before + self.identity.dimension]

    def prepared_to_features(self, batch: Float32) -> Float32:
        """See ``Encoder``.

        Raises:
            InvalidFeatures: another shape or dtype, or values that are not finite.
        """
        if not len(compact_prepare.checked_batch(batch)):
            return np.empty((0, self.identity.dimension), np.float32)
        return rows_to_unit(self._levels(batch))
