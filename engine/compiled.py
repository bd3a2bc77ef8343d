"""What the compiled loops of several modules share. Numba takes a second to import, so only these loops import this."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64
"""Bytes of a cache line."""
FREE = {"reassoc", "contract", "nsz", "arcp"}
"""What LLVM may do to sum in vector registers. Not ``nnan``: a NaN must stay one."""


def _address_as_pointer(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def ask_for(builder: Any, address: Any) -> None:
    """Emit a prefetch of the cache line at an address, an LLVM value."""
    number, place = ir.IntType(32), builder.inttoptr(address, cgutils.voidptr_t)
    kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [place, number(0), number(3), number(1)])  # to read, into all caches, data


def _prefetch_address(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        ask_for(builder, arguments[0])
        return target.get_dummy_value()

    return types.void(address), generate


pointer = intrinsic(_address_as_pointer)
prefetch = intrinsic(_prefetch_address)


def compiled(function: Any, **options: Any) -> Any:
    """A function, compiled when it is first called, and kept on disk beside its file or in the user's cache folder,
    where either can be written."""
    try:
        return njit(cache=True, fastmath=FREE, **options)(function)
    except RuntimeError:  # no folder for it
        return njit(fastmath=FREE, **options)(function)
