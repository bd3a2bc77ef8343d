"""The wheel, built and installed in a clean environment, runs the main path without the checkout.

The environment is fresh and holds the wheel alone; the dependencies, which are gigabytes, are lent to it from the
environment that runs the tests (a path entry: the checkout's own editable install is not visible through it).
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """A function that runs the installed ``engine`` in a folder far from the checkout."""
    place = tmp_path_factory.mktemp("clean")
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    Path(site, "lent-dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    work = place / "work"
    work.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "ENGINE_"))}

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [place / "venv" / "bin" / "engine", *arguments],
            cwd=work, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    run.work, run.python = work, python
    return run


def test_the_wheel_carries_what_it_needs(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "engine/py.typed", "engine/encoders/compact_heads.safetensors", "engine/_migrations/env.py",
        "engine/_migrations/versions/0001_the_first_schema.py", "engine/_migrations/versions/0002_transforms.py",
        "engine/_migrations/versions/0003_numbers_of_eight_bytes.py",
    ):  # fmt: skip
        assert needed in names
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_the_installed_package_is_the_wheel(clean):
    script = "import engine, engine.storage.migrate as m; print(engine.__file__); print(m.migrations_folder())"
    lines = subprocess.run(
        [clean.python, "-I", "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert all(str(ROOT) not in line and "site-packages" in line for line in lines)


def test_the_main_path_runs(clean):
    random = np.random.default_rng(0)
    for colour in ("red", "blue"):
        folder = clean.work / colour
        folder.mkdir()
        for number in range(8):
            picture = Image.new("RGB", (64, 64), "white")
            x, y = random.integers(0, 24, 2).tolist()
            ImageDraw.Draw(picture).ellipse((x, y, x + 36, y + 36), fill=colour)
            picture.save(folder / f"{number}.png")
    clean("init", "--encoder", "compact")
    clean("ingest", "red", "blue", "--tag", "circle")
    assert json.loads(clean("search", "--text", "a red circle", "--json"))["hits"][0]["name"] == "red"
    image = json.loads(clean("search", "--image", "blue/0.png", "--where", "tag=circle", "--json"))
    assert image["method"] == "blend"
    assert image["hits"][0]["name"] == "blue"
    assert json.loads(clean("similar", "red", "--json"))["hits"][0]["name"] == "blue"
    assert "(current)" in clean("db", "current")
    clean("db", "upgrade")
    assert json.loads(clean("list", "--json"))["models"][0]["samples"] == 8


def test_an_old_database_is_upgraded_and_copied(clean):
    np.save(clean.work / "cloud.npy", np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32))
    old = ("--database", "sqlite:///old.db")
    clean("init", "--encoder", "external:mine", *old)
    clean("ingest", "cloud.npy", *old)
    down = (
        "from engine.config import Settings; from engine.storage import Database, migrate;"
        "migrate.downgrade(Database('sqlite:///old.db', Settings()), '0001')"
    )
    subprocess.run([clean.python, "-I", "-c", down], cwd=clean.work, check=True)
    clean("list", *old, code=1)
    clean("copy", "sqlite:///old.db", "sqlite:///new.db", code=1)
    assert not (clean.work / "new.db").exists()
    assert json.loads(clean("db", "upgrade", "--json", *old))["from"] == "0001"
    assert json.loads(clean("copy", "sqlite:///old.db", "sqlite:///new.db", "--json"))["status"] == "copied"
    assert clean("list", "--json", *old) == clean("list", "--json", "--database", "sqlite:///new.db")
