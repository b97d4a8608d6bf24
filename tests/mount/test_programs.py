"""What programs that know nothing of mailslots do with them."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.processes import TIMEOUT, run, shell, started, wait_until

SERVER = os.O_RDWR | os.O_CREAT


@contextlib.contextmanager
def serving(path: Path) -> Iterator[int]:
    server = os.open(path, SERVER)
    try:
        yield server
    finally:
        os.close(server)


def queued(server: int) -> list[bytes]:
    """Take all that is queued."""
    messages = []
    os.set_blocking(server, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            messages.append(os.read(server, 1 << 20))
    os.set_blocking(server, True)
    return messages


@contextlib.contextmanager
def reader(script: str, mount: Mount, shell: str = "bash") -> Iterator["subprocess.Popen[str]"]:
    """A program that serves the slot `$1`, and waits; it is killed at the end."""
    with subprocess.Popen(
        [shell, "-c", script, shell, str(mount / "slot")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_until(lambda: os.path.exists(mount / "slot"))
            yield process
        finally:
            process.kill()


def is_waiting(mount: Mount) -> bool:
    return mount.status()["waiting"] == "1"


def send(mount: Mount, message: bytes) -> None:
    client = os.open(mount / "slot", os.O_WRONLY)
    os.write(client, message)
    os.close(client)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# ---- readers ----

# Each takes message by message, and shows one before the next one comes.
STREAMS = {
    "cat": 'exec cat <>"$1"',
    "busybox dd": 'exec busybox dd bs=64k 2>/dev/null <>"$1"',
    "tee": 'exec tee /dev/null <>"$1"',
    "dd": 'exec dd bs=64k status=none <>"$1"',
    "sed": 'exec sed -u p\\;d <>"$1"',
    "mawk": 'exec mawk -W interactive 1 <>"$1"',
    "busybox awk": 'exec busybox awk "{ print; fflush() }" <>"$1"',
    "grep": 'exec grep --line-buffered . <>"$1"',
    "xargs": 'exec xargs -n1 echo <>"$1"',
    "socat": 'exec socat -u OPEN:"$1",creat,rdonly -',
    "perl": 'exec perl -pe "BEGIN { $| = 1 }" <>"$1"',
    "python lines": """exec /usr/bin/python3 -uc "
import sys
for line in sys.stdin: print(line, end='')" <>"$1" """,
    "python unbuffered": "exec /usr/bin/python3 -uc \"s = open('$1', 'w+b', buffering=0)\n"
    "while True: print(s.read(65536).decode(), end='')\"",
    "node": """exec node -e "
        const fs = require('fs'), b = Buffer.alloc(65536), s = fs.openSync('$1', 'w+');
        for (;;) fs.writeSync(1, b, 0, fs.readSync(s, b))" """,
    "node stream": """exec node -e "
        require('fs').createReadStream(null, {fd: 0}).on('data', d => process.stdout.write(d))" \
        <>"$1" """,
    "while read": 'while read -r line; do echo "$line"; done <>"$1"',
    "read from a descriptor": 'exec 3<>"$1"; while :; do read -r line <&3; echo "$line"; done',
}


@pytest.mark.parametrize("name", STREAMS)
def test_readers_take_one_message_each_in_time(mount: Mount, name: str) -> None:
    with reader(STREAMS[name], mount) as process:
        for message in ("one", "two", "three"):
            send(mount, f"{message}\n".encode())
            assert line(process) == f"{message}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    wait_until(lambda: os.listdir(mount.path) == [".msfs"])


@pytest.mark.parametrize("program", ["bash", "dash", "busybox"])
def test_shells_read_lines(mount: Mount, program: str) -> None:
    """Shells read byte by byte from what cannot seek: the rest of the message stays theirs."""
    script = 'exec 3<>"$1"; read -r a <&3; read -r b <&3; echo "$a|$b"'
    command = [program, *(["sh"] if program == "busybox" else []), "-c", script, "sh"]
    with subprocess.Popen(
        [*command, str(mount / "slot")], stdout=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: os.path.exists(mount / "slot"))
        send(mount, b"first line\nsecond line\n")
        assert process.communicate(timeout=TIMEOUT)[0] == "first line|second line\n"


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ('exec dd bs=64k count=1 status=none <>"$1"', "message\n"),
        ('exec head -c 4 <>"$1"', "mess"),
        ('exec sed q <>"$1"', "message\n"),
        ('exec grep -m1 message <>"$1"', "message\n"),
    ],
)
def test_programs_that_want_no_more_end(mount: Mount, script: str, printed: str) -> None:
    with reader(script, mount) as process:
        send(mount, b"message\n")
        assert process.communicate(timeout=TIMEOUT)[0] == printed


