"""The settings: one frozen object, validated once and handed down. No other module reads the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from engine.errors import InvalidInput
from engine.numbers import LARGEST, LARGEST_SIZE, checked_number, checked_whole, shown

DEFAULT_DATABASE = "sqlite:///engine.db"
DEFAULT_ENCODER = "open_clip:ViT-B-32/openai"
SHORTLIST_SPACES = ("auto", "first_moment", "whitened_first_moment", "linear_density")
"""The spaces that the exact rules' candidates can come from."""

INDEX_KINDS = ("auto", "flat", "quantized", "gpu")
"""How the index is searched; see ``engine.index.choose``."""

_WHOLE = {
    "shortlist": 1, "density_shortlist": 1, "batch_size": 1, "decode_workers": 1, "max_pixels": 1,
    "max_archive_bytes": 1, "thumbnail_size": 1, "checkpoint_samples": 1, "neighbours": 1, "neighbour_candidates": 1,
    "kept_features": 0, "kept_thumbnails": 0, "factor_cache_bytes": 0,
    "generator_bytes": 1, "factor_file_bytes": 0, "sample_file_bytes": 0, "card_factor_bytes": 0,
}  # fmt: skip
"""Settings that are whole numbers, each with the least that makes sense."""
LONGEST = 2_000_000
"""Seconds, some three weeks: databases count milliseconds in 31 bits."""
_NUMBERS = {
    "epsilon": (1e-30, 1e9), "busy_timeout": (1e-3, LONGEST), "generator_timeout": (1e-3, LONGEST),
    "idle_transaction_timeout": (0, LONGEST / 100), "refresh_interval": (0, LONGEST), "max_bad_share": (0, 1),
    "shrinkage": (0, 1), "recall": (0, 1),
}  # fmt: skip
"""Settings that are other numbers, each with the least and the most that make sense."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be tuned, with its default.

    Each field can be given to ``Engine.open(..., settings=Settings(...))`` or set as an environment
    variable ``ENGINE_<FIELD>`` (upper case) for the command line.
    """

    epsilon: float = 1e-4
    """ε added to every covariance's diagonal (the papers' value; stored with the statistics)."""
    shrinkage: float = 0.8
    """Weight of the collection's pooled covariance in each model's own, for Gaussian density; 0: its own alone."""
    index_kind: str = "auto"
    """`flat` reads every vector, `quantized` reads short codes of the nearest cells, `gpu` asks a card that has
    answered its probes; `auto` chooses."""
    recall: float = 0.95
    """Share of the best first moments that a search finds, on average: measured when the index was built. 1: all."""
    refresh_interval: float = 5.0
    """Seconds after which `search_vectors` notices what others have committed; 0: only when `refresh` is called."""
    shortlist: int = 200
    """Candidates that the exact stage re-ranks."""
    shortlist_space: str = "auto"
    """Where they come from: `first_moment`, `whitened_first_moment`, `linear_density`, or `auto`: the latter for
    Gaussian density, in collections of more than `shortlist` models, once `engine index build` has made it."""
    density_shortlist: int = 500
    """Candidates of the linear density that Gaussian density re-ranks, where `auto` takes them from there."""
    batch_size: int = 64
    """Images per encoder call."""
    decode_workers: int = 2
    """Threads that read and decode images while the encoder works."""
    max_bad_share: float = 0.05
    """Share of unreadable samples above which a model is refused and nothing is written."""
    max_pixels: int = 64_000_000
    """Largest picture that is decoded (width times height); more is refused as a decompression bomb."""
    max_archive_bytes: int = 64 * 2**30
    """Largest total size that an archive may unpack to."""
    kept_features: int = 1000
    """Sample features kept per model (fp16) for Monte-Carlo and best-k."""
    kept_thumbnails: int = 9
    """Preview pictures kept per model."""
    thumbnail_size: int = 128
    """Longer side of a preview, in pixels."""
    checkpoint_samples: int = 4096
    """Samples between two checkpoints of a running ingest."""
    neighbours: int = 50
    """Similar models kept per model and distance."""
    neighbour_candidates: int = 200
    """Nearest models by cosine among which Fréchet distances are computed."""
    factor_cache_bytes: int = 2 * 2**30
    """Memory for cached factors and sample features."""
    factor_file_bytes: int = 8 * 2**30
    """Largest file of packed factors beside the index; what does not fit is made when it is asked for. 0: no file."""
    sample_file_bytes: int = 8 * 2**30
    """Largest file of packed sample features, likewise."""
    rerank_device: str = "cpu"
    """Where a shortlist's densities are computed: ``cpu``, or a torch device such as ``cuda`` (not yet run on one)."""
    card_factor_bytes: int = 4 * 2**30
    """Memory that unpacked factors may take on that device."""
    busy_timeout: float = 30.0
    """Seconds to wait for another process's write lock."""
    idle_transaction_timeout: float = 20.0
    """Seconds after which Postgres ends a write whose client sends nothing, and gives its lock to others; 0: never."""
    generator_timeout: float = 600.0
    """Seconds one batch of a program or an ONNX decoder may take."""
    generator_bytes: int = 4 * 2**30
    """Memory that ONNX decoders' tensors may take, all decoders of a process together."""
    index_folder: str | None = None
    """Where index snapshots live. Default: beside a SQLite file, else in the user's cache folder."""
    trust_file: str | None = None
    """Where it is recorded which generators may be drawn from on this machine. Default: ``engine/trusted.jsonl`` in
    the user's state folder (``$XDG_STATE_HOME``, else ``~/.local/state``)."""
    encode_together: bool = False
    """Whether queries of several threads are encoded in one batch, and texts are remembered; `engine serve` does it."""
    device: str = "auto"
    """Torch device for encoders: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …"""

    def __post_init__(self) -> None:
        for name, lowest in _WHOLE.items():
            most = LARGEST_SIZE if name.endswith(("_bytes", "_pixels")) else LARGEST
            checked_whole(getattr(self, name), f"setting {name}", lowest, most)
        for name, (low, high) in _NUMBERS.items():
            checked_number(getattr(self, name), f"setting {name}", low, high)
        if self.shortlist_space not in SHORTLIST_SPACES:
            allowed = ", ".join(SHORTLIST_SPACES)
            raise InvalidInput(f"setting shortlist_space must be one of {allowed}, got {shown(self.shortlist_space)}")
        if self.index_kind not in INDEX_KINDS:
            raise InvalidInput(
                f"setting index_kind must be one of {', '.join(INDEX_KINDS)}, got {shown(self.index_kind)}"
            )
        if self.shrinkage == 1:
            raise InvalidInput(f"setting shrinkage must be a number in [0, 1), got {self.shrinkage!r}")
        if self.recall == 0:
            raise InvalidInput(f"setting recall must be a number above 0 and at most 1, got {self.recall!r}")
        if self.max_bad_share == 1:
            raise InvalidInput(f"setting max_bad_share must be in [0, 1), got {self.max_bad_share!r}")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read ``ENGINE_<FIELD>`` variables.

        Raises:
            InvalidInput: a value cannot be parsed or is out of range.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for field in fields(cls):
            text = environment.get(f"ENGINE_{field.name.upper()}")
            if text is None:
                continue
            kind = KINDS.get(str(field.type), str)
            try:
                values[field.name] = kind(text)
            except ValueError as exc:
                raise InvalidInput(
                    f"ENGINE_{field.name.upper()}={text!r} is not {'a whole number' if kind is int else 'a number'}",
                    hint="correct it, or unset it for the default",
                ) from exc
        return cls(**values)  # type: ignore[arg-type]


def _truth(text: str) -> bool:
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in known:
        raise ValueError(text)
    return known[text.lower()]


KINDS: Mapping[str, Callable[[str], object]] = {"int": int, "float": float, "bool": _truth}
"""How a setting is read, by its type's name."""


def cache_folder() -> Path:
    """The user's cache folder for what can always be rebuilt: ``$ENGINE_CACHE``, or the platform's convention."""
    given = os.environ.get("ENGINE_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "engine"


def state_folder() -> Path:
    """The user's folder for what must be kept and belongs to no collection."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "engine"
