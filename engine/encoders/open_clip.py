"""``open_clip:…``: any OpenCLIP model, the production choice.

``open_clip:ViT-B-32/openai`` is an architecture and a pretrained tag (downloaded by open_clip);
``open_clip:ViT-B-32@/models/clip.safetensors`` an architecture and a local checkpoint;
``open_clip:/models/tiny.json@/models/tiny.safetensors`` an own model configuration and its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.hub import hub_access
from engine.encoders.preprocess import normalise, resize_and_crop
from engine.encoders.registry import resolve_device
from engine.encoders.torch_features import batch_to_unit_features, load_into, state_to_fingerprint
from engine.errors import EncoderNotFound, InvalidQuery, MissingWeights
from engine.records import EncoderIdentity

Float32 = NDArray[np.float32]
RESIZING = "clean-fid bicubic, shorter side, centre crop"


def load_open_clip(rest: str, *, device: str = "auto") -> OpenClipEncoder:
    """Load ``MODEL/TAG`` or ``MODEL@FILE``.

    Raises:
        EncoderNotFound: open_clip has no such model or tag.
        MissingWeights: the weights are not here and cannot be downloaded.
    """
    import open_clip

    architecture, at, file = rest.partition("@")
    tag = ""
    if not at:
        architecture, _, tag = rest.rpartition("/")
    architecture = _architecture(open_clip, architecture or tag, rest)
    if not at and tag not in open_clip.list_pretrained_tags_by_model(architecture):
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise EncoderNotFound(
            f"open_clip has no weights {tag!r} for {architecture}",
            hint=f"tags are {', '.join(tags[:12]) or 'none'}; or a file: open_clip:{architecture}@/path.safetensors",
        )
    try:
        if at:
            network = open_clip.create_model(architecture, pretrained=None)
            load_into(network, Path(file))
        else:
            with hub_access():
                network = open_clip.create_model(architecture, pretrained=tag)
        tokenizer = open_clip.get_tokenizer(architecture)
    except MissingWeights:
        raise
    except Exception as error:  # hub, network and file errors of many kinds
        raise MissingWeights(
            f"the weights of open_clip:{rest} are not here and could not be downloaded: {_first_line(error)}",
            hint=f"download them elsewhere and give the file: open_clip:{architecture}@/path/to/weights.safetensors",
        ) from error
    return OpenClipEncoder(f"open_clip:{rest}", network, tokenizer, resolve_device(device))


class OpenClipEncoder:
    """An OpenCLIP model on one device. Threads may share it."""

    def __init__(self, name: str, network: Any, tokenizer: Any, device: str) -> None:
        """Take a loaded model; see ``load_open_clip``."""
        settings = network.visual.preprocess_cfg
        size = settings["size"]
        self._size = int(size[0] if isinstance(size, (tuple, list)) else size)
        self._mean, self._deviation = settings["mean"], settings["std"]
        notes = json.dumps([RESIZING, self._size, list(self._mean), list(self._deviation)])
        fingerprint = state_to_fingerprint(network.state_dict(), notes)
        self._device = device
        self._network = network.eval().requires_grad_(False).to(device)
        self._tokenizer = tokenizer
        probe = self._network.encode_text(tokenizer(["a"]).to(device))
        scale = float(network.logit_scale.exp())
        self._identity = EncoderIdentity(name, fingerprint, int(probe.shape[1]), scale, frozenset({"image", "text"}))

    @property
    def identity(self) -> EncoderIdentity:
        """See ``Encoder``."""
        return self._identity

    def prepare(self, image: Image.Image) -> Float32:
        """See ``Encoder``."""
        return normalise(resize_and_crop(image, self._size), self._mean, self._deviation)

    def prepared_to_features(self, batch: Float32) -> Float32:
        """See ``Encoder``."""
        return batch_to_unit_features(self._network.encode_image, batch, self._device)

    def texts_to_features(self, texts: Sequence[str]) -> Float32:
        """See ``Encoder``. Texts beyond the context length are cut.

        Raises:
            InvalidQuery: a text is empty or cannot be tokenised.
        """
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise InvalidQuery(f"a text query must be text that is not empty, got {text!r}")
        try:
            tokens = self._tokenizer(list(texts)).numpy()
        except Exception as error:
            raise InvalidQuery(f"the text cannot be tokenised: {error}") from error
        return batch_to_unit_features(self._network.encode_text, tokens, self._device)


def _architecture(open_clip: Any, name: str, rest: str) -> str:
    """A known architecture's name; a JSON configuration is registered under its file's stem first."""
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise EncoderNotFound(f"there is no model configuration at {path}")
        open_clip.add_model_config(path)
        name = path.stem
    known = open_clip.list_models()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "for example open_clip:ViT-B-32/openai"
        raise EncoderNotFound(f"open_clip has no model {name!r} (from open_clip:{rest})", hint=hint)
    return name


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
