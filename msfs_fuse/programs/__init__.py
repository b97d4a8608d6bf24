"""What the programs that use mailslots write into them: formats, bytes to values and back.

All of it is pure: no file, no socket, no clock. What comes from others is bounded and checked, and
refused by one exception, `FormatError`.
"""


class FormatError(Exception):
    """What came is not of the format it should have."""
