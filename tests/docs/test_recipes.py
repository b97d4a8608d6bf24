"""The files in docs/recipes.md that programs of others run, run as those programs do it."""

import re
from pathlib import Path

import pytest

from tests.support.examples import Block, Example, blocks, run
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
