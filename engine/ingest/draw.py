"""Drawing new pictures from the generators that models were ingested from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from engine.ingest.trust import TrustService
from engine.session import Session

if TYPE_CHECKING:
    from PIL.Image import Image

    from engine.samples.generators import Stop


class DrawingService:
    """Draws from one collection's generators, as far as this machine's user trusts them."""

    def __init__(self, session: Session, trust: TrustService) -> None:
        self._session = session
        self._trust = trust

    def draw(self, name: str, count: int = 1, *, seed: int = 0, trust: bool = False) -> list[Image]:
        """Draw new images from the generator that a model was ingested from.

        Args:
            trust: draw although the generator is not trusted on this machine (see ``Engine.trust``), this once.

        Raises:
            MissingStatistics: the model was not ingested from a generator.
            NotTrusted: its generator runs code or opens files that are not trusted here, and ``trust`` is false.
            InvalidInput: ``count`` or ``seed`` is out of range.
            GeneratorError: it failed.
        """
        return list(self.drawing(name, count, seed=seed, trust=trust))

    def drawing(
        self,
        name: str,
        count: int = 1,
        *,
        seed: int = 0,
        trust: bool = False,
        code: bool = True,
        stop: Stop | None = None,
    ) -> Iterator[Image]:
        """As ``draw``, but images come as they are drawn; what is wrong with the model is raised at once.

        Args:
            code: whether generators that run code may be used where they are trusted.
            stop: bounds seconds and pixels, and can be cancelled.
        """
        from engine.samples.generators import drawing

        record = self._trust.drawable(name, trust=trust, code=code)
        return drawing(record, count, seed, True, settings=self._session.settings, stop=stop)
