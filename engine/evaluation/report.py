"""What an evaluation found, as JSON, Markdown and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.errors import StorageError
from engine.evaluation.markdown import report_to_markdown
from engine.evaluation.records import EvaluationResult

MOST_PAIRS = 100
"""Confused pairs that the JSON form holds for each modality and method."""


class Report(EvaluationResult):
    """What an evaluation found, as JSON, Markdown and plots. See docs/formats.md."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON has: NaN is None, and only the most frequent confusions are kept."""
        plain: dict[str, Any] = _plain(asdict(self))
        for confusions in plain["confusions"]:
            confusions["pairs"] = confusions["pairs"][:MOST_PAIRS]
        return plain

    def to_markdown(self) -> str:
        """Tables to read."""
        return report_to_markdown(self)

    def write(self, folder: str | Path) -> list[Path]:
        """``report.json`` and ``report.md`` in a folder, which is made.

        Raises:
            StorageError: it cannot be written.
        """
        folder = folder_for(folder)
        texts = {
            folder / "report.json": json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            folder / "report.md": self.to_markdown(),
        }
        for path, text in texts.items():
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise StorageError(f"{path} cannot be written: {error}", hint="name another folder") from error
        return list(texts)

    def plot(self, folder: str | Path) -> list[Path]:
        """Pictures of the drop-off, the confusions and, if it was measured, accuracy against samples.

        Raises:
            MissingDependency: matplotlib is not installed.
            StorageError: a picture cannot be written.
        """
        from engine.evaluation.plots import report_to_plots

        return report_to_plots(self, folder_for(folder))


def folder_for(folder: str | Path) -> Path:
    """A folder that is there.

    Raises:
        StorageError: it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder {folder} cannot be made: {error}", hint="name another folder") from error
    return folder


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
