"""What the compiled loops of several modules share. Numba takes a second to import, so only these loops import this."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 64
"""Bytes of a cache line."""
FREE = {"reassoc", "contract", "nsz", "arcp"}
"""What LLVM may do to sum in vector registers. Not ``nnan``: a NaN must stay one."""


def processor_has(feature: str) -> bool:
    """Whether this processor has what LLVM calls by that name."""
    return bool(binding.get_host_cpu_features().get(feature, False))


def called(builder: Any, name: str, result: Any, *given: Any, fastmath: tuple[str, ...] = ()) -> Any:
    """Emit a call of an LLVM function by its name, with values of these types."""
    kind = ir.FunctionType(result, [one.type for one in given])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given, fastmath=fastmath)


def _address_as_pointer(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(address), generate


def _prefetch_address(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, place = ir.IntType(32), builder.inttoptr(arguments[0], cgutils.voidptr_t)
        # to read, into all caches, data
        called(builder, "llvm.prefetch.p0", ir.VoidType(), place, number(0), number(3), number(1))
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
