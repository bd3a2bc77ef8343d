"""Samples → features → statistics → storage: the order of the stages and their resumption."""

from engine.ingest.runner import IngestResult, cannot_encode, ingest_source
from engine.ingest.stream import OnProgress

__all__ = ["IngestResult", "OnProgress", "cannot_encode", "ingest_source"]
