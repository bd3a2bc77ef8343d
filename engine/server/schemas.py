"""What requests and answers hold: the OpenAPI document is made from these."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from pydantic_core import PydanticCustomError

from engine.filters import FIELDS
from engine.texts import suggestion

Modality = Literal["text", "image", "sketch", "model"]
Texts = str | list[str]
PARTS = 8
"""Of one query, besides the named ones."""
HIT: dict[str, Any] = {
    "rank": 1, "name": "noto-birds", "score": 3.21, "kind": "procedural", "tags": ["animal"], "description": None,
    "parts": {}, "id": 17,
}  # fmt: skip


class Strict(BaseModel):
    """Unknown members are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        unknown = [str(key) for key in given if key not in cls.model_fields] if isinstance(given, dict) else []
        if unknown:
            known = suggestion(unknown[0], cls.model_fields, f"there are {', '.join(cls.model_fields)}")
            said = f"there is no member {unknown[0]!r:.80}; {known}"
            raise PydanticCustomError("unknown_member", "{said}", {"said": said})
        return given


class Part(Strict):
    """One part of a query, of which there may be several of a kind."""

    modality: Modality
    value: str = Field(description="The text, the model's name, or the picture in base64.")
    weight: FiniteFloat = Field(1.0, gt=0, description="Its exponent in the product of experts, 1e-9 to 1e9.")
    name: str | None = Field(None, description="What it is called in the hits; default: its modality.")


class Query(Strict):
    """What is asked: any of text, image, sketch, model and further parts together, or one ready vector."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"text": "a bird that talks", "k": 5},
                {"model": "noto-birds", "text": "at night", "weights": {"text": 2.0}, "where": {"tag": ["animal"]}},
            ]
        },
    )
    text: str | None = Field(None, description="What the model should draw.")
    image: str | None = Field(None, description="An encoded picture in base64, also as a data: URL. Never a path.")
    sketch: str | None = Field(None, description="A drawing, likewise.")
    model: str | None = Field(None, description="A model's name: find others like it.")
    parts: list[Part] = Field([], max_length=PARTS, description="Further parts, as of two texts.")
    vector: list[FiniteFloat] | None = Field(
        None, fail_fast=True, description="A ready feature of the encoder's dimension, alone."
    )
    modality: Literal["text", "image", "sketch"] = Field("image", description="What the vector is the feature of.")
    k: int = Field(10, ge=1, description="How many answers.")
    offset: int = Field(0, ge=0, description="How many of the best to skip.")
    method: str = Field("auto", description="A rule, or auto.")
    weights: dict[str, Annotated[FiniteFloat, Field(gt=0)]] | None = Field(
        None, description="A part's exponent in the product of experts, by its name, 1e-9 to 1e9; 1 if not given."
    )
    where: dict[str, Texts] | list[tuple[str, Texts]] | None = Field(
        None,
        description='Only models that fit: {"tag": "animal", "kind!": "gan,vae"}. A comma means any of, ! leaves out, '
        f"~ asks for a part; pairs may repeat a key, and all must hold. Keys: {', '.join(FIELDS)}, meta.KEY.",
    )
    encoder: str | None = Field(None, description="Whose statistics to search; default: the collection's.")
    shortlist: int | None = Field(None, ge=1, description="Candidates that the exact stage looks at.")
    shortlist_space: str | None = Field(None, description="Where they come from; default: the server's setting.")
    recall: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = Field(None, description="1 means exact.")
    tempered: bool = Field(True, description="Divide each part by its spread over the collection before weighing.")
    transform: str | None = Field("auto", description="auto, null, or a stored transform's name.")


class Hit(BaseModel):
    """One answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [HIT]})
    rank: int
    name: str
    score: float
    kind: str
    tags: list[str]
    description: str | None
    parts: dict[str, float] = Field(description="What each part of a mixed query contributed.")
    id: int


class Answer(BaseModel):
    """The answers and how they were found."""

    hits: list[Hit]
    method: str
    timings_ms: dict[str, float] = Field(description="Wall time by stage.")
    shortlist: int | None = Field(description="Candidates that the exact stage looked at; null if there was none.")
    left_out: int = Field(description="Models without a finite score.")
    transform: str | None
    remarks: list[str] = Field(description="Values of the filter that no model has.")
    lower_is_nearer: bool = Field(False, description="Whether the scores are distances.")