def test_a_c_program_serves(mount: Mount, tmp_path: Path) -> None:
    source = tmp_path / "server.c"
    source.write_text(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <unistd.h>\n"
        "int main(int count, char **words)\n"
        "{\n"
        "    char message[65536];\n"
        "    int slot = open(words[count - 1], O_RDONLY | O_CREAT, 0666);\n"
        "    for (ssize_t size; (size = read(slot, message, sizeof message)) > 0;)\n"
        '        printf("%zd\\n", size), fflush(stdout);\n'
        "}\n"
    )
    program = tmp_path / "server"
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source], check=True, timeout=TIMEOUT)
    with reader(f'exec {program} "$1"', mount) as process:
        for size in (1, 65536, 424):
            send(mount, b"x" * size)
            assert line(process) == f"{size}\n"


# ---- writers ----

WRITERS = {
    "bash echo": ('echo hi > "$1"', [b"hi\n"]),
    "dash echo": ('dash -c \'echo hi > "$0"\' "$1"', [b"hi\n"]),
    "busybox echo": ('busybox sh -c \'echo hi > "$0"\' "$1"', [b"hi\n"]),
    "append": ('echo hi >> "$1"', [b"hi\n"]),
    "noclobber": ('set -C; echo hi >| "$1"', [b"hi\n"]),
    "no newline": ('printf %s hi > "$1"', [b"hi"]),
    "bash writes lines": ("printf 'a\\nb\\n' > \"$1\"", [b"a\n", b"b\n"]),
    "other printf does not": ("/usr/bin/printf 'a\\nb\\n' > \"$1\"", [b"a\nb\n"]),
    "several commands": ('{ echo a; echo b; } > "$1"', [b"a\n", b"b\n"]),
    "seq": ('seq 3 > "$1"', [b"1\n2\n3\n"]),
    "here document": ('cat > "$1" <<< hi', [b"hi\n"]),
    "tee": ('echo hi | tee "$1" > /dev/null', [b"hi\n"]),
    "tee -a": ('echo hi | tee -a "$1" > /dev/null', [b"hi\n"]),
    "dd": ('printf hi | dd of="$1" status=none', [b"hi"]),
    "cp": ('printf hi > f && cp f "$1"', [b"hi"]),
    "sed": ("printf 'a\\nb\\n' | sed -u p\\;d > \"$1\"", [b"a\n", b"b\n"]),
    "grep": ("printf 'a\\nb\\n' | grep --line-buffered . > \"$1\"", [b"a\n", b"b\n"]),
    "grep with a buffer": ("printf 'a\\nb\\n' | grep . > \"$1\"", [b"a\nb\n"]),
    "mawk": ("printf 'a\\n' | mawk -W interactive 1 > \"$1\"", [b"a", b"\n"]),
    "xargs": ('echo a b | xargs -n1 echo > "$1"', [b"a\n", b"b\n"]),
    "socat": ('printf hi | socat -u - OPEN:"$1",wronly', [b"hi"]),
    "perl": ('perl -e \'open F, ">", $ARGV[0]; print F "hi"\' "$1"', [b"hi"]),
    "python w": ("python3 -c \"open('$1', 'w').write('hi')\"", [b"hi"]),
    "python a": ("python3 -c \"open('$1', 'a').write('hi')\"", [b"hi"]),
    "node write": ("node -e \"require('fs').writeFileSync('$1', 'hi')\"", [b"hi"]),
    "node append": ("node -e \"require('fs').appendFileSync('$1', 'hi')\"", [b"hi"]),
    "node joins": (
        "node -e \"const w = require('fs').createWriteStream('$1'); w.write('h'); w.end('i')\"",
        [b"hi"],
    ),
    "nothing": (': > "$1"; : >> "$1"; touch "$1"; truncate -s 9 "$1"', []),
}


