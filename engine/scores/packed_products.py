"""Products of four rows of a packed factor with a query, in whole numbers: LLVM written out, for ``packed_kernel``.

The four rows are equally wide, a multiple of 16 numbers, and lie equally far apart: so the processor sees four streams
to fetch ahead, which it does better by itself than it can be asked to. Two neighbouring numbers of 16 bits are
multiplied by two of the query's and added into one of 32 at an instruction (``vpmaddwd``), 16 numbers at a time;
processors without AVX2 get what LLVM makes of the same. The rows' sums come out side by side.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from engine.compiled import called, processor_has
from engine.scores.packed_density import WIDTH as LANES

LONG, WORD, SHORT, BYTE = (ir.IntType(bits) for bits in (64, 32, 16, 8))
FLOAT, DOUBLE = ir.FloatType(), ir.DoubleType()
PAIRS, ROWS = LANES // 2, 4
SHORTS, WORDS, FLOATS = ir.VectorType(SHORT, LANES), ir.VectorType(WORD, PAIRS), ir.VectorType(FLOAT, PAIRS)
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


def _side_by_side(builder: Any, rows: list[Any], add: Any) -> Any:
    """Four vectors of 8 to the four sums of their numbers."""
    width = PAIRS
    while len(rows) > 1 or width > ROWS:
        if width > ROWS:  # halves of each onto one another
            ends = _places(range(width // 2)), _places(range(width // 2, width))
            rows = [add(*(builder.shuffle_vector(row, row, end) for end in ends)) for row in rows]
            width //= 2
        else:  # of two vectors, neighbours onto one another
            pairs = _places(range(0, 2 * ROWS, 2)), _places(range(1, 2 * ROWS, 2))
            rows = [
                add(*(builder.shuffle_vector(rows[i], rows[i + 1], pair) for pair in pairs))
                for i in range(0, len(rows), 2)
            ]
    return rows[0]


def _four_sums(builder: Any, first: Any, apart: Any, count: Any, asked: Any, kind: Any, floating: bool = False) -> Any:
    """Of four rows of ``count`` numbers of a kind, ``apart`` bytes apart, with those of 16 bits at ``asked``.

    In whole numbers of 32 bits, which whoever asks knows to hold the sums; or in float32, which holds any.
    """
    size = kind.width // 8
    total = FLOATS if floating else WORDS
    sums = [cgutils.alloca_once_value(builder, ir.Constant(total, None)) for _ in range(ROWS)]
    with cgutils.for_range(builder, builder.lshr(count, LONG(LANES.bit_length() - 1))) as loop:
        query = _vector(builder, builder.add(asked, builder.mul(loop.index, LONG(2 * LANES))), SHORT, LANES)
        row = builder.add(first, builder.mul(loop.index, LONG(LANES * size)))
        for place in sums:
            numbers = _vector(builder, row, kind, LANES)
            product = _multiplied(builder, builder.sext(numbers, SHORTS) if size == 1 else numbers, query)
            if floating:
                builder.store(builder.fadd(builder.load(place), builder.sitofp(product, FLOATS), flags=FAST), place)
            else:
                builder.store(builder.add(builder.load(place), product), place)
            row = builder.add(row, apart)
    add = (lambda a, b: builder.fadd(a, b, flags=FAST)) if floating else builder.add
    return _side_by_side(builder, [builder.load(place) for place in sums], add)


def _squared(builder: Any, values: Any) -> Any:
    """The sum of squares of four float64."""
    squares = builder.fmul(values, values)
    return called(
        builder, f"llvm.vector.reduce.fadd.v{ROWS}f64", DOUBLE, DOUBLE(0.0), squares, fastmath=("reassoc",)
    )  # fmt: skip


def _upper_squares(context: Any, start: Any, apart: Any, width: Any, asked: Any, units: Any, sums: Any) -> Any:
    """Σ (unit · product)² over four rows of 16 bits; the products go to ``sums``, an address, as int32."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, apart, count, query, units_at, sums_at = arguments
        products = _four_sums(builder, first, apart, count, query, SHORT)
        builder.store(products, builder.inttoptr(sums_at, products.type.as_pointer()), align=4)
        rows = builder.fmul(
            builder.sitofp(products, ir.VectorType(FLOAT, ROWS)), _vector(builder, units_at, FLOAT, ROWS, 4)
        )
        return _squared(builder, builder.fpext(rows, ir.VectorType(DOUBLE, ROWS)))

    return types.float64(types.uint64, types.uint64, types.int64, types.uint64, types.uint64, types.uint64), generate


def _whole_squares(
    context: Any, upper: Any, low: Any, apart: Any, width: Any, asked: Any, rest: Any, units: Any, sums: Any
) -> Any:
    """Σ (unit · (256 · (product + 2⁻¹⁵ · that with ``rest``) + product of the low bytes))² over four rows."""

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, low_at, apart, count, query, rest_at, units_at, sums_at = arguments
        twice = builder.shl(apart, LONG(1))
        doubles = ir.VectorType(DOUBLE, ROWS)

        def many(value: float) -> Any:
            return ir.Constant(doubles, [value] * ROWS)

        more = builder.fpext(_four_sums(builder, first, twice, count, rest_at, SHORT, floating=True), doubles)
        lower = builder.sitofp(_four_sums(builder, low_at, apart, count, query, BYTE), doubles)
        products = builder.sitofp(_vector(builder, sums_at, WORD, ROWS, 4), doubles)
        upper = builder.fadd(products, builder.fmul(more, many(2.0**-15)))
        both = builder.fadd(builder.fmul(upper, many(256.0)), lower)
        return _squared(builder, builder.fmul(both, builder.fpext(_vector(builder, units_at, FLOAT, ROWS, 4), doubles)))

    word = types.uint64
    return types.float64(word, word, word, types.int64, word, word, word, word), generate


upper_squares = intrinsic(_upper_squares)
whole_squares = intrinsic(_whole_squares)
