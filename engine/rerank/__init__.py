"""Exact evidence of a shortlist: records of densities and samples, their files, and the kernels that score them.

Everything here can be rebuilt from the database.
"""

from engine.rerank.byte_cache import ByteCache
from engine.rerank.density_records import (
    PackedFactor,
    feature_to_rotated,
    packed_densities,
    statistics_to_packed,
    statistics_to_rotation,
)
from engine.rerank.gpu_densities import Card
from engine.rerank.low_rank_records import shrinkage_to_common, statistics_to_low_rank
from engine.rerank.record_file import RecordKey
from engine.rerank.record_store import RecordStore
from engine.rerank.sample_records import best_k_at, features_to_packed
from engine.rerank.scorer import Files
from engine.rerank.statistics_cache import StatisticsCache

__all__ = [
    "ByteCache",
    "Card",
    "Files",
    "PackedFactor",
    "RecordKey",
    "RecordStore",
    "StatisticsCache",
    "best_k_at",
    "feature_to_rotated",
    "features_to_packed",
    "packed_densities",
    "shrinkage_to_common",
    "statistics_to_low_rank",
    "statistics_to_packed",
    "statistics_to_rotation",
]
