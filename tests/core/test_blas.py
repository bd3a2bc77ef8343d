"""The limit on BLAS threads is the process's: it must be taken back however its users overlap."""

from __future__ import annotations

import pytest

from engine.blas import _controller, one_thread


def threads() -> list[int]:
    return [one["num_threads"] for one in _controller().info() if one["user_api"] == "blas"]


@pytest.mark.parametrize("order", ["nested", "overlapping"])
def test_the_last_that_leaves_takes_it_back(order: str) -> None:
    with _controller().limit(limits=2, user_api="blas"):
        before = threads()
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        assert set(threads()) == {1}
        (second if order == "nested" else first).__exit__(None, None, None)
        assert set(threads()) == {1}
        (first if order == "nested" else second).__exit__(None, None, None)
        assert threads() == before


def test_an_error_takes_it_back() -> None:
    with _controller().limit(limits=2, user_api="blas"):
        before = threads()
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        assert threads() == before
