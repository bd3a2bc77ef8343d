"""Records to the JSON objects that docs/formats.md describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.errors import EngineError
    from engine.ingest.report import IngestOutcome
    from engine.records import Hit, Hits, Model, Transform


def model_to_json(model: Model) -> dict[str, Any]:
    """Everything that the catalogue knows of a model."""
    return {
        "name": model.name,
        "kind": model.kind,
        "tags": list(model.tags),
        "samples": model.samples,
        "description": model.description,
        "author": model.author,
        "license": model.license,
        "base_model": model.base_model,
        "links": dict(model.links),
        "resolution": model.resolution,
        "encoders": list(model.encoders),
        "metadata": dict(model.metadata),
        "quarantined": model.quarantined,
        "source": dict(model.source),
        "generator": None if model.generator is None else dict(model.generator),
        "id": model.id,
        "created_at": model.created_at,
        "updated_at": model.updated_at,
    }


def hit_to_json(hit: Hit) -> dict[str, Any]:
    """One answer."""
    return {
        "rank": hit.rank,
        "name": hit.name,
        "score": hit.score,
        "kind": hit.model.kind,
        "tags": list(hit.model.tags),
        "description": hit.model.description,
        "parts": dict(hit.parts),
        "id": hit.model.id,
    }


def hits_to_json(hits: Hits) -> dict[str, Any]:
    """The answers and how they were found."""
    return {
        "hits": [hit_to_json(hit) for hit in hits],
        "method": hits.method,
        "timings_ms": hits.timings_ms,
        "shortlist": hits.shortlist,
        "left_out": hits.left_out,
        "transform": hits.transform,
        "remarks": list(hits.remarks),
        "lower_is_nearer": hits.lower_is_nearer,
    }


def transform_to_json(transform: Transform) -> dict[str, Any]:
    """A stored transform, without its arrays."""
    return {
        "name": transform.name,
        "active": transform.active,
        "method": transform.method,
        "modality": transform.modality,
        "parameterisation": transform.parameterisation,
        "version": transform.version,
        "checksum": transform.checksum,
        "created_at": transform.created_at,
        "report": dict(transform.report),
    }


def error_to_json(error: EngineError) -> dict[str, Any]:
    """An error object's contents."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}


def outcomes_to_json(outcomes: list[IngestOutcome]) -> dict[str, Any]:
    """What became of each source."""
    done = [(outcome, outcome.model) for outcome in outcomes if outcome.model is not None]
    failed = [(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
    return {
        "models": [
            {
                "name": model.name,
                "status": outcome.status,
                "samples": model.samples,
                "quarantined": model.quarantined,
                "kind": model.kind,
                "tags": list(model.tags),
            }
            for outcome, model in done
        ],
        "failed": [{"name": outcome.name, "error": error_to_json(error)} for outcome, error in failed],
    }
