"""All that a mount is told, as one value that does not change."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msfs_fuse.core.limits import Limits

if TYPE_CHECKING:
    from msfs_fuse.net.settings import NetworkSettings


@dataclass(frozen=True)
class Settings:
    """All that a mount is told.

    Attributes:
        mountpoint: absolute path of the directory.
        source: what mount tables show as mounted there.
        make_directory: mode of the directory to make if there is none; None not to.
        limits: upper bounds.
        allow_other: other users may use the mount.
        strict: opening a missing slot to write does not create it.
        busy_poll: microseconds that the daemon looks for the next request before it sleeps.
        max_pages: how many the kernel may pass in one request; more than its limit only for root.
        host: what other hosts call this one; None for its host name.
        network: other hosts; None where none are configured, and then nothing of it is loaded.
        debug: libfuse and pyfuse3 tell each request on stderr.
        kernel_options: generic mount options.
    """

    mountpoint: str
    source: str = "msfs"
    make_directory: int | None = None
    limits: Limits = field(default_factory=Limits)
    allow_other: bool = False
    strict: bool = False
    busy_poll: int = 50
    max_pages: int = 2304
    host: str | None = None
    network: "NetworkSettings | None" = None
    debug: bool = False
    kernel_options: frozenset[str] = frozenset()

    def fuse_options(self) -> set[str]:
        """The options for pyfuse3.init()."""
        source = re.sub(r"[\\,]", r"\\\g<0>", self.source)
        options = {f"fsname={source}", "subtype=msfs", "default_permissions", *self.kernel_options}
        if self.allow_other:
            options.add("allow_other")
        if self.debug:
            options.add("debug")
        return options
