"""What a decoder's inputs are given: the latent by itself, labels by their number, everything else as the caller says.

An export may have more inputs than a latent: StyleGAN's ``truncation_psi``, one-hot labels, noise. To draw those from
N(0, 1) would give pictures that the model does not make, so each needs a *way*: ``latent``, ``normal``, ``uniform``
(in [−1, 1]), ``one-hot``, ``labels``, or a number, which is the same for every picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidManifest
from engine.samples.generators.options import mapping
from engine.samples.labels import name_to_label
from engine.samples.protocol import Options

Way = str | float
LARGEST = 1e300
"""Beyond any number that an input is given; a whole number from JSON may be longer than a float."""
WAYS = ("latent", "normal", "uniform", "one-hot", "labels")
LATENT_NAMES = ("z", "latent", "latents", "w", "input", "noise")
LATENTS = ("normal", "uniform")
FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
WHOLES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
DTYPES: dict[str, Any] = {**FLOATS, **WHOLES, "tensor(bool)": np.bool_}


def checked_ways(options: Options) -> dict[str, Way]:
    """The option ``inputs``: names of inputs to ways.

    Raises:
        InvalidManifest: it is no mapping, or a value is no way.
    """
    given = mapping(options, "inputs")
    for name, way in given.items():
        number = isinstance(way, (int, float)) and not isinstance(way, bool) and abs(way) < LARGEST
        if not number and way not in WAYS:
            raise InvalidManifest(
                f"the option 'inputs' must give {name!r} a number or one of {', '.join(WAYS)}, got {way!r:.80}"
            )
    return given


def inputs_to_ways(inputs: Sequence[Any], given: Mapping[str, Way], who: str) -> dict[str, Way]:
    """How each input of a session is drawn.

    By itself only the latent is, which is the one floating input with the batch and at least one axis behind it, and
    whole numbers of which a picture has one, as labels.

    Raises:
        InvalidManifest: naming the inputs of which it is not known, or a name that the model does not have.
    """
    names = [item.name for item in inputs]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InvalidManifest(
            f"{who} has no input {', '.join(map(repr, unknown))}", hint=f"its inputs are {', '.join(names)}"
        )
    ways = dict(given)
    for item in inputs:
        if item.type not in DTYPES:
            raise InvalidManifest(f"the input {item.name!r} of {who} is {item.type}, neither latent nor label")
        if item.name not in given and item.type in WHOLES and item.shape[1:] in ([], [1]):
            ways[item.name] = "labels"
    latents = [item.name for item in inputs if item.name not in given and item.type in FLOATS and len(item.shape) > 1]
    if len(latents) == 1 and "latent" not in given.values():
        ways[latents[0]] = "latent"
    missing = [item for item in inputs if item.name not in ways]
    if missing:
        said = ", ".join(f"{name_to_label(item.name)!r} {tuple(item.shape)}" for item in missing)
        raise InvalidManifest(
            f"{who} does not say how to draw its input{'s' * (len(missing) > 1)} {said}; by default only a single "
            "latent (the batch axis and at least one more) and class labels (one a picture) are drawn",
            hint="choose for each: "
            + " ".join(f"--input {item.name}={_example(item)}" for item in missing)
            + f" (in a manifest, inputs: {{{missing[0].name}: {_example(missing[0])}}}); "
            f"a number, or {', '.join(WAYS)}",
        )
    return ways


def _example(item: Any) -> str:
    """A way that may suit an input, for a hint: nobody but the caller knows whether it does."""
    if len(item.shape) < 2 or item.shape[1:] == [1]:
        return "0.7" if item.type in FLOATS else "1"
    return "normal" if len(item.shape) > 2 else "latent" if item.name.lower() in LATENT_NAMES else "one-hot"


def is_constant(item: Any, way: Way) -> bool:
    """Whether an input has a fixed shape and the same content whatever is drawn: then its first axis is no batch."""
    return not isinstance(way, str) and all(isinstance(side, int) for side in item.shape)


def way_to_values(
    item: Any,
    way: Way,
    count: int,
    rng: np.random.Generator,
    *,
    latents: Callable[[tuple[int, ...]], NDArray[np.float32]],
    classes: Callable[[str], int],
    who: str,
) -> NDArray[Any]:
    """``(count, …)`` values of one input, or its own shape if it is constant.

    Args:
        latents: draws latents of a shape.
        classes: the number of classes, for an input of labels.

    Raises:
        InvalidManifest: the input's shape or type does not go with the way.
    """
    dtype = DTYPES[item.type]
    if not isinstance(way, str) and not _fits(way, dtype):
        raise InvalidManifest(f"the input {item.name!r} of {who} is {item.type} and cannot be {way}")
    if is_constant(item, way):
        return np.full(item.shape, way, dtype)
    sides = item.shape[1:]
    if not item.shape or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InvalidManifest(
            f"the input {item.name!r} of {who} has the shape {item.shape}; "
            "the batch must come first and the rest be fixed",
            hint=f"give it a number, --input {item.name}=NUMBER (inputs: in a manifest), or export the decoder with "
            "the batch as its only dynamic axis",
        )
    shape = (count, *sides)
    drawn: NDArray[Any]
    if not isinstance(way, str):
        return np.full(shape, way, dtype)
    if way == "labels" and item.type in WHOLES:
        drawn = rng.integers(classes(item.name), size=shape)
    elif way == "one-hot" and len(sides) == 1:
        drawn = np.eye(sides[0])[rng.integers(sides[0], size=count)]
    elif way == "latent" and item.type in FLOATS:
        drawn = latents(shape)
    elif way == "normal" and item.type in FLOATS:
        drawn = rng.standard_normal(shape, np.float32)
    elif way == "uniform" and item.type in FLOATS:
        drawn = rng.random(shape, np.float32) * 2 - 1
    else:
        raise InvalidManifest(f"{way!r} does not suit the input {item.name!r} of {who}: {item.type} {item.shape}")
    return drawn.astype(dtype)


def _fits(number: float, dtype: Any) -> bool:
    if np.issubdtype(dtype, np.floating):
        return abs(number) <= float(np.finfo(dtype).max)
    least, most = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return number == int(number) and least <= number <= most
