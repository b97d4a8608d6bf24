"""What there is to know of a name below the mount, for `msfs ls` and `msfs info`."""

import errno
import grp
import os
import pwd
import stat

from msfs_fuse.core.attributes import PREFIX


def attributes(path: str) -> dict[str, str | None]:
    """The attributes of a slot; None for those that we may not read."""
    values: dict[str, str | None] = {}
    for name in os.listxattr(path):
        key = name.removeprefix(PREFIX)
        try:
            values[key] = os.fsdecode(os.getxattr(path, name))
        except PermissionError:
            values[key] = None
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return values


def octal(node: os.stat_result) -> str:
    """The permissions, such as 0644."""
    return f"{stat.S_IMODE(node.st_mode):04o}"


def user_name(uid: int) -> str:
    """The name of a user, or his number if he has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group, or its number if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
