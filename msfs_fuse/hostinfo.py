"""What this machine allows: what a mount is checked against, and what `msfs doctor` reports."""

import contextlib

FUSE_CONF = "/etc/fuse.conf"
_REQUEST_TIMEOUTS = ("default_request_timeout", "max_request_timeout")


def user_allows_other() -> bool:
    """Whether a user who is not root may mount with allow_other."""
    try:
        with open(FUSE_CONF) as file:
            return any(line.strip() == "user_allow_other" for line in file)
    except OSError:
        return False


def request_timeouts() -> dict[str, int]:
    """The kernel's limits in seconds on how old a FUSE request may get, where there are any."""
    found = {}
    for name in _REQUEST_TIMEOUTS:
        with contextlib.suppress(OSError, ValueError), open(f"/proc/sys/fs/fuse/{name}") as file:
            seconds = int(file.read())
            if seconds:
                found[name] = seconds
    return found
