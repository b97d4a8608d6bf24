"""What the settings of transports are made of. Pure."""

from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

if TYPE_CHECKING:
    from msfs_fuse.net.transport import Transport
    from msfs_fuse.net.trust.identity import Identity


class FilePath(str):
    """The path of a file; a relative one is below the directory of the configuration file."""

    __slots__ = ()


class FieldError(ValueError):
    """A field whose value is wrong by itself or beside another one.

    Attributes:
        field: its name.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TransportSettings(Struct, frozen=True, kw_only=True):
    """One way that the messages of a domain go; str() shows it to people.

    Each transport has a subclass. The `description` of a field says what it has to be, and
    `__post_init__` raises FieldError for what one field alone does not tell. Importing it must not
    load what carries messages: that is for make().

    Attributes:
        schemes: of the URLs that stand for it in a configuration.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    def make(self, identity: "Identity") -> "Transport":
        """The transport of a domain on this host.

        Args:
            identity: of this host in the domain.

        Raises:
            SecretError: a file with a secret cannot be used.
            ImportError: a library that it needs is missing, or another version than it can use.
        """
        raise NotImplementedError
