"""Loads the C extension in the one way that works, and tells whether it did."""

import os
import sys

if "pyfuse3" in sys.modules:
    raise ImportError("msfs_fuse.fuse has to be imported before pyfuse3")

_flags = sys.getdlopenflags()
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
try:
    from msfs_fuse.fuse import _interpose
finally:
    sys.setdlopenflags(_flags)

Request = _interpose.Request
set_handlers = _interpose.set_handlers
libfuse_version = _interpose.libfuse_version
set_request_size = _interpose.set_request_size
set_pieces = _interpose.set_pieces
system_call = _interpose.system_call
first_thread = _interpose.first_thread
serve = _interpose.serve
tell = _interpose.tell
REQUEST, TURN, EMPTY = _interpose.REQUEST, _interpose.TURN, _interpose.EMPTY


class InterposeError(Exception):
    """The C extension does not stand between pyfuse3 and libfuse."""

    def __init__(self) -> None:
        super().__init__(
            "the C extension of msfs does not reach libfuse, so waiting readers could not be "
            "interrupted; reinstall msfs-fuse and pyfuse3 from source against this libfuse "
            "(pip install --force-reinstall --no-binary :all: pyfuse3 msfs-fuse)"
        )


def check_loaded() -> None:
    """Self-test before there is a session.

    Raises:
        InterposeError: a library loaded now would find libfuse's own functions first.
    """
    if not _interpose.is_visible():
        raise InterposeError


def check_session() -> None:
    """Self-test after pyfuse3.init().

    Raises:
        InterposeError: pyfuse3 made its session past the extension.
    """
    if not _interpose.is_hooked():
        raise InterposeError
