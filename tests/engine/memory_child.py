"""Run by the tests in a process of its own: ingest many samples and print the peak memory in MB.

python memory_child.py images|features COUNT DATABASE
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from small_encoder import ProjectionEncoder

from engine import Engine
from engine.samples import Sample


class DrawnPictures:
    """Pictures made when they are loaded, 256 × 256 pixels each: 50 000 of them would be 9.8 GB."""

    kind = "drawn"

    def __init__(self, count: int) -> None:
        self._count = count

    def describe(self) -> dict[str, Any]:
        return {"type": self.kind}

    def digest(self) -> str:
        return f"drawn {self._count}"

    def count(self) -> int:
        return self._count

    def samples(self, start: int = 0) -> Iterator[Sample]:
        for index in range(start, self._count):
            yield Sample(index, str(index), partial(self._load, index))

    def _load(self, index: int) -> Image.Image:
        small = np.random.default_rng(index).integers(0, 256, (4, 4, 3), np.uint8)
        return Image.fromarray(small).resize((256, 256), Image.Resampling.NEAREST)

    def close(self) -> None:
        pass


def main() -> None:
    what, count, database = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with Engine.open(f"sqlite:///{database}", create=True, encoder="compact") as eng:
        if what == "images":
            encoder = ProjectionEncoder()
            eng.services.session.use_encoder(encoder.identity.name, encoder)
            model = eng.ingest(DrawnPictures(count), name="many", encoder=encoder.identity.name)
        else:
            path = Path(database).with_suffix(".npy")
            features = np.lib.format.open_memmap(path, "w+", np.float32, (count, 512))
            for start in range(0, count, 5000):
                features[start : start + 5000] = np.random.default_rng(start).normal(
                    size=(min(5000, count - start), 512)
                )
            features.flush()
            del features
            model = eng.ingest(path, name="many", encoder="external:many")
    assert model.samples == count
    print(peak_megabytes())


def peak_megabytes() -> float:
    """Peak resident memory of this process. Linux hands ``ru_maxrss`` down from the parent; ``VmHWM`` is our own."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


if __name__ == "__main__":
    main()
