"""The files in docs/recipes.md that programs of others run, run as those programs do it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.examples import CHECKOUT, Block, Example, blocks, run
from tests.support.processes import is_root

RECIPES = "docs/recipes.md"

# An alerter, and a messenger in place of the people. Both end after one message.
LISTENING = """
msfs messenger --no-desktop --no-terminals --print -n 1 &
msfs alerter . -n 1 &
until [ -s /mnt/mailslot/MESSNGR ] && [ -s /mnt/mailslot/Alerter ]; do sleep 0.1; done
"""
ALERT = "Message from Alerter (this host, user 0) to build1: "

# How each script is run, and what people are told.
CALLS = {
    # mdadm.conf(5), PROGRAM: "the Event, the md device, and possibly the related component device"
    "/usr/local/sbin/alert-mdadm": (
        "%s Fail /dev/md0 /dev/sdb1",
        "RAID: Fail /dev/md0 /dev/sdb1",
    ),
    # smartd.conf(5), -M exec: no arguments but for that of -m; the environment, and text on stdin
    "/usr/local/sbin/alert-smartd": (
        "echo 'The following warning' | env SMARTD_MAILER=%s SMARTD_DEVICE=/dev/sda "
        "SMARTD_DEVICETYPE=sat SMARTD_FAILTYPE=Health "
        "SMARTD_MESSAGE='Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!' %s",
        "Health: Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!",
    ),
    # apccontrol(8), which runs the script with the UPS's name, `connected` and `powered`
    "/etc/apcupsd/onbattery": ("%s rack2 1 0", "UPS rack2: onbattery"),
}


def path_of(block: Block) -> str:
    """Where a file goes: its first line that is a comment and a path."""
    match = re.search(r"^# (/\S+)$", block.text, re.MULTILINE)
    assert match is not None, block
    return match[1]


SCRIPTS = {path_of(block): block for block in blocks(RECIPES) if block.language == "script"}
CRONTAB = "".join(block.text for block in blocks(RECIPES) if block.language == "crontab")


def test_each_script_is_run() -> None:
    assert SCRIPTS.keys() == CALLS.keys()


@pytest.mark.skipif(not is_root(), reason="it makes namespaces, and shows what root sees")
@pytest.mark.parametrize("path", CALLS)
def test_a_script(path: str, tmp_path: Path) -> None:
    call, told = CALLS[path]
    script = tmp_path / Path(path).name
    script.write_text(SCRIPTS[path].text)
    script.chmod(0o755)
    command = call.replace("%s", str(script))
    example = Example(RECIPES, 0, "sh", f"{LISTENING}\n{command}\nwait", f"{ALERT}{told}\n")
    printed = run(example, tmp_path)
    assert example.is_printed(printed), printed


@pytest.mark.skipif(not is_root(), reason="it makes namespaces, and shows what root sees")
@pytest.mark.skipif(not shutil.which("mdadm"), reason="needs mdadm")
def test_mdadm_itself(tmp_path: Path) -> None:
    """It tells of the test that it was asked for, and of an array that is not there."""
    script = tmp_path / "alert-mdadm"
    script.write_text(SCRIPTS["/usr/local/sbin/alert-mdadm"].text)
    script.chmod(0o755)
    (tmp_path / "mdadm.conf").write_text(
        f"PROGRAM {script}\nARRAY /dev/md/none UUID=01234567:89abcdef:01234567:89abcdef\n"
    )
    mdadm = "mdadm --monitor --scan --oneshot --test --config mdadm.conf 2> /dev/null"
    listening = LISTENING.replace("-n 1", "-n 2")
    told = "".join(
        f"{ALERT}RAID: {event} /dev/md/none\n" for event in ("TestMessage", "DeviceDisappeared")
    )
    example = Example(RECIPES, 0, "sh", f"{listening}\n{mdadm}\nwait", told)
    printed = run(example, tmp_path)
    assert example.is_printed(printed), printed


@pytest.mark.skipif(not shutil.which("smartd"), reason="needs smartd")
@pytest.mark.parametrize("option", ["", " -M test"])
def test_smartd_takes_the_line_of_its_configuration(option: str, tmp_path: Path) -> None:
    """There is no disk to watch here: it says so only after it has understood the line."""
    [line] = re.findall(r"`(DEVICESCAN [^`]*)`", " ".join((CHECKOUT / RECIPES).read_text().split()))
    (tmp_path / "smartd.conf").write_text(f"{line}{option}\n")
    done = subprocess.run(
        ["smartd", "-q", "onecheck", "-c", "smartd.conf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "smartd.conf was parsed, found DEVICESCAN" in done.stdout, done.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    units = {path_of(block): block.text for block in blocks(RECIPES) if block.language == "ini"}
    for path, text in units.items():
        if "systemd" in path:
            file = tmp_path / path.removeprefix("/etc/systemd/system/")
            file.parent.mkdir(exist_ok=True)
            # It looks for the command in directories of its own.
            file.write_text(text.replace("ExecStart=msfs ", "ExecStart=/bin/true "))
    (tmp_path / "backup.service").write_text("[Service]\nExecStart=/bin/false\n")
    (tmp_path / "alert@backup.service").symlink_to("alert@.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "./backup.service", "./alert@backup.service"],
        cwd=tmp_path,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")


def jobs() -> list[str]:
    """The commands of the crontab."""
    *settings, first, second = CRONTAB.splitlines()
    assert settings == ["PATH=/usr/local/bin:/usr/bin:/bin"]
    found = []
    for line in (first, second):
        *times, command = line.split(None, 5)
        assert all(re.fullmatch(r"[\d*]+", each) for each in times)
        assert "%" not in command  # a newline, for cron
        found.append(command)
    return found


@pytest.mark.skipif(not is_root(), reason="it makes namespaces, and shows what root sees")
@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, f"...{ALERT}the backup has failed\n"),
        (1, "Message from root (this host, user 0) to alice: change the tape\n"),
    ],
)
def test_a_line_of_the_crontab(number: int, told: str, tmp_path: Path) -> None:
    """As cron runs it: by sh, with little in the environment. There is no such backup here."""
    (tmp_path / "job").write_text(jobs()[number])
    cron = 'env -i HOME=/ LOGNAME=root SHELL=/bin/sh PATH="$PATH" /bin/sh -c "$(cat job)"'
    # Nobody alerts of the second, so that its alerter would wait for ever.
    listening = LISTENING if number == 0 else "msfs messenger --no-desktop --no-terminals --print "
    if number:
        listening += "-n 1 &\nuntil [ -s /mnt/mailslot/MESSNGR ]; do sleep 0.1; done"
    example = Example(RECIPES, 0, "sh", f"{listening}\n{cron}\nwait", told)
    printed = run(example, tmp_path)
    assert example.is_printed(printed), printed
