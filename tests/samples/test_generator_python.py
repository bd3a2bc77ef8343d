"""Python callables as generators: by name with trust, live without."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.config import Settings
from engine.errors import GeneratorError, InvalidManifest, NotTrusted, SourceNotFound
from engine.samples import GeneratorSource, open_source, options_to_generator
from engine.samples.generators import draw
from engine.samples.generators.python import CallableGenerator, PythonGenerator

CODE = """
import numpy as np
from PIL import Image

def arrays(count, seed, level=1.0):
    return np.random.default_rng(seed).random((count, 4, 4, 3)) * level

def pictures(count, seed):
    return (Image.new("RGBA", (4, 4), (seed % 256, i, 0, 255)) for i in range(count))

def fails(count, seed):
    raise RuntimeError("no luck")

def leaves(count, seed):
    raise SystemExit(3)

def few(count, seed):
    return np.zeros((count - 1, 4, 4, 3))

def many(count, seed):
    return np.zeros((count + 1, 4, 4, 3))

def words(count, seed):
    return ["a"] * count

def text(count, seed):
    return "a" * count

def nothing(count, seed):
    return None

def nan(count, seed):
    return np.full((count, 4, 4, 3), np.nan)

not_callable = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "drawing.py").write_text(CODE)
    return tmp_path


def make(folder: Path, entry: str, **options: Any) -> Any:
    return options_to_generator(
        {"type": "python", "entry": entry, "path": ".", **options}, base=folder, trust=True, settings=Settings()
    )


def test_arrays_and_pictures(folder: Path) -> None:
    generator = make(folder, "drawing:arrays", options={"level": 0.5})
    pixels = np.stack([np.asarray(image) for image in generator.draw(3, 9)])
    wanted = np.rint(np.random.default_rng(9).random((3, 4, 4, 3)).astype(np.float64) * 0.5 * 255)
    assert np.abs(pixels - wanted).max() <= 1  # float32 rounding at a half
    assert [image.getpixel((0, 0)) for image in make(folder, "drawing:pictures").draw(2, 5)] == [(5, 0, 0), (5, 1, 0)]


def test_it_needs_trust(folder: Path) -> None:
    marker = folder / "ran"
    (folder / "mischief.py").write_text(f"open({str(marker)!r}, 'w').close()\ndef draw(count, seed): ...\n")
    options = {"type": "python", "entry": "mischief:draw", "path": str(folder)}
    with pytest.raises(NotTrusted, match="mischief:draw") as caught:
        options_to_generator(options)
    assert "--trust" in (caught.value.hint or "")
    with pytest.raises(NotTrusted):
        draw(options, 1, 0)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails", "RuntimeError: no luck"),
        ("leaves", "SystemExit"),
        ("few", "drew 1 pictures where 2"),
        ("many", "more than 2"),
        ("words", "drew str as picture 0"),
        ("text", "drew str, not pictures"),
        ("nothing", "drew NoneType"),
        ("nan", "NaN"),
    ],
)
def test_whatever_goes_wrong_is_a_generator_error(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(GeneratorError, match=reason):
        make(folder, f"drawing:{name}").draw(2, 0)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("drawing:absent", "has no 'absent'"),
        ("absent_module:draw", "no module 'absent_module'"),
        ("drawing:not_callable", "cannot be called"),
        ("no-such-entry-point", "no installed package offers"),
    ],
)
def test_entries_that_name_nothing(folder: Path, entry: str, reason: str) -> None:
    with pytest.raises(InvalidManifest, match=reason):
        make(folder, entry)


