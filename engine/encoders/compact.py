"""``compact``: a small image–text encoder that works offline. **It knows drawings, emoji and icons, not photographs.**

Two frozen backbones (EfficientNet-Lite0's multi-level features; MiniLM-L6-v2) with a small trained head on each, into
one 256-d space. The heads were trained by InfoNCE on captioned emoji (``benchmarks/compact``; pictures and licences in
NOTICE) and ship with the package. For photographs use an OpenCLIP encoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders import compact_backbone, compact_prepare, compact_text
from engine.encoders.compact_export import image_session, text_session
from engine.errors import InvalidFeatures, InvalidQuery, MissingWeights
from engine.records import EncoderIdentity

NAME = "compact"
DIMENSION = 256
HEADS = Path(__file__).with_name("compact_heads.safetensors")
Float32 = NDArray[np.float32]


def load_compact(device: str = "auto") -> CompactEncoder:
    """The encoder; its backbones are opened when they are first used.

    Raises:
        MissingDependency: the extra ``compact`` is not installed.
        MissingWeights: a packaged file is not there.
    """
    return CompactEncoder(device)


class CompactEncoder:
    """Images and texts to 256-d unit-norm features. Threads may share it."""

    def __init__(self, device: str = "auto") -> None:
        """Read the heads and the backbones' fingerprints; see ``load_compact``."""
        if not HEADS.is_file():
            raise MissingWeights(f"the heads are not at {HEADS}", hint="reinstall the package engine")
        self._device = device
        data = HEADS.read_bytes()
        self._heads, notes = _read_heads(data)
        digest = hashlib.sha256(data)
        digest.update(compact_prepare.VERSION.encode())
        for path in (compact_backbone.weights_path(), compact_text.model_folder() / "model.safetensors"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update((compact_text.model_folder() / "tokenizer.json").read_bytes())
        self._identity = EncoderIdentity(
            NAME, digest.hexdigest(), DIMENSION, float(notes["logit_scale"]), frozenset({"image", "text"})
        )

    @property
    def identity(self) -> EncoderIdentity:
        """See ``Encoder``."""
        return self._identity

    def prepare(self, image: Image.Image) -> Float32:
        """See ``Encoder``: ``(3, 128, 128)``."""
        return compact_prepare.prepare(image)

    def prepared_to_features(self, batch: Float32) -> Float32:
        """See ``Encoder``.

        Raises:
            InvalidFeatures: another shape or dtype, or values that are not finite.
        """
        if not len(compact_prepare.checked_batch(batch)):
            return np.empty((0, DIMENSION), np.float32)
        return self._head("image", self._images.run(None, {"images": batch})[0])

    def texts_to_features(self, texts: Sequence[str]) -> Float32:
        """See ``Encoder``. Texts beyond 128 word pieces are cut.

        Raises:
            InvalidQuery: a text is empty.
        """
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise InvalidQuery(f"a text query must be text that is not empty, got {text!r}")
        if not texts:
            return np.empty((0, DIMENSION), np.float32)
        ids, mask = compact_text.texts_to_tokens(self._tokenizer, texts)
        return self._head("text", self._texts.run(None, {"ids": ids, "mask": mask})[0])

    @cached_property
    def _images(self) -> Any:
        return image_session(self._device)

    @cached_property
    def _texts(self) -> Any:
        return text_session(self._device)

    @cached_property
    def _tokenizer(self) -> Any:
        return compact_text.load_tokenizer()

    def _head(self, side: str, features: Float32) -> Float32:
        x = features @ self._heads[f"{side}.first.weight"].T + self._heads[f"{side}.first.bias"]
        second = self._heads.get(f"{side}.second.weight")
        if second is not None:
            x = np.maximum(x, 0) @ second.T + self._heads[f"{side}.second.bias"]
        norms = np.linalg.norm(x, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise InvalidFeatures(f"the {side} encoder gave a feature that is zero or not finite")
        return np.asarray(x / norms, np.float32)


def _read_heads(data: bytes) -> tuple[dict[str, Float32], dict[str, str]]:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load

    try:
        heads = {name: np.asarray(tensor, np.float32) for name, tensor in load(data).items()}
        with safe_open(HEADS, framework="numpy") as opened:
            notes: dict[str, str] = opened.metadata()
    except SafetensorError as error:
        raise MissingWeights(f"the heads at {HEADS} are damaged: {error}", hint="reinstall engine") from error
    return heads, notes
