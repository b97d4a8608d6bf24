"""Mount options: one table, and what is made from it.

OPTIONS has a row for each option of a mount. From it come the parsing of `-o` and fstab, the help
of `msfs mount`, the completion of shells, and what a reload of the configuration takes. A test
holds the manual page against it. A new option is its row, and its use where the settings go.
"""

import dataclasses
import os
import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msfs_fuse.config.settings import Settings
from msfs_fuse.core.limits import Limits
from msfs_fuse.core.names import fold, is_host_name
from msfs_fuse.errors import CommandError, Exit

if TYPE_CHECKING:
    from msfs_fuse.net.settings import NetworkSettings


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(","))


# Generic mount options that libfuse passes on to the kernel.
KERNEL_OPTIONS = _words("rw,nosuid,suid,nodev,dev,noexec,exec,noatime,atime,sync,async,dirsync")

# What else mount(8) and fstab(5) may hand to a mount helper, of no meaning here: it is for mount(8)
# or systemd, or about times, which are the daemon's. The kernel checks permissions in any case.
IGNORED_OPTIONS = _words(
    "defaults,auto,noauto,user,nouser,users,nousers,owner,noowner,group,nogroup,nofail,_netdev,"
    "relatime,norelatime,strictatime,nostrictatime,diratime,nodiratime,lazytime,nolazytime,"
    "silent,loud,nomand,noiversion,default_permissions"
)
IGNORED_PREFIXES = ("x-", "X-", "comment=", "user=", "helper=", "uhelper=")

REFUSED_OPTIONS = {
    "ro": "mailslots are there to be written to: mount without it",
    "remount": "a live mount cannot be changed (unmount it first; limits can be changed in the "
    "configuration, and SIGHUP has it read again)",
}

_DIRECTORY_MODE = 0o755

_OPTION = re.compile(r'((?:[^",]|"[^"]*")*)(,|$)')

_SUFFIXES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}

_MOST_PAGES = 65535  # the kernel's own limit

_HELP_WIDTH = 26


@dataclass(frozen=True)
class Option:
    """One mount option.

    Attributes:
        name: as it is written.
        value: what stands for its value in a help text; None for a flag. In brackets, with the
            equals sign, if the value may be left out.
        parse: takes the text of the value; raises ValueError with the reason if it is wrong.
        default: what it is without the option, as people write it; None if there is no such thing.
        help: one line.
        setting: the attribute of Settings that it is for.
        reloadable: whether a live mount takes it from a changed configuration.
        is_path: whether the value is the path of a file.
    """

    name: str
    value: str | None
    parse: Callable[[str], Any]
    default: str | None
    help: str
    setting: str
    reloadable: bool = False
    is_path: bool = False

    @property
    def usage(self) -> str:
        """The option with what stands for its value."""
        if self.value is None:
            return self.name
        return self.name + (self.value if self.value.startswith("[") else f"={self.value}")

    def parsed(self, equals: str, text: str) -> Any:
        """The value of this option where it is given.

        Raises:
            CommandError: it is wrong, it is missing, or a flag has one.
        """
        try:
            if self.value is None and equals:
                raise ValueError(f"it takes no value, and has {text!r}")
            return self.parse(text)
        except ValueError as error:
            raise CommandError(f"option {self.name}: {error}", Exit.USAGE) from None


def _flag(text: str) -> bool:
    return True


def _number(text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})([kmg]?)", text.lower())
    if match is None:
        raise ValueError(f"not a number: {text!r} (try 1000 or 64k)")
    return int(match[1]) * _SUFFIXES[match[2]]


def _pages(text: str) -> int:
    number = _number(text)
    if not 1 <= number <= _MOST_PAGES:
        raise ValueError(f"not from 1 to {_MOST_PAGES}: {text!r}")
    return number


def _mode(text: str) -> int:
    if not text:
        return _DIRECTORY_MODE
    if re.fullmatch(r"[0-7]{1,4}", text) is None:
        raise ValueError(f"not an octal mode: {text!r}")
    return int(text, 8)


def _name(text: str) -> str:
    if not is_host_name(text):
        raise ValueError(f"{text!r} is not letters, digits and _.-, 64 at most")
    return text


def _path(text: str) -> str:
    if not text:
        raise ValueError("it needs the path of a file")
    return text