@pytest.mark.parametrize("name", WRITERS)
def test_writers_send_what_they_write(
    mount: Mount, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script, messages = WRITERS[name]
    with serving(mount / "slot") as server:
        done = shell(script, mount / "slot")
        assert (done.returncode, done.stderr) == (0, "")
        assert queued(server) == messages


def test_a_long_lived_log_handle(mount: Mount) -> None:
    """As nginx and rsyslog have one: O_APPEND, one write a line, for the process's life."""
    code = """
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for line in sys.stdin:
        os.write(log, line.encode())
        print("written", flush=True)
    """
    with started(code, mount / "slot") as logger:
        assert logger.stdin is not None

        def log(text: str) -> None:
            assert logger.stdin is not None
            logger.stdin.write(text)
            logger.stdin.flush()
            assert line(logger) == "written\n"

        log("before any server\n")
        with serving(mount / "slot") as server:
            log("while there is one\n")
            assert queued(server) == [b"before any server\n", b"while there is one\n"]
        log("between two\n")
        with serving(mount / "slot") as server:
            assert queued(server) == [b"between two\n"]


def test_many_writers_at_once(mount: Mount) -> None:
    script = 'for i in {1..100}; do echo "$2 $i" > "$1"; done'
    with serving(mount / "slot") as server:
        writers = [
            subprocess.Popen(["bash", "-c", script, "bash", str(mount / "slot"), str(number)])
            for number in range(4)
        ]
        assert [each.wait(TIMEOUT) for each in writers] == [0] * 4
        messages = queued(server)
    for number in range(4):
        mine = [each for each in messages if each.startswith(b"%d " % number)]
        assert mine == [b"%d %d\n" % (number, count) for count in range(1, 101)]


# ---- surprises ----


@pytest.mark.parametrize("path", ["/dev/fd/3", "/proc/self/fd/3", '"$1"'])
def test_a_new_open_of_a_servers_descriptor_is_refused(mount: Mount, path: str) -> None:
    done = shell(f'exec 3<>"$1"; echo kept >&3; cat {path}; head -n1 <&3', mount / "slot")
    assert "Permission denied" in done.stderr
    assert done.stdout == "kept\n"


def test_heads_lines_come_with_a_complaint(mount: Mount) -> None:
    """GNU head wants to give back what it has read too much of, and cannot."""
    done = shell(
        'exec 3<>"$1"; printf "a\\nb\\n" | dd status=none >&3; head -n1 <&3', mount / "slot"
    )
    assert done.stdout == "a\n"
    assert "cannot seek" in done.stderr


@pytest.mark.parametrize("before", ["0", "2"])
@pytest.mark.parametrize("command", ["busybox cat", "busybox cat | busybox cat"])
def test_busybox_cat_falls_back_to_read(mount: Mount, command: str, before: str) -> None:
    """It uses sendfile(2), which ends at the size of a file, and here fails at once."""
    script = f'exec 3<>"$1"; for i in $(seq {before}); do echo $i >&3; done; <&3 {command}'
    with reader(script, mount) as process:
        for number in range(1, int(before) + 1):
            assert line(process) == f"{number}\n"
        wait_until(lambda: is_waiting(mount))
        send(mount, b"later\n")
        assert line(process) == "later\n"


def test_tail_follows_nothing(mount: Mount) -> None:
    script = 'exec 3<>"$1"; echo message >&3; timeout 1 tail -f <&3; timeout 1 tail -f "$1"'
    done = shell(script, mount / "slot")
    assert done.stdout == ""
    assert "Permission denied" in done.stderr


def test_bash_has_no_timeout_for_what_it_takes_for_a_file(mount: Mount) -> None:
    with reader('exec 3<>"$1"; read -r -t 0.2 line <&3; echo "$? $line"', mount) as process:
        wait_until(lambda: is_waiting(mount))
        time.sleep(0.5)
        assert is_waiting(mount)
        send(mount, b"late\n")
        assert line(process) == "0 late\n"


def test_a_shells_read_times_out_with_the_slot(mount: Mount) -> None:
    script = (
        'exec 3<>"$1"; setfattr -n user.mailslot.read_timeout -v 100 "$1"; '
        'read -r line <&3 || echo "over"'
    )
    assert shell(script, mount / "slot").stdout == "over\n"


def test_a_walk_takes_messages_only_where_nobody_serves(mount: Mount) -> None:
    script = (
        'exec 3{}"$1"; echo message >&3; grep -rs --exclude-dir=.msfs message "$(dirname "$1")"'
    )
    assert shell(script.format("<>"), mount / "slot").stdout == ""
    assert shell(script.format(">"), mount / "slot").stdout.endswith("slot:message\n")


def test_reading_creates_nothing(mount: Mount) -> None:
    done = shell('cat "$1"', mount / "slot")
    assert "No such file" in done.stderr
    assert os.listdir(mount.path) == [".msfs"]


def test_pythons_modes(mount: Mount) -> None:
    code = """
    for mode in ("r+", "r+b", "w+", "a+", "r", "rb", "w", "a"):
        held = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
        try:
            open(sys.argv[1], mode).close()
            print(mode, "works")
        except OSError as error:
            print(mode, type(error).__name__)
        os.close(held)
    """
    lines = run(code, mount / "slot").splitlines()
    failing = ("r+", "r+b", "w+", "a+")
    assert lines[:4] == [f"{mode} UnsupportedOperation" for mode in failing]
    assert lines[4:] == [f"{mode} works" for mode in ("r", "rb", "w", "a")]


@pytest.mark.parametrize(
    ("script", "goes_on"),
    [
        (STREAMS["cat"], True),
        (STREAMS["busybox dd"], True),
        (STREAMS["perl"], True),
        (STREAMS["python lines"], True),
        ('exec 3<>"$1"; read -r line <&3; echo "$line"', True),
        (STREAMS["sed"], False),
        (STREAMS["node"], False),
    ],
)
def test_readers_that_are_stopped(mount: Mount, script: str, goes_on: bool) -> None:
    """The kernel has to interrupt the read, and FUSE cannot have it taken up again."""
    with reader(script, mount) as process:
        wait_until(lambda: is_waiting(mount))
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: mount.status()["waiting"] == "0")
        process.send_signal(signal.SIGCONT)
        if goes_on:
            wait_until(lambda: is_waiting(mount))
            send(mount, b"after\n")
            assert line(process) == "after\n"
        else:
            said, _ = process.communicate(timeout=TIMEOUT)
            assert re.search("interrupted system call", said, re.IGNORECASE)