class Batch(Strict):
    """Several searches."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"queries": [{"text": "a bird"}, {"model": "noto-birds", "k": 3}]}]},
    )
    queries: list[Query] = Field(min_length=1)


class Answers(BaseModel):
    """One answer a query, in order."""

    answers: list[Answer]


class Described(Strict):
    """What is said of a model."""

    kind: str | None = None
    tags: list[str] | None = None
    description: str | None = None
    author: str | None = None
    license: str | None = None
    base_model: str | None = None
    links: dict[str, str] | None = None
    resolution: int | None = None
    metadata: dict[str, Any] | None = None


class Details(Described):
    """Changes to what is said of a model; what is not given stays as it is."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"tags": ["animal", "bird"], "author": "Ada"}]}
    )
    name: str | None = Field(None, description="Renames.")


class Moments(Strict):
    """A model by precomputed moments of its samples' features."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"encoder": "external:mine", "mean": [0.6, 0.8], "samples": 500}]},
    )
    encoder: str = Field(description="What made the features: one of the collection's, or external:NAME.")
    mean: list[FiniteFloat] = Field(min_length=1, fail_fast=True, description="(d,)")
    covariance: list[FiniteFloat] | None = Field(
        None, fail_fast=True, description="The packed lower triangle, row by row, d(d+1)/2 numbers, without ε."
    )
    samples: int = Field(ge=1)
    tags: list[str] | None = None


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"type": "urn:engine:problem:ModelNotFound", "title": "ModelNotFound", "status": 404,
                 "detail": "there is no model named 'bird'", "hint": "did you mean noto-birds?"}
            ]
        },
    )  # fmt: skip
    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None


class Ingest(Described):
    """What is said of a model that is uploaded."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "my-birds", "tags": ["bird"], "author": "Ada"}]}
    )
    name: str = Field(
        description="The model's name; a model of that name that was uploaded as the same file is replaced."
    )
    encoder: str | None = Field(
        None, description="What makes or made the features: one of the collection's (its default), or external:NAME."
    )
    samples: int | None = Field(None, ge=1, description="Of moments: how many went into them, if the file is silent.")
    as_one: bool = Field(False, description="Take an archive as one model although it looks like several.")
    replace: bool = Field(False, description="Replace a model of that name from another source, with all it has.")


class Job(BaseModel):
    """An upload on its way to be a model."""

    id: str
    name: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: int = Field(description="Samples so far.")
    total: int = Field(description="Samples in all; 0 while that is not known.")
    quarantined: int = Field(description="Samples that were left out.")
    problem: Problem | None = Field(description="Why it failed.")
    model: str | None = Field(description="The model that it has become.")
    created_at: datetime
    ended_at: datetime | None


class JobList(BaseModel):
    """Jobs, the oldest first."""

    jobs: list[Job]


class Model(BaseModel):
    """What the catalogue knows of a model; what a caller may not read is empty."""

    name: str
    kind: str
    tags: list[str]
    samples: int
    description: str | None
    author: str | None
    license: str | None
    base_model: str | None
    links: dict[str, str]
    resolution: int | None
    encoders: list[str]
    metadata: dict[str, Any]
    quarantined: int
    source: dict[str, Any] = Field(description="Its type and its counts; an admin is told where it lies, too.")
    generator: dict[str, Any] | None = Field(description="Its type; an admin is told how it is run, too.")
    id: int
    created_at: datetime | None
    updated_at: datetime | None


class Page(BaseModel):
    """Models in order, and where the next page begins."""

    models: list[Model]
    next: str | None = Field(description="Give it as cursor for the next page; null on the last one.")
    remarks: list[str] = Field(description="Values of the filter that no model has.")


class Sample(BaseModel):
    """One preview picture."""

    position: int
    media_type: str
    data: str = Field(description="base64")


class Drawing(Strict):
    """How many new pictures, and from which seed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"count": 4, "seed": 7}]})
    count: int = Field(4, ge=1, description="How many.")
    seed: int = Field(0, ge=0, lt=2**31, description="The same seed and count draw the same pictures.")


class Drawn(Sample):
    """A line of the answer: one picture that was drawn."""

    seed: int


class Samples(BaseModel):
    """A model's preview pictures."""

    samples: list[Sample]


class Encoder(BaseModel):
    """An encoder whose statistics the collection holds."""

    name: str
    fingerprint: str
    dimension: int
    modalities: list[str]
    default: bool


class Encoders(BaseModel):
    """All of them."""

    encoders: list[Encoder]
