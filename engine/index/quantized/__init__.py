"""The compiled inverted file: vectors sorted by cell, scored by codes, then by rows."""

from engine.index.quantized.index import QuantizedIndex

__all__ = ["QuantizedIndex"]
