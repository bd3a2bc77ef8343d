"""First-moment indexes behind one base, their snapshots on disk, and the cache of factors.

Everything here can be rebuilt from the database.
"""

from engine.index.base import MISSING, FirstMomentIndex
from engine.index.cache import ByteCache
from engine.index.factor_file import FactorKey
from engine.index.factors import FactorStore
from engine.index.flat import FlatIndex
from engine.index.graph import GraphIndex
from engine.index.live import LiveIndex
from engine.index.panorama import PanoramaIndex
from engine.index.quantized import QuantizedIndex

__all__ = [
    "MISSING",
    "ByteCache",
    "FactorKey",
    "FactorStore",
    "FirstMomentIndex",
    "FlatIndex",
    "GraphIndex",
    "LiveIndex",
    "PanoramaIndex",
    "QuantizedIndex",
]
