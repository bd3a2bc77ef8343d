"""Products of four rows of a packed factor with a query: LLVM written out, for ``density_kernel``.

The four rows are equally wide, a multiple of 16 numbers, and lie equally far apart: so the processor sees four streams
to fetch ahead, which it does better by itself than it can be asked to. Two neighbouring numbers are multiplied
by two of the query's, of 16 bits, and added into one of 32 at an instruction (``vpmaddwd``), 16 numbers at a time;
processors without AVX2 get what LLVM makes of the same. The rows' sums come out side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.compiled import called, processor_has
from engine.rerank.density_layout import MIDDLE, UPPER
from engine.rerank.density_layout import WIDTH as LANES

Numbers = Callable[[Any, list[Any], Any], list[Any]]
LONG, WORD, SHORT, BYTE = (ir.IntType(bits) for bits in (64, 32, 16, 8))
FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
PAIRS, ROWS = LANES // 2, 4
SHORTS, WORDS = ir.VectorType(SHORT, LANES), ir.VectorType(WORD, PAIRS)
DOUBLES = ir.VectorType(DOUBLE, ROWS)
FAST = ("reassoc", "contract")
HAS_PAIRS = processor_has("avx2")
"""Whether this processor has the instruction."""


def _multiplied(builder: Any, one: Any, other: Any) -> Any:
    """Products of 16 numbers of 16 bits, added in pairs: 8 of 32 bits."""
    if HAS_PAIRS:
        return called(builder, "llvm.x86.avx2.pmadd.wd", WORDS, one, other)
    wide = ir.VectorType(WORD, LANES)
    products = builder.mul(builder.sext(one, wide), builder.sext(other, wide))
    even, odd = (
        builder.shuffle_vector(products, ir.Constant(wide, ir.Undefined), _places(range(first, LANES, 2)))
        for first in (0, 1)
    )
    return builder.add(even, odd)


def _places(numbers: Any) -> Any:
    """Which numbers of two vectors, one behind the other, make a new one."""
    listed = list(numbers)
    return ir.Constant(ir.VectorType(WORD, len(listed)), listed)


def _vector(builder: Any, address: Any, kind: Any, count: int, align: int = 1) -> Any:
    """``count`` numbers at an address."""
    return builder.load(builder.inttoptr(address, ir.VectorType(kind, count).as_pointer()), align=align)


def _side_by_side(builder: Any, rows: list[Any]) -> Any:
    """Four vectors of 8 to the four sums of their numbers."""
    width = PAIRS
    while len(rows) > 1 or width > ROWS:
        if width > ROWS:  # halves of each onto one another
            ends = _places(range(width // 2)), _places(range(width // 2, width))
            rows = [builder.add(*(builder.shuffle_vector(row, row, end) for end in ends)) for row in rows]
            width //= 2
        else:  # of two vectors, neighbours onto one another
            pairs = _places(range(0, 2 * ROWS, 2)), _places(range(1, 2 * ROWS, 2))
            rows = [
                builder.add(*(builder.shuffle_vector(rows[i], rows[i + 1], pair) for pair in pairs))
                for i in range(0, len(rows), 2)
            ]
    return rows[0]


def _apart(builder: Any, first: Any, apart: Any) -> list[Any]:
    """The addresses of four rows."""
    rows = [first]
    while len(rows) < ROWS:
        rows.append(builder.add(rows[-1], apart))
    return rows


def _bytes(builder: Any, rows: list[Any], first: Any) -> list[Any]:
    """16 numbers of each of four rows of bytes, from the ``first`` on, in 16 bits each."""
    return [builder.sext(_vector(builder, builder.add(row, first), BYTE, LANES), SHORTS) for row in rows]


def _halves(builder: Any, rows: list[Any], first: Any) -> list[Any]:
    """The same of rows of half bytes: two rows of bytes have two of these each, the lower halves first."""
    four, twelve = (ir.Constant(SHORTS, [by] * LANES) for by in (4, 12))
    found = []
    for both in _bytes(builder, rows, first):
        found += [builder.ashr(builder.shl(both, twelve), twelve), builder.ashr(both, four)]
    return found


def _four_sums(builder: Any, count: Any, *products: tuple[Numbers, list[Any], Any]) -> list[Any]:
    """The sums of each of ``products``, side by side, all made in one loop over ``count`` numbers.

    A product is of what ``_bytes`` or ``_halves`` reads at the addresses of rows, and of numbers of 16 bits at another.
    Whoever asks knows that 32 bits hold its sums.
    """
    sums = [[cgutils.alloca_once_value(builder, ir.Constant(WORDS, None)) for _ in range(ROWS)] for _ in products]
    with cgutils.for_range(builder, builder.lshr(count, LONG(LANES.bit_length() - 1))) as loop:
        first = builder.mul(loop.index, LONG(LANES))
        for (numbers, rows, asked), places in zip(products, sums, strict=True):
            query = _vector(builder, builder.add(asked, builder.shl(first, LONG(1))), SHORT, LANES)
            for row, place in zip(numbers(builder, rows, first), places, strict=True):
                builder.store(builder.add(builder.load(place), _multiplied(builder, row, query)), place)
    return [_side_by_side(builder, [builder.load(place) for place in places]) for places in sums]


def _many(builder: Any, value: Any) -> Any:
    """Four times the same float64."""
    one = builder.insert_element(ir.Constant(DOUBLES, ir.Undefined), value, WORD(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(WORD, ROWS), None))


def _squares(builder: Any, sums: Any, scale: Any, units_at: Any, diagonal_at: Any, z_at: Any) -> Any:
    """Σ (scale · unit · sum + diagonal · z)² over four rows, in float64."""

    def four(address: Any) -> Any:
        return builder.fpext(_vector(builder, address, FLOAT, ROWS, 4), DOUBLES)

    beside = builder.fmul(sums, builder.fmul(four(units_at), _many(builder, scale)))
    values = builder.fadd(beside, builder.fmul(four(diagonal_at), four(z_at), flags=FAST), flags=FAST)
    squares = builder.fmul(values, values)
    return called(
        builder, f"llvm.vector.reduce.fadd.v{ROWS}f64", DOUBLE, DOUBLE(0.0), squares, fastmath=("reassoc",)
    )  # fmt: skip


def _upper_squares(
    context: Any,
    start: Any,
    apart: Any,
    width: Any,
    asked: Any,
    scale: Any,
    units: Any,
    diagonal: Any,
    z: Any,
    sums: Any,
) -> Any:
    """Σ (scale · unit · product + diagonal · z)² over four rows of bytes; the products go to ``sums``, as int32."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, apart, count, query, scale, units_at, diagonal_at, z_at, sums_at = arguments
        (sums,) = _four_sums(builder, count, (_bytes, _apart(builder, first, apart), query))
        builder.store(sums, builder.inttoptr(sums_at, sums.type.as_pointer()), align=4)
        return _squares(builder, builder.sitofp(sums, DOUBLES), scale, units_at, diagonal_at, z_at)

    word = types.uint64
    return types.float64(word, word, types.int64, word, types.float64, word, word, word, word), generate


