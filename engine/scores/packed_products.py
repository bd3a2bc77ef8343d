"""Products of four rows of a packed factor with a query: LLVM written out, for ``packed_kernel``.

The four rows are equally wide, a multiple of 16 numbers, and lie equally far apart: so the processor sees four streams
to fetch ahead, which it does better by itself than it can be asked to. Two neighbouring numbers are multiplied
by two of the query's, of 16 bits, and added into one of 32 at an instruction (``vpmaddwd``), 16 numbers at a time;
processors without AVX2 get what LLVM makes of the same. The rows' sums come out side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.compiled import called, processor_has
from engine.scores.packed_density import MIDDLE, UPPER
from engine.scores.packed_density import WIDTH as LANES

LONG, WORD, SHORT, BYTE, HALF = (ir.IntType(bits) for bits in (64, 32, 16, 8, 4))
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


def _numbers(builder: Any, address: Any, kind: Any) -> Any:
    """16 numbers at an address, of ``kind`` bits, as such of 16: those of 4 bits are halves of 8 bytes."""
    if kind != HALF:
        return builder.sext(_vector(builder, address, kind, LANES), SHORTS)
    bytes_of = _vector(builder, address, BYTE, LANES // 2)
    four = ir.Constant(bytes_of.type, [4] * (LANES // 2))
    halves = builder.ashr(builder.shl(bytes_of, four), four), builder.ashr(bytes_of, four)
    return builder.sext(builder.shuffle_vector(*halves, _places(range(LANES))), SHORTS)


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


def _four_sums(builder: Any, count: Any, *products: tuple[list[Any], Any, Any]) -> list[Any]:
    """The sums of each of ``products``, side by side, all made in one loop over ``count`` numbers.

    A product is of four rows, at addresses, of numbers of a kind, with those of 16 bits at an address. Whoever asks
    knows that 32 bits hold its sums.
    """
    sums = [[cgutils.alloca_once_value(builder, ir.Constant(WORDS, None)) for _ in rows] for rows, *_ in products]
    with cgutils.for_range(builder, builder.lshr(count, LONG(LANES.bit_length() - 1))) as loop:
        for (rows, kind, asked), places in zip(products, sums, strict=True):
            start = builder.mul(loop.index, LONG(LANES * kind.width // 8))
            query = _vector(builder, builder.add(asked, builder.mul(loop.index, LONG(2 * LANES))), SHORT, LANES)
            for row, place in zip(rows, places, strict=True):
                more = _multiplied(builder, _numbers(builder, builder.add(row, start), kind), query)
                builder.store(builder.add(builder.load(place), more), place)
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
        (sums,) = _four_sums(builder, count, (_apart(builder, first, apart), BYTE, query))
        builder.store(sums, builder.inttoptr(sums_at, sums.type.as_pointer()), align=4)
        return _squares(builder, builder.sitofp(sums, DOUBLES), scale, units_at, diagonal_at, z_at)

    word = types.uint64
    return types.float64(word, word, types.int64, word, types.float64, word, word, word, word), generate


def _middle_squares(
    context: Any, upper: Any, middle: Any, apart: Any, width: Any, asked: Any, rest: Any, finer: Any, scale: Any,
    units: Any, diagonal: Any, z: Any, sums: Any, totals: Any,
) -> Any:  # fmt: skip
    """Σ (scale · unit · total + diagonal · z)² over four rows: a total, in float64, goes to ``totals`` too.

    It is the product of the upper bits, which ``sums`` has, and that with ``rest``, ``finer`` times, and that of the
    middle bits. ``apart`` is how far rows of upper bits lie apart, rows of middle ones half as far.
    """

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (
            first,
            middle_at,
            apart,
            count,
            query,
            rest_at,
            finer,
            scale,
            units_at,
            diagonal_at,
            z_at,
            sums_at,
            totals_at,
        ) = arguments
        more, middle = _four_sums(
            builder,
            count,
            (_apart(builder, first, apart), BYTE, rest_at),
            (_apart(builder, middle_at, builder.lshr(apart, LONG(1))), HALF, query),
        )
        total = builder.sitofp(_vector(builder, sums_at, WORD, ROWS, 4), DOUBLES)
        for part, of in ((more, finer), (middle, DOUBLE(MIDDLE / UPPER))):
            part = builder.sitofp(part, DOUBLES)
            total = builder.fadd(total, builder.fmul(part, _many(builder, of), flags=FAST), flags=FAST)
        builder.store(total, builder.inttoptr(totals_at, DOUBLES.as_pointer()), align=8)
        return _squares(builder, total, scale, units_at, diagonal_at, z_at)

    word, real = types.uint64, types.float64
    return real(word, word, word, types.int64, word, word, real, real, word, word, word, word, word), generate


def _last_squares(
    context: Any, last: Any, apart: Any, width: Any, asked: Any, scale: Any, units: Any, diagonal: Any, z: Any,
    totals: Any,
) -> Any:  # fmt: skip
    """The same with the product of the last bits besides: of ``totals`` that of all before."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, apart, count, query, scale, units_at, diagonal_at, z_at, totals_at = arguments
        (sums,) = _four_sums(builder, count, (_apart(builder, first, apart), BYTE, query))
        more = builder.fmul(builder.sitofp(sums, DOUBLES), _many(builder, DOUBLE(1 / UPPER)), flags=FAST)
        total = builder.fadd(_vector(builder, totals_at, DOUBLE, ROWS, 8), more, flags=FAST)
        return _squares(builder, total, scale, units_at, diagonal_at, z_at)

    word, real = types.uint64, types.float64
    return real(word, word, types.int64, word, real, word, word, word, word), generate


upper_squares = intrinsic(_upper_squares)
middle_squares = intrinsic(_middle_squares)
last_squares = intrinsic(_last_squares)
