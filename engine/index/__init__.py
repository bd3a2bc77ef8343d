"""First-moment indexes behind one base, and their snapshots on disk.

Everything here can be rebuilt from the database.
"""

from engine.index.base import MISSING, FirstMomentIndex
from engine.index.flat import FlatIndex
from engine.index.live import LiveIndex
from engine.index.quantized import QuantizedIndex

__all__ = [
    "MISSING",
    "FirstMomentIndex",
    "FlatIndex",
    "LiveIndex",
    "QuantizedIndex",
]
