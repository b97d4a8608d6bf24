"""The manual pages and the example configuration tell all that there is, and nothing wrong."""

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse.commands import main as cli
from msfs_fuse.commands import mount_helper
from msfs_fuse.commands.mount_helper import MountExit
from msfs_fuse.commands.serving import SENDER_FACTS
from msfs_fuse.config.file import Configuration, read_configuration
from msfs_fuse.config.options import (
    IGNORED_OPTIONS,
    IGNORED_PREFIXES,
    KERNEL_OPTIONS,
    OPTIONS,
    REFUSED_OPTIONS,
    parse_options,
)
from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.mounts import ENVIRONMENT, FILESYSTEM_TYPE
from msfs_fuse.net.mqtt.settings import BrokerSettings
from msfs_fuse.net.netbios.settings import NetbiosSettings
from msfs_fuse.net.udp.settings import UdpSettings
from tests.support.examples import Example, run
from tests.support.processes import is_root

CHECKOUT = Path(__file__).parent.parent.parent
INSTALLED = CHECKOUT / "scripts" / "install.d"
EXAMPLE = INSTALLED / "msfs.toml"
PAGES = ("msfs.1", "msfs.toml.5", "mount.msfs.8")

# One key too many in each table, for the complaint to list those that are known.
_UNKNOWN_KEYS = {
    "file": "x = 1",
    "mount": "mount = { x = 1 }",
    "domain": "domain.d = { x = 1 }",
    "netbios": 'netbios = { interfaces = ["eth0"], x = 1 }',
    "transport": 'domain.d = { transport = [{ url = "mqtt://h", x = 1 }] }',
}

_ESCAPES = {
    r"\-": "-",
    r"\[rs]": "\\",
    r"\[ti]": "~",
    r"\[aq]": "'",
    r"\[ha]": "^",
    r"\[dq]": '"',
    r"\&": "",
    r"\c": "",
    '""': '"',
}
_ESCAPE = re.compile(r'\\f.|\\\[\w+\]|\\.|""')


def page(name: str) -> str:
    """The source of a page, without its escapes and the changes of font."""
    source = (CHECKOUT / "docs" / "man" / name).read_text().replace("\\\n", "")
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[0], ""), source)


