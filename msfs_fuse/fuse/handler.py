"""From a plain method to the coroutine function that pyfuse3 wants.

Request handlers are plain functions, so that none can wait: an `await` in one is a syntax error.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3

from msfs_fuse.core.errors import SlotError

log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S")


def handler(
    method: Callable[Concatenate[_S, _P], _R],
) -> Callable[Concatenate[_S, _P], Coroutine[Any, Any, _R]]:
    """Make a request handler of a plain method.

    What the core refuses becomes an error code; any other exception would end the mount, so it
    is logged and becomes EIO.
    """

    @functools.wraps(method)
    async def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, *args, **kwargs)
        except SlotError as error:
            if error.reason:
                log.warning("%s: %s", method.__name__, error.reason)
            raise pyfuse3.FUSEError(error.errno) from None
        except Exception:
            log.exception("%s failed", method.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return guarded
