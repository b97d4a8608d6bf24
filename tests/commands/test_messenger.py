"""`msfs net-send` and `msfs messenger` on one host: what is shown where, and what never is."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from msfs_fuse import Mailslot, send
from msfs_fuse.commands import popups
from msfs_fuse.errors import Exit
from msfs_fuse.programs import messenger
from msfs_fuse.programs.folding import Folder
from msfs_fuse.programs.messenger import Notice
from tests.conftest import Mount
from tests.support.command import (
    MSFS,
    TIMEOUT,
    ended,
    in_background,
    msfs,
    refusal,
    serves,
    serving,
)
from tests.support.processes import wait_until

BODY = messenger.encode(Notice("ann", "bob", "hello"))
QUIET = ("--no-desktop", "--no-terminals")


def showing(
    mount: Mount, *arguments: str, quiet: tuple[str, ...] = QUIET, **named: Any
) -> contextlib.AbstractContextManager["subprocess.Popen[bytes]"]:
    """`msfs messenger` at work. Killed at the end."""
    return serving(mount, ("MESSNGR",), "messenger", *quiet, *arguments, **named)


def test_what_is_sent_is_shown_with_who_says_so_and_who_did(mount: Mount) -> None:
    host = mount.status()["host"]
    with showing(mount, "--print", "-n", "3") as process:
        assert msfs(mount, "net-send", ".", "grüße\nan alle", "--from", "the boss").returncode == 0
        assert msfs(mount, "net-send", f"ann@{host}", input="from stdin\n").returncode == 0
        send("MESSNGR", "plain text", mount=str(mount.path))
        source = f"(this host, user {os.geteuid()})"
        code, output, _ = ended(process)
        assert code == 0
        lines = output.splitlines()
    assert lines[0] == f"Message from the boss {source} to {host}: grüße | an alle"
    assert lines[1].endswith(f"{source} to ann: from stdin")
    assert lines[2] == f"Message from ? {source} to {host}: plain text"


def test_a_command_gets_every_message(mount: Mount, tmp_path: Path) -> None:
    command = f'echo "$MSFS_FROM $MSFS_TO $MSFS_SENDER_UID $(cat)" >> {tmp_path / "got"}'
    with showing(mount, "--exec", command, "-n", "20") as process:
        for number in range(20):
            body = messenger.encode(Notice("ann", "bob", f"{number}"))
            send("MESSNGR", body, mount=str(mount.path))
        assert ended(process)[0] == 0
    expected = [f"ann bob {os.geteuid()} {number}" for number in range(20)]
    assert (tmp_path / "got").read_text().splitlines() == expected


def test_what_a_terminal_would_obey_is_not_printed(mount: Mount) -> None:
    evil = Notice("\x1b]0;title\a", "\x9b31m", "a\x1b[2Jb\u202ec\x08")
    with showing(mount, "--print", "-n", "1") as process:
        send("MESSNGR", messenger.encode(evil), mount=str(mount.path))
        _, output, _ = ended(process)
    assert output.removesuffix("\n").isprintable()


def test_messages_by_code_page(mount: Mount) -> None:
    with showing(mount, "--print", "-n", "1", "--code-page", "cp866") as process:
        result = msfs(mount, "net-send", ".", "привет", "--code-page", "cp866")
        assert result.returncode == 0
        assert ended(process)[1].endswith(": привет\n")


def test_what_cannot_be_sent(mount: Mount) -> None:
    assert msfs(mount, "net-send", ".", "hello").returncode == Exit.NO_SLOT
    assert "no host or domain far" in refusal(msfs(mount, "net-send", "far", "hello"))
    assert msfs(mount, "net-send", "a/b", "hello").returncode == Exit.USAGE
    assert "nothing to say" in refusal(msfs(mount, "net-send", ".", ""))
    with Mailslot("MESSNGR", mount=str(mount.path)):
        assert "NUL" in refusal(msfs(mount, "net-send", ".", input="a\0b"))


def test_a_message_is_waited_for_and_served_in_the_background(mount: Mount, tmp_path: Path) -> None:
    words = [*MSFS, "net-send", "--wait", "20", ".", "early"]
    environment = {**os.environ, "MSFS_MOUNT": str(mount.path)}
    with subprocess.Popen(words, env=environment) as client, (tmp_path / "out").open("wb") as out:
        in_background(mount, "messenger", *QUIET, "--print", "-n", "2", stdout=out)
        assert (mount / "MESSNGR").exists()
        assert client.wait(TIMEOUT) == 0
    assert msfs(mount, "net-send", ".", "late").returncode == 0
    wait_until(lambda: not (mount / "MESSNGR").exists())
    texts = [line.rpartition(": ")[2] for line in (tmp_path / "out").read_text().splitlines()]
    assert texts == ["early", "late"]
    assert "not by --session" in refusal(
        msfs(mount, "net-send", "--session", "--wait", 1, "h", "x")
    )


def test_who_reads_no_more_ends_it_before_it_takes_another_message(mount: Mount) -> None:
    with showing(mount, "--print") as process:
        assert process.stdout is not None
        msfs(mount, "net-send", ".", "one")
        assert process.stdout.readline().endswith(b": one\n")
        process.stdout.close()
        assert process.wait(TIMEOUT) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert msfs(mount, "net-send", ".", "two").returncode == Exit.NO_SLOT


def test_standard_output_that_takes_nothing(mount: Mount) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        showing(mount, "--print", stdout=full) as process,
    ):
        msfs(mount, "net-send", ".", "one")
        code, _, complaints = ended(process)
    assert (code, complaints) == (Exit.FAILED, "msfs: standard output: No space left on device\n")


def test_a_command_that_fails_is_told_by_the_exit_code(mount: Mount) -> None:
    """That it reads nothing of what it is told is no failure of ours."""
    with showing(mount, "--exec", "exit 3", "-n", "20") as process:
        for _ in range(20):
            send("MESSNGR", BODY + b"x" * 60000, mount=str(mount.path))
        code, _, complaints = ended(process)
    assert code == Exit.FAILED
    assert complaints == "msfs: MESSNGR: the command ended with exit code 3\n" * 20


def test_a_command_may_finish_and_a_second_signal_is_its_own(mount: Mount, tmp_path: Path) -> None:
    there = tmp_path / "is_there"
    command = f"trap 'echo told; exit 0' TERM; sleep 30 >&- 2>&- & touch {there}; wait"
    with showing(mount, "--exec", command) as process:
        msfs(mount, "net-send", ".", "x")
        wait_until(there.exists)
        process.terminate()
        # No slot is left only when the command has ended: it is not yet.
        wait_until(lambda: caught_once(process.pid))
        assert process.poll() is None
        process.terminate()
        code, output, complaints = ended(process)
    # The shell may have time to say what became of its sleep.
    assert (code, output, complaints.replace("Terminated\n", "")) == (-signal.SIGTERM, "told\n", "")


def caught_once(pid: int) -> bool:
    """Whether no signal waits to be seen by the process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return all(
        int(value, 16) == 0 for value in re.findall(r"^S(?:hd|ig)Pnd:\s*(\w+)", status, re.M)
    )