def section(text: str, heading: str) -> str:
    """What is below a heading, up to the next one of its kind or above."""
    match = re.search(rf"^\.(S[HS]) {re.escape(heading)}\n", text, re.MULTILINE)
    assert match is not None, f"no section {heading}"
    end = r"^\.SH " if match[1] == "SH" else r"^\.S[HS] "
    return re.split(end, text[match.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def paragraphs(text: str) -> dict[str, str]:
    """Tagged paragraphs, by each word of their tags."""
    found = {}
    for tag, body in re.findall(r"^\.TP\n(.*)\n((?:(?!\.(?:TP|PP|S[HS])\b).*\n?)*)", text, re.M):
        for word in re.findall(r"[\w./-]+", tag.removeprefix(".").partition(" ")[2]):
            found[word] = body
    return found


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from action.option_strings


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = (each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return dict(commands.choices)


def default(text: str) -> str:
    match = re.search(r"Default: (\w+)\.", text)
    assert match is not None, text
    return match[1]


COMMANDS = commands_of(cli.build_parser())


def test_each_command_has_a_section_and_a_synopsis() -> None:
    text = page("msfs.1")
    assert re.findall(r"^\.SS msfs ([\w-]+)$", text, re.MULTILINE) == list(COMMANDS)
    synopsis = section(text, "SYNOPSIS")
    assert re.findall(r"^\.B msfs ([\w-]+)", synopsis, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_its_options(name: str) -> None:
    options = set(options_of(COMMANDS[name])) - {"-h", "--help"}
    told = paragraphs(section(page("msfs.1"), f"msfs {name}"))
    assert {each for each in told if each.startswith("-")} == options


@pytest.mark.parametrize(
    ("name", "parser"),
    [("msfs.1", cli.build_parser()), ("mount.msfs.8", mount_helper.build_parser())],
)
def test_each_program_has_its_options(name: str, parser: argparse.ArgumentParser) -> None:
    told = paragraphs(section(page(name), "OPTIONS"))
    assert {each for each in told if each.startswith("-")} == set(options_of(parser))


def test_each_mount_option() -> None:
    told = paragraphs(section(page("msfs.1"), "MOUNT OPTIONS"))
    assert {option.name for option in OPTIONS} | KERNEL_OPTIONS <= set(told)
    for option in OPTIONS:
        if option.value == "N":
            assert option.default is not None
            told_default = option.parse(default(told[option.name]))
            assert told_default == option.parse(option.default), option.name
    assert f"at most {MESSAGE_SIZE_CEILING}." in told["max_message_size"]


def test_each_option_that_is_ignored_or_refused() -> None:
    options = section(page("mount.msfs.8"), "MOUNT OPTIONS")
    words = set(re.findall(r"[\w.-]+=?", options))
    assert {*IGNORED_OPTIONS, *IGNORED_PREFIXES} <= words
    assert set(REFUSED_OPTIONS) <= set(paragraphs(options))


def test_each_exit_code() -> None:
    for name, codes in (("msfs.1", Exit), ("mount.msfs.8", MountExit)):
        told = paragraphs(section(page(name), "EXIT STATUS"))
        assert set(told) == {str(int(code)) for code in codes}, name


def test_the_environment() -> None:
    told = set(paragraphs(section(page("msfs.1"), "ENVIRONMENT")))
    facts = {f"MSFS_{fact.upper()}" for fact in SENDER_FACTS}
    assert told == {ENVIRONMENT, "MSFS_SLOT", *facts}


def known_keys(directory: Path, text: str) -> set[str]:
    path = directory / "unknown.toml"
    path.write_text(text)
    with pytest.raises(CommandError) as caught:
        read_configuration(str(path))
    match = re.search(r"known here: (.*)\)", str(caught.value))
    assert match is not None, str(caught.value)
    return set(match[1].split(", "))


def test_each_key_of_the_configuration(tmp_path: Path) -> None:
    keys = {table: known_keys(tmp_path, text) for table, text in _UNKNOWN_KEYS.items()}
    text = page("msfs.toml.5")
    tables = {
        "file": section(text, "THE FILE"),
        "mount": section(text, "THE TABLE [mount]"),
        "domain": section(text, "THE TABLES [domain.NAME]"),
        "netbios": section(text, "THE TABLE [netbios]"),
        "transport": section(text, "TRANSPORTS"),
    }
    keys["file"] -= {"mount", "domain", "netbios"}
    for table, known in keys.items():
        assert known <= set(paragraphs(tables[table])), table
    for line in ("Default: 4424.", "Default: 10.", "Default: 5."):
        assert line in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_clean(name: str) -> None:
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(CHECKOUT / "docs" / "man" / name)],
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80", "MANPAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert "SEE ALSO" in done.stdout


# What the examples of msfs(1) print, in their order.
PRINTED = (
    "disk full\n",
    "uid 0 says: water the plants\n",
    "msfs: nobody listens at /mnt/mailslot/todo (msfs listen todo)\nexit code 4\n",
    "cat: -: Connection timed out\n",
    "domain corp: keep corp where no host is\ncorp/build7.member\nhi\n",
)


def listings(text: str) -> list[str]:
    """What stands between .nf and .fi."""
    return re.findall(r"^\.nf\n(.*?)^\.fi$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not is_root(), reason="it makes namespaces, and shows what root sees")
@pytest.mark.parametrize("number", range(len(PRINTED)))
def test_the_examples_print_what_they_should(number: int, tmp_path: Path) -> None:
    sources = listings(section(page("msfs.1"), "EXAMPLES"))
    assert len(sources) == len(PRINTED)
    example = Example("msfs.1", number, "sh", sources[number], PRINTED[number])
    printed = run(example, tmp_path)
    assert example.is_printed(printed), printed


def test_the_examples_of_the_configuration_are_good(tmp_path: Path) -> None:
    path = tmp_path / "msfs.toml"
    sources = listings(section(page("msfs.toml.5"), "EXAMPLES"))
    assert len(sources) == 2
    for source in sources:
        path.write_text(source)
        assert read_configuration(str(path)).network is not None


def test_the_examples_of_fstab_are_good() -> None:
    text = section(page("mount.msfs.8"), "FSTAB AND THE SERVICE")
    lines = re.findall(rf"^msfs +(\S+) +{FILESYSTEM_TYPE} +(\S+) +0 0$", text, re.MULTILINE)
    assert len(lines) == 2
    for directory, options in lines:
        words = [each for each in options.split(",") if not each.startswith("config=")]
        assert parse_options(directory, words).allow_other


def test_the_example_configuration_changes_nothing() -> None:
    assert read_configuration(str(EXAMPLE)) == Configuration()


def test_the_example_configuration_has_each_key(tmp_path: Path) -> None:
    """Without the `#` in front of what is no comment of its own, it is a configuration."""
    text = re.sub(r"^#(?=\S)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    path = tmp_path / "msfs.toml"
    path.write_text(text)
    _, network, options = read_configuration(str(path))
    assert network is not None
    assert options == ("strict", "max_bytes=1g")
    [domain] = network.domains
    udp, broker = domain.transports
    for told, default_of, fields in (
        (udp, UdpSettings(), ("port", "multicast")),
        (broker, BrokerSettings(url="mqtt://h"), ("prefix", "protocol", "keepalive")),
        (broker, BrokerSettings(url="mqtt://h"), ("connect_timeout",)),
    ):
        for field in fields:
            assert getattr(told, field) == getattr(default_of, field), field
    known: set[str] = set()
    for table in _UNKNOWN_KEYS.values():
        known |= known_keys(tmp_path, table)
    keys = set(re.findall(r"^(\w+) =", text, re.MULTILINE))
    assert keys == known - {"mount", "domain", "netbios", "transport"}
    netbios = network.netbios
    assert netbios is not None
    assert netbios == NetbiosSettings(interfaces=("eth0",), name="BUILD7")
    assert {"[mount]", "[domain.corp]", "[[domain.corp.transport]]"} <= set(text.splitlines())
