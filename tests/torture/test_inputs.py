"""The fuzzing itself: a short run is clean, an input can be made again, and every kind of fault is noticed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from engine.errors import InvalidInput
from tests.torture.formats import Format, Reader, WrongAnswer, all_formats
from tests.torture.inputs import Run, mutated_inputs, number_to_format, number_to_input, read_all
from tests.torture.mutate import mutated
from tests.torture.tally import Tally

WHOLE = bytes(range(256))


def test_a_short_run_is_clean() -> None:
    tally = mutated_inputs(320, 5, print)
    assert tally.is_clean, (tally.wrong, tally.untyped)
    assert tally.done["mutated inputs"] == 320
    assert sum(tally.done.values()) == 640  # in all, and by group
    assert set(tally.done) - {"mutated inputs"} == {one.group for one in all_formats()}


def test_an_input_is_made_again_by_its_number_and_seed() -> None:
    run = Run(all_formats, 0, 7, 1.0)
    first = [number_to_input(run, number, [WHOLE]) for number in range(200)]
    assert first == [number_to_input(run, number, [WHOLE]) for number in range(200)]
    assert sum(data != WHOLE for data in first) > 190
    assert len(set(first)) > 190
    assert max(map(len, first)) < 2**20


def test_empty_samples_can_be_mutated() -> None:
    assert {len(mutated([b""], Random(seed))) for seed in range(100)} > {0, 1}


def test_all_formats_have_their_turn() -> None:
    formats = all_formats()
    assert {number_to_format(formats, number).name for number in range(5000)} == {one.name for one in formats}


# --- planted faults: what is read as it was made is fine, whatever else is read meets one of them


def _refuses(data: bytes) -> None:
    raise InvalidInput("no")


def _raises(data: bytes) -> None:
    raise ValueError("planted")


def _says_nothing(data: bytes) -> None:
    raise InvalidInput("")


def _hangs(data: bytes) -> None:
    time.sleep(600)


def _answers_wrongly(data: bytes) -> None:
    raise WrongAnswer("planted")


def _ends(data: bytes) -> None:
    os._exit(3)


def _takes_all_memory(data: bytes) -> None:
    bytearray(2**33)


def _leaves_files_open(data: bytes) -> None:
    KEPT.append(open(__file__, "rb"))  # noqa: SIM115 - the fault


KEPT: list[object] = []


def _planted(fault: Callable[[bytes], None], folder: Path) -> Reader:
    return Reader([WHOLE], lambda data: None if data == WHOLE else fault(data))


def _formats(fault: Callable[[bytes], None]) -> Sequence[Format]:
    return [Format("good", partial(_planted, _refuses)), Format("bad", partial(_planted, fault))]


def found(fault: Callable[[bytes], None], count: int, patience: float = 30.0) -> Tally:
    """What a run finds whose every second format has that fault."""
    return read_all(Run(partial(_formats, fault), count, 1, patience), print)


def test_an_untyped_error_is_noticed() -> None:
    tally = found(_raises, 8)
    assert (len(tally.untyped), tally.wrong) == (4, [])
    assert tally.untyped[0] == "bad, seed 1, input 1: ValueError: planted"
    assert tally.done == {"mutated inputs": 8, "bad": 4, "good": 4}


def test_an_error_without_words_is_noticed() -> None:
    assert len(found(_says_nothing, 4).untyped) == 2


def test_a_wrong_answer_is_noticed() -> None:
    tally = found(_answers_wrongly, 4)
    assert tally.wrong == ["bad, seed 1, input 1: planted", "bad, seed 1, input 3: planted"]
    assert tally.untyped == []


def test_a_hang_is_noticed_and_the_rest_is_read() -> None:
    tally = found(_hangs, 6, patience=1.0)
    assert tally.untyped == [f"bad, seed 1, input {number}: took too long" for number in (1, 3, 5)]
    assert tally.done == {"mutated inputs": 6, "bad": 3, "good": 3}


def test_a_worker_that_dies_is_noticed_and_the_rest_is_read() -> None:
    tally = found(_ends, 6)
    assert tally.untyped == [f"bad, seed 1, input {number}: ended the process (3)" for number in (1, 3, 5)]
    assert tally.done == {"mutated inputs": 6, "bad": 3, "good": 3}


def test_a_reader_that_takes_all_memory_is_noticed() -> None:
    assert [told.split(": ", 1)[1] for told in found(_takes_all_memory, 2).untyped] == ["MemoryError: "]


def test_files_that_are_left_open_are_noticed() -> None:
    assert any("Too many open files" in told for told in found(_leaves_files_open, 300).untyped)


def test_more_findings_of_a_format_are_counted() -> None:
    tally = found(_raises, 40)
    assert tally.untyped[-1] == "bad: 20 findings in all"
    assert len(tally.untyped) == 6


def test_a_sample_that_is_not_read_as_it_was_made_ends_the_run() -> None:
    tally = read_all(Run(_broken, 10, 1, 30.0), print)
    assert any("a sample as it was made: ValueError: planted" in told for told in tally.untyped)
    assert tally.done == {"mutated inputs": 0}


def _broken() -> Sequence[Format]:
    return [Format("broken", lambda folder: Reader([WHOLE], _raises))]
