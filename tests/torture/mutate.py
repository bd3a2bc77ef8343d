"""A small mutator of bytes: what damage, cut-off transfers, other programs and ill will make of a file."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

MOST = 6
"""Changes to one input."""
LONGEST = 1 << 16
"""Bytes that a change may add."""
EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
NUMBERS = (b"0", b"-1", b"1e999", b"NaN", b"-0", b"4294967296", b"9223372036854775808", b"1" * 400, b"0.5", b"null")
WORDS = (
    b"\0",
    b"\xff" * 8,
    b"\xed\xa0\x80",
    b'"\\ud800"',
    b"../",
    b"[" * 3000,
    b"{",
    b"&a *a",
    b"%s%n",
    b"\r\n",
    b" " * 64,
)

Change = Callable[[bytearray, Random, Sequence[bytes]], None]


def mutated(samples: Sequence[bytes], random: Random) -> bytes:
    """One of the samples, changed one to ``MOST`` times; now and then it comes out as it was."""
    data = bytearray(random.choice(samples))
    for _ in range(min(1 + int(random.expovariate(0.7)), MOST)):
        random.choice(CHANGES)(data, random, samples)
    return bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Headers are where most of a format's decisions are: half of all changes are made in the first 128 bytes."""
    most = len(data) if random.random() < 0.5 else min(len(data), 128)
    return random.randrange(most + 1)


def _flip(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 1, 4, 16))):
        if data:
            data[min(_place(data, random), len(data) - 1)] ^= 1 << random.randrange(8)


def _set(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    place = _place(data, random)
    length = random.choice((1, 1, 2, 4, 16))
    data[place : place + length] = bytes([random.choice((0, 255, random.randrange(256)))]) * length


def _delete(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    place = _place(data, random)
    del data[place : place + random.choice((1, 2, 4, 8, 64, 512))]


def _insert(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    word = random.choice((*WORDS, random.randbytes(random.choice((1, 4, 64)))))
    data[(place := _place(data, random)) : place] = word


def _duplicate(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    place = _place(data, random)
    piece = bytes(data[place : place + random.choice((1, 8, 64, 512))]) * random.choice((1, 1, 2, 64))
    data[place:place] = piece[:LONGEST]


def _splice(data: bytearray, random: Random, samples: Sequence[bytes]) -> None:
    other = random.choice(samples)
    start = random.randrange(len(other) + 1)
    place, length = _place(data, random), random.choice((8, 64, 512, LONGEST))
    data[place : place + length] = other[start : start + length]


def _truncate(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del data[random.choice((random.randrange(len(data) + 1), max(len(data) - random.randrange(1, 64), 0))) :]


def _integer(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    form, size = random.choice((("H", 2), ("I", 4), ("Q", 8)))
    if len(data) < size:
        return
    place, order = min(_place(data, random), len(data) - size), random.choice("<>")
    before = struct.unpack_from(order + form, data, place)[0]
    value = random.choice((*EXTREMES, before + 1, before - 1, before * 2, before ^ (1 << (8 * size - 1))))
    struct.pack_into(order + form, data, place, value % (1 << 8 * size))


def _number(data: bytearray, random: Random, _: Sequence[bytes]) -> None:
    found = list(re.finditer(rb"\d+", data[:LONGEST]))
    if found:
        chosen = random.choice(found)
        data[chosen.start() : chosen.end()] = random.choice((*NUMBERS, str(random.randrange(10**9)).encode()))


CHANGES: tuple[Change, ...] = (
    _flip, _flip, _set, _delete, _insert, _duplicate, _splice, _truncate, _integer, _integer, _number,
)  # fmt: skip
