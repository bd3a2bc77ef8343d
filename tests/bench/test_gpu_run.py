"""``make gpu`` where there is no GPU: it says so; and, on torch's CPU device, all of it but the card."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu import child, run, section
from benchmarks.gpu.options import Options
from engine.index.cuda import cuda_driver

ROOT = Path(__file__).resolve().parents[2]
TINY = Options(**{**run.DRY, "sizes": (100,), "seconds": 0.0, "device": "cpu", "deadline": 1e12})
ABSENT = (
    "faiss", "sqlalchemy", "alembic", "scipy", "PIL", "click", "open_clip", "torchvision", "threadpoolctl", "filelock",
    "tqdm", "yaml", "safetensors", "pytest", "hypothesis", "psycopg",
)  # fmt: skip


def in_this_process(name: str, options: Options, seconds: float) -> dict[str, object]:
    """As ``child.section``, without a child."""
    return {"rows": list(section.SECTIONS[name](replace(options, deadline=1e12)))}


def test_every_section_runs_with_numpy_and_torch_alone() -> None:
    """The rest cannot be imported, as on a machine that lacks it."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {ABSENT!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is not here', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from benchmarks.gpu import run, section\n"
        f"for name in section.SECTIONS: section.main(name, {TINY.to_json()!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["versions"]["torch"]
    outcomes = {row["check"]: row["outcome"] for row in rows if "check" in row}
    assert "failed" not in outcomes.values(), rows
    assert sum(outcome == "passed" for outcome in outcomes.values()) >= 7
    searched = [row for row in rows if "recall" in row]
    assert {(row["by"], row["batch"]) for row in searched} == {
        (by, batch)
        for by in ("engine by torch, recall 0.95", "engine by torch, recall 1", "torch float16", "torch float32")
        for batch in (1, 16, 256)
    }
    assert all(row["recall"] == 1 for row in searched if row["by"].endswith("recall 1"))
    assert all(row["recall"] > 0.9 and row["floor_ms"] > 0 and row["over_floor"] > 0 for row in searched)
    scored = {row["by"]: row for row in rows if "largest_error_nats" in row}
    assert set(scored) == {"card", "NumPy, float32"}
    assert all(row["largest_error_nats"] < 0.01 for row in scored.values())
    assert [row for row in rows if "not_run" in row] == [{"by": "processor's kernel", "not_run": "scipy is not here"}]


def test_one_json_says_what_was_found(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """In full, on the processor: what a search asks of a card is asked too."""
    monkeypatch.setattr(run, "section", in_this_process)
    given = ["--device", "cpu", "--sizes", "100", "--seconds", "0", "--only", "search,density"]
    assert run.main(given) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert (report["device"], report["gpu"], report["torch_only"]) == ("cpu", None, False)
    assert "tests" not in report
    assert {row["by"] for row in report["density"]["rows"][1:]} == {
        "card", "NumPy, float32", "processor's kernel, 10 best", "processor's kernel, all", "GpuDensities",
    }  # fmt: skip
    assert not [row for name in ("search", "density") for row in report[name]["rows"] if "not_run" in row]
    assert "none of this is about a GPU" in said.err


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"rows": [{"check": "a", "outcome": "passed"}]}, 0),
        ({"rows": [{"check": "a", "outcome": "failed"}]}, 1),
        ({"rows": [], "not_run": "the time was up"}, 1),
    ],
)
def test_the_status_says_whether_all_went_well(monkeypatch, capsys, found: dict[str, object], status: int) -> None:
    monkeypatch.setattr(run, "section", lambda name, options, seconds: found)
    assert run.main(["--device", "cpu", "--only", "tests"]) == status
    report = json.loads(capsys.readouterr().out)
    assert report["tests"]["failed"] == (status if found["rows"] else 0)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.skipif(cuda_driver(), reason="there may be a GPU")
def test_without_a_gpu_it_says_so(monkeypatch, capsys) -> None:
    """In one line and one JSON, whether there is no driver or torch sees no card."""
    asked = ["make", "gpu", "TORCH_ONLY=1", f"PYTHON={sys.executable}"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(asked, cwd=ROOT, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert json.loads(done.stdout) == {"gpu": None, "not_run": "there is no driver of CUDA"}
    assert done.stderr.splitlines()[0] == "no GPU: there is no driver of CUDA"
    monkeypatch.setattr(run, "may_see_cuda", lambda: True)
    monkeypatch.setattr(run, "section", lambda *given: {"rows": [{"gpu": None}]})
    assert run.main([]) == 2
    assert json.loads(capsys.readouterr().out) == {"gpu": None, "not_run": "torch sees none"}


def test_a_section_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had found is kept."""
    code = "import time; print('{\"row\": 1}', flush=True); print('{\"ro', end='', flush=True); time.sleep(60)"
    monkeypatch.setattr(child.sys, "executable", sys.executable)
    honest = child.finished
    monkeypatch.setattr(child, "finished", lambda command, seconds: honest([sys.executable, "-c", code], 1.0))
    began = time.monotonic()
    found = child.section("search", TINY, 10.0)
    assert time.monotonic() - began < 30
    assert found["rows"] == [{"row": 1}]
    assert found["not_run"] == "ended after 1 s: the time was up"
    assert child.section("search", TINY, 1.0)["not_run"] == "the time was up"
    assert honest([sys.executable, "-c", "raise SystemExit(3)"], 30.0)[2] == "its process ended with 3"


def test_a_section_leaves_off_in_time() -> None:
    over = Options(**{**vars(TINY), "deadline": time.monotonic()})
    assert list(section.SECTIONS["search"](over)) == [{"models": 100, "not_run": "the time was up"}]


def test_later_sections_keep_their_time() -> None:
    """Nothing takes more than its limit, nor all that is left."""
    given: dict[str, float] = {}

    def asked(name: str) -> run.Run:
        return lambda limit: given.update({name: limit}) or {}

    names = ("tests", "search", "density")
    run.run_sections({name: asked(name) for name in names}, time.monotonic() + 1000)
    assert given == {name: run.LIMITS[name] for name in names}
    run.run_sections({name: asked(name) for name in names}, time.monotonic() + 60)
    assert 0 < given["tests"] <= 30
    assert run.TOTAL + child.GRACE < 480


def test_a_report_of_pytest_is_read() -> None:
    text = (
        '<testsuites><testsuite><testcase classname="a" name="one"/><testcase classname="a" name="two">'
        '<failure message="wrong">trace</failure></testcase><testcase classname="b" name="three">'
        '<skipped message="no GPU"/></testcase></testsuite></testsuites>'
    )
    found = child.counted({"rows": child.report_to_rows(text)})
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert found["rows"][1] == {"check": "a::two", "outcome": "failed", "said": "wrong"}
