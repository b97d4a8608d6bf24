"""Dictionaries that hold few entries in the room of many.

Python's keep the room of the most that they ever held, until they grow again. Whoever fills one
for a moment, leaves it, and goes on to the next would own much memory that counts for nobody.
"""

from collections.abc import Sized

# Bytes: of room that is not worth a copy, and of each entry, several times what it needs.
_LITTLE = 2048
_PER_ENTRY = 512


def is_too_roomy(table: Sized) -> bool:
    """Whether a copy of this dictionary, which has as many bytes less, is worth its time.

    So many entries have left since the last copy that each of them has paid for a part of this one.
    """
    room = table.__sizeof__()
    return room > _LITTLE and room > _PER_ENTRY * len(table)