def _middle_squares(
    context: Any, middle: Any, apart: Any, width: Any, asked: Any, scale: Any, units: Any, diagonal: Any, z: Any,
    sums: Any, totals: Any,
) -> Any:  # fmt: skip
    """The same with the product of the middle bits besides: of ``sums`` that of the upper ones. What both are goes to
    ``totals``, as float64. Two rows of half bytes lie in one of bytes, ``apart`` from the next two."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, apart, count, query, scale, units_at, diagonal_at, z_at, sums_at, totals_at = arguments
        (more,) = _four_sums(builder, count, (_halves, [first, builder.add(first, apart)], query))
        before = builder.sitofp(_vector(builder, sums_at, WORD, ROWS, 4), DOUBLES)
        total = _and_parts(builder, before, more, DOUBLE(MIDDLE / UPPER))
        builder.store(total, builder.inttoptr(totals_at, DOUBLES.as_pointer()), align=8)
        return _squares(builder, total, scale, units_at, diagonal_at, z_at)

    word, real = types.uint64, types.float64
    return real(word, word, types.int64, word, real, word, word, word, word, word), generate


def _last_squares(
    context: Any, upper: Any, last: Any, apart: Any, width: Any, asked: Any, rest: Any, finer: Any, scale: Any,
    units: Any, diagonal: Any, z: Any, totals: Any,
) -> Any:  # fmt: skip
    """The same with the product of the last bits besides, and ``finer`` times that of the upper ones with ``rest``: of
    ``totals`` that of the others."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, last_at, apart, count, query, rest_at, finer, scale, *places, totals_at = arguments
        units_at, diagonal_at, z_at = places
        more, last = _four_sums(
            builder,
            count,
            (_bytes, _apart(builder, first, apart), rest_at),
            (_bytes, _apart(builder, last_at, apart), query),
        )
        total = _and_parts(builder, _vector(builder, totals_at, DOUBLE, ROWS, 8), more, finer)
        total = _and_parts(builder, total, last, DOUBLE(1 / UPPER))
        return _squares(builder, total, scale, units_at, diagonal_at, z_at)

    word, real = types.uint64, types.float64
    return real(word, word, word, types.int64, word, word, real, real, word, word, word, word), generate


def _and_parts(builder: Any, total: Any, sums: Any, of: Any) -> Any:
    """total + sums · of, four at a time."""
    return builder.fadd(
        total, builder.fmul(builder.sitofp(sums, DOUBLES), _many(builder, of), flags=FAST), flags=FAST
    )  # fmt: skip


upper_squares = intrinsic(_upper_squares)
middle_squares = intrinsic(_middle_squares)
last_squares = intrinsic(_last_squares)
