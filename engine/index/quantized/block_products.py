"""Inner products of a block of 16 codes with one query, in LLVM written out for each processor.

Codes lie in *groups* of 4 bytes a vector, 64 bytes a group of a block: a group holds 4 numbers of 8 bits, 8 of 4,
16 of 2 or 32 of 1. Byte j of the 4 holds the numbers j, 4 + j, 8 + j …, lowest bits first, so that one instruction
multiplies 4 numbers of each of 16 vectors by 4 of the query's and adds them up. The query's are whole numbers of
8 bits, with a sign, 4 of them in a word. All ways give the same whole numbers:

- ``vnni``: AVX-512 VNNI multiplies and adds 64 bytes at once, without rounding (``vpdpbusd``);
- ``avx2``: 32 bytes at once into sums of 16 bits (``vpmaddubsw``), which hold what numbers of 4 bits or fewer give in a
  whole group, 2 · 2 · 15 · 127 at most; numbers of 8 bits are multiplied as numbers of 16 (``vpmaddwd``);
- ``portable``: byte by byte, for LLVM to do what it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.compiled import LINE, called, processor_has
from engine.index.quantized.codes import LANES, WIDTHS

WORD, SHORT, BYTE = ir.IntType(32), ir.IntType(16), ir.IntType(8)
WORDS = ir.VectorType(WORD, LANES)
HALF = LANES // 2
HALF_WORDS, HALF_SHORTS, HALF_BYTES = (
    ir.VectorType(kind, HALF * times) for kind, times in ((WORD, 1), (SHORT, 2), (BYTE, 4))
)
WAYS = {"vnni": "avx512vnni", "avx2": "avx2"}
"""What a way asks of the processor; the first that there is is taken."""


def ways_here() -> list[str]:
    """The ways that this processor has, the fastest first."""
    return [*(way for way, feature in WAYS.items() if processor_has(feature)), "portable"]


def _splat(builder: Any, word: Any) -> Any:
    first = builder.insert_element(ir.Constant(WORDS, ir.Undefined), word, WORD(0))
    return builder.shuffle_vector(first, ir.Constant(WORDS, ir.Undefined), ir.Constant(WORDS, [0] * LANES))


def _constant(value: int) -> Any:
    return ir.Constant(WORDS, [value] * LANES)


def _by_vnni(builder: Any, codes: Sequence[Any], asked: Sequence[Any], bits: int) -> Any:
    total = _constant(0)
    for code, number in zip(codes, asked, strict=True):
        total = called(builder, "llvm.x86.avx512.vpdpbusd.512", WORDS, total, code, number)
    return total


def _by_avx2(builder: Any, codes: Sequence[Any], asked: Sequence[Any], bits: int) -> Any:
    halves = []
    for first in (0, HALF):
        lanes = ir.Constant(HALF_WORDS, list(range(first, first + HALF)))
        mine = [
            (_part(builder, code, lanes), _part(builder, number, lanes))
            for code, number in zip(codes, asked, strict=True)
        ]
        halves.append(_half_of_bytes(builder, mine) if bits == 8 else _half_of_fewer(builder, mine))
    return builder.shuffle_vector(halves[0], halves[1], ir.Constant(WORDS, list(range(LANES))))


def _part(builder: Any, words: Any, lanes: Any) -> Any:
    return builder.shuffle_vector(words, ir.Constant(WORDS, ir.Undefined), lanes)


def _half_of_bytes(builder: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """The bytes at even places, and those at odd places, as numbers of 16 bits."""
    total = ir.Constant(HALF_WORDS, [0] * HALF)
    eight = ir.Constant(HALF_SHORTS, [8] * (2 * HALF))
    for code, number in pairs:
        wide, asked = builder.bitcast(code, HALF_SHORTS), builder.bitcast(number, HALF_SHORTS)
        even = builder.and_(wide, ir.Constant(HALF_SHORTS, [255] * (2 * HALF)))
        signed = builder.ashr(builder.shl(asked, eight), eight)
        for one, other in ((even, signed), (builder.lshr(wide, eight), builder.ashr(asked, eight))):
            total = builder.add(total, called(builder, "llvm.x86.avx2.pmadd.wd", HALF_WORDS, one, other))
    return total


def _half_of_fewer(builder: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """Pairs of bytes into sums of 16 bits, of all the group's numbers, before these are added in pairs."""
    short = ir.Constant(HALF_SHORTS, [0] * (2 * HALF))
    for code, number in pairs:
        given = builder.bitcast(code, HALF_BYTES), builder.bitcast(number, HALF_BYTES)
        short = builder.add(short, called(builder, "llvm.x86.avx2.pmadd.ub.sw", HALF_SHORTS, *given))
    ones = ir.Constant(HALF_SHORTS, [1] * (2 * HALF))
    return called(builder, "llvm.x86.avx2.pmadd.wd", HALF_WORDS, short, ones)


