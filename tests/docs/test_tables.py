"""The tables in docs have all that there is, with the values that it has."""

import re
from pathlib import Path

from msfs_fuse.core.limits import MESSAGE_SIZE_CEILING, Limits
from msfs_fuse.errors import Exit
from msfs_fuse.net.netbios.router import NetbiosRouter
from msfs_fuse.net.netbios.settings import NetbiosSettings
from tests.brokers.test_logins import ACL
from tests.docs.test_manual import known_keys
from tests.support.examples import CHECKOUT, blocks

ONE_KEY_TOO_MANY = 'domain.d = { transport = [{ url = "mqtt://h", x = 1 }] }'

_UNITS = {"": 1, "k": 1024, "m": 1024**2}


def table(document: str, head: str) -> list[list[str]]:
    """The rows of the table in a document whose first cell is `head`, without the head."""
    text = (CHECKOUT / document).read_text()
    match = re.search(rf"^\| {re.escape(head)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert match is not None, head
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in match[1].splitlines()]


def test_every_limit_and_its_default() -> None:
    rows = {cells[0].strip("`"): cells for cells in table("docs/rules.md", "option")}
    for name, value in vars(Limits()).items():
        match = re.fullmatch(r"(\d+)([km]?)", rows[name][1])
        assert match is not None, name
        assert int(match[1]) * _UNITS[match[2]] == value, name
    assert rows["max_message_size"][2].endswith(f"at most {MESSAGE_SIZE_CEILING}")


def test_every_exit_code() -> None:
    codes = [int(cells[0]) for cells in table("docs/shell.md", "code")]
    assert codes == [*Exit]


def test_every_option_of_a_broker(tmp_path: Path) -> None:
    rows = table("docs/other-hosts.md", "option beside `url`")
    names = {name for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    assert names == known_keys(tmp_path, ONE_KEY_TOO_MANY)


def test_the_rules_of_the_broker_are_those_that_are_tested() -> None:
    [_, rules] = [
        block.text for block in blocks("docs/other-hosts.md") if block.language == "mosquitto"
    ]
    assert rules == ACL.lstrip()


def test_how_much_windows_and_samba_take() -> None:
    rows = table("docs/samba-and-windows.md", "letters in the slot's name")
    assert len(rows) == 4
    for letters, both, windows in rows:
        for length in map(int, letters.split(" to ")):
            for told, more in ((both, False), (windows, True)):
                settings = NetbiosSettings(interfaces=("eth0",), windows_size=more)
                router = NetbiosRouter("here", settings, beside_domains=False)
                assert router.capacity(("x" * length,)) == int(told), letters
