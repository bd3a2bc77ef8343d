"""A collection of pictures with judged queries: sketches that a linear map of features can mend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from engine import Engine
from engine.config import Settings
from tests.engine.small_encoder import ProjectionEncoder

MODELS = 14
NAMES = [f"m{number:02}" for number in range(MODELS)]


def opened(folder: Path) -> Engine:
    """The collection in a folder, with an encoder that needs no weights."""
    encoder = ProjectionEncoder()
    settings = Settings(index_folder=str(folder / "index"))
    eng = Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder=encoder.identity.name, settings=settings)
    eng.services.session.use_encoder(encoder.identity.name, encoder)
    return eng


def make_zoo(folder: Path) -> Path:
    """Fourteen models in ``zoo.db``; six sketches and an image of each in ``queries.jsonl``."""
    rng = np.random.default_rng(4)
    lines = []
    with opened(folder) as eng:
        for name in NAMES:
            centre = np.full((8, 8, 3), 128.0)
            centre[:4] += 60 * rng.normal(size=(4, 8, 3))
            (folder / name).mkdir()
            for number in range(40):
                Image.fromarray(picture(centre, rng)).save(folder / name / f"{number:02}.png")
            eng.ingest(folder / name, name=name)
            for number in range(6):
                path = folder / f"{name}-{number}.png"
                Image.fromarray(disturbed(picture(centre, rng), rng)).save(path)
                lines.append({"model": name, "sketch": path.name})
            lines.append({"model": name, "image": f"{name}/00.png"})
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def picture(centre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An 8 × 8 picture ``(8, 8, 3)`` uint8 near a model's own."""
    return np.clip(centre + 25 * rng.normal(size=centre.shape), 0, 255).astype(np.uint8)


def disturbed(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The lower half is one loud colour that says nothing of the model: three directions of the features to unlearn."""
    drawn = drawn.copy()
    drawn[4:] = rng.integers(0, 2, size=3) * 255
    return drawn
