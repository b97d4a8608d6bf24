"""What a mount has to do with other hosts, as the configuration has it. Pure.

TRANSPORTS is the registry of transports: a new one is its package, whose settings are a class like
those of the others, and one name here.
"""

from dataclasses import dataclass

from msfs_fuse.net.fields import TransportSettings
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.netbios.settings import NetbiosSettings
from msfs_fuse.net.udp.settings import UdpSettings

TRANSPORTS: tuple[type[TransportSettings], ...] = (UdpSettings, BrokerSettings)


@dataclass(frozen=True)
class DomainSettings:
    """A domain that this host is a member of.

    Attributes:
        name: None for that of the authority in the member file.
        member: absolute path of the member file.
        transports: all that carry its messages.
        presence: `all`, where every member knows every other, or `asked`.
    """

    name: str | None
    member: str
    transports: tuple[TransportSettings, ...] = (UdpSettings(),)
    presence: str = "all"


@dataclass(frozen=True)
class NetworkSettings:
    """All that a mount has to do with other hosts.

    Attributes:
        domains: the first one is the primary one, `@*`.
        netbios: a network of Windows and Samba hosts; None where there is none.
    """

    domains: tuple[DomainSettings, ...] = ()
    netbios: NetbiosSettings | None = None
