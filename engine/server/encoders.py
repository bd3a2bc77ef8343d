"""Which encoders a request may name: those of the collection. No other name is looked at, let alone opened."""

from __future__ import annotations

import re

from engine import Engine
from engine.server.problems import Refused
from engine.texts import is_storable

EXTERNAL = "external:"
LONGEST = 200
"""Characters of an external encoder's name."""


def encoder_to_told(name: str) -> str:
    """An encoder's name without the folder that its weights lie in: ``timm:resnet18@weights.pt``."""
    head, at, weights = name.partition("@")
    return head + at + re.split(r"[\\/]", weights)[-1]


def check_encoder(engine: Engine, name: str | None, *, may_be_new: bool = False) -> str | None:
    """The collection's own name of an encoder that a request names, in full or as it is told; blocking.

    Args:
        may_be_new: whether ``external:NAME`` may be one that the collection does not have yet.

    Raises:
        Refused: 404, in the same words whatever was named.
    """
    if name is None or name == engine.default_encoder:
        return name
    if may_be_new and name.startswith(EXTERNAL) and len(EXTERNAL) < len(name) <= LONGEST and is_storable(name):
        return name
    known = {engine.default_encoder, *(one.name for one in engine.encoders())}
    found = [one for one in known if name == one] or [one for one in known if name == encoder_to_told(one)]
    if len(found) == 1:
        return found[0]
    raise Refused(
        404, "EncoderNotFound", "the collection has no statistics of that encoder",
        hint="GET /v1/encoders lists its encoders; moments of other encoders are stored under external:NAME",
    )  # fmt: skip
