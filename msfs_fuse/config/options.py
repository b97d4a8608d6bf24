"""Mount options: the words after `-o` to frozen settings."""

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from msfs_fuse.core.limits import Limits
from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.mqtt.settings import Broker

# Generic mount options that libfuse passes on to the kernel.
_KERNEL_OPTIONS = "rw,nosuid,suid,nodev,dev,noexec,exec,noatime,atime,sync,async,dirsync"

# What else mount(8) and fstab(5) may hand to a mount helper, of no meaning here: it is for mount(8)
# or systemd, or about times, which are the daemon's. The kernel checks permissions in any case.
_IGNORED_OPTIONS = (
    "defaults,auto,noauto,user,nouser,users,nousers,owner,noowner,group,nogroup,nofail,_netdev,"
    "relatime,norelatime,strictatime,nostrictatime,diratime,nodiratime,lazytime,nolazytime,"
    "silent,loud,nomand,noiversion,default_permissions"
)
_IGNORED_PREFIXES = ("x-", "X-", "comment=", "user=", "helper=", "uhelper=")

_MAKE_DIRECTORY = "X-mount.mkdir"
_DIRECTORY_MODE = 0o755

_REFUSED_OPTIONS = {
    "ro": "a mailslot that cannot be written is none",
    "remount": "a live mount cannot be changed (unmount it first; limits can be changed in the "
    "configuration, and SIGHUP has it read again)",
}

# Options with the path of a file.
_PATHS = ("config", "keyring")

_OPTION = re.compile(r'((?:[^",]|"[^"]*")*)(,|$)')

_SUFFIXES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


DEFAULT_PORT = 4424


@dataclass(frozen=True)
class DomainSettings:
    """A domain that this host is a member of.

    Attributes:
        keyring: absolute path of the file with its keys.
        udp: whether to use it; what follows is for it alone.
        port: of UDP.
        peers: hosts to send to one by one, `HOST`, `HOST:PORT` or addresses.
        interfaces: names of those to use for multicast; None for all.
        multicast: whether to use it.
        brokers: to use as well, or instead.
    """

    name: str
    keyring: str
    udp: bool = True
    port: int = DEFAULT_PORT
    peers: tuple[str, ...] = ()
    interfaces: tuple[str, ...] | None = None
    multicast: bool = True
    brokers: tuple[Broker, ...] = ()


@dataclass(frozen=True)
class NetworkSettings:
    """What a mount has to do with other hosts: without a domain, nothing.

    Attributes:
        host: the name of this host; None for the one it has.
        domains: the first one is the primary one, `@*`.
    """

    host: str | None = None
    domains: tuple[DomainSettings, ...] = ()


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
        network: other hosts.
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
    network: NetworkSettings = NetworkSettings()
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


def _number(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})([kmg]?)", text.lower())
    if match is None:
        raise CommandError(f"option {name}: not a number: {text!r} (try 1000 or 64k)", Exit.USAGE)
    return int(match[1]) * _SUFFIXES[match[2]]


def _mode(name: str, text: str) -> int:
    if re.fullmatch(r"[0-7]{1,4}", text) is None:
        raise CommandError(f"option {name}: not an octal mode: {text!r}", Exit.USAGE)
    return int(text, 8)


def _checked_name(what: str, text: str) -> str:
    if not is_host_name(text):
        raise CommandError(
            f"option {what}: {text!r} is not letters, digits and _.-, 64 at most", Exit.USAGE
        )
    return text


def _with_options(network: NetworkSettings, words: dict[str, str]) -> NetworkSettings:
    """The configuration with what `-o host=…,domain=…,keyring=…` adds: the primary domain."""
    if "host" in words:
        network = dataclasses.replace(network, host=_checked_name("host", words["host"]))
    if ("domain" in words) != ("keyring" in words):
        raise CommandError("options domain and keyring need each other", Exit.USAGE)
    if "domain" in words:
        first = DomainSettings(_checked_name("domain", words["domain"]), words["keyring"])
        others = (each for each in network.domains if fold(each.name) != fold(first.name))
        network = dataclasses.replace(network, domains=(first, *others))
    return network


def split_options(words: Iterable[str]) -> list[str]:
    """The single options in the words of `-o`, each `a,b=c,…`.

    As with mount(8), a value in double quotes may hold commas; the quotes are not part of it.
    Paths come out absolute, for a daemon leaves the directory it was started in.

    Raises:
        CommandError: a quote is not closed.
    """
    options = []
    for word in words:
        at = 0
        while at < len(word):
            match = _OPTION.match(word, at)
            if match is None:
                raise CommandError(f"option {word[at:]}: a quote is not closed", Exit.USAGE)
            name, equals, value = match[1].replace('"', "").partition("=")
            options.append(name + equals + (os.path.abspath(value) if name in _PATHS else value))
            at = match.end()
    return [option for option in options if option]


def _is_ignored(option: str) -> bool:
    return option in _IGNORED_OPTIONS.split(",") or option.startswith(_IGNORED_PREFIXES)


def parse_options(
    mountpoint: str,
    options: Iterable[str],
    network: NetworkSettings = NetworkSettings(),
    *,
    source: str = "msfs",
    sloppy: bool = False,
    debug: bool = False,
) -> Settings:
    """Settings from single options; a later one counts more.

    Args:
        network: what the configuration says of other hosts.
        source: for Settings.
        sloppy: unknown options are no error.

    Raises:
        CommandError: an option that is not known, lacks its value or makes no sense.
    """
    limit_names = {each.name for each in dataclasses.fields(Limits)}
    limits: dict[str, int] = {}
    flags: dict[str, bool] = {}
    network_words: dict[str, str] = {}
    kernel_options: set[str] = set()
    busy_poll = Settings.busy_poll
    make_directory = None
    for option in options:
        name, equals, value = option.partition("=")
        if name in limit_names:
            limits[name] = _number(name, value)
        elif name == "busy_poll":
            busy_poll = _number(name, value)
        elif name in ("allow_other", "strict") and not equals:
            flags[name] = True
        elif name in ("host", "domain", "keyring") and value:
            network_words[name] = value
        elif name == _MAKE_DIRECTORY:
            make_directory = _mode(name, value) if equals else _DIRECTORY_MODE
        elif option in _KERNEL_OPTIONS.split(","):
            kernel_options.add(option)
        elif name in _REFUSED_OPTIONS:
            raise CommandError(f"option {name}: {_REFUSED_OPTIONS[name]}", Exit.USAGE)
        elif not (_is_ignored(option) or sloppy):
            raise CommandError(f"unknown option: {option} (see msfs mount --help)", Exit.USAGE)
    try:
        checked = Limits(**limits)
    except ValueError as error:
        raise CommandError(f"option {error}", Exit.USAGE) from None
    return Settings(
        mountpoint,
        source,
        make_directory,
        checked,
        allow_other=flags.get("allow_other", False),
        strict=flags.get("strict", False),
        busy_poll=busy_poll,
        network=_with_options(network, network_words),
        debug=debug,
        kernel_options=frozenset(kernel_options),
    )