def test_a_signal_handler_ends_a_read_even_with_sa_restart(mount: Mount, tmp_path: Path) -> None:
    source = tmp_path / "restart.c"
    source.write_text(
        "#include <errno.h>\n#include <fcntl.h>\n#include <signal.h>\n#include <unistd.h>\n"
        "static void ignore(int number) { (void)number; }\n"
        "int main(int count, char **words)\n"
        "{\n"
        "    struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};\n"
        "    char byte;\n"
        "    sigaction(SIGALRM, &action, 0);\n"
        "    int slot = open(words[count - 1], O_RDWR | O_CREAT, 0666);\n"
        "    alarm(1);\n"
        "    return read(slot, &byte, 1) == -1 && errno == EINTR ? 0 : 1;\n"
        "}\n"
    )
    program = tmp_path / "restart"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-o", program, source], check=True, timeout=TIMEOUT)
    subprocess.run([program, mount / "slot"], check=True, timeout=TIMEOUT)


def test_sendfile_and_splice_write_again_and_again(mount: Mount) -> None:
    """They count a position on, which means nothing here."""
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    for _ in range(2):
        client = os.open(sys.argv[1], os.O_WRONLY)
        with open("/proc/self/exe", "rb") as file:
            print(os.sendfile(client, file.fileno(), 0, 100), len(os.read(server, 1000)))
        reader, writer = os.pipe()
        os.write(writer, b"abc")
        try:
            print(os.splice(reader, client, 100), os.read(server, 1000))
        except OSError as error:
            print(errno.errorcode[error.errno])
        os.write(client, b"whole")
        print(os.read(server, 1000))
    """
    once = ["100 100", "3 b'abc'", "b'whole'"]
    assert run(code, mount / "slot").splitlines() == once * 2


def test_sendfile_and_splice_take_no_message(mount: Mount) -> None:
    code = """
    server = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
    reader, writer = os.pipe()
    for take in (os.splice, lambda server, pipe, size: os.sendfile(pipe, server, None, size)):
        os.write(server, b"kept")
        for _ in range(2):
            try:
                print(take(server, writer, 100))
            except OSError as error:
                print(errno.errorcode[error.errno])
            os.stat(sys.argv[1])
        print(os.read(server, 100))
    """
    assert run(code, mount / "slot").splitlines() == ["EIO", "EIO", "b'kept'"] * 2
