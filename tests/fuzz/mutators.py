"""Mutations of bytes: an input of a family follows from the family's seeds and its number alone."""

import pickle
import random
import re
from collections.abc import Callable, Sequence

MAX_BYTES, MAX_SMALL = 1 << 20, 1 << 14  # of an input; of most, for speed
MAX_MUTATIONS = 6
EXTREMES = (0, 1, 2, 127, 128, 255, 256, 32767, 32768, 60000, 65535, 65536)
EXTREMES += (2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = [b"0", b"-1", b"1e999", b"nan", b"-inf", b"9" * 25, b"9" * 5000, b"1.5", b"60000", b"-0"]
NUMBER = re.compile(rb"\d+(\.\d+)?")
PATHS = [b"../outside/secret", b"../../../../etc/passwd", b"/etc/passwd", b"/", b".", b"..", b"//"]
PATHS += [b"inside/../../outside/secret", b"~root/x", b"a\0b", b"C:\\x", b"file:///etc/passwd"]
UNICODE = [
    "\u202e",
    "\ufeff",
    "\u2028",
    "\udcff",
    "e\u0301",
    "\U0001f600",
    "\x85",
    "ß",
    "İ",
    "\x1b]0;x\x07",
]
NESTS = [(b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"(", b")"), (b"a.", b"")]


class Payload:
    """Unpickling it would run a command; the audit hook of the worker sees any such attempt."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        import os

        return os.system, ("true",)


PICKLES = [pickle.dumps(Payload(), protocol) for protocol in (0, 2, 4)]

Mutator = Callable[[random.Random, bytes], bytes]


def mutated(
    family: str,
    number: int,
    seeds: Sequence[bytes],
    own: Sequence[Mutator] = (),
    tokens: Sequence[bytes] = (),
) -> bytes:
    """Input `number` of a family: a seed after one or more mutations.

    own: mutators that know the format. tokens: words of the format, to insert.
    """
    rng = random.Random(f"{family}:{number}")
    data = rng.choice(seeds)
    limit = MAX_BYTES if rng.random() < 0.02 else max(MAX_SMALL, 2 * len(data))
    for _ in range(min(MAX_MUTATIONS, 1 + int(rng.expovariate(0.7)))):
        if own and rng.random() < 0.3:
            data = rng.choice(own)(rng, data)
        elif rng.random() < 0.05:
            data = _splice(rng, data, rng.choice(seeds))
        elif rng.random() < 0.1:
            data = _insert(rng, data, rng.choice([*tokens, *_WORDS]))
        else:
            data = rng.choice(GENERAL)(rng, data)
        data = data[:limit]
    return data


def _spot(rng: random.Random, data: bytes) -> int:
    """A position; headers, at both ends of a file, are drawn more often."""
    kind = rng.random()
    if kind < 0.3:
        return min(len(data), int(rng.expovariate(1 / 40)))
    if kind < 0.4:
        return max(0, len(data) - int(rng.expovariate(1 / 40)))
    return rng.randrange(len(data) + 1)


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    first = _spot(rng, data)
    return first, min(
        len(data), first + int(rng.expovariate(1 / rng.choice([2, 16, 200, 5000]))) + 1
    )


def _insert(rng: random.Random, data: bytes, piece: bytes) -> bytes:
    at = _spot(rng, data)
    overwritten = rng.choice([0, 0, len(piece)])
    return data[:at] + piece + data[at + overwritten :]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _spot(rng, data)] + other[_spot(rng, other) :]


def flip_bits(rng: random.Random, data: bytes) -> bytes:
    """Flip some bits."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8, 40])):
        if changed:
            changed[min(_spot(rng, data), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def set_bytes(rng: random.Random, data: bytes) -> bytes:
    """Overwrite a range by random bytes or by one repeated byte."""
    first, stop = _span(rng, data)
    count = stop - first
    run = (
        rng.randbytes(count)
        if rng.random() < 0.5
        else bytes([rng.choice([0, 255, 10, 32, 65])]) * count
    )
    return data[:first] + run + data[stop:]


def cut(rng: random.Random, data: bytes) -> bytes:
    """Remove a range."""
    first, stop = _span(rng, data)
    return data[:first] + data[stop:]


def truncate(rng: random.Random, data: bytes) -> bytes:
    """Keep the head, or the tail."""
    at = _spot(rng, data)
    return data[:at] if rng.random() < 0.8 else data[at:]


def repeat(rng: random.Random, data: bytes) -> bytes:
    """Repeat a range, a few or many times."""
    first, stop = _span(rng, data)
    piece = data[first:stop]
    times = min(rng.choice([2, 3, 10, 1000, 40000]), 1 + MAX_BYTES // max(1, len(piece)))
    return data[:first] + piece * times + data[stop:]


def set_length(rng: random.Random, data: bytes) -> bytes:
    """Write an extreme number over a field of 1, 2, 4 or 8 bytes."""
    width = rng.choice([1, 2, 4, 4, 8])
    value = rng.choice(EXTREMES) + rng.choice([0, 0, -1, 1])
    at = _spot(rng, data)
    field = (value % (1 << 8 * width)).to_bytes(width, rng.choice(["little", "big"]))
    return data[:at] + field + data[at + width :]


def change_length(rng: random.Random, data: bytes) -> bytes:
    """Add a little to a field of 2 or 4 bytes, as an off-by-one writer would."""
    width, order = rng.choice([2, 4]), rng.choice(["little", "big"])
    at = _spot(rng, data)
    field = data[at : at + width]
    value = int.from_bytes(field, order) + rng.choice([-2, -1, 1, 2, 7, 256])
    return data[:at] + (value % (1 << 8 * width)).to_bytes(width, order) + data[at + width :]


def set_number(rng: random.Random, data: bytes) -> bytes:
    """Replace a number that is written as text."""
    found = list(NUMBER.finditer(data[: 1 << 16]))
    if not found:
        return data
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS) + data[match.end() :]


def nest(rng: random.Random, data: bytes) -> bytes:
    """Deep nesting, closed or open."""
    depth, (opening, closing) = rng.choice([3, 100, 2000, 100_000]), rng.choice(NESTS)
    return _insert(rng, data, opening * depth + closing * (depth * rng.randrange(2)))


def change_lines(rng: random.Random, data: bytes) -> bytes:
    """Delete, double, swap or join lines."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(other, lines[at])
    elif kind == 2:
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] += lines[other]
        del lines[other]
    return b"\n".join(lines)


def empty(rng: random.Random, data: bytes) -> bytes:
    """Nothing, one zero, or noise."""
    return rng.choice([b"", b"\0", rng.randbytes(rng.randrange(300)), b"\n" * 50])


GENERAL: Sequence[Mutator] = (
    flip_bits,
    flip_bits,
    flip_bits,
    set_bytes,
    cut,
    truncate,
    repeat,
    set_length,
    set_length,
    change_length,
    set_number,
    nest,
    change_lines,
) + (empty,) * 1
_WORDS = [*PATHS, *(text.encode("utf-8", "surrogatepass") for text in UNICODE), *PICKLES, *NUMBERS]