def _by_any(builder: Any, codes: Sequence[Any], asked: Sequence[Any], bits: int) -> Any:
    total = _constant(0)
    for code, number in zip(codes, asked, strict=True):
        for byte in range(4):
            one = builder.and_(builder.lshr(code, _constant(8 * byte)), _constant(255))
            other = builder.ashr(builder.shl(number, _constant(24 - 8 * byte)), _constant(24))
            total = builder.add(total, builder.mul(one, other))
    return total


PRODUCTS = {"vnni": _by_vnni, "avx2": _by_avx2, "portable": _by_any}
"""Of a group: ``codes`` are its parts and ``asked`` the query's words for them, each as 16 words."""


def products_by(way: str) -> Any:
    """Make ``(codes, query, n8, n4, n2, n1, begin, least, out) → mask``: addresses, but for counts and ``least``.

    ``out`` gets the 16 inner products as int32, each added to its lane's number at ``begin``, unless that is 0; bit l
    of the mask says that lane l's is above ``least``.
    """
    of_group = PRODUCTS[way]

    def typed(
        context: Any, codes: Any, query: Any, n8: Any, n4: Any, n2: Any, n1: Any, begin: Any, least: Any, out: Any
    ) -> Any:
        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vector, word, byte = WORDS.as_pointer(), WORD.as_pointer(), BYTE.as_pointer()
            at = cgutils.alloca_once_value(builder, builder.inttoptr(arguments[0], byte))
            asked = cgutils.alloca_once_value(builder, builder.inttoptr(arguments[1], word))
            total = cgutils.alloca_once_value(builder, _constant(0))
            with builder.if_then(builder.icmp_unsigned("!=", arguments[6], arguments[6].type(0))):
                given = builder.load(builder.inttoptr(arguments[6], vector), align=4)
                builder.store(given, total)
            for bits, count in zip(WIDTHS, arguments[2:6], strict=True):
                mask = _constant(((1 << bits) - 1) * 0x01010101)
                parts = range(8 // bits)
                with cgutils.for_range(builder, count):
                    group = builder.load(builder.bitcast(builder.load(at), vector), align=1)
                    shifted = [builder.lshr(group, _constant(bits * part)) if part else group for part in parts]
                    numbers = [builder.and_(one, mask) for one in shifted] if bits < 8 else shifted
                    words = [builder.load(builder.gep(builder.load(asked), [WORD(part)]), align=4) for part in parts]
                    found = of_group(builder, numbers, [_splat(builder, one) for one in words], bits)
                    builder.store(builder.add(builder.load(total), found), total)
                    builder.store(builder.gep(builder.load(at), [WORD(LINE)]), at)
                    builder.store(builder.gep(builder.load(asked), [WORD(len(parts))]), asked)
            found = builder.load(total)
            builder.store(found, builder.inttoptr(arguments[8], vector), align=4)
            above = builder.icmp_signed(">", found, _splat(builder, arguments[7]))
            return builder.zext(builder.bitcast(above, ir.IntType(LANES)), WORD)

        address, count = types.uint64, types.int64
        given = (address, address, count, count, count, count, address, types.int32, address)
        return types.uint32(*given), generate

    return intrinsic(typed)