def _shortest(number: int) -> str:
    """A number as people write it: 64k for 65536, if that is a size."""
    for suffix, factor in reversed(_SUFFIXES.items()):
        if number % factor == 0 and number >= factor and (factor == 1 or number // factor < 1024):
            return f"{number // factor}{suffix}"
    return str(number)


def _limit(name: str, help: str, *, in_bytes: bool = False) -> Option:
    default = getattr(Limits, name)
    text = _shortest(default) if in_bytes else str(default)
    return Option(name, "N", _number, text, help, "limits", reloadable=True)


OPTIONS: tuple[Option, ...] = (
    Option(
        *("allow_other", None, _flag, None, "let other users in; not for a private mount"),
        setting="allow_other",
    ),
    Option(
        *("strict", None, _flag, None, "opening a missing slot to write fails, as on Windows"),
        setting="strict",
        reloadable=True,
    ),
    _limit("max_message_size", "bytes in one message", in_bytes=True),
    _limit("max_messages", "messages queued in a slot"),
    _limit("max_slot_bytes", "bytes queued in a slot", in_bytes=True),
    _limit("max_total_messages", "messages queued in the mount"),
    _limit("max_bytes", "bytes queued in the mount", in_bytes=True),
    _limit(
        "max_slots_per_user", "slots a user may keep alive and directories he may own; not for root"
    ),
    _limit("max_waiting", "reads that may wait in the mount"),
    _limit(
        "max_handles",
        "how many slots, directories and other files may be open; and how many directories there "
        "may be",
    ),
    _limit(
        "max_user_share", "percent of the mount's totals that one user may have; root may have all"
    ),
    Option(
        *("busy_poll", "N", _number, str(Settings.busy_poll)),
        "microseconds to look for the next request before sleeping; 0 never; only while requests "
        "follow each other, and not on one core",
        setting="busy_poll",
    ),
    Option(
        *("max_pages", "N", _pages, str(Settings.max_pages)),
        "pages that the kernel may pass in one request, so that it splits no write; for more than "
        "256, root raises fs.fuse.max_pages_limit while it mounts",
        setting="max_pages",
    ),
    Option(
        *("domain", "NAME", _name, None),
        "the domain of the member file, if its authority has another name",
        setting="network",
    ),
    Option(
        *("member", "FILE", _path, None, "be a member of this file's domain, too"),
        setting="network",
        is_path=True,
    ),
    Option("host", "NAME", _name, "its host name", "what other hosts call this one", "host"),
    Option(
        *("config", "FILE", _path, None, "the configuration, as --config"),
        setting="",
        is_path=True,
    ),
    Option(
        *("X-mount.mkdir", "[=MODE]", _mode, None, "make DIR if there is none"),
        setting="make_directory",
    ),
)

_BY_NAME = {option.name: option for option in OPTIONS}


def help_text() -> str:
    """A line or more for each option, for the help of `msfs mount`."""
    rows = [(option.usage, option.help, option.default) for option in OPTIONS]
    rows.append(("nosuid,nodev,noexec,…", "as for any mount", None))
    lines = []
    for usage, help, default in rows:
        words = help + (f" ({default})" if default is not None else "")
        first, *rest = textwrap.wrap(words, 98 - _HELP_WIDTH, break_on_hyphens=False)
        lines.append(f"  {usage:<{_HELP_WIDTH - 2}}{first}\n")
        lines += (f"{'':<{_HELP_WIDTH}}{each}\n" for each in rest)
    return "".join(lines)


def completions() -> list[str]:
    """What a shell may complete after `-o`: names, with `=` where a value follows."""
    own = [
        f"{each.name}=" if each.usage.startswith(f"{each.name}=") else each.name for each in OPTIONS
    ]
    return [*own, *sorted(KERNEL_OPTIONS)]


def changed_but_not_reloadable(old: Settings, new: Settings) -> list[str]:
    """What differs in the settings and a live mount cannot take, by the names that people know."""
    reloadable = {option.setting for option in OPTIONS if option.reloadable}
    names = {option.setting: option.name for option in OPTIONS if option.setting != "network"}
    return [
        names.get(each.name, each.name)
        for each in dataclasses.fields(Settings)
        if each.name not in reloadable and getattr(old, each.name) != getattr(new, each.name)
    ]


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
            if value and name in _BY_NAME and _BY_NAME[name].is_path:
                value = os.path.abspath(value)
            options.append(name + equals + value)
            at = match.end()
    return [option for option in options if option]


def parse_options(
    mountpoint: str,
    options: Iterable[str],
    network: "NetworkSettings | None" = None,
    *,
    host: str | None = None,
    source: str = "msfs",
    sloppy: bool = False,
    debug: bool = False,
) -> Settings:
    """Settings from single options; a later one counts more.

    Args:
        network, host: what the configuration says of other hosts and of this one.
        source: for Settings.
        sloppy: unknown options are no error.

    Raises:
        CommandError: an option that is not known, lacks its value or makes no sense.
    """
    values: dict[str, Any] = {"host": host}
    kernel_options: set[str] = set()
    for each in options:
        name, equals, text = each.partition("=")
        option = _BY_NAME.get(name)
        if option is not None:
            values[name] = option.parsed(equals, text)
        elif each in KERNEL_OPTIONS:
            kernel_options.add(each)
        elif name in REFUSED_OPTIONS:
            raise CommandError(f"option {name}: {REFUSED_OPTIONS[name]}", Exit.USAGE)
        elif not (each in IGNORED_OPTIONS or each.startswith(IGNORED_PREFIXES) or sloppy):
            raise CommandError(f"unknown option: {each} (see msfs mount --help)", Exit.USAGE)
    limits = {each.name for each in dataclasses.fields(Limits)} & set(values)
    single = {each.name: each.setting for each in OPTIONS if each.setting not in ("", "limits")}
    try:
        checked = Limits(**{name: values[name] for name in limits})
    except ValueError as error:
        raise CommandError(f"option {error}", Exit.USAGE) from None
    given = {single[name]: value for name, value in values.items() if name in single}
    given["network"] = _with_domain(network, values.get("domain"), values.get("member"))
    return Settings(
        mountpoint,
        source,
        limits=checked,
        debug=debug,
        kernel_options=frozenset(kernel_options),
        **given,
    )


def _with_domain(
    network: "NetworkSettings | None", domain: str | None, member: str | None
) -> "NetworkSettings | None":
    """The configuration with what `-o member=…` adds: the primary domain."""
    if member is None:
        if domain is not None:
            raise CommandError("option domain needs option member", Exit.USAGE)
        return network
    from msfs_fuse.net.settings import DomainSettings, NetworkSettings

    network = network or NetworkSettings()
    others = (
        each
        for each in network.domains
        if domain is None or each.name is None or fold(each.name) != fold(domain)
    )
    return dataclasses.replace(network, domains=(DomainSettings(domain, member), *others))
