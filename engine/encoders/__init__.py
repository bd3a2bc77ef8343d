"""Images and texts to features. Databases and indexes are not known here."""

from engine.encoders.external import external_identity
from engine.encoders.protocol import Encoder, images_to_features
from engine.encoders.registry import (
    EncoderInfo,
    is_external,
    known_encoders,
    load_encoder,
    parse_name,
    resolve_device,
)

__all__ = [
    "Encoder",
    "EncoderInfo",
    "external_identity",
    "images_to_features",
    "is_external",
    "known_encoders",
    "load_encoder",
    "parse_name",
    "resolve_device",
]