def test_a_module_that_cannot_be_imported(folder: Path) -> None:
    (folder / "broken_drawing.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(GeneratorError, match="a_package_that_is_not_there"):
        make(folder, "broken_drawing:draw")
    (folder / "wrong_syntax.py").write_text("def")
    with pytest.raises(GeneratorError, match="SyntaxError"):
        make(folder, "wrong_syntax:draw")


def test_two_folders_with_modules_of_one_name(tmp_path: Path) -> None:
    generators = []
    for level in (10, 20):
        (tmp_path / str(level)).mkdir()
        code = f"import numpy as np\ndef draw(count, seed): return np.full((count, 2, 2, 3), {level}, np.uint8)\n"
        (tmp_path / str(level) / "same_name.py").write_text(code)
        generators.append(make(tmp_path / str(level), "same_name:draw"))
    assert [generator.draw(1, 0)[0].getpixel((0, 0))[0] for generator in generators] == [10, 20]


def test_options_are_checked(folder: Path) -> None:
    for options, reason in (
        ({"entry": "drawing:arrays", "colour": 3}, "no option 'colour'"),
        ({}, "needs the option 'entry'"),
        ({"entry": 3}, "'entry' must be text"),
        ({"entry": "drawing:arrays", "options": [1]}, "'options' must be a mapping"),
        ({"entry": "drawing:arrays", "options": {"x": {1, 2}}}, "not JSON"),
        ({"entry": "drawing:arrays", "batch": 0}, "'batch' must be a whole number"),
    ):
        with pytest.raises(InvalidManifest, match=reason):
            options_to_generator({"type": "python", **options}, base=folder, trust=True)
    with pytest.raises(SourceNotFound, match="folder"):
        options_to_generator({"type": "python", "entry": "a:b", "path": "absent"}, base=folder, trust=True)


def test_the_record_draws_the_same_again(folder: Path) -> None:
    options = {"type": "python", "entry": "drawing:arrays", "path": ".", "options": {"level": 0.3}, "batch": 4}
    source = open_source({"generator": options}, settings=Settings(), samples=6, seed=2, base=folder, trust=True)
    assert isinstance(source, GeneratorSource)
    described = source.describe()
    again = draw(described["generator"], 6, 2, trust=True)
    assert [image.tobytes() for image in again] == [sample.load().tobytes() for sample in source.samples()]


def test_digest_follows_the_file_and_the_options(folder: Path) -> None:
    one = make(folder, "drawing:arrays").digest()
    assert make(folder, "drawing:arrays").digest() == one
    assert make(folder, "drawing:arrays", options={"level": 0.5}).digest() != one
    (folder / "drawing.py").write_text(CODE + "# changed\n")
    assert make(folder, "drawing:arrays").digest() != one


def test_entry_points_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "paints-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: paints\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[engine.generators]\nwatercolour = paints_module:draw\n")
    (tmp_path / "paints_module.py").write_text(
        "import numpy as np\ndef draw(count, seed): return np.full((count, 2, 2, 3), 42, np.uint8)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    generator = options_to_generator({"type": "python", "entry": "watercolour"}, trust=True)
    assert generator.draw(1, 0)[0].getpixel((0, 0)) == (42, 42, 42)
    with pytest.raises(InvalidManifest) as caught:
        options_to_generator({"type": "python", "entry": "oils"}, trust=True)
    assert "watercolour" in (caught.value.hint or "")


# --- live callables


def grey(count: int, seed: int) -> list[Image.Image]:
    return [Image.new("L", (2, 2), (seed + i) % 256) for i in range(count)]


def test_a_live_callable_needs_no_trust() -> None:
    source = open_source(grey, settings=Settings(), samples=3)
    assert isinstance(source, GeneratorSource)
    assert len([sample.load() for sample in source.samples()]) == 3


def test_an_importable_live_callable_can_be_drawn_from_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "live_drawing.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("live_drawing")
    generator = CallableGenerator(module.arrays)
    described = generator.describe()
    assert (described["type"], described["entry"]) == ("python", "live_drawing:arrays")
    again = options_to_generator(described, trust=True)
    assert [image.tobytes() for image in again.draw(2, 1)] == [image.tobytes() for image in generator.draw(2, 1)]


def test_a_live_callable_beyond_import_is_recorded_as_such() -> None:
    generator = CallableGenerator(lambda count, seed: grey(count, seed), "my drawing")
    assert generator.describe() == {"type": "callable", "name": "my drawing", "batch": 32}
    with pytest.raises(GeneratorError, match="'my drawing' was a live Python callable"):
        draw(generator.describe(), 1, 0, trust=True)


def test_what_holds_hidden_state_is_never_taken_for_unchanged() -> None:
    stateful = functools.partial(grey)
    assert CallableGenerator(stateful).digest() != CallableGenerator(stateful).digest()
    once = CallableGenerator(stateful)
    assert once.digest() == once.digest()
    assert CallableGenerator(grey).digest() == CallableGenerator(grey).digest()


def test_python_generators_are_built_by_their_type() -> None:
    generator = options_to_generator({"type": "python", "entry": "engine.samples.generators:draw"}, trust=True)
    assert isinstance(generator, PythonGenerator)
