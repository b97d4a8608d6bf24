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
"""

import glob
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msfs_fuse.config import (
    DEFAULT_PORT,
    DomainSettings,
    NetworkSettings,
    Settings,
    parse_options,
    split_options,
)
from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.endpoint import split_host_and_port

DEFAULT_PATH = "/etc/msfs/msfs.toml"

_CONFIG_OPTION = "config="
_NOT_MOUNT_OPTIONS = ("host=", "domain=", "keyring=")

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
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

    def error(self, path: Path, message: str) -> CommandError:
        return CommandError(f"{self.name}:{self._line_of(path)}: {message}", Exit.USAGE)

    def _line_of(self, path: Path) -> int:
        """The line that sets this key, or begins this table. tomllib does not tell."""
        table: Path = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            header, key = _TABLE.fullmatch(line), _KEY.match(line)
            if header is not None:
                found = table = _parts(header[1])
            elif key is not None:
                found = table + _parts(key[1])
            else:
                continue
            if found[: len(path)] == path:
                return number
        return 1


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
        path: of the file; None for the one in /etc, which need not exist.

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


def _files(path: str | None) -> list[str]:
    main = os.path.abspath(path or DEFAULT_PATH)
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
    _refuse_unknown(source, path, values, set(_FIELDS) | {"keyring"})
    if not isinstance(values.get("keyring"), str):
        raise source.error(
            (*path, "keyring") if "keyring" in values else path,
            f"domain {key} needs a keyring, the path of a file (msfs keygen makes one)",
        )
    keyring = os.path.join(os.path.dirname(source.name), values["keyring"])
    fields = {}
    for name, (check, what) in _FIELDS.items():
        if name in values:
            try:
                fields[name] = check(values[name])
            except (TypeError, ValueError):
                raise source.error((*path, name), f"{name} has to be {what}") from None
    return DomainSettings(key, keyring, **fields)


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


_FIELDS: dict[str, tuple[Callable[[object], Any], str]] = {
    "port": (_port, "a number from 1 to 65535"),
    "peers": (_peers, 'a list of "HOST", "HOST:PORT" or "[ADDRESS]:PORT"'),
    "interfaces": (_words, "a list of names of interfaces"),
    "multicast": (_flag, "true or false"),
}


def _name(source: _Source, path: Path, value: object) -> str:
    if not isinstance(value, str) or not is_host_name(value):
        raise source.error(path, f"{value!r} is not a name of letters, digits and _.-, 64 at most")
    return value


def _table(source: _Source, path: Path, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise source.error(path, f"{'.'.join(path)} has to be a table")
    return value


def _refuse_unknown(source: _Source, path: Path, table: dict[str, Any], known: set[str]) -> None:
    for key in table:
        if key not in known:
            choice = ", ".join(sorted(known))
            raise source.error((*path, key), f"unknown key {key!r} (known here: {choice})")