def test_signals_end_it(mount: Mount) -> None:
    with showing(mount) as process:
        process.terminate()
        assert process.wait(TIMEOUT) == -15


def test_a_signal_that_is_ignored_stays_so(mount: Mount) -> None:
    words = ("messenger", *QUIET, "--print", "-n", "1")
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *MSFS, *words]
    environment = {**os.environ, "MSFS_MOUNT": str(mount.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        try:
            wait_until(lambda: serves(mount, process.pid, ("MESSNGR",)))
            process.send_signal(signal.SIGHUP)
            assert msfs(mount, "net-send", ".", "still here").returncode == 0
            code, output, _ = ended(process)
        finally:
            process.kill()
    assert (code, output.rpartition(": ")[2]) == (0, "still here\n")


def test_the_mount_goes_away(mount: Mount) -> None:
    with showing(mount) as process:
        mount.daemon.terminate()
        code, _, complaint = ended(process)
    assert code == Exit.NO_MOUNT
    assert "has died or is gone" in complaint


# ---- terminals ----


@contextlib.contextmanager
def terminal(mode: int) -> Iterator[tuple[int, str]]:
    """A terminal of this user: what reads its screen, and its path."""
    screen, keyboard = pty.openpty()
    tty.setraw(keyboard)
    path = os.ttyname(keyboard)
    os.chmod(path, mode)
    os.utime(path, (2**31, 2**31))  # the one used last, whatever else is open here
    try:
        yield screen, path
    finally:
        os.close(screen)
        os.close(keyboard)


def read_screen(screen: int, end: bytes) -> bytes:
    text = b""
    while not text.endswith(end):
        assert select.select([screen], [], [], TIMEOUT)[0], text
        text += os.read(screen, 4096)
    return text


def test_on_a_terminal_where_there_is_no_desktop(mount: Mount) -> None:
    environment = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    with terminal(0o620) as (screen, _), showing(mount, quiet=(), env=environment):
        send(
            "MESSNGR",
            messenger.encode(Notice("ann", "x", "one\n\x1b[2Jtwo")),
            mount=str(mount.path),
        )
        text = read_screen(screen, b"EOF\r\n").decode()
    head, *body = text.removeprefix("\r\n\a").split("\r\n")
    assert head.startswith(f"Message from ann (this host, user {os.geteuid()}) to x at ")
    assert body == ["one", r"\x1b[2Jtwo", "EOF", ""]


def test_mesg_is_honoured() -> None:
    with terminal(0o600) as (_, closed), terminal(0o620) as (_, opened):
        found = [*popups.terminals([os.geteuid()])]
        assert closed not in found
        assert opened in found


def test_a_terminal_that_is_stopped_is_not_waited_for() -> None:
    with terminal(0o620) as (_, path):
        results = [popups.write_to(path, "title", "x" * 400) for _ in range(200)]
        assert results[0]
        assert not results[-1]


# ---- the log ----


def test_the_log_gets_one_line_whatever_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        popups.log("title: a\n<0>forged\x1b", str(tmp_path / "log"))
        line = log.recv(1000).decode()
        assert line.startswith(f"<13>msfs-messenger[{os.getpid()}]: title: a | <0>forged")
        assert line.isprintable()
        for _ in range(10_000):  # nobody reads it
            popups.log("x" * 100, str(tmp_path / "log"))
    popups.log("x", str(tmp_path / "missing"))


# ---- floods ----


def test_of_a_flood_the_first_are_admitted_and_the_others_counted() -> None:
    folder = Folder(burst=5, period=10)
    assert [folder.admits(0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert folder.release() == 2
    assert folder.release() == 0
    assert [folder.admits(2) for _ in range(2)] == [True, False]
    assert [folder.admits(1000) for _ in range(6)] == [True] * 5 + [False]


# ---- a desktop ----

BUS = """<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow own="*"/>
<allow eavesdrop="true"/></policy></busconfig>"""


@contextlib.contextmanager
def running(*command: str, **named: Any) -> Iterator[None]:
    """A server that says nothing, until the end of the block."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet, **named) as process:
        try:
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """An X server; the display that it has chosen."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as said, os.fdopen(writer, "w"):
        command = ("Xvfb", "-displayfd", str(writer), "-screen", "0", "800x400x24")
        with running(*command, pass_fds=[writer]):
            yield f":{said.readline().strip()}"


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A session bus, a screen, and a notification daemon that writes down what it shows."""
    (tmp_path / "bus.conf").write_text(BUS.format(path=tmp_path / "bus"))
    (tmp_path / "show").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$DUNST_SUMMARY :: $DUNST_BODY" >> {tmp_path}/shown\n'
    )
    (tmp_path / "show").chmod(0o755)
    (tmp_path / "dunstrc").write_text(
        f"[global]\nfont = Monospace 10\n[all]\nsummary = *\nscript = {tmp_path}/show\n"
    )
    with contextlib.ExitStack() as stack:
        own = {
            "DISPLAY": stack.enter_context(screen()),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path / 'bus'}",
        }
        environment = {**os.environ, **own}
        bus = f"--config-file={tmp_path / 'bus.conf'}"
        stack.enter_context(running("dbus-daemon", bus, "--nofork", env=environment))
        wait_until((tmp_path / "bus").exists)
        dunst = ("dunst", "-conf", str(tmp_path / "dunstrc"))
        stack.enter_context(running(*dunst, env=environment))
        wait_until(lambda: popups_are_shown(environment))
        yield own


def popups_are_shown(environment: dict[str, str]) -> bool:
    command = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.Notifications"]
    command += ["/org/freedesktop/Notifications"]
    command += ["org.freedesktop.Notifications.GetServerInformation"]
    return subprocess.run(command, env=environment, capture_output=True, timeout=10).returncode == 0


def test_popups(mount: Mount, desktop: dict[str, str], tmp_path: Path) -> None:
    shown = tmp_path / "shown"

    def lines() -> list[str]:
        return shown.read_text().splitlines() if shown.exists() else []

    with showing(mount, quiet=("--no-terminals",), env=desktop):
        evil = Notice("<b>ann</b>", "x", '<img src="file:///etc/passwd"> & \x1b[2J')
        send("MESSNGR", messenger.encode(evil), mount=str(mount.path))
        wait_until(lambda: len(lines()) == 1)
        [line] = lines()
        assert r"&lt;img src=" in line
        assert r"&amp; \x1b[2J" in line
        for _ in range(300):
            send("MESSNGR", BODY, mount=str(mount.path))
        wait_until(lambda: any("more messages, the last from ann" in line for line in lines()))
        assert len(lines()) < 100


def test_a_message_to_another_user_is_no_popup_here(
    mount: Mount, desktop: dict[str, str], tmp_path: Path
) -> None:
    with showing(mount, quiet=("--no-terminals",), env=desktop):
        send("MESSNGR", messenger.encode(Notice("ann", "nobody", "hush")), mount=str(mount.path))
        send("MESSNGR", BODY, mount=str(mount.path))
        wait_until((tmp_path / "shown").exists)
        assert "hush" not in (tmp_path / "shown").read_text()
