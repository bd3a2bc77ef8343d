"""The OpenAPI document against the server: whatever is sent that it allows, or does not, the answer is as it says."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks

from engine import Engine
from engine.server import Limits, create_app
from tests.samples.test_generator_onnx import linear

CHECKS = (
    checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_schema_conformance, checks.response_headers_conformance,
)  # fmt: skip


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Moments with a covariance, and a decoder; what is written to it is lost in the end."""
    folder = tmp_path_factory.mktemp("openapi")
    rng = np.random.default_rng(0)
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        engine.ingest(linear(folder / "decoder.onnx"), name="decoder", samples=8)
        means = rng.normal(size=(6, 256)).astype(np.float32)
        spread = np.tile(np.eye(256, dtype=np.float32) / 300, (6, 1, 1))
        names = ["noto-birds", *(f"m{i}" for i in range(5))]
        engine.ingest_statistics(names, means, spread, encoder="compact", samples=50, tags=["animal"])
        yield engine


@pytest.fixture(scope="module")
def app(collection: Engine) -> Any:
    return create_app(collection, limits=Limits(body_bytes=200_000, upload_bytes=200_000), with_keys=False)


def requests_with_examples(document: dict[str, Any]) -> list[tuple[str, str, Any]]:
    found = []
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            content = said.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            name = content["schema"]["$ref"].rpartition("/")[2]
            found += [(method, path, one) for one in document["components"]["schemas"][name].get("examples", [None])]
    return found


def test_every_body_has_an_example_that_is_accepted(app: Any) -> None:
    with TestClient(app) as client:
        found = requests_with_examples(client.get("/openapi.json").json())
        assert len(found) >= 6
        for method, path, example in found:
            assert example is not None, f"{method} {path} has no example"
            answer = client.request(method, path.format(name="decoder"), json=example)
            assert answer.status_code < 300, (method, path, example, answer.text)


def test_every_answer_is_documented(app: Any) -> None:
    document = schemathesis.openapi.from_asgi("/openapi.json", app)
    failures, tried = {}, 0
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=60, derandomize=True, deadline=None, database=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def answered(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(checks=CHECKS)

        try:
            answered()
        except Exception as error:
            failures[operation.label] = "".join(traceback.format_exception_only(error))
    assert failures == {}, "\n\n".join(f"{label}\n{said}" for label, said in failures.items())
    assert tried > 300


def test_operations_are_described(app: Any) -> None:
    with TestClient(app) as client:
        document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said.get("description"), f"{method} {path}"
            assert said.get("tags"), f"{method} {path}"
    assert not any(path.startswith(("/static", "/mosaics", "/explore")) for path in document["paths"])
