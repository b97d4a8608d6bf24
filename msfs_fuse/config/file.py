"""The configuration: TOML to frozen settings, and every mistake named with its file and line.

host = "build7"                      # optional: what other hosts call this one

[mount]
options = ["strict", "max_bytes=1g"]  # as in `msfs mount -o`, which adds to them and counts more

[domain.corp]                        # the first domain is the primary one, @*
keyring = "/etc/msfs/corp.keys"      # a relative path is below the file's directory
port = 4424
peers = ["build8", "10.0.0.9:4425"]  # where multicast does not reach
interfaces = ["eth0"]                # all that do multicast, if not given
multicast = true
transport = [                        # just "udp://", if not given; all that are given are used
    "udp://",                        # which port, peers, interfaces and multicast are for
    { url = "mqtts://broker.example", ca = "ca.pem", user = "build7", password_file = "secret" },
]
"""

import glob
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msfs_fuse.config.options import (
    DEFAULT_PORT,
    DomainSettings,
    NetworkSettings,
    Settings,
    parse_options,
    split_options,
)
from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.mqtt.settings import PROTOCOLS, Address, Broker, is_prefix
from msfs_fuse.net.udp.endpoint import split_host_and_port

_SYSTEM_PATH = "/etc/msfs/msfs.toml"
_USER_PATH = "msfs/msfs.toml"

_CONFIG_OPTION = "config="
_NOT_MOUNT_OPTIONS = ("host=", "domain=", "keyring=")
_UDP = "udp://"

_TABLE = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[^=\s]+)*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Path = tuple[str, ...]


