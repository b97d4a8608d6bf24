"""Where mailslots are mounted, whether they live, and how they go."""

import errno
import os
import re
import subprocess
import time
from dataclasses import dataclass

from msfs_fuse.core.names import CONTROL_DIRECTORY
from msfs_fuse.errors import CommandError, Exit

# What mount tables call the type of a mailslot mount.
FILESYSTEM_TYPE = "fuse.msfs"

ENVIRONMENT = "MSFS_MOUNT"

# A mount that does not answer a statfs(2) within this many seconds hangs.
_STAT_TIMEOUT = 3.0
_GONE_TIMEOUT = 5.0

_FSTAB = "/etc/fstab"
_FSTAB_TYPES = ("msfs", FILESYSTEM_TYPE)

# How long a mount may take that comes with the first use of its directory.
_AUTOMOUNT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    path: str
    fstype: str
    device: str  # "major:minor"; the minor names a directory below /sys/fs/fuse/connections
    owner: int | None  # who mounted it, for FUSE
    allows_others: bool = False

    def is_open_to(self, uid: int) -> bool:
        """Whether the kernel lets a user in: a private mount is for its owner, and not for root."""
        return self.allows_others or self.owner == uid


def _unescape(text: str) -> str:
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(text)))


def mount_table() -> list[Mount]:
    """All mounts, the newest last."""
    mounts = []
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.rstrip("\n").partition(" - ")
            words = before.split(" ")
            owner = re.search(r"\buser_id=(\d+)", after)
            mounts.append(
                Mount(
                    _unescape(words[4]),
                    after.split(" ")[0],
                    words[2],
                    int(owner[1]) if owner else None,
                    re.search(r"\ballow_other\b", after) is not None,
                )
            )
    return mounts


def mount_at(path: str) -> Mount | None:
    """The mount whose mount point is `path`, an absolute path; the topmost one."""
    return next((each for each in reversed(mount_table()) if each.path == path), None)


def our_mounts() -> list[Mount]:
    """The mailslot mounts, live or dead."""
    return [each for each in mount_table() if each.fstype == FILESYSTEM_TYPE]


def is_alive(path: str) -> bool:
    """Whether somebody serves the mount at `path`.

    Asked from a child process: who touches a mount that hangs, hangs.
    """
    # statfs(2), because the kernel may answer a stat(2) by itself, even if the daemon is gone: it
    # remembers attributes for a while.
    message = _probe("stat", "-f", "-c", "%b", "--", path, timeout=_STAT_TIMEOUT)
    return message is not None and os.strerror(errno.ENOTCONN).encode() not in message


def _probe(*command: str, timeout: float) -> bytes | None:
    """What a command complains of; None if it is not done in time. It is not waited for then."""
    probe = subprocess.Popen(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        return probe.communicate(timeout=timeout)[1]
    except subprocess.TimeoutExpired:
        probe.kill()
        return None


def fstab_mounts() -> list[tuple[str, str]]:
    """Where /etc/fstab has mailslots mounted, and by which name of the type."""
    try:
        with open(_FSTAB, errors="surrogateescape") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [
        (os.path.normpath(_unescape(words[1])), words[2])
        for words in lines
        if len(words) > 2 and not words[0].startswith("#") and words[2] in _FSTAB_TYPES
    ]


def _mount_in_use(path: str) -> Mount | None:
    """The mount at `path`; one that comes with its first use (x-systemd.automount) is used."""
    found = mount_at(path)
    if found is not None and found.fstype == "autofs":
        _probe("ls", "-d", "--", f"{path}/.", timeout=_AUTOMOUNT_TIMEOUT)
        found = mount_at(path)
    return found


def find_mount(option: str | None) -> str:
    """The mount point to use: the option, $MSFS_MOUNT, or the only mailslot mount there is.

    Private mounts of other users count only if there are no others. If there is none at all, those
    of /etc/fstab that come with their first use are mounted.

    Raises:
        CommandError: there is none, or more than one to choose from.
    """
    chosen = option or os.environ.get(ENVIRONMENT)
    if chosen:
        path = os.path.abspath(chosen)
        found = _mount_in_use(path) or _mount_in_use(os.path.realpath(path))
        if found is None or found.fstype != FILESYSTEM_TYPE:
            raise CommandError(
                f"no mailslots are mounted at {path} (msfs mount {path})", Exit.NO_MOUNT
            )
        return found.path
    if not our_mounts():
        for path, _ in fstab_mounts():
            _mount_in_use(path)
    mounts = our_mounts()
    usable = [each for each in mounts if each.is_open_to(os.geteuid())]
    paths = sorted({each.path for each in usable or mounts})
    if not paths:
        raise CommandError("no mailslots are mounted here (msfs mount DIR)", Exit.NO_MOUNT)
    if len(paths) > 1:
        raise CommandError(
            f"mailslots are mounted at {' and '.join(paths)}: choose one with --mount DIR "
            f"or ${ENVIRONMENT}",
            Exit.NO_MOUNT,
        )
    return paths[0]


def _run(*command: str) -> str | None:
    """Run a command; its complaint if it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    if done.returncode == 0:
        return None
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]


def detach(path: str, *, lazy: bool) -> None:
    """Unmount `path`; `lazy` takes it away even if it is busy or dead.

    Raises:
        CommandError: it stays.
    """
    if os.geteuid() == 0:
        # -i: there is no helper to ask, and one from another installation is not ours to run.
        complaint = _run("umount", "-i", *(["-l"] if lazy else []), "--", path)
    else:
        complaint = _run("fusermount3", "-u", *(["-z"] if lazy else []), "--", path)
    if complaint is not None:
        hint = "" if lazy else f" (in use? msfs umount -l {path})"
        raise CommandError(f"cannot unmount {path}: {complaint}{hint}")


def daemon_of(mount: Mount) -> int | None:
    """The process that serves a live mount, None if it cannot be told.

    The mount says so itself, and anybody can mount something that lies: a process of another
    user than the one who mounted is not believed.
    """
    try:
        with open(os.path.join(mount.path, CONTROL_DIRECTORY, "status")) as file:
            match = re.search(r"^pid: (\d+)$", file.read(), re.MULTILINE)
        if match and os.stat(f"/proc/{match[1]}").st_uid == mount.owner:
            return int(match[1])
    except OSError:
        pass
    return None


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False


def wait_gone(pid: int) -> None:
    """Wait for a daemon to end after its mount is gone, for a few seconds at most."""
    deadline = time.monotonic() + _GONE_TIMEOUT
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def abort(mount: Mount) -> bool:
    """Cut a mount's connection, which frees whoever waits on it. Needs root and fusectl."""
    minor = mount.device.partition(":")[2]
    try:
        with open(f"/sys/fs/fuse/connections/{minor}/abort", "w") as file:
            file.write("1")
    except OSError:
        return False
    return True
