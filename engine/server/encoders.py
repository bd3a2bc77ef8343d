"""Which encoders a request may name: those of the collection. No other name is looked at, let alone opened."""

from __future__ import annotations

from engine import Engine
from engine.server.problems import Refused
from engine.texts import is_storable

EXTERNAL = "external:"
LONGEST = 200
"""Characters of an external encoder's name."""


def check_encoder(engine: Engine, name: str | None, *, may_be_new: bool = False) -> None:
    """Whether a request may name an encoder; blocking.

    Args:
        may_be_new: whether ``external:NAME`` may be one that the collection does not have yet.

    Raises:
        Refused: 404, in the same words whatever was named.
    """
    if name is None or name == engine.default_encoder:
        return
    if may_be_new and name.startswith(EXTERNAL) and len(EXTERNAL) < len(name) <= LONGEST and is_storable(name):
        return
    if name not in {one.name for one in engine.encoders()}:
        raise Refused(
            404, "EncoderNotFound", "the collection has no statistics of that encoder",
            hint="GET /v1/encoders lists its encoders; moments of other encoders are stored under external:NAME",
        )  # fmt: skip
