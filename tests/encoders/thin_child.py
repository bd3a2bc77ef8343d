"""Run by the tests in a process of its own: strips at the pixel limit, every encoder's preparation, little memory.

python thin_child.py ROOM: prints {"timm 1x1000000": true or the error, …} as one JSON object.
"""

import json
import resource
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from engine.encoders import compact_prepare, inception, preprocess, timm
from engine.ingest.stream import image_to_thumbnail
from engine.samples import any_to_image

PIXELS = 1_000_000
SHAPES = [(1, PIXELS), (PIXELS, 1), (2, PIXELS // 2), (PIXELS // 2, 2), (100, PIXELS // 100), (PIXELS // 100, 100)]
PREPARE = {
    "compact, efficientnet": compact_prepare.prepare,
    "inception": inception._prepare,
    "timm": partial(timm._prepare, size=336, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
    "open_clip": partial(preprocess.resize_and_crop, size=224),
    "preview": partial(image_to_thumbnail, size=256),
}


def main() -> None:
    room = int(sys.argv[1])
    small = Image.new("RGB", (300, 200), "red")
    for prepare in PREPARE.values():  # whatever they need is loaded by now
        prepare(small)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + room,) * 2)
    said = {}
    for width, height in SHAPES:
        for mode in ("I;16", "RGBA", "RGB"):
            image = any_to_image(Image.new(mode, (width, height)), max_pixels=PIXELS)
        for name, prepare in PREPARE.items():
            try:
                prepared = prepare(image)
                said[f"{name} {width}x{height}"] = bool(np.isfinite(getattr(prepared, "shape", (1,))).all())
            except BaseException as error:
                said[f"{name} {width}x{height}"] = repr(error)
    print(json.dumps(said))


if __name__ == "__main__":
    main()