def _parts(text: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


@dataclass(frozen=True)
class _Source:
    """A file, to tell where in it something is."""

    name: str
    text: str

    def beside(self, path: str) -> str:
        """A path in this file: a relative one is below the file's directory."""
        return os.path.join(os.path.dirname(self.name), path)

    def error(self, path: Path, message: str, near: str = "") -> CommandError:
        """A mistake.

        Args:
            near: what stands in its line, if it is in an array over several lines.
        """
        return CommandError(f"{self.name}:{self._line_of(path, near)}: {message}", Exit.USAGE)

    def _line_of(self, path: Path, near: str) -> int:
        """The line that sets this key, or begins this table. tomllib does not tell.

        Tables of an array are told by their numbers, from 0 on.
        """
        table: Path = ()
        arrays: Counter[Path] = Counter()
        best, best_length = 1, 0
        lines = self.text.splitlines()
        for number, line in enumerate(lines, 1):
            header, key = _TABLE.fullmatch(line), _KEY.match(line)
            if header is not None:
                table = _parts(header[2])
                if header[1] == "[[":
                    table += (str(arrays[table]),)
                    arrays[table[:-1]] += 1
                found = table
            elif key is not None:
                found = table + _parts(key[1])
            else:
                continue
            if found[: len(path)] == path:
                return number
            if len(found) > best_length and path[: len(found)] == found:
                best, best_length = number, len(found)
        if near:
            return next((n for n in range(best, len(lines) + 1) if near in lines[n - 1]), best)
        return best


class Configuration(NamedTuple):
    """What a file and its drop-ins say.

    Attributes:
        options: single mount options.
    """

    network: NetworkSettings
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
    domains: dict[str, DomainSettings] = {}
    options: list[str] = []
    for name in _files(path):
        source = _read(name)
        try:
            content = tomllib.loads(source.text)
        except tomllib.TOMLDecodeError as error:
            match = re.fullmatch(r"(.*) \(at (?:line (\d+), .*|end of document)\)", str(error))
            line = (match and match[2]) or len(source.text.splitlines())
            raise CommandError(
                f"{name}:{line}: {match[1] if match else error}", Exit.USAGE
            ) from None
        _refuse_unknown(source, (), content, {"host", "mount", "domain"})
        options += _mount_options(source, content.get("mount", {}))
        if "host" in content:
            host = _name(source, ("host",), content["host"])
        for key, table in _table(source, ("domain",), content.get("domain", {})).items():
            if fold(key) in domains:
                raise source.error(("domain", key), f"domain {key} is there already")
            domains[fold(key)] = _domain(source, key, table)
    return Configuration(NetworkSettings(host, tuple(domains.values())), tuple(options))


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


def _read(name: str) -> _Source:
    try:
        with open(name, encoding="utf-8") as file:
            return _Source(name, file.read())
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{name}: not UTF-8", Exit.USAGE) from None


def _mount_options(source: _Source, value: object) -> list[str]:
    table = _table(source, ("mount",), value)
    _refuse_unknown(source, ("mount",), table, {"options"})
    path = ("mount", "options")
    try:
        options = split_options(_words(table.get("options", [])))
        parse_options("/", options)
        if any(option.startswith(_NOT_MOUNT_OPTIONS) for option in options):
            raise CommandError("other hosts are configured by [domain.NAME] and host")
    except TypeError:
        raise source.error(path, 'options has to be a list such as ["strict"]') from None
    except CommandError as error:
        raise source.error(path, str(error)) from None
    return options


def _domain(source: _Source, key: str, table: object) -> DomainSettings:
    path = ("domain", key)
    _name(source, path, key)
    values = _table(source, path, table)
    _refuse_unknown(source, path, values, set(_FIELDS) | {"keyring", "transport"})
    if not isinstance(values.get("keyring"), str):
        raise source.error(
            (*path, "keyring") if "keyring" in values else path,
            f"domain {key} needs a keyring, the path of a file (msfs keygen makes one)",
        )
    fields = _fields(source, path, values, _FIELDS)
    udp, brokers = _transports(source, (*path, "transport"), values.get("transport", [_UDP]))
    if fields and not udp:
        name = next(iter(fields))
        raise source.error((*path, name), f'{name} is for "{_UDP}", which transport has not')
    keyring = source.beside(values["keyring"])
    return DomainSettings(key, keyring, udp=udp, brokers=brokers, **fields)


def _fields(
    source: _Source, path: Path, values: dict[str, Any], fields: "_Fields", near: str = ""
) -> dict[str, Any]:
    """Those of the values that are there, checked."""
    checked = {}
    for name, (check, what) in fields.items():
        if name in values:
            try:
                checked[name] = check(values[name])
            except (TypeError, ValueError):
                raise source.error((*path, name), f"{name} has to be {what}", near) from None
    return checked


def _transports(source: _Source, path: Path, value: object) -> tuple[bool, tuple[Broker, ...]]:
    """Whether there is UDP, and the brokers."""
    if not isinstance(value, list) or not value:
        raise source.error(path, "transport has to be a list of URLs, or of tables with a url")
    brokers: dict[str, Broker] = {}
    udp = False
    for number, item in enumerate(value):
        place = (*path, str(number))
        table = {"url": item} if isinstance(item, str) else item
        if not isinstance(table, dict) or not isinstance(table.get("url"), str):
            raise source.error(place, "each transport has to be a URL, or a table with a url")
        url = table["url"]
        if url in brokers or (udp and url == _UDP):
            raise source.error(place, f"{url} is there already", url)
        if url != _UDP:
            brokers[url] = _broker(source, place, table)
            continue
        if len(table) > 1:
            option = next(each for each in table if each != "url")
            raise source.error((*place, option), f"{_UDP} has no option {option}", url)
        udp = True
    return udp, tuple(brokers.values())


def _broker(source: _Source, path: Path, table: dict[str, Any]) -> Broker:
    url: str = table["url"]
    try:
        address = Address.parse(url)
    except ValueError as error:
        raise source.error((*path, "url"), str(error), url) from None
    _refuse_unknown(source, path, table, {"url", *_BROKER_FIELDS}, url)
    fields = _fields(source, path, table, _BROKER_FIELDS, url)
    for name, needs in (("cert", "key"), ("key", "cert"), ("password_file", "user")):
        if name in fields and needs not in fields:
            raise source.error((*path, name), f"{name} needs {needs}", url)
    for name in ("ca", "cert", "key"):
        if name in fields and address.scheme != "mqtts":
            raise source.error((*path, name), f"{name} is for mqtts:// alone", url)
    for name in _PATHS & set(fields):
        fields[name] = source.beside(fields[name])
    return Broker(url, address, **fields)


def _port(value: object) -> int:
    if type(value) is not int or not 0 < value < 65536:
        raise ValueError
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _words(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError
    return tuple(value)


def _peers(value: object) -> tuple[str, ...]:
    words = _words(value)
    for word in words:
        split_host_and_port(word, DEFAULT_PORT)
    return words


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError
    return value


def _prefix(value: object) -> str:
    text = _text(value)
    if not is_prefix(text):
        raise ValueError
    return text


def _protocol(value: object) -> str:
    if value not in PROTOCOLS:
        raise ValueError
    return _text(value)


def _seconds(least: int) -> Callable[[object], float]:
    def check(value: object) -> float:
        if type(value) not in (int, float) or not least <= (number := float(str(value))) <= 3600:
            raise ValueError
        return number

    return check


_Fields = dict[str, tuple[Callable[[object], Any], str]]

_FIELDS: _Fields = {
    "port": (_port, "a number from 1 to 65535"),
    "peers": (_peers, 'a list of "HOST", "HOST:PORT" or "[ADDRESS]:PORT"'),
    "interfaces": (_words, "a list of names of interfaces"),
    "multicast": (_flag, "true or false"),
}

_BROKER_FIELDS: _Fields = {
    "prefix": (_prefix, "letters, digits, _ and -, and slashes between them"),
    "user": (_text, "a name"),
    "password_file": (_text, "the path of a file"),
    "ca": (_text, "the path of a file"),
    "cert": (_text, "the path of a file"),
    "key": (_text, "the path of a file"),
    "protocol": (_protocol, '"auto", "5" or "3.1.1"'),
    # Of less, half is not a second, and a broker that answers would be given up.
    "keepalive": (_seconds(2), "a number of seconds from 2 to 3600"),
    "connect_timeout": (_seconds(1), "a number of seconds from 1 to 3600"),
}

_PATHS = {"password_file", "ca", "cert", "key"}


def _name(source: _Source, path: Path, value: object) -> str:
    if not isinstance(value, str) or not is_host_name(value):
        raise source.error(path, f"{value!r} is not a name of letters, digits and _.-, 64 at most")
    return value


def _table(source: _Source, path: Path, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise source.error(path, f"{'.'.join(path)} has to be a table")
    return value


def _refuse_unknown(
    source: _Source, path: Path, table: dict[str, Any], known: set[str], near: str = ""
) -> None:
    for key in table:
        if key not in known:
            choice = ", ".join(sorted(known))
            raise source.error((*path, key), f"unknown key {key!r} (known here: {choice})", near)
