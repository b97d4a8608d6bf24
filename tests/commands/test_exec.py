"""`msfs listen --exec`: one command at a time, and nothing lost on the way."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msfs_fuse.errors import Exit
from tests.conftest import Mount, MountFactory
from tests.support.command import MSFS, TIMEOUT, ended, listening, msfs, take, write
from tests.support.processes import wait_until


def test_the_message_on_stdin_and_the_sender_in_the_environment(mount: Mount) -> None:
    client = write(mount, "a", b"line\n\0binary \xff")
    command = (
        'cat | od -An -c | tr -d " \\n"; '
        'echo " $MSFS_SLOT $MSFS_SENDER_HOST $MSFS_SENDER_UID $MSFS_SENDER_PID $MSFS_MOUNT"; '
        "echo $MSFS_SENT_AT"
    )
    result = msfs(mount, "listen", "a", "-n", 1, "--exec", command)
    line, sent_at = result.stdout.splitlines()
    who = f"{mount.status()['host']} {os.geteuid()} {os.getpid()} {mount.path}"
    assert line == f"line\\n\\0binary377 a {who}"
    assert abs(float(sent_at) - time.time()) < 10
    assert (result.returncode, result.stderr) == (Exit.OK, "")
    os.close(client)


def test_every_message_once_and_in_order(mount: Mount, tmp_path: Path) -> None:
    writers, messages = 6, 50
    notes = tmp_path / "notes"

    def flood(writer: int) -> None:
        handle = os.open(mount / f"slot{writer % 2}", os.O_WRONLY)
        for number in range(messages):
            os.write(handle, b"%d %d\n" % (writer, number))
        os.close(handle)

    # One after another: the directory would be in the way of a second one.
    command = f"mkdir {tmp_path}/lock && cat >> {notes} && rmdir {tmp_path}/lock"
    options = ("-n", writers * messages, "--exec", command)
    with listening(mount, *options, slots=("slot0", "slot1")) as listener:
        threads = [threading.Thread(target=flood, args=(each,)) for each in range(writers)]
        for thread in threads:
            thread.start()
        assert ended(listener) == (Exit.OK, "", "")
        for thread in threads:
            thread.join()
    lines = [tuple(map(int, line.split())) for line in notes.read_text().splitlines()]
    assert len(lines) == writers * messages
    for writer in range(writers):
        assert [number for who, number in lines if who == writer] == list(range(messages))


def test_the_next_message_waits_for_the_command(mount: Mount, tmp_path: Path) -> None:
    client = write(mount, "a", b"one", b"two", b"three")
    command = f"touch {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.02; done; cat"
    with listening(mount, "-n", 3, "--exec", command) as listener:
        wait_until((tmp_path / "started").exists)
        time.sleep(0.1)
        assert mount.attribute("a", "message_count") == "2"
        (tmp_path / "go").touch()
        assert ended(listener) == (Exit.OK, "onetwothree", "")
    os.close(client)


def test_a_command_that_fails_is_reported_and_the_next_has_its_turn(mount: Mount) -> None:
    client = write(mount, "a", b"exit 3", b"kill -9 $$", b"exit 0")
    result = msfs(mount, "listen", "a", "-n", 3, "--exec", 'eval "$(cat)"')
    assert result.stderr == (
        "msfs: a: the command ended with exit code 3\nmsfs: a: the command died of SIGKILL\n"
    )
    assert result.returncode == Exit.FAILED
    os.close(client)


def test_a_command_that_does_not_read(mount_with: MountFactory) -> None:
    """A message of more than a pipe holds, too."""
    mount = mount_with("max_message_size=1000000")
    client = write(mount, "a", b"x" * 1_000_000, b"y")
    result = msfs(mount, "listen", "a", "-n", 2, "--exec", "exec <&-; echo done")
    assert (result.returncode, result.stdout, result.stderr) == (Exit.OK, "done\ndone\n", "")
    os.close(client)


def test_a_large_message_arrives_whole(mount_with: MountFactory) -> None:
    mount = mount_with("max_message_size=1000000")
    client = write(mount, "a", b"x" * 1_000_000)
    assert msfs(mount, "listen", "a", "-n", 1, "--exec", "wc -c").stdout.strip() == "1000000"
    os.close(client)


def says_that_it_ends(listener: "subprocess.Popen[bytes]") -> None:
    """Wait until it has seen a signal, and waits for its command."""
    assert listener.stderr is not None
    assert listener.stderr.readline().startswith(b"msfs: ending when the command has ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_command_finish(
    mount: Mount, tmp_path: Path, number: signal.Signals
) -> None:
    client = write(mount, "a", b"one", b"two")
    command = f"touch {tmp_path}/started; until [ -e {tmp_path}/go ]; do sleep 0.02; done; "
    command += f"cat > {tmp_path}/done"
    with listening(mount, "--exec", command) as listener:
        wait_until((tmp_path / "started").exists)
        listener.send_signal(number)
        says_that_it_ends(listener)
        (tmp_path / "go").touch()
        assert ended(listener)[0] == -number
    assert (tmp_path / "done").read_text() == "one"
    assert take(mount, "a") == [b"two"]
    os.close(client)


def test_a_second_signal_ends_the_command(mount: Mount, tmp_path: Path) -> None:
    client = write(mount, "a", b"one")
    command = f"touch {tmp_path}/started; sleep 60; touch {tmp_path}/done"
    with listening(mount, "--exec", command) as listener:
        wait_until((tmp_path / "started").exists)
        listener.terminate()
        says_that_it_ends(listener)
        listener.terminate()
        code, _, complaint = ended(listener)
    assert code == -signal.SIGTERM
    assert complaint.endswith("msfs: a: the command died of SIGTERM\n")
    assert not (tmp_path / "done").exists()
    os.close(client)


def test_control_c_at_the_terminal_lets_the_command_finish(mount: Mount, tmp_path: Path) -> None:
    client = write(mount, "a", b"one")
    command = f"touch {tmp_path}/started; sleep 0.5; cat > {tmp_path}/done"
    listen = [*MSFS, "listen", "--mount", str(mount.path), "a", "--exec", command]
    terminal = f"import pty, os; print(os.waitstatus_to_exitcode(pty.spawn({listen!r})))"
    with subprocess.Popen(
        [sys.executable, "-c", terminal], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        wait_until((tmp_path / "started").exists)
        process.stdin.write(b"\x03")
        process.stdin.flush()
        output, _ = process.communicate(timeout=TIMEOUT)
    assert output.split()[-1] == b"%d" % -signal.SIGINT
    assert (tmp_path / "done").read_text() == "one"
    os.close(client)


def test_the_time_does_not_cut_a_command_short(mount: Mount) -> None:
    client = write(mount, "a", b"one", b"two")
    result = msfs(mount, "listen", "a", "-t", 2, "--exec", "sleep 3; cat")
    assert (result.returncode, result.stdout) == (Exit.OK, "one")
    assert take(mount, "a") == [b"two"]
    os.close(client)


def _limit_files(pid: int, number: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, hard))


def test_a_command_that_cannot_be_started_is_tried_again(mount: Mount) -> None:
    with listening(mount, "-n", 2, "--exec", "cat; echo") as listener:
        _limit_files(listener.pid, 3)
        client = write(mount, "a", b"one", b"two")
        assert listener.stderr is not None
        complaint = listener.stderr.readline()
        assert complaint.startswith(b"msfs: a: cannot start the command: Too many open files; ")
        assert mount.attribute("a", "message_count") == "1"
        _limit_files(listener.pid, 100)
        code, output, _ = ended(listener)
    assert (code, output) == (Exit.OK, "one\ntwo\n")
    os.close(client)


def test_a_signal_while_no_command_can_be_started_owns_up_to_the_loss(mount: Mount) -> None:
    with listening(mount, "--exec", "cat") as listener:
        _limit_files(listener.pid, 3)
        client = write(mount, "a", b"one", b"two")
        assert listener.stderr is not None
        listener.stderr.readline()
        listener.terminate()
        code, _, complaint = ended(listener)
    assert code == -signal.SIGTERM
    assert complaint.endswith("msfs: a: one message is lost, its command was never started\n")
    assert take(mount, "a") == [b"two"]
    os.close(client)


def test_it_needs_no_output(mount: Mount) -> None:
    script = f'exec "$@" listen --mount {mount.path} a -n 1 --exec "cat >&2" >&-'
    client = write(mount, "a", b"one")
    with subprocess.Popen(["sh", "-c", script, "sh", *MSFS], stderr=subprocess.PIPE) as listener:
        assert ended(listener) == (Exit.OK, "", "one")
    os.close(client)
