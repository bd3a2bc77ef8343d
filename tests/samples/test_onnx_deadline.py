"""Decoders and programs that would go on for ever, or take all memory, end with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.config import Settings
from engine.errors import GeneratorError
from engine.samples.generators import Stop, drawing
from engine.samples.generators.onnx import OnnxGenerator
from tests.samples.test_generator_onnx import linear

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
ENDLESS = 2**62


def value(name: str, kind: int, shape: list[Any] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def saved(path: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> Path:
    given = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", [value("z", FLOAT, ["n", 3, 8, 8])], [value("y", FLOAT, None)], given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def looping(path: Path, trips: int = ENDLESS) -> Path:
    """A loop of so many trips."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still"]), helper.make_node("Sin", ["before"], ["after"])], "body",
        [value("i", INT64, []), value("on", BOOL, []), value("before", FLOAT, None)],
        [value("still", BOOL, []), value("after", FLOAT, None)],
    )  # fmt: skip
    nodes = [helper.make_node("Loop", ["trips", "true", "z"], ["y"], body=body)]
    return saved(path, nodes, {"trips": np.array(trips, np.int64), "true": np.array(True)})


def large(path: Path, times: int, *, reduced: bool = True) -> Path:
    """Latents repeated so many times in both directions, and perhaps made small again."""
    tiled = helper.make_node("Tile", ["z", "times"], ["t" if reduced else "y"])
    nodes = [tiled, helper.make_node("ReduceMean", ["t"], ["y"], axes=[2, 3], keepdims=1)] if reduced else [tiled]
    return saved(path, nodes, {"times": np.array([1, 1, times, times], np.int64)})


def test_a_decoder_that_loops_for_ever_ends(tmp_path: Path) -> None:
    generator = OnnxGenerator(looping(tmp_path / "a.onnx"), settings=Settings(generator_timeout=0.5))
    began = time.monotonic()
    for _ in range(2):  # it can be asked again
        with pytest.raises(GeneratorError, match=r"a\.onnx was stopped after 0\.5 seconds") as caught:
            generator.draw(2, 0)
        assert "ENGINE_GENERATOR_TIMEOUT" in (caught.value.hint or "")
    assert time.monotonic() - began < 10


def test_a_decoder_in_time_is_not_stopped(tmp_path: Path) -> None:
    patient = OnnxGenerator(looping(tmp_path / "a.onnx", 100), settings=Settings(generator_timeout=60))
    assert len(patient.draw(3, 0)) == 3
    assert not [thread for thread in threading.enumerate() if thread.name == "deadline"]


def test_pictures_beyond_the_limit_are_refused(tmp_path: Path) -> None:
    generator = OnnxGenerator(large(tmp_path / "a.onnx", 4, reduced=False), settings=Settings(max_pixels=1000))
    with pytest.raises(GeneratorError, match="more than the 1000 pixels"):
        generator.draw(1, 0)


CHILD = """
import sys
from pathlib import Path
from engine.config import Settings
from engine.errors import GeneratorError
from engine.samples.generators.onnx import OnnxGenerator
try:
    OnnxGenerator(Path(sys.argv[1]), settings=Settings(generator_bytes=2**28)).draw(1, 0)
except GeneratorError as error:
    print(error.hint)
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_decoders_tensors_are_bounded(tmp_path: Path) -> None:
    """A gigabyte between two operators."""
    command = [sys.executable, "-c", CHILD, str(large(tmp_path / "a.onnx", 1180))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    hint, most = done.stdout.splitlines()
    assert "ENGINE_GENERATOR_BYTES" in hint
    assert int(most) * 1024 < 600e6


def described(make: Callable[[Path], Path], path: Path) -> dict[str, Any]:
    return {"type": "onnx", "path": str(make(path))}


def test_a_request_ends_in_time_and_when_nobody_waits(tmp_path: Path) -> None:
    endless = described(looping, tmp_path / "a.onnx")
    with pytest.raises(GeneratorError, match=r"drawing took longer than 0\.3 seconds"):
        next(drawing(endless, 3, 0, stop=Stop(0.3, 10**9)))
    stop = Stop(60, 10**9)
    threading.Timer(0.3, stop.cancel).start()
    began = time.monotonic()
    with pytest.raises(GeneratorError, match="cancelled"):
        next(drawing(endless, 3, 0, stop=stop))
    assert time.monotonic() - began < 10
    with pytest.raises(GeneratorError, match="cancelled"):
        next(drawing(endless, 3, 0, stop=stop))


def test_a_request_draws_so_many_pixels(tmp_path: Path) -> None:
    images = drawing(described(linear, tmp_path / "a.onnx"), 10, 0, stop=Stop(60, 3 * 2 * 2))
    assert len([next(images) for _ in range(3)]) == 3
    with pytest.raises(GeneratorError, match="more than 12 pixels"):
        next(images)


@pytest.mark.skipif(os.name == "nt", reason="there are no process groups")
@pytest.mark.parametrize("cancelled", [True, False])
def test_a_program_is_killed_with_its_children(tmp_path: Path, cancelled: bool) -> None:
    script = tmp_path / "draw.sh"
    script.write_text('sleep 60 & echo $! > "$3.pid"; mv "$3.pid" ' + f'"{tmp_path}/pid"; wait\n')
    program = {"type": "program", "command": ["sh", str(script), "{seed}", "{count}", "{out}"], "folder": str(tmp_path)}
    stop = Stop(60 if cancelled else 1, 10**9)
    if cancelled:
        threading.Timer(1, stop.cancel).start()
    began = time.monotonic()
    with pytest.raises(GeneratorError, match="cancelled" if cancelled else "longer than 1 seconds"):
        next(drawing(program, 1, 0, trust=True, stop=stop))
    assert time.monotonic() - began < 20
    child = int((tmp_path / "pid").read_text())
    for _ in range(200):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError("the program's child still runs")
