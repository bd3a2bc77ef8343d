"""Reports: what is written, what is drawn, and what the command prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from engine import Engine
from engine.cli import app
from engine.cli.failures import ERROR, USAGE
from engine.cli.progress import StageProgress
from engine.cli.table import cell_width
from engine.errors import MissingDependency, StorageError
from engine.evaluation import Report
from engine.evaluation.bootstrap import Estimate
from engine.evaluation.confusion import confusions_to_matrix
from engine.evaluation.figures import in_points, milliseconds, p_value, with_interval
from engine.evaluation.records import Confusions, Cut, Row
from engine.evaluation.strata import rows_to_stratum

NAN = float("nan")


@pytest.fixture
def report(eng: Engine, queries: Path) -> Report:
    return eng.evaluate(queries, ["first_moment", "gaussian_density"], resamples=200, samples_curve=True)


# --- parts


def one_row(method: str, value: float, low: float, high: float) -> Row:
    return Row(
        Cut("kind", "image", kind="gan"), method, method, None, 9, 3, 3, 0, {"top_1": Estimate(value, low, high)}
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([(0.5, 0.3, 0.7)], "signal"),
        ([(0.2, 0.05, 0.4), (0.3, 0.1, 0.5)], "no signal"),  # chance, 0.1, is in the best method's interval
        ([(0.2, 0.05, 0.4), (0.3, 0.11, 0.5)], "signal"),
        ([(0.0, 0.0, 0.0)], "no signal"),
        ([(1.0, 1.0, 1.0), (0.995, 0.98, 1.0)], "too easy"),
        ([(1.0, 1.0, 1.0), (0.99, 0.98, 1.0)], "signal"),
        ([(1.0, NAN, NAN)], "too few models"),
    ],
)
def test_verdicts(found: list[tuple[float, float, float]], verdict: str) -> None:
    stratum = rows_to_stratum([one_row(str(i), *values) for i, values in enumerate(found)], chance=0.1)
    assert stratum.verdict == verdict
    assert stratum.top_1.value == max(value for value, _, _ in found)


def test_confused_models_with_most_errors() -> None:
    pairs = (("a", "b", 3), ("c", "b", 2), ("d", "a", 1))
    names, counts = confusions_to_matrix(Confusions("image", "m", 6, pairs), most=2)
    assert names == ["a", "b"]  # b took part in 5 errors, a in 4
    assert counts.tolist() == [[0, 3], [0, 0]]
    names, counts = confusions_to_matrix(Confusions("image", "m", 6, pairs))
    assert names == ["a", "b", "c", "d"]
    assert counts.sum() == 6


names = st.sampled_from("abcdefgh")
pairs = st.dictionaries(st.tuples(names, names), st.integers(1, 9), max_size=20)


@given(pairs, st.integers(1, 9))
def test_the_heat_map_holds_its_models_errors(counts: dict[tuple[str, str], int], most: int) -> None:
    confusions = Confusions("image", "m", 0, tuple((*pair, count) for pair, count in counts.items()))
    shown, matrix = confusions_to_matrix(confusions, most)
    assert len(shown) == min(most, len({name for pair in counts for name in pair}))
    for i, asked in enumerate(shown):
        for j, found in enumerate(shown):
            assert matrix[i, j] == counts.get((asked, found), 0)


def test_figures() -> None:
    assert with_interval(Estimate(0.8144, 0.773, 0.853)) == "81.4 [77.3–85.3]"
    assert with_interval(Estimate(0.5, NAN, NAN)) == "50.0"
    assert with_interval(Estimate(NAN, NAN, NAN)) == "–"
    assert (p_value(0.0004), p_value(0.0123), p_value(NAN)) == ("<0.001", "0.012", "–")
    assert (milliseconds(0.126), milliseconds(4.21), milliseconds(1203.4)) == ("0.13", "4.2", "1203")


# --- files


def test_written_files(report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    assert [path.name for path in report.write(folder)] == ["report.json", "report.md"]
    said = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert said == json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert said["rows"][0]["measures"]["top_1"] == vars(report.rows[0].measures["top_1"])
    assert [list(pair) for pair in report.confusions[0].pairs] == said["confusions"][0]["pairs"]
    page = (folder / "report.md").read_text(encoding="utf-8")
    for heading in ("Accuracy", "By kind", "By tag", "Strata", "Time", "Score drop-off", "Accuracy against samples"):
        assert f"\n## {heading}\n" in page
    row = next(row for row in report.rows if row.cut == Cut("modality", "image") and row.method == "gaussian_density")
    assert f"| image | gaussian_density | 12 | 4 | {with_interval(row.measures['top_1'])} |" in page
    compared = report.comparisons[0]
    assert f"| {in_points(compared.difference)} | {p_value(compared.difference.p)} |" in page
    widths = {line.count(" |") for line in page.split("## Accuracy\n")[1].split("##")[0].splitlines() if line}
    assert len(widths) == 1


def test_names_cannot_break_the_tables(eng: Engine) -> None:
    eng.update("red", kind="a|b\n| c", tags=["x|y"])
    page = eng.evaluate([{"model": "red", "text": "blue"}], ["first_moment"]).to_markdown()
    assert r"a\|b \| c" in page
    assert r"x\|y" in page


def test_plots(report: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    written = report.plot(tmp_path)
    assert {"drop-off.png", "samples.png"} <= {path.name for path in written}
    assert any(path.name.startswith("confusion-") for path in written)
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 300


def test_nothing_is_drawn_of_nothing(eng: Engine, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = eng.evaluate([{"model": "red", "text": "red"}], full_ranking=False)
    assert report.plot(tmp_path) == []


@pytest.mark.parametrize("name", ["$x$", "模型", "a" * 200])
def test_any_name_can_be_drawn(name: str, eng: Engine, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    eng.update("red", name=name)
    (path,) = eng.evaluate([{"model": name, "text": "blue"}], full_ranking=False).plot(tmp_path)
    assert path.name == "confusion-text.png"


def test_without_matplotlib(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency) as caught:
        report.plot(tmp_path)
    assert caught.value.hint == "pip install 'engine[plots]'"


def test_a_folder_that_cannot_be(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        report.write(tmp_path / "file")
    (tmp_path / "report.md").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        report.write(tmp_path)


# --- the command


@pytest.fixture
def run(url: str, encoder, monkeypatch: pytest.MonkeyPatch):
    """``engine evaluate`` on the collection."""
    monkeypatch.setattr("engine.encoders.load_encoder", lambda name, device=None: encoder)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--database", url], prog_name="engine")

    return call


def untimed(report: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in report.items() if key != "latencies"}


def test_command_prints_what_python_finds(run, report: Report, queries: Path, tmp_path: Path) -> None:
    options = ["--method", "first_moment", "--method", "gaussian_density", "--resamples", "200", "--samples-curve"]
    result = run(queries, *options, "--json", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert untimed(said) == untimed(json.loads(json.dumps(report.to_dict())))
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")) == said
    assert "image by gaussian_density: 12 done" in result.stderr


def test_tables_fit(run, queries: Path) -> None:
    result = run(queries, "--method", "first_moment", "--method", "whitened_first_moment", "--method", "monte_carlo")
    assert result.exit_code == 0, result.output
    assert max(map(cell_width, result.stdout.splitlines())) <= 80
    for said in ("image, unseen", "top-10", "rank ms", "against", "24 among 4 models", "no tag"):
        assert said in result.stdout


def test_a_bar_for_each_stage_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.cli.progress._can_show_a_bar", lambda: True)
    with StageProgress() as progress:
        for stage, total in (("encoding", 2), ("image by auto", 3)):
            for done in range(1, total + 1):
                progress(stage, done, total)
    said = capsys.readouterr()
    assert said.out == ""
    assert "encoding" in said.err
    assert "image by auto" in said.err


def test_command_without_matplotlib(run, queries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run(queries, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "pip install 'engine[plots]'" in result.stderr
    assert (tmp_path / "report.md").is_file()


def test_command_takes_a_transform(run, queries: Path) -> None:
    assert run(queries, "--transform", "none").exit_code == 0
    result = run(queries, "--transform", "gone", "--json")
    assert json.loads(result.stdout)["error"]["type"] == "TransformNotFound"


def test_command_says_which_line_is_wrong(run, write) -> None:
    result = run(write('{"model": "red", "txt": "x"}'), "--json")
    assert result.exit_code == ERROR
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "InvalidQuery"
    assert "line 1" in error["message"]
    assert "sketch" in error["hint"]
    assert run("gone.jsonl").exit_code == ERROR
    assert run().exit_code == USAGE


# --- docs/formats.md

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def block(heading: str, language: str) -> str:
    """The code block of a section of the page."""
    return PAGE.split(f"# {heading}\n", 1)[1].split(f"```{language}\n", 1)[1].split("```", 1)[0]


def shape(value: Any) -> Any:
    """Keys, and the shape of a list's first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def test_the_documented_report_has_the_printed_shape(report: Report) -> None:
    documented = json.loads(block("`engine evaluate`", "json"))
    printed = report.to_dict()
    documented["rows"][0]["with_signal"] = printed["rows"][0]["with_signal"] = None  # as measures; perhaps none
    assert shape(documented) == shape(printed)
    assert report.samples_curve
