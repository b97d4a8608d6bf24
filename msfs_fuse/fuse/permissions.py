"""Permission bits, for the few ways to a node that the kernel does not check."""

import errno
import os

import pyfuse3

from msfs_fuse.core.errors import SlotError
from msfs_fuse.core.slot import Node


def _groups(ctx: pyfuse3.RequestContext) -> set[int]:
    try:
        return {ctx.gid, *pyfuse3.get_sup_groups(ctx.pid)}
    except (OSError, RuntimeError):  # gone, or in another PID namespace
        return {ctx.gid}


def check(node: Node, wanted: int, ctx: pyfuse3.RequestContext) -> None:
    """Refuse what the owner, group and mode of a node do not allow.

    Args:
        wanted: os.R_OK, os.W_OK and os.X_OK, or a sum of them.

    Raises:
        SlotError: EACCES.
    """
    if ctx.uid == 0:
        return
    if ctx.uid == node.uid:
        allowed = node.mode >> 6
    elif node.gid in _groups(ctx):
        allowed = node.mode >> 3
    else:
        allowed = node.mode
    if wanted & ~allowed & (os.R_OK | os.W_OK | os.X_OK):
        raise SlotError(errno.EACCES)
