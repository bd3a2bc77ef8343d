"""A small encoder of pictures and words, and a collection of four models that draw one colour each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine import Engine
from engine.config import Settings
from engine.records import EncoderIdentity

DIMENSION = 6
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (20, 40, 230), "grey": (120, 120, 120)}
TAGS = {"red": ["warm", "bright"], "green": ["cold", "bright"], "blue": ["cold"], "grey": []}
KINDS = {"red": "gan", "green": "gan", "blue": "vae", "grey": "vae"}


class ColourEncoder:
    """A picture's mean colour and contrasts, to a 6-d unit-norm feature; a word stands for a picture of its colour."""

    def __init__(self) -> None:
        rows = np.random.default_rng(3).normal(size=(4, DIMENSION))
        self.projection = rows.astype(np.float32)
        self.identity = EncoderIdentity("external:colours", "c" * 64, DIMENSION, 20.0, frozenset({"image", "text"}))
        self.pictures = self.texts = 0

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        self.pictures += 1
        return np.asarray(image.convert("RGB").resize((4, 4)), np.float32).transpose(2, 0, 1) / 255

    def prepared_to_features(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        colour = batch.mean(axis=(2, 3))
        return self._features(np.concatenate([colour - 0.3, batch.std(axis=(1, 2, 3))[:, None]], axis=1))

    def texts_to_features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(texts)
        colours = np.array([COLOURS[text.split()[-1]] for text in texts], np.float32) / 255
        return self._features(np.concatenate([colours - 0.3, np.full((len(texts), 1), 0.1, np.float32)], axis=1))

    def _features(self, described: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = described @ self.projection
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture(colour: tuple[int, int, int], seed: int, noise: float = 45.0) -> Image.Image:
    """A noisy picture of one colour."""
    rng = np.random.default_rng(seed)
    pixels = np.array(colour) + noise * rng.normal(size=(4, 4, 3)) + noise * rng.normal(size=3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that collection, and judged queries of every modality; the models' pictures are not kept."""
    folder = tmp_path_factory.mktemp("judged")
    encoder = ColourEncoder()
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder=encoder.identity.name) as eng:
        eng.services.session.use_encoder(encoder.identity.name, encoder)
        for number, (name, colour) in enumerate(COLOURS.items()):
            drawn = folder / name
            drawn.mkdir()
            for i in range(30):
                picture(colour, 100 * number + i).save(drawn / f"{i:02}.png")
            eng.ingest(drawn, name=name, tags=TAGS[name], kind=KINDS[name])
            shutil.rmtree(drawn)
    lines: list[dict[str, Any]] = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        for i in range(4):
            file = f"{name}-{i}.png"
            picture(colour, 10_000 + 10 * number + i, noise=70).save(folder / file)
            group = "unseen" if i == 3 else "in-sample"
            lines.append({"model": name, ("sketch" if i == 2 else "image"): file, "group": group})
        lines.append({"model": name, "text": f"something {name}"})
        lines.append({"model": name, "text": name, "image": f"{name}-0.png"})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "queries.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def queries(stored: Path) -> Path:
    """The file of judged queries."""
    return stored / "queries.jsonl"


@pytest.fixture
def url(stored: Path, tmp_path: Path) -> str:
    """A copy of the collection."""
    shutil.copy(stored / "zoo.db", tmp_path / "zoo.db")
    return f"sqlite:///{tmp_path / 'zoo.db'}"


@pytest.fixture
def encoder() -> ColourEncoder:
    """An encoder that counts what it encodes."""
    return ColourEncoder()


@pytest.fixture
def eng(url: str, encoder: ColourEncoder, tmp_path: Path) -> Iterator[Engine]:
    """That collection, opened."""
    with Engine.open(url, settings=Settings(index_folder=str(tmp_path / "index"))) as eng:
        eng.services.session.use_encoder(encoder.identity.name, encoder)
        yield eng


@pytest.fixture
def lines(queries: Path) -> list[dict[str, Any]]:
    """The judged queries as a list, with whole paths."""
    found = [json.loads(line) for line in queries.read_text(encoding="utf-8").splitlines()]
    for line in found:
        for part in {"image", "sketch"} & line.keys():
            line[part] = str(queries.parent / line[part])
    return found


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file of queries."""

    def make(text: str) -> Path:
        path = tmp_path / "judged.jsonl"
        path.write_text(text, encoding="utf-8")
        return path

    return make
