"""Values of arguments that several commands take."""

import argparse

# Beyond this poll(2) would wait for ever, in seconds: 24 days.
_LONGEST_TIME = 2_000_000.0


def count(text: str) -> int:
    """How many messages: 1 or more."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number from 1 on: {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A time in seconds, more than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value <= _LONGEST_TIME:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return value


def code_page(text: str) -> str:
    """A code page that Python knows."""
    import codecs

    try:
        return codecs.lookup(text).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"not a code page: {text!r}") from None


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Declare when a command that serves a slot ends, and whether it returns before."""
    parser.add_argument(
        "-b",
        dest="background",
        action="store_true",
        help="return when the slot is there, and go on in the background",
    )
    parser.add_argument("-n", dest="count", type=count, metavar="N", help="end after N messages")
    parser.add_argument(
        "-t", dest="seconds", type=seconds, metavar="SECONDS", help="end after this time in all"
    )
