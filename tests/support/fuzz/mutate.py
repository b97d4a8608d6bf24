"""Turns something valid into something that nearly is."""

import random

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MAX_SIZE = 8192


def mutate(rng: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    """A few changes to `seed`, with pieces of `others`; one time in twenty none."""
    data = bytearray(seed)
    if rng.random() < 0.05:
        return seed
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        _change(rng, data, others)
    return bytes(data[:_MAX_SIZE])


def _change(rng: random.Random, data: bytearray, others: list[bytes]) -> None:
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 16, 64, 256)))
    match rng.randrange(9):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.randrange(256)
        case 2:
            data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 200)))
        case 3:
            del data[at:end]
        case 4:
            data[at:at] = data[at:end] * rng.choice((1, 2, 50))
        case 5:
            del data[at:]
        case 6:
            size = rng.choice((1, 2, 4, 8))
            number = (rng.choice(_NUMBERS) & (1 << 8 * size) - 1).to_bytes(
                size, rng.choice(("big", "little"))
            )
            data[at : at + size] = number
        case 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at:end] = other[start : start + rng.choice((1, 4, 16, 64, 1000))]
        case _:
            data[at:end] = bytes([rng.choice((0, 0xFF, 0x80, 0x20, 0x2E, 0x5C))]) * (end - at)
