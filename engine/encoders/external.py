"""Encoders that live elsewhere: features and moments come in ready-made, under a name of the user's choosing."""

from __future__ import annotations

import hashlib

from engine.errors import InvalidInput
from engine.records import EncoderIdentity
from engine.texts import is_line

FAMILY = "external"
LOGIT_SCALE = 100.0
"""1/τ of OpenAI CLIP, taken for encoders that do not say their own."""


def external_identity(name: str, dimension: int) -> EncoderIdentity:
    """The identity of an encoder known only by its name and dimension: it can be searched by vectors, not by pictures.

    Raises:
        InvalidInput: the name is empty or too long, or the dimension is below 1.
    """
    if not name.strip() or len(name) > 255 or not is_line(name):
        raise InvalidInput(f"{name!r} is not an encoder name", hint="for example external:my-clip")
    if dimension < 1:
        raise InvalidInput(f"an encoder's dimension must be at least 1, got {dimension}")
    fingerprint = hashlib.sha256(f"external\n{name}\n{dimension}".encode()).hexdigest()
    return EncoderIdentity(name, fingerprint, dimension, LOGIT_SCALE, frozenset())
