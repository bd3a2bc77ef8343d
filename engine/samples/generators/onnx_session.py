"""ONNX Runtime for decoders: what is opened, how much memory its tensors may take, and how a run is ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.errors import GeneratorError, MissingDependency
from engine.samples.generators.onnx_weights import external_weights
from engine.samples.generators.stop import Watch
from engine.samples.labels import name_to_label

THREADS = 2
"""ONNX Runtime's threads within an operator: the encoder and the decoding threads want cores too."""
SILENT = 4
"""What goes wrong is raised, not printed."""
_arena = threading.Lock()
_arena_is_there = False


def open_session(path: Path, most_bytes: int) -> Any:
    """An ``InferenceSession`` of a decoder.

    Args:
        most_bytes: of all decoders' tensors together; the first one in the process decides.

    Raises:
        MissingDependency: ONNX Runtime is not installed.
        GeneratorError: the file is no model that can be run here.
        SourceNotFound: a file that it keeps weights in is not there.
    """
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingDependency(
            "drawing from an ONNX decoder needs ONNX Runtime", hint="pip install 'engine[onnx]'"
        ) from exc
    external_weights(path)  # ONNX Runtime would open whatever the model names, a pipe too
    _bound_memory(onnxruntime, most_bytes)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    options.add_session_config_entry("session.use_env_allocators", "1")
    make: Callable[..., Any] = onnxruntime.InferenceSession
    try:
        return make(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        raise GeneratorError(
            f"{path.name} is not an ONNX model that can be run here: {name_to_label(str(exc))[:500]}",
            hint="models with custom operators are not run",
        ) from exc


def run_session(session: Any, feed: Mapping[str, Any], watch: Watch, who: str) -> Any:
    """The first output. ONNX Runtime looks between two operators, in loops too, whether it is to end.

    Raises:
        GeneratorError: it failed, its tensors took too much memory, or the time was up.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = SILENT
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    with watch.interrupting(lambda: setattr(options, "terminate", True)):
        try:
            return session.run(None, feed, options)[0]
        except Exception as exc:  # ONNX Runtime's own exception types share no base
            watch.check(who)
            said = name_to_label(str(exc))[:500]
            hint = None
            if "Available memory" in said or "bad_alloc" in said or isinstance(exc, MemoryError):
                hint = "draw in smaller batches, or raise generator_bytes (ENGINE_GENERATOR_BYTES)"
            raise GeneratorError(f"{who} failed: {said}", hint=hint) from exc


def _bound_memory(onnxruntime: Any, most_bytes: int) -> None:
    global _arena_is_there
    with _arena:
        if not _arena_is_there:
            place = onnxruntime.OrtMemoryInfo(
                "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
            )
            as_requested = {"max_mem": most_bytes, "arena_extend_strategy": 1}
            onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg(as_requested))
            _arena_is_there = True
