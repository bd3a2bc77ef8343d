"""An ONNX decoder: latents, and perhaps class labels, to pictures.

An ONNX graph holds operators from a fixed set and no code, so it runs without trust; libraries of custom operators
are never loaded. What its inputs are given is decided in ``onnx_inputs``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.config import Settings
from engine.errors import (
    EngineError,
    GeneratorError,
    InvalidImage,
    InvalidManifest,
    SourceNotFound,
)
from engine.samples.folder import file_to_digest
from engine.samples.generators.onnx_inputs import (
    LATENTS,
    Way,
    checked_ways,
    inputs_to_ways,
    is_constant,
    way_to_values,
)
from engine.samples.generators.onnx_session import open_session, run_session
from engine.samples.generators.onnx_weights import external_weights
from engine.samples.generators.options import checked_keys, positive, required_text, resolved, text, whole
from engine.samples.generators.pixels import Range, checked_range, output_to_images, pixels_to_range
from engine.samples.generators.stop import Watch
from engine.samples.labels import error_to_reason, name_to_label
from engine.samples.protocol import Options

BATCH = 32
PROBE = 16
"""Pictures, drawn with seed 0, from which the range of the output is judged once."""
RANGE_KEY = "engine.range"
CLASSES_KEY = "engine.classes"
"""Metadata properties that a graph may carry: ``[-1, 1]``, and the number of classes."""


class OnnxGenerator:
    """A decoder in an ``.onnx`` file. It is read when it first draws."""

    kind = "onnx"

    def __init__(
        self,
        path: Path,
        *,
        latent: str = "normal",
        truncation: float | None = None,
        output_range: Range | None = None,
        classes: int | None = None,
        inputs: Mapping[str, Way] | None = None,
        batch: int = BATCH,
        settings: Settings | None = None,
    ) -> None:
        """Name a decoder.

        Args:
            latent: ``normal`` (standard normal) or ``uniform`` (in [−1, 1]).
            truncation: t: normal latents are drawn from within [−t, t] only (the truncation trick of Brock et al.
                2019), uniform ones in [−t, t].
            output_range: (lo, hi) of the output; default: what the graph says, else judged from what it draws.
            classes: class labels are drawn from 0 … classes − 1.
            inputs: how inputs are drawn that are neither the one latent nor labels; see ``onnx_inputs``.
            settings: how long a batch may take, and how much memory and how many pixels.

        Raises:
            SourceNotFound: there is no such file.
        """
        if not path.is_file():
            raise SourceNotFound(f"there is no ONNX file {name_to_label(str(path))}")
        self._path = path.absolute()
        self._latent = latent
        self._truncation = truncation
        self._range = output_range
        self._classes = classes
        self._inputs = dict(inputs or {})
        self.batch = batch
        self._settings = settings or Settings()
        self._session: Any = None
        self._judged: Range | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Options, base: Path | None, settings: Settings) -> OnnxGenerator:
        """Read the options.

        Raises:
            InvalidManifest: wrong options.
            SourceNotFound: there is no such file.
        """
        checked_keys(options, ("path", "latent", "truncation", "range", "classes", "inputs"))
        latent = text(options, "latent") or "normal"
        if latent not in LATENTS:
            raise InvalidManifest(f"the option 'latent' must be {' or '.join(LATENTS)}, got {latent!r}")
        return cls(
            resolved(required_text(options, "path"), base),
            latent=latent,
            truncation=positive(options, "truncation"),
            output_range=checked_range(options.get("range", "auto")),
            classes=whole(options, "classes"),
            inputs=checked_ways(options),
            batch=whole(options, "batch") or BATCH,
            settings=settings,
        )

    def describe(self) -> dict[str, Any]:
        """Absolute path and how it is drawn from."""
        return {
            "type": self.kind,
            "path": str(self._path),
            "latent": self._latent,
            "truncation": self._truncation,
            "range": "auto" if self._range is None else list(self._range),
            "classes": self._classes,
            "batch": self.batch,
            **({"inputs": self._inputs} if self._inputs else {}),  # records without it keep their digest
        }

    def digest(self) -> str:
        """SHA-256 of the options, of the file, and of the files that it keeps weights in.

        Raises:
            SourceNotFound, GeneratorError: one of these is not there, or cannot be read.
        """
        total = hashlib.sha256(json.dumps({**self.describe(), "path": None}, sort_keys=True).encode())
        for path in [self._path, *external_weights(self._path)]:
            try:
                total.update(file_to_digest(path).encode())
            except (InvalidImage, OSError) as exc:
                raise GeneratorError(f"{name_to_label(path.name)} cannot be read: {error_to_reason(exc)}") from exc
        return total.hexdigest()

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """Draw latents from PCG64(seed), and decode them.

        Raises:
            GeneratorError: the file is no ONNX model that can be run here, its output is not pictures, or it takes
                longer than ``generator_timeout`` or more memory than ``generator_bytes``.
            InvalidManifest: it is not known how an input is drawn, or how many classes there are.
            SourceNotFound: a file that it keeps weights in is not there.
            MissingDependency: ONNX Runtime is not installed.
        """
        with self._lock:
            if self._session is None:
                self._session = open_session(self._path, self._settings.generator_bytes)
            watch = Watch(self._settings.generator_timeout)
            try:
                pixels = self._decode(count, seed, watch)
                if self._judged is None:
                    probed = self._range or self._graph_range()
                    self._judged = probed or pixels_to_range(self._decode(PROBE, 0, watch))
            except EngineError:
                raise
            except Exception as exc:  # names that are not UTF-8, a batch of none, inputs beyond all memory
                raise GeneratorError(
                    f"{self._path.name} cannot be drawn from: {name_to_label(str(exc))[:500]}"
                ) from exc
        return output_to_images(pixels, self._judged, who=self._path.name)

    def _decode(self, count: int, seed: int, watch: Watch) -> NDArray[Any]:
        """``(count, …)`` raw output."""
        inputs, who = self._session.get_inputs(), name_to_label(self._path.name)
        ways = inputs_to_ways(inputs, self._inputs, who)
        drawn = [item for item in inputs if not is_constant(item, ways[item.name])]
        fixed = {item.shape[0] for item in drawn if item.shape and isinstance(item.shape[0], int)}
        rng = np.random.Generator(np.random.PCG64(seed))
        latents = partial(self._latents, rng=rng)
        values = {
            item.name: way_to_values(
                item, ways[item.name], count, rng, latents=latents, classes=self._class_count, who=who
            )
            for item in inputs
        }
        batched = {item.name for item in drawn}
        step = min(fixed) if fixed else count
        outputs = []
        for first in range(0, count, step):
            feed = {
                name: _padded(value[first : first + step], step) if name in batched else value
                for name, value in values.items()
            }
            output = run_session(self._session, feed, watch, who)
            if not isinstance(output, np.ndarray) or output.ndim != 4 or len(output) != step:
                shape = getattr(output, "shape", type(output).__name__)
                raise GeneratorError(
                    f"{self._path.name} gave {shape} for {step} latents, not (n, c, h, w) or (n, h, w, c)"
                )
            self._check_size(output.shape)
            outputs.append(output)
        return np.concatenate(outputs)[:count]

    def _check_size(self, shape: tuple[int, ...]) -> None:
        most = self._settings.max_pixels
        pixels = shape[1] * shape[2] * shape[3] // min(shape[1], shape[3])
        if pixels > most:
            raise GeneratorError(
                f"{self._path.name} gave shape {shape}: more than the {most} pixels that a picture may have",
                hint="raise max_pixels (ENGINE_MAX_PIXELS)",
            )

    def _latents(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        limit = self._truncation
        if self._latent == "uniform":
            return np.asarray((rng.random(shape, np.float32) * 2 - 1) * (limit or 1), np.float32)
        if limit is None:
            return rng.standard_normal(shape, np.float32)
        from scipy.special import ndtr, ndtri  # by the inverse of Φ: no redrawing, however small the limit

        low = float(ndtr(-limit))
        return np.asarray(ndtri(low + rng.random(shape) * (1 - 2 * low)), np.float32)

    def _class_count(self, name: str) -> int:
        written = self._classes or self._metadata().get(CLASSES_KEY)
        try:
            count = int(written or 0)
        except ValueError:
            count = 0
        if count < 1:
            raise InvalidManifest(
                f"{self._path.name} takes class labels ({name!r}), but how many classes there are is not known",
                hint=f"give the option 'classes', or the metadata property {CLASSES_KEY}",
            )
        return count

    def _graph_range(self) -> Range | None:
        written = self._metadata().get(RANGE_KEY)
        if written is None:
            return None
        try:
            return checked_range(json.loads(written))
        except (ValueError, RecursionError) as exc:  # InvalidManifest is a ValueError
            raise GeneratorError(
                f"{self._path.name} has the metadata {RANGE_KEY} = {written!r:.80}, not [lo, hi]"
            ) from exc

    def _metadata(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _padded(rows: NDArray[Any], length: int) -> NDArray[Any]:
    if len(rows) == length:
        return rows
    return np.concatenate([rows, np.zeros((length - len(rows), *rows.shape[1:]), rows.dtype)])
