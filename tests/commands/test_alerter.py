"""`msfs alerter`: alerts of this host's programs come to people."""

import contextlib
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse import Mailslot, send
from msfs_fuse.commands.alerter import cut, describe
from msfs_fuse.errors import Exit
from msfs_fuse.programs import alerter, messenger
from msfs_fuse.programs.alerter import Admin, Alert, Print, User
from tests.conftest import Mount
from tests.support.command import TIMEOUT, ended, in_background, msfs, refusal, serving
from tests.support.processes import wait_until

ALERTS = {
    "ADMIN": Alert(0, "ADMIN", "SERVER", Admin(5, ("C:", "is full"))),
    "USER": Alert(0, "USER", "SERVER", User(0, ("logged off",), "ann", "PC1")),
    "PRINTING": Alert(0, "PRINTING", "SPOOLER", Print(7, 0, 1, 9, "PC", "ann", "q", "p", "jam")),
    "MESSAGE": Alert(0, "MESSAGE", "x", b"hello"),
    "UPS": Alert(0, "UPS", "apcupsd", b"on battery"),
}


def alerting(
    mount: Mount, *arguments: str
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """`msfs alerter` at work. Killed at the end."""
    return serving(mount, ("Alerter",), "alerter", *arguments)


@pytest.fixture
def people(mount: Mount) -> Iterator[Mailslot]:
    """Where the messages to the people of this host come."""
    with Mailslot(messenger.SLOT, mount=str(mount.path)) as slot:
        yield slot


def test_each_event_reaches_people(mount: Mount, people: Mailslot) -> None:
    with alerting(mount, "root@.", "--print", "-n", str(len(ALERTS))) as process:
        for event, alert in ALERTS.items():
            send("Alerter", alerter.encode(alert), mount=str(mount.path))
            notice = messenger.decode(people.receive(TIMEOUT).data)
            assert notice == ("Alerter", "root", alerter.describe(alert))
            assert notice.text.startswith(event)
        code, output, complaints = ended(process)
    assert (code, complaints) == (0, "")
    assert output.startswith("ADMIN from SERVER\nerror 5\nC:\nis full\n")


def test_plain_text_and_everybody_in_turn(mount: Mount, people: Mailslot) -> None:
    with alerting(mount, "ann@.", "far", "bob@.") as process:
        script = f"echo 'disk is full' > {mount / 'Alerter'}"
        subprocess.run(["sh", "-c", script], check=True, timeout=TIMEOUT)
        got = [messenger.decode(people.receive(TIMEOUT).data) for _ in range(2)]
        assert [(notice.recipient, notice.text) for notice in got] == [
            ("ann", "disk is full"),
            ("bob", "disk is full"),
        ]
        assert process.stderr is not None
        assert b"no host or domain far" in process.stderr.readline()


def test_what_nobody_is_told_is_reported(mount: Mount) -> None:
    with alerting(mount, ".", "-n", "1") as process:
        send("Alerter", "disk\x1b[2J is full", mount=str(mount.path))
        code, _, complaints = ended(process)
    assert code == 0
    assert "nobody listens" in complaints
    assert complaints.endswith("not told to .: disk\\x1b[2J is full\n")


def test_who_is_nobody_is_told_at_once(mount: Mount) -> None:
    result = msfs(mount, "alerter", ".", "a/b")
    assert result.returncode == Exit.USAGE
    assert "'a/b' is neither HOST" in refusal(result)


def test_in_the_background(mount: Mount, people: Mailslot) -> None:
    in_background(mount, "alerter", "-n", 1, ".")
    send("Alerter", "disk is full", mount=str(mount.path))
    assert messenger.decode(people.receive(TIMEOUT).data).text == "disk is full"
    wait_until(lambda: not (mount / "Alerter").exists())


def test_who_may_raise_alerts(mount: Mount) -> None:
    with alerting(mount, "."):
        wait_until(lambda: mount.attribute("Alerter", "network") == "off")
        assert stat.S_IMODE((mount / "Alerter").stat().st_mode) == 0o622


def test_a_flood_is_counted(mount: Mount, people: Mailslot) -> None:
    with alerting(mount, ".", "-n", "200") as process:
        for number in range(200):
            send("Alerter", f"alert {number}", mount=str(mount.path))
        assert ended(process)[0] == 0
    texts = [messenger.decode(message.data).text for message in people.messages(0.5)]
    assert texts[:5] == [f"alert {number}" for number in range(5)]
    single = [text for text in texts if text.startswith("alert")]
    counted = sum(int(text.split()[0]) for text in texts if "more alerts" in text)
    assert len(single) + counted == 200
    assert len(texts) < 100


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert describe(b"a\x1b[2J\nb\0") == "a\\x1b[2J\nb"
    assert describe(b"\xff") == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("text", ["short", "ä" * 500, "\n" * 500, "line\n" * 100])
def test_what_is_too_long_is_cut(text: str) -> None:
    short = cut(text, 100)
    assert len(short.replace("\n", "\r\n").encode()) <= 100
    assert short == text if len(text) < 10 else short.endswith("…")


def test_an_alert_that_lies_is_shown_as_it_is(mount: Mount, people: Mailslot) -> None:
    data = bytearray(alerter.encode(ALERTS["ADMIN"]))
    data[204:208] = b"\xff\xff\xff\xff"
    with alerting(mount, "."):
        send("Alerter", bytes(data), mount=str(mount.path))
        assert "A\\x00D\\x00M" in messenger.decode(people.receive(TIMEOUT).data).text


def test_units_name_what_there_is() -> None:
    units = Path(__file__).parent.parent.parent / "scripts" / "install.d"
    for name in ("alerter", "messenger"):
        text = (units / f"msfs-{name}.service").read_text()
        assert f"ExecStart=@PREFIX@/bin/msfs {name}" in text
