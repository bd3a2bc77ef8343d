"""``timm:…``: DINO and other image-only backbones. Features are the pooled output, normalised per sample.

``timm:vit_small_patch16_224.dino`` (downloaded by timm) or ``timm:MODEL@/path/weights.safetensors``.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.external import LOGIT_SCALE
from engine.encoders.hub import hub_access
from engine.encoders.image_only import ImageOnlyEncoder
from engine.encoders.preprocess import normalise, resize_and_crop
from engine.encoders.registry import resolve_device
from engine.encoders.torch_features import load_into, state_to_fingerprint
from engine.errors import EncoderNotFound, MissingWeights
from engine.records import EncoderIdentity


def load_timm(rest: str, *, device: str = "auto") -> ImageOnlyEncoder:
    """Load ``MODEL`` or ``MODEL@FILE``.

    Raises:
        EncoderNotFound: timm has no such model.
        MissingWeights: the weights are not here and cannot be downloaded.
    """
    import timm
    import timm.data

    model, at, file = rest.partition("@")
    if not timm.is_model(model.split(".")[0]):
        near = get_close_matches(model, timm.list_models(), n=3)
        raise EncoderNotFound(f"timm has no model {model!r}", hint=f"did you mean {', '.join(near)}?" if near else None)
    try:
        with hub_access():
            network: Any = timm.create_model(model, pretrained=not at, num_classes=0)
        if at:
            load_into(network, Path(file))
    except MissingWeights:
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise MissingWeights(
            f"the weights of timm:{model} are not here and could not be downloaded: {said[0][:200]}",
            hint=f"download them elsewhere and give the file: timm:{model}@/path/to/weights.safetensors",
        ) from error
    settings: dict[str, Any] = timm.data.resolve_model_data_config(network)  # type: ignore[attr-defined, no-untyped-call]
    size, mean, deviation = int(settings["input_size"][1]), settings["mean"], settings["std"]
    notes = json.dumps(["clean-fid bicubic, shorter side, centre crop", size, list(mean), list(deviation), "unit norm"])
    identity = EncoderIdentity(
        f"timm:{rest}",
        state_to_fingerprint(network.state_dict(), notes),
        int(network.num_features),
        LOGIT_SCALE,
        frozenset({"image"}),
    )
    chosen = resolve_device(device)
    network = network.eval().requires_grad_(False).to(chosen)
    prepare = partial(_prepare, size=size, mean=mean, deviation=deviation)
    return ImageOnlyEncoder(identity, prepare, network, chosen)


def _prepare(
    image: Image.Image, *, size: int, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> NDArray[np.float32]:
    return normalise(resize_and_crop(image, size), mean, deviation)
