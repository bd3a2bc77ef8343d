"""Run by the tests in a process of its own: strips come in at every entrance, in little memory.

python strips_child.py ROOM FOLDER: prints {"search 1x1000000": what came of it, …} as one JSON object.
"""

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from engine import Engine
from engine.config import Settings
from engine.server import create_app

PIXELS = 1_000_000
SIZES = [(1, PIXELS), (PIXELS, 1), (2, PIXELS // 2)]


class Entrances:
    """Each takes a picture's file and says what came of it: a count, or a status."""

    def __init__(self, engine: Engine, client: TestClient, folder: Path) -> None:
        self.engine, self.client, self.folder = engine, client, folder

    def search(self, path: Path) -> Any:
        return len(self.engine.search(image=path, k=1))

    def evaluate(self, path: Path) -> Any:
        return self.engine.evaluate([{"model": "noise", "image": path}], methods=["first_moment"]).queries

    def ingest(self, path: Path) -> Any:
        source = self.folder / path.stem
        source.mkdir()
        for i in range(4):
            noise(i).save(source / f"{i}.png")
        (source / "strip.png").write_bytes(path.read_bytes())
        return self.engine.ingest(source, name=path.stem).samples

    def request(self, path: Path) -> Any:
        answer = self.client.post("/v1/search", files={"image": ("x.png", path.read_bytes())}, data={"query": "{}"})
        return answer.status_code

    def page(self, path: Path) -> Any:
        kept = self.client.post("/pictures", files={"picture": ("x", path.read_bytes())}, headers=JSON).json()["name"]
        return self.client.get(f"/?image={kept}").status_code


JSON = {"accept": "application/json"}
NAMES = [name for name in vars(Entrances) if not name.startswith("_")]


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8))


def main() -> None:
    room, folder = int(sys.argv[1]), Path(sys.argv[2])
    paths = []
    for width, height in [(32, 33), *SIZES]:
        paths.append(folder / f"{width}x{height}.png")
        Image.new("RGB", (width, height), "red").save(paths[-1])
    source = folder / "noise"
    source.mkdir()
    for i in range(6):
        noise(i).save(source / f"{i}.png")
    said = {}
    settings = Settings(encode_together=True, decode_workers=2)
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact", settings=settings) as engine:
        engine.ingest(source)
        with TestClient(create_app(engine, with_keys=False), raise_server_exceptions=False) as client:
            entrances = Entrances(engine, client, folder)
            for path in paths:
                for name in NAMES:
                    call: Callable[[Path], Any] = getattr(entrances, name)
                    try:
                        said[f"{name} {path.stem}"] = call(path)
                    except BaseException as error:
                        said[f"{name} {path.stem}"] = repr(error)
                if path == paths[0]:  # whatever they need is loaded by now
                    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                    resource.setrlimit(resource.RLIMIT_AS, (size + room,) * 2)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
