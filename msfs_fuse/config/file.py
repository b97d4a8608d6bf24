"""The configuration: TOML to frozen settings, and every mistake named with its file and line.

host = "build7"                      # optional: what other hosts call this one

[mount]
options = ["strict", "max_bytes=1g"]  # as in `msfs mount -o`, which adds to them and counts more

[domain.corp]                        # the first domain is the primary one, @*
member = "/etc/msfs/corp.member"     # corp.member beside this file, if not given
presence = "all"                     # or "asked", for more hosts than a thousand
port = 4424
peers = ["build8", "10.0.0.9:4425"]  # where multicast does not reach
interfaces = ["eth0"]                # all that do multicast, if not given
multicast = true
transport = [                        # just "udp://", if not given; all that are given are used
    "udp://",                        # which port, peers, interfaces and multicast are for
    { url = "mqtts://broker.example", ca = "ca.pem", user = "build7", password_file = "secret" },
]

[netbios]                            # Windows and Samba hosts: not sealed, not authenticated
interfaces = ["eth0"]                # always to be given
way = "own"                          # or "nmbd", beside one; just "send", if not given
workgroup = "WORKGROUP"
name = "BUILD7"                      # the beginning of the host's name, if not given
slots = ["alerts", "msfs/*"]         # that the network may write to; none, if not given
names = ["ALICE#03"]                 # more names that this host goes by
hosts = { NAS = "10.0.0.9" }         # those that a question on the network does not find
lookup = true                        # whether to ask the network
windows_size = false                 # true: a little more a message, which Samba drops
nmbd_socket = "/run/samba/nmbd/unexpected"
"""

import glob
import os
import re
import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msfs_fuse.config.options import parse_options, split_options
from msfs_fuse.config.settings import Settings
from msfs_fuse.config.source import Source, check_name, check_table, refuse_unknown
from msfs_fuse.core.names import fold
from msfs_fuse.errors import CommandError, Exit

if TYPE_CHECKING:
    from msfs_fuse.net.netbios.settings import NetbiosSettings
    from msfs_fuse.net.settings import DomainSettings, NetworkSettings

_SYSTEM_PATH = "/etc/msfs/msfs.toml"
_USER_PATH = "msfs/msfs.toml"

_CONFIG_OPTION = "config="

# Mount options that [mount] may not have.
_NOT_IN_FILE = {
    "host": "other hosts are configured by [domain.NAME] and host",
    "domain": "other hosts are configured by [domain.NAME] and host",
    "member": "other hosts are configured by [domain.NAME] and host",
    "config": "a configuration does not name another one",
}


class Configuration(NamedTuple):
    """What a file and its drop-ins say.

    Attributes:
        host: what other hosts call this one; None for its host name.
        network: other hosts; None where there is no table about them.
        options: single mount options.
    """

    host: str | None = None
    network: "NetworkSettings | None" = None
    options: tuple[str, ...] = ()


def read_settings(
    mountpoint: str,
    options: Sequence[str],
    config: str | None = None,
    *,
    source: str = "msfs",
    sloppy: bool = False,
    debug: bool = False,
) -> Settings:
    """All that a mount is told.

    Args:
        options: what split_options() gives.
        config: path of the configuration, if the option `config=FILE` does not name it.
        source, sloppy: as for parse_options.

    Raises:
        CommandError: something makes no sense, or a file cannot be read.
    """
    for option in options:
        if option.startswith(_CONFIG_OPTION):
            config = option.removeprefix(_CONFIG_OPTION)
    configuration = read_configuration(config)
    own = (each for each in options if not each.startswith(_CONFIG_OPTION))
    return parse_options(
        mountpoint,
        [*configuration.options, *own],
        configuration.network,
        host=configuration.host,
        source=source,
        sloppy=sloppy,
        debug=debug,
    )


def read_configuration(path: str | None = None) -> Configuration:
    """What a file and its drop-ins say.

    Args:
        path: of the file; None for the one in /etc, or for users in ~/.config: they need not exist.

    Raises:
        CommandError: it cannot be read, or something in it is wrong.
    """
    host: str | None = None
    domains: list[DomainSettings] = []
    netbios: NetbiosSettings | None = None
    options: list[str] = []
    for name in _files(path):
        source = _read(name)
        content = _parse(source)
        refuse_unknown(source, (), content, {"host", "mount", "domain", "netbios"})
        options += _mount_options(source, content.get("mount", {}))
        if "host" in content:
            host = check_name(source, ("host",), content["host"])
        if "domain" in content:
            from msfs_fuse.config.domains import read_domains

            domains += read_domains(source, content["domain"], domains)
        if "netbios" in content:
            from msfs_fuse.config.netbios import read_netbios

            netbios = read_netbios(source, content["netbios"], netbios)
    return Configuration(host, _network(domains, netbios), tuple(options))


def _network(
    domains: "list[DomainSettings]", netbios: "NetbiosSettings | None"
) -> "NetworkSettings | None":
    if not domains and netbios is None:
        return None
    from msfs_fuse.net.netbios.settings import DOMAIN
    from msfs_fuse.net.settings import NetworkSettings

    if netbios is not None and DOMAIN in (fold(domain.name or "") for domain in domains):
        raise CommandError(
            f"no domain can be called {DOMAIN} beside [netbios]: @NAME.{DOMAIN} would be both",
            Exit.USAGE,
        )
    return NetworkSettings(tuple(domains), netbios)


def _parse(source: Source) -> dict[str, object]:
    try:
        return tomllib.loads(source.text)
    except RecursionError:
        raise CommandError(f"{source.name}: nested too deeply", Exit.USAGE) from None
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(.*) \(at (?:line (\d+), .*|end of document)\)", str(error))
        line = (match and match[2]) or len(source.text.splitlines())
        message = f"{source.name}:{line}: {match[1] if match else error}"
        raise CommandError(message, Exit.USAGE) from None


def _default_path() -> str:
    """Users have one of their own: they could not read the keys that the system's names."""
    if os.geteuid() == 0:
        return _SYSTEM_PATH
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return os.path.join(base, _USER_PATH)


def _files(path: str | None) -> list[str]:
    main = os.path.abspath(path or _default_path())
    drop_ins = sorted(glob.glob(os.path.join(glob.escape(main) + ".d", "*.toml")))
    return [main, *drop_ins] if path is not None or os.path.exists(main) else drop_ins


def _read(name: str) -> Source:
    try:
        with open(name, encoding="utf-8") as file:
            return Source(name, file.read())
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not UTF-8", Exit.USAGE) from None


def _mount_options(source: Source, value: object) -> list[str]:
    table = check_table(source, ("mount",), value)
    refuse_unknown(source, ("mount",), table, {"options"})
    path = ("mount", "options")
    words = table.get("options", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise source.error(path, 'options has to be a list such as ["strict"]')
    try:
        options = split_options(words)
        parse_options("/", options)
        for option in options:
            name = option.partition("=")[0]
            if name in _NOT_IN_FILE:
                raise CommandError(f"option {name}: {_NOT_IN_FILE[name]}")
    except CommandError as error:
        raise source.error(path, str(error)) from None
    return options
