"""One rule for filters: the command line, Python, HTTP, the client and the page find the same models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import numpy as np
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient

from engine import Engine
from engine.cli import app
from engine.client import Client
from engine.errors import InvalidFilter
from engine.filters import text_to_values
from engine.server import create_app
from tests.server.test_client import Through

Pairs = list[tuple[str, str]]
MODELS = {
    "ant": {"tags": ["animal", "small"], "kind": "gan"},
    "bee": {"tags": ["Animal", "yellow"], "kind": "VAE", "metadata": {"stars": 5}},
    "Öl": {"tags": ["a, b"], "author": "Ada L", "license": "MIT"},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('filters') / 'zoo.db'}"


@pytest.fixture(scope="module")
def eng(url: str) -> Iterator[Engine]:
    with Engine.open(url, create=True, encoder="external:x") as opened:
        opened.ingest_statistics(["query", *MODELS], np.eye(4), encoder="external:x", samples=5)
        for name, details in MODELS.items():
            opened.update(name, **details)
        yield opened


@pytest.fixture(scope="module")
def client(eng: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(eng, with_keys=False), raise_server_exceptions=False) as opened:
        yield opened


def found_everywhere(url: str, eng: Engine, client: TestClient, pairs: Pairs) -> dict[str, tuple[list[str], list[str]]]:
    """Names, but for the query's, and remarks, by entrance."""
    where = [option for key, text in pairs for option in ("--where", f"{key}={text}")]
    shell = {}
    for command in (["list"], ["search", "--model", "query"]):
        done = CliRunner().invoke(app, [*command, *where, "--json", "--database", url])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert [line for line in done.stderr.splitlines() if line.startswith("no model")] == said["remarks"]
        shell[command[0]] = said
    page = client.get("/", params={"q": " ".join(f'{key}:"{text}"' for key, text in pairs)}).text
    by_text = client.post("/v1/search", json={"model": "query", "where": pairs}).json()
    by_vector = client.post("/v1/search", json={"vector": [1, 0, 0, 0], "where": pairs}).json()
    listed = client.get(f"/v1/models?{urlencode(pairs)}").json()
    remote = Client("http://testserver", transport=Through(client))
    hits, models, far = eng.search(model="query", where=pairs), eng.models(pairs), remote.models(pairs)
    far_hits = remote.search(model="query", where=[(key, text_to_values(text)) for key, text in pairs])
    answers = {
        "engine list": (shell["list"]["models"], shell["list"]["remarks"]),
        "engine search": (shell["search"]["hits"], shell["search"]["remarks"]),
        "search": ([{"name": hit.name} for hit in hits], hits.remarks),
        "models": ([{"name": model.name} for model in models], models.remarks),
        "page()": ([{"name": model.name} for model in eng.page(pairs).models], eng.page(pairs).remarks),
        "POST by model": (by_text["hits"], by_text["remarks"]),
        "POST by vector": (by_vector["hits"], by_vector["remarks"]),
        "GET": (listed["models"], listed["remarks"]),
        "client.models": ([{"name": model.name} for model in far], far.remarks),
        "client.search": ([{"name": hit.name} for hit in far_hits], far_hits.remarks),
        "page": (
            [{"name": name} for name in re.findall(r'data-name="([^"]*)"', page)],
            [remark[0].lower() + remark[1:].rstrip(".") for remark in re.findall(r'class="remark">([^<]*)<', page)],
        ),
    }
    return {
        entrance: (sorted({one["name"] for one in names} - {"query"}), list(remarks))
        for entrance, (names, remarks) in answers.items()
    }


@pytest.mark.parametrize(
    ("pairs", "names", "remarks"),
    [
        ([("tag", "animal")], ["ant", "bee"], []),
        ([("tag", "small,YELLOW")], ["ant", "bee"], []),
        ([("tag", "animal"), ("tag", "yellow")], ["bee"], []),
        ([("tag!", "animal")], ["Öl"], []),
        ([("-tag", "small, yellow")], ["Öl"], []),
        ([("!kind", "gan"), ("TAG", "animal")], ["bee"], []),
        ([("tag", r"A\, B")], ["Öl"], []),
        ([("name", "öl"), ("author", "ada l")], ["Öl"], []),
        ([("title", "E,N")], ["ant", "bee"], []),
        ([("meta.stars", "5")], ["bee"], []),
        ([("tag", "anmal")], [], ["no model is tagged anmal; did you mean animal?"]),
        ([("tag", "yellow,smal")], ["bee"], ["no model is tagged smal; did you mean small?"]),
    ],
)
def test_every_entrance_finds_the_same(
    url: str, eng: Engine, client: TestClient, pairs: Pairs, names: list[str], remarks: list[str]
) -> None:
    found = found_everywhere(url, eng, client, pairs)
    assert found == dict.fromkeys(found, (sorted(names), remarks))


@pytest.mark.parametrize("key", ["tags", "colour", "-licens"])
def test_every_entrance_refuses_an_unknown_key(url: str, eng: Engine, client: TestClient, key: str) -> None:
    with pytest.raises(InvalidFilter) as here:
        eng.search(model="query", where={key: "x"})
    hint = here.value.hint
    done = CliRunner().invoke(app, ["list", "--where", f"{key}=x", "--json", "--database", url])
    assert json.loads(done.stdout)["error"] == {"type": "InvalidFilter", "message": here.value.message, "hint": hint}
    for answer in (
        client.get("/v1/models", params={key: "x"}),
        client.post("/v1/search", json={"model": "query", "where": {key: "x"}}),
    ):
        said = answer.json()
        assert (answer.status_code, said["title"], said["detail"], said["hint"]) == (
            422, "InvalidFilter", here.value.message, hint,
        )  # fmt: skip
    shown = client.get("/", params={"q": f"{key}:x"})
    assert shown.status_code == 422
    assert "there is no filter" in shown.text
    remote = Client("http://testserver", transport=Through(client))
    for ask in (lambda: remote.models({key: "x"}), lambda: remote.search(model="query", where={key: "x"})):
        with pytest.raises(InvalidFilter) as there:
            ask()
        assert there.value.hint == hint


def test_a_page_of_models_keeps_its_filter(eng: Engine, client: TestClient) -> None:
    first = client.get("/v1/models?tag!=yellow&limit=1").json()
    rest = client.get("/v1/models", params={"tag!": "yellow", "limit": 5, "cursor": first["next"]}).json()
    assert [model["name"] for model in first["models"] + rest["models"]] == ["ant", "query", "Öl"]
