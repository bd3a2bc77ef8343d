"""A ``diffusers`` pipeline by local path or hub id, with its prompts.

Only safetensors are read, and no code that comes with a model is run: components may come from ``diffusers`` and
``transformers`` alone. Picture i of a draw with the seed s uses prompt (s + i) mod n.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from engine.config import Settings
from engine.errors import (
    EngineError,
    GeneratorError,
    InvalidManifest,
    MissingDependency,
    MissingWeights,
    SourceNotFound,
)
from engine.samples.folder import file_to_digest
from engine.samples.generators.drawn import drawn_to_images
from engine.samples.generators.options import checked_keys, positive, required_text, resolved, text, texts, whole
from engine.samples.labels import name_to_label
from engine.samples.protocol import Options

BATCH = 4
ARGUMENTS = {
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
}
"""Our options, and what pipelines call them."""


class DiffusersGenerator:
    """A pipeline, loaded when it first draws."""

    kind = "diffusers"

    def __init__(
        self,
        model: str,
        *,
        prompts: list[str] | None = None,
        revision: str | None = None,
        arguments: dict[str, Any] | None = None,
        batch: int = BATCH,
        settings: Settings | None = None,
    ) -> None:
        """Name a pipeline.

        Args:
            model: an absolute folder, or a hub id.
            prompts: None for an unconditional model.
            arguments: some of ``steps``, ``guidance_scale``, ``negative_prompt``, ``width``, ``height``.
        """
        self._model = model
        self._prompts = prompts
        self._revision = revision
        self._arguments = arguments or {}
        self._settings = settings or Settings()
        self.batch = batch
        self._pipeline: Any = None
        self._lock = threading.Lock()

    @classmethod
    def from_options(cls, options: Options, base: Path | None, settings: Settings) -> DiffusersGenerator:
        """Read the options.

        Raises:
            InvalidManifest: wrong options.
            SourceNotFound: the model is written as a path, and there is no such folder.
        """
        checked_keys(options, ("model", "prompts", "revision", *ARGUMENTS))
        model = required_text(options, "model")
        path = resolved(model, base)
        if path.is_dir():
            model = str(path)
        elif model.startswith((".", "/", "~")) or model.count("/") > 1 or "\\" in model:
            raise SourceNotFound(
                f"there is no folder {name_to_label(str(path))}", hint="give a folder, or a hub id: OWNER/NAME"
            )
        arguments = {
            "steps": whole(options, "steps"),
            "guidance_scale": positive(options, "guidance_scale"),
            "negative_prompt": text(options, "negative_prompt"),
            "width": whole(options, "width", least=8),
            "height": whole(options, "height", least=8),
        }
        return cls(
            model,
            prompts=texts(options, "prompts"),
            revision=text(options, "revision"),
            arguments={key: value for key, value in arguments.items() if value is not None},
            batch=whole(options, "batch") or BATCH,
            settings=settings,
        )

    def describe(self) -> dict[str, Any]:
        """Model, revision, prompts and arguments."""
        given = {"prompts": self._prompts, "revision": self._revision, **self._arguments, "batch": self.batch}
        kept = {key: value for key, value in given.items() if value is not None}
        return {"type": self.kind, "model": self._model, **kept}

    def digest(self) -> str:
        """SHA-256 of the record and, for a local model, of its configurations and safetensors."""
        total = hashlib.sha256(json.dumps({**self.describe(), "batch": None}, sort_keys=True).encode())
        folder = Path(self._model)
        if folder.is_dir():
            for path in sorted(folder.rglob("*")):
                if path.suffix in (".json", ".safetensors", ".txt", ".model") and path.is_file():
                    total.update(f"{path.relative_to(folder)}:{file_to_digest(path)};".encode())
        return total.hexdigest()

    def draw(self, count: int, seed: int) -> list[Image.Image]:
        """Run the pipeline once.

        Raises:
            MissingWeights: the model cannot be downloaded, or has no safetensors.
            InvalidManifest: the pipeline does not take an option that was given, or needs prompts.
            GeneratorError: it failed, or needs code of its own.
            MissingDependency: diffusers is not installed.
        """
        with self._lock:
            if self._pipeline is None:
                self._pipeline = self._load()
            import torch

            arguments = self._call_arguments(count, seed)
            arguments["generator"] = torch.Generator("cpu").manual_seed(seed)
            try:
                drawn = self._pipeline(**arguments).images
            except Exception as exc:
                raise GeneratorError(f"{self._name()} failed: {type(exc).__name__}: {exc}") from exc
        return drawn_to_images(drawn, count, who=self._name(), max_pixels=self._settings.max_pixels)

    def _call_arguments(self, count: int, seed: int) -> dict[str, Any]:
        known = inspect.signature(type(self._pipeline).__call__).parameters
        arguments = {ARGUMENTS[key]: value for key, value in self._arguments.items()}
        if self._prompts is not None:
            arguments["prompt"] = [self._prompts[(seed + i) % len(self._prompts)] for i in range(count)]
        else:
            arguments["batch_size"] = count
        names = {
            **{theirs: ours for ours, theirs in ARGUMENTS.items()},
            "prompt": "prompts",
            "batch_size": "no prompts",
        }
        refused = [names[key] for key in arguments if key not in known]
        if refused:
            raise InvalidManifest(
                f"{self._name()} ({type(self._pipeline).__name__}) does not take {', '.join(refused)}",
                hint="a text-to-image pipeline needs prompts; an unconditional one takes none",
            )
        if "negative_prompt" in arguments:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * count
        return arguments

    def _load(self) -> Any:
        try:
            from diffusers import DiffusionPipeline
            from diffusers.utils import logging
        except ImportError as exc:
            raise MissingDependency(
                "drawing from a diffusers pipeline needs diffusers", hint="pip install 'engine[diffusers]'"
            ) from exc
        import torch

        folder = Path(self._model)
        if folder.is_dir() and next(folder.rglob("*.safetensors"), None) is None:
            raise MissingWeights(
                f"{self._name()} holds no .safetensors file",
                hint="save it anew with pipeline.save_pretrained(FOLDER, safe_serialization=True)",
            )
        device = _device(self._settings.device)
        try:
            _check_components(DiffusionPipeline.load_config(self._model, revision=self._revision))
            logging.disable_progress_bar()  # of loading; progress is the caller's to show
            make: Callable[..., Any] = DiffusionPipeline.from_pretrained
            pipeline = make(
                self._model,
                revision=self._revision,
                use_safetensors=True,
                trust_remote_code=False,
                low_cpu_mem_usage=find_spec("accelerate") is not None,
            )
            pipeline.set_progress_bar_config(disable=True)
            # The keyword for the precision has changed its name between releases; to() takes it by position in all.
            return pipeline.to(device, torch.float32 if device == "cpu" else torch.float16)
        except EngineError:
            raise
        except OSError as exc:  # what diffusers raises for files that are not there, online or offline
            raise MissingWeights(
                f"{self._name()} cannot be loaded: {name_to_label(str(exc))[:500]}",
                hint="download it where there is a network, and give its folder: model: PATH",
            ) from exc
        except Exception as exc:
            raise GeneratorError(f"{self._name()} cannot be loaded: {type(exc).__name__}: {exc}") from exc

    def _name(self) -> str:
        return name_to_label(self._model)


def _check_components(config: dict[str, Any]) -> None:
    """Refuse a pipeline that names classes outside ``diffusers`` and ``transformers``: loading imports their module."""
    import diffusers.pipelines

    for name, value in config.items():
        if name == "_class_name" and not isinstance(value, str):
            raise GeneratorError("the pipeline is defined by code of its own, which is never run")
        if name.startswith("_") or not isinstance(value, (list, tuple)) or len(value) != 2:
            continue
        library = value[0]
        if library is None or not isinstance(value[1], str):
            continue
        if library not in ("diffusers", "transformers") and not hasattr(diffusers.pipelines, str(library)):
            raise GeneratorError(f"the pipeline's {name} comes from {library!r}, whose code is never run")


def _device(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted
