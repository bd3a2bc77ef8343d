"""Images per second of an encoder, from files to features, and where the time goes.

    python -m benchmarks.encoder_speed                       # the compact encoder
    python -m benchmarks.encoder_speed --encoder open_clip:…

Writes PNG files of 128 and 256 pixels into a temporary folder, and runs the same stream that ``ingest`` runs: worker
threads decode and preprocess while batches are encoded. Sizes are interleaved, medians and the range of ``--runs`` are
reported, and each stage is timed alone on one thread (the forward pass on all). Results go to ``benchmarks/results/``.
"""

from __future__ import annotations

import io
import json
import os
import platform
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.config import Settings
from engine.encoders import Encoder, load_encoder
from engine.ingest.state import IngestState
from engine.ingest.stream import images_to_state
from engine.samples import FolderSource, bytes_to_image
from engine.statistics import Moments

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = (128, 256)


def write_pictures(folder: Path, size: int, count: int) -> None:
    """``count`` different smooth colour pictures with a hard edge, as PNG."""
    random = np.random.default_rng(size)
    for number in range(count):
        picture = gaussian_filter(random.random((size, size, 3)), (size / 16, size / 16, 0))
        picture = (picture - picture.min()) / np.ptp(picture)
        picture[size // 4 : size // 2, size // 4 : size // 2] = random.random(3)
        Image.fromarray(np.uint8(picture * 255)).save(folder / f"{number:05d}.png")


def files_to_rate(encoder: Encoder, folder: Path, settings: Settings) -> float:
    """Images per second of the whole stream."""
    source = FolderSource(folder)
    state = IngestState(Moments(encoder.identity.dimension))
    started = perf_counter()
    images_to_state(source, encoder, settings, state)
    return state.moments.count / (perf_counter() - started)


def stages(encoder: Encoder, folder: Path, batch: int) -> dict[str, float]:
    """Milliseconds per image of each stage alone."""
    data = [path.read_bytes() for path in sorted(folder.iterdir())[:batch]]
    started = perf_counter()
    images = [bytes_to_image(item, label="picture", max_pixels=2**24) for item in data]
    decoded = perf_counter()
    prepared = np.stack([encoder.prepare(image) for image in images])
    ready = perf_counter()
    encoder.prepared_to_features(prepared)
    ended = perf_counter()
    each = 1e3 / len(data)
    return {
        "decode": (decoded - started) * each,
        "prepare": (ready - decoded) * each,
        "forward": (ended - ready) * each,
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    import onnxruntime
    import PIL

    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The table."""
    where = report["machine"]
    stream = io.StringIO()
    print(
        f"`{report['encoder']}`, {where['cores']} cores of {where['cpu']}, {report['images']} PNG files, ",
        end="",
        file=stream,
    )
    print(f"median [range] of {report['runs']} interleaved runs; stages alone, ms per image.\n", file=stream)
    print("| file size | images/s | decode | prepare | forward |\n|--:|--:|--:|--:|--:|", file=stream)
    for size, row in report["sizes"].items():
        rates, parts = row["images_per_second"], row["stages_ms"]
        rate = f"{median(rates):.0f} [{min(rates):.0f}–{max(rates):.0f}]"
        print(f"| {size} px | {rate} | " + " | ".join(f"{parts[s]:.2f}" for s in parts) + " |", file=stream)
    return stream.getvalue()


@click.command(help=__doc__)
@click.option("--encoder", "name", default="compact", show_default=True)
@click.option("--images", default=1000, show_default=True)
@click.option("--runs", default=5, show_default=True)
def main(name: str, images: int, runs: int) -> None:
    """Measure, print, write."""
    encoder = load_encoder(name)
    settings = Settings(kept_thumbnails=0)
    with tempfile.TemporaryDirectory() as place:
        folders = {size: Path(place) / str(size) for size in SIZES}
        for size, folder in folders.items():
            folder.mkdir()
            write_pictures(folder, size, images)
            stages(encoder, folder, settings.batch_size)  # warm-up
        rates: dict[int, list[float]] = {size: [] for size in SIZES}
        parts: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
        for _ in range(runs):
            for size, folder in folders.items():
                rates[size].append(files_to_rate(encoder, folder, settings))
                parts[size].append(stages(encoder, folder, settings.batch_size))
    sizes = {
        size: {
            "images_per_second": rates[size],
            "stages_ms": {stage: median(part[stage] for part in parts[size]) for stage in parts[size][0]},
        }
        for size in SIZES
    }
    report = {"encoder": name, "images": images, "runs": runs, "machine": machine(), "sizes": sizes}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "encoder_speed.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "encoder_speed.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
