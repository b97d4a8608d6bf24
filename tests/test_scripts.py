"""What the scripts say about themselves, and what they do without a fitting argument: nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.boot import CHECKOUT
from tests.support.processes import ALICE, is_root

SCRIPTS = sorted(
    path for path in (CHECKOUT / "scripts").iterdir() if path.is_file() and os.access(path, os.X_OK)
)


def run(*command: object, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, check=False, cwd=cwd
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_is_all_that_is_done(script: Path, tmp_path: Path) -> None:
    done = run(script, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert f"{script.name} " in done.stdout
    assert not list(tmp_path.iterdir())


# What scripts/test does not know goes to pytest.
@pytest.mark.parametrize(
    "script", [each for each in SCRIPTS if each.name != "test"], ids=lambda path: path.name
)
def test_an_option_that_is_not_known(script: Path, tmp_path: Path) -> None:
    done = run(script, "--no-such-option", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--no-such-option" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not is_root(), reason="needs a mount namespace")
def test_other_users_reach_a_checkout_in_a_closed_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = home / "src/msfs/file"
    file.parent.mkdir(parents=True)
    file.write_text("inside")
    (home / ".cache").mkdir()
    (home / ".cache/kept").touch()
    home.chmod(0o700)
    program = (
        "import os, sys; from pathlib import Path; from tests.conftest import let_others_reach;"
        "let_others_reach(Path(sys.argv[1]).parent); Path(sys.argv[2], '.cache/kept').stat();"
        f"os.setuid({ALICE}); print(Path(sys.argv[1]).read_text())"
    )
    done = run(*("unshare", "--mount", sys.executable, "-c", program, file, home), cwd=CHECKOUT)
    assert (done.stdout, done.stderr) == ("inside\n", "")


@pytest.mark.skipif(not is_root(), reason="needs rights to take away")
def test_without_the_right_to_mount_tests_are_skipped_with_the_reason() -> None:
    less = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    room = CHECKOUT / "tests" / "commands" / "test_light.py"
    options = ("-rs", "-p", "no:cacheprovider", "-n", "0")
    done = run(*less, sys.executable, "-m", "pytest", *options, room, cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"\d+ skipped in .*", done.stdout.splitlines()[-1])
    assert "the right to mount has been taken away here" in done.stdout


@pytest.mark.skipif(not is_root(), reason="needs to be another user")
def test_run_without_root_and_sudo_names_what_works() -> None:
    alice = ("setpriv", f"--reuid={ALICE}", f"--regid={ALICE}", "--clear-groups")
    without = ("env", "PATH=/usr/bin:/bin", "bash", "-c")
    hide = 'command() { [ "$2" != sudo ] && builtin command "$@"; }; export -f command; "$@"'
    script = CHECKOUT / "scripts" / "run"
    done = run(*alice, *without, hide, "bash", script, "/mnt/mailslot", cwd=CHECKOUT)
    assert done.returncode == 1
    assert done.stderr.endswith("takes root or sudo; without them: scripts/run ~/mail\n")
    assert done.stderr.count("\n") == 1
