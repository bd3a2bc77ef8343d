"""Every way a command can fail: what is said, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine import Engine, errors
from engine.cli import app
from engine.cli.failures import ERROR, INTERRUPTED, UNAVAILABLE, USAGE, exception_to_failure

ERRORS = [getattr(errors, name) for name in errors.__all__]


def error_of(result: Any) -> dict[str, Any]:
    """The error object on stdout."""
    said = json.loads(result.stdout)
    assert set(said) == {"error"}
    assert set(said["error"]) == {"type", "message", "hint"}
    return dict(said["error"])


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_of_the_tree_has_its_exit_code(kind: type[errors.EngineError]) -> None:
    failure = exception_to_failure(kind("what", hint="how"))
    code = UNAVAILABLE if kind is errors.AddressUnavailable else ERROR
    assert (failure.type, failure.message, failure.hint, failure.code) == (kind.__name__, "what", "how", code)
    assert failure.trace is None


def test_error_as_text_is_on_stderr(zoo: Any) -> None:
    result = zoo("show", "antt")
    assert result.exit_code == ERROR
    assert result.stdout == ""
    assert result.stderr == "Error: there is no model named 'antt'\nHint: did you mean ant?\n"


def test_error_as_json_is_on_stdout(zoo: Any) -> None:
    result = zoo("show", "antt", "--json")
    assert result.exit_code == ERROR
    assert result.stderr == ""
    assert error_of(result) == {
        "type": "ModelNotFound", "message": "there is no model named 'antt'", "hint": "did you mean ant?",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["search"], "InvalidQuery"),
        (["search", "--text", " "], "InvalidQuery"),
        (["search", "--text", "a bird"], "EncoderNotFound"),
        (["search", "--model", "nobody"], "ModelNotFound"),
        (["search", "--model", "ant", "--method", "magic"], "InvalidQuery"),
        (["search", "--model", "ant", "--method", "gaussian_density"], "InvalidQuery"),
        (["search", "--model", "ant", "--where", "colour=red"], "InvalidFilter"),
        (["search", "--model", "ant", "--weight", "image=2"], "InvalidQuery"),
        (["search", "--model", "ant", "--weight", "model=nan"], "InvalidQuery"),
        (["search", "--model", "ant", "--encoder", "external:other"], "EncoderNotFound"),
        (["similar", "nobody"], "ModelNotFound"),
        (["update", "ant", "--name", "bee"], "DuplicateName"),
        (["remove", "nobody", "--yes"], "ModelNotFound"),
        (["draw", "ant"], "MissingStatistics"),
        (["init", "--encoder", "external:other"], "Conflict"),
        (["ingest", "nowhere"], "SourceNotFound"),
        (["ingest", "nowhere", "--prompt", "a fox"], "InvalidInput"),
        (["ingest", "nowhere", "--input", "psi=1"], "InvalidInput"),
        (["ingest", "nowhere.onnx", "--input", "psi=1"], "SourceNotFound"),
        (["ingest", "nowhere.onnx", "--input", "psi=much"], "InvalidManifest"),
        (["ingest", "program:draw {seed} {count} {out}"], "InvalidInput"),
        (["ingest", "program:draw {seed} {count} {out}", "--name", "x"], "NotTrusted"),
        (["ingest", "diffusers:./nowhere", "--name", "x", "--prompt", "a fox"], "SourceNotFound"),
    ],
)
def test_library_errors(zoo: Any, arguments: list[str], kind: str) -> None:
    result = zoo(*arguments, "--json")
    assert (error_of(result)["type"], result.exit_code) == (kind, ERROR)


BYTES = "caf\udce9"
"""How an argument arrives that is not UTF-8."""


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["search", "--text", BYTES], "InvalidQuery"),
        (["search", "--model", BYTES], "ModelNotFound"),
        (["search", "--model", "ant", "--method", BYTES], "InvalidQuery"),
        (["search", "--model", "ant", "--encoder", BYTES], "EncoderNotFound"),
        (["search", "--model", "ant", "--where", f"tag={BYTES}"], "InvalidFilter"),
        (["list", "--where", f"{BYTES}=x"], "InvalidFilter"),
        (["update", "ant", "--tag", BYTES], "InvalidInput"),
        (["update", "ant", "--meta", f"{BYTES}=1"], "InvalidInput"),
        (["update", "ant", "--description", BYTES], "InvalidInput"),
        (["ingest", BYTES, "--name", "x"], "SourceNotFound"),
        (["ingest", "x.npy", "--name", BYTES], "InvalidInput"),
        (["evaluate", BYTES], "SourceNotFound"),
        (["transforms", "remove", BYTES], "TransformNotFound"),
        (["keys", "revoke", BYTES], "KeyNotFound"),
        (["keys", "create", BYTES], "InvalidInput"),
        (["import", BYTES], "SourceNotFound"),
    ],
)
def test_arguments_that_are_not_utf_8(zoo: Any, arguments: list[str], kind: str) -> None:
    result = zoo(*arguments, "--json")
    assert (error_of(result)["type"], result.exit_code) == (kind, ERROR)
    assert zoo(*arguments).stderr.startswith("Error: ")


def test_judged_queries_with_a_lone_surrogate(zoo: Any, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(r'{"model": "ant", "text": "\ud800"}')
    assert error_of(zoo("evaluate", str(tmp_path / "q.jsonl"), "--json"))["type"] == "InvalidQuery"


def test_a_value_that_no_model_has_is_told_on_stderr(zoo: Any) -> None:
    result = zoo("list", "--where", "name=ant,bea")
    assert (result.exit_code, result.stderr) == (0, "no model is named bea; did you mean bee?\n")
    assert "ant" in result.stdout
    assert "bee" not in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "--model", "ant", "-k", "0"],
        ["search", "--model", "ant", "--where", "tag"],
        ["search", "--model", "ant", "--weight", "model=much"],
        ["search", "--model", "ant", "--weight", "model=1", "--weight", "model=2"],
        ["search", "--nonsense"],
        ["similar", "ant", "--distance", "manhattan"],
        ["update", "ant"],
        ["update", "ant", "--author", "A", "--clear", "author"],
        ["remove", "ant"],
        ["ingest"],
        ["ingest", "a.npy", "b.npy", "--name", "one"],
        ["lits"],
        ["db", "downgrade"],
    ],
)
def test_usage_errors(zoo: Any, arguments: list[str]) -> None:
    result = zoo(*arguments, "--json")
    said = error_of(result)
    assert (said["type"], result.exit_code) == ("UsageError", USAGE)
    assert "--help" in said["hint"]
    assert zoo(*arguments).stdout == ""


@pytest.mark.parametrize(
    "command", [["list"], ["search", "--text", "x"], ["doctor"], ["index", "status"], ["db", "current"]]
)
def test_no_database(run: Any, tmp_path: Path, command: list[str]) -> None:
    result = run(*command, "--json")
    assert (error_of(result)["type"], result.exit_code) == ("DatabaseNotFound", ERROR)
    assert "engine init" in error_of(result)["hint"]
    assert list(tmp_path.iterdir()) == [], "nothing is created unless asked for"


def test_bad_setting(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_SHORTLIST", "many")
    assert error_of(zoo("list", "--json"))["type"] == "InvalidInput"


@pytest.mark.parametrize("url", ["mysql://host/db", "zoo.db", "sqlite://"])
def test_bad_url(url: str) -> None:
    result = CliRunner().invoke(app, ["list", "--json", "--database", url])
    assert (error_of(result)["type"], result.exit_code) == ("InvalidInput", ERROR)


def test_unexpected_exception_is_short(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(Engine, "models", broken)
    result = zoo("list")
    assert result.exit_code == ERROR
    assert result.stderr.startswith("Error: unexpected RuntimeError: a wheel came off\nHint: ")
    assert "Traceback" not in result.output
    monkeypatch.setenv("ENGINE_DEBUG", "1")
    result = zoo("list", "--json")
    assert "Traceback" in result.stderr
    assert error_of(result)["type"] == "RuntimeError"


def test_interrupt(zoo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "ingest_outcome", interrupted)
    result = zoo("ingest", "somewhere")
    assert result.exit_code == INTERRUPTED
    assert "goes on where it stopped" in result.stderr
    assert error_of(zoo("ingest", "somewhere", "--json"))["type"] == "Interrupted"


def test_a_manifest_that_cannot_be_read(zoo: Any, tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text("models: {", encoding="utf-8")
    result = zoo("ingest", str(tmp_path / "zoo.yaml"), "--json")
    assert (error_of(result)["type"], result.exit_code) == ("InvalidManifest", ERROR)
