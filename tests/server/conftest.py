"""A served collection of real pictures under the compact encoder, and clients that ask it without a socket."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from engine import Engine
from engine.config import Settings
from engine.server import Limits, create_app

COLOURS = {"reds": (200, 30, 30), "greens": (30, 170, 60), "blues": (40, 60, 200), "greys": (120, 120, 120)}
PICTURES = 12
LIMITS = Limits(
    body_bytes=200_000, search_bytes=200_000, batch_bytes=200_000, text_characters=100, k=50, batch=3, page=3
)


def picture(colour: tuple[int, int, int], seed: int) -> Image.Image:
    """A disc on white, of about that colour."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), "white")
    x, y, r = (int(v) for v in rng.integers([20, 20, 10], [44, 44, 20]))
    shade = tuple(int(v) for v in np.clip(np.array(colour) + rng.integers(-20, 20, 3), 0, 255))
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=shade)
    return image


def to_bytes(image: Image.Image) -> bytes:
    """As PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ingest(engine: Engine, folder: Path) -> None:
    """Four models, one a colour."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir()
        for i in range(PICTURES):
            picture(colour, i).save(folder / name / f"{i}.png")
        tags = ["colour"] if name != "greys" else ["grey"]
        engine.ingest(folder / name, tags=tags, kind="discs", author="Ada")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The collection; tests that write use ``own``."""
    folder = tmp_path_factory.mktemp("served")
    settings = Settings(encode_together=True)
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact", settings=settings) as engine:
        ingest(engine, folder)
        yield engine


@pytest.fixture(scope="session")
def client(served: Engine) -> Iterator[TestClient]:
    """Asks the served collection, without keys."""
    with TestClient(create_app(served, limits=LIMITS, with_keys=False), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Engine]:
    """An empty collection of moments that a test may change."""
    with Engine.open(f"sqlite:///{tmp_path / 'own.db'}", create=True, encoder="external:mine") as engine:
        yield engine


@pytest.fixture
def writer(own: Engine) -> Iterator[TestClient]:
    """Asks and changes it, without keys."""
    with TestClient(create_app(own, limits=LIMITS, with_keys=False), raise_server_exceptions=False) as client:
        yield client
