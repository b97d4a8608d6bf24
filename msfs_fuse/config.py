"""Mount options: the words after `-o` to frozen settings."""

import dataclasses
import re
from dataclasses import dataclass, field

from msfs_fuse.core.limits import Limits
from msfs_fuse.errors import CommandError, Exit

FILESYSTEM_TYPE = "fuse.msfs"

# What mount(8) and fstab may add, passed on to the kernel by libfuse as they are.
_KERNEL_OPTIONS = frozenset(
    "rw,nosuid,suid,nodev,dev,noexec,exec,noatime,atime,sync,async,dirsync".split(",")  # noqa: SIM905
)

_SUFFIXES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


@dataclass(frozen=True)
class Settings:
    """All that a mount is told.

    Attributes:
        mountpoint: absolute path of the directory.
        limits: upper bounds.
        allow_other: other users may use the mount.
        strict: opening a missing slot to write does not create it.
        busy_poll: microseconds that the daemon looks for the next request before it sleeps.
        debug: libfuse and pyfuse3 tell each request on stderr.
        kernel_options: generic mount options.
    """

    mountpoint: str
    limits: Limits = field(default_factory=Limits)
    allow_other: bool = False
    strict: bool = False
    busy_poll: int = 50
    debug: bool = False
    kernel_options: frozenset[str] = frozenset()

    def fuse_options(self) -> set[str]:
        """The options for pyfuse3.init()."""
        options = {"fsname=msfs", "subtype=msfs", "default_permissions", *self.kernel_options}
        if self.allow_other:
            options.add("allow_other")
        if self.debug:
            options.add("debug")
        return options


def _number(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})([kmg]?)", text.lower())
    if match is None:
        raise CommandError(f"option {name}: not a number: {text!r} (try 1000 or 64k)", Exit.USAGE)
    return int(match[1]) * _SUFFIXES[match[2]]


def parse_options(mountpoint: str, words: list[str], *, debug: bool = False) -> Settings:
    """Settings from the words of `-o`, each `a,b=c,…`.

    Raises:
        CommandError: an option that is not known, lacks its value or makes no sense.
    """
    limit_names = {each.name for each in dataclasses.fields(Limits)}
    limits: dict[str, int] = {}
    flags: dict[str, bool] = {}
    kernel_options: set[str] = set()
    busy_poll = Settings.busy_poll
    for option in filter(None, ",".join(words).split(",")):
        name, equals, value = option.partition("=")
        if name in limit_names:
            limits[name] = _number(name, value)
        elif name == "busy_poll":
            busy_poll = _number(name, value)
        elif name in ("allow_other", "strict") and not equals:
            flags[name] = True
        elif option in _KERNEL_OPTIONS:
            kernel_options.add(option)
        elif option == "ro":
            raise CommandError("option ro: a mailslot that cannot be written is none", Exit.USAGE)
        elif option not in ("defaults", "default_permissions"):
            raise CommandError(f"unknown option: {option} (see msfs mount --help)", Exit.USAGE)
    try:
        checked = Limits(**limits)
    except ValueError as error:
        raise CommandError(f"option {error}", Exit.USAGE) from None
    return Settings(
        mountpoint,
        checked,
        allow_other=flags.get("allow_other", False),
        strict=flags.get("strict", False),
        busy_poll=busy_poll,
        debug=debug,
        kernel_options=frozenset(kernel_options),
    )
