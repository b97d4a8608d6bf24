"""Installed in a Debian machine that is booted for it: the service, fstab, upgrades, the way down.

The tests of a machine go from top to bottom, and the last ones take MSFS and the machine down.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.boot import (
    APT,
    RELEASES,
    SOURCE,
    Contents,
    Machine,
    base_tree,
    booted,
    build_tree,
    contents,
    copy_checkout,
    in_tree,
    layered,
    why_not,
)
from tests.support.examples import all_blocks, blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]

MOUNT = "/mnt/mailslot"

FSTAB = """
msfs /mnt/plain fuse.msfs defaults,allow_other,nofail 0 0
msfs /mnt/auto  fuse.msfs defaults,allow_other,nofail,x-systemd.automount 0 0
msfs /mnt/typed msfs      defaults,allow_other,nofail 0 0
msfs /mnt/later fuse.msfs noauto,allow_other 0 0
"""


@dataclass
class Tree:
    """A tree with MSFS in it.

    Attributes:
        root: where it is.
        before: what was in it without MSFS.
        after: what was in it then.
    """

    root: Path
    before: Contents
    after: Contents

    def left_behind(self) -> list[str]:
        """What MSFS brought and what is still there, or what it changed or took away."""
        now = contents(self.root)
        ours = {path for path in self.after if path not in self.before}
        ours |= {path for path in now if re.search("msfs|mailslot", path)} - self.before.keys()
        changed = [path for path, what in self.before.items() if self.after.get(path) != what]
        left = [path for path in ours if path in now]
        left += [path for path in changed if now.get(path) != self.before[path]]
        return sorted(left)


@dataclass
class Trees:
    """What a release needs; `package` is the Debian package in `packaged`."""

    packaged: Tree
    installed: Tree
    package: str


def _make_trees(release: str, memory: Path, stack: contextlib.ExitStack) -> Trees:
    build = build_tree(release)
    root = stack.enter_context(layered(build, memory, f"{release}-installed"))
    copy_checkout(root)
    before = contents(root)
    in_tree(root, f"cd {SOURCE}; scripts/install")
    installed = Tree(root, before, contents(root))

    with layered(build, memory, f"{release}-package") as workshop:
        copy_checkout(workshop)
        in_tree(workshop, f"cd {SOURCE}; scripts/package /root/made")
        (made,) = workshop.glob("root/made/msfs_*.deb")
        package = f"/root/{made.name}"
        root = stack.enter_context(layered(base_tree(release), memory, f"{release}-packaged"))
        shutil.copy(made, root / "root")
    before = contents(root)
    # What it depends on is there: the archive is not asked.
    in_tree(root, f"{APT} install {package}")
    return Trees(Tree(root, before, contents(root)), installed, package)


@pytest.fixture(scope="module")
def bootable(memory: Path) -> None:
    """A plain Debian boots here. If not, there is nothing to be learnt about MSFS in one."""
    try:
        with (
            layered(base_tree(RELEASES[0]), memory, "plain") as root,
            booted(root, memory, "plain"),
        ):
            pass
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        reason = str(error).strip().rpartition("\n")[2]
        pytest.skip(f"a plain Debian cannot be made or booted here: {reason}")


@pytest.fixture(scope="module")
def all_trees(memory: Path, bootable: None) -> Iterator[dict[str, "Future[Trees]"]]:
    """The releases' trees are made side by side; half of it is waiting for the network."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        yield {
            release: pool.submit(
                _make_trees, release, memory, stack.enter_context(contextlib.ExitStack())
            )
            for release in RELEASES
        }


@pytest.fixture(scope="module", params=RELEASES)
def trees(request: pytest.FixtureRequest, all_trees: dict[str, "Future[Trees]"]) -> Trees:
    release: str = request.param
    return all_trees[release].result()


@pytest.fixture(scope="module")
def packaged(trees: Trees, memory: Path) -> Iterator[Machine]:
    """A machine with the package in it."""
    root = trees.packaged.root
    with booted(root, memory, f"{root.parent.name}") as machine:
        yield machine


@pytest.fixture(scope="module")
def installed(trees: Trees, memory: Path) -> Iterator[Machine]:
    """A machine with scripts/install's work in it, which mounts by fstab and not by the service."""
    root = trees.installed.root
    with (root / "etc/fstab").open("a") as fstab:
        fstab.write(FSTAB)
    in_tree(root, "systemctl disable msfs.service")
    with booted(root, memory, f"{root.parent.name}") as machine:
        yield machine


def _mounted_at(machine: Machine, path: str) -> str:
    """The type of what is mounted there, or nothing."""
    return machine.shell(f"findmnt -n -o FSTYPE {path}", check=False).stdout.strip()


def _passes_messages(machine: Machine, path: str = MOUNT) -> None:
    """Alice serves a slot, Bob writes, and she answers in his."""
    for user, peer in (("alice", "bob"), ("bob", "alice")):
        machine.shell(
            f"systemd-run --quiet --unit={user} --uid={user} --collect "
            f"-p StandardOutput=file:/tmp/{user} bash -c "
            f"'umask 0; exec 3<>{path}/{user}; read -r line <&3; "
            f'echo "$line"; [ {user} = bob ] || echo "re: $line" > {path}/{peer}\''
        )
        machine.wait_for(f"[ -e {path}/{user} ]")
    machine.shell(f"echo 'from bob' > {path}/alice", user="bob")
    machine.wait_for("grep -qx 're: from bob' /tmp/bob")
    assert machine.output("cat /tmp/alice") == "from bob"
    machine.wait_for(f"[ ! -e {path}/alice ] && [ ! -e {path}/bob ]")
    machine.wait_for("! systemctl --quiet is-active alice bob")


def _one_line(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text


def test_with_pip(memory: Path, bootable: None) -> None:
    """What docs/installing.md says is all that pip needs; apt here only has nobody to ask."""
    lines = [
        line.removeprefix("$ ").replace("sudo apt install", f"{APT} update && {APT} install")
        for block in blocks("docs/installing.md")
        if "pip install ." in block.text and block.language == "console"
        for line in block.text.splitlines()
    ]
    assert len(lines) == 2
    with layered(base_tree(RELEASES[0]), memory, "pip") as root:
        copy_checkout(root)
        script = " && ".join([f"cd {SOURCE}", *lines, "~/msfs/bin/msfs --version"])
        said = in_tree(root, script).stdout
    assert re.search(r"^msfs \d", said, re.MULTILINE), said


def test_the_service_mounts_before_multi_user(packaged: Machine) -> None:
    assert _mounted_at(packaged, MOUNT) == "fuse.msfs"
    assert "allow_other" in packaged.output(f"findmnt -n -o OPTIONS {MOUNT}")
    mounted = int(packaged.show("msfs.service", "ActiveEnterTimestampMonotonic"))
    reached = int(packaged.show("multi-user.target", "ActiveEnterTimestampMonotonic"))
    assert 0 < mounted < reached
    assert packaged.output("systemctl is-system-running --wait") == "running"


def test_the_service_has_memory_for_all_its_limits(packaged: Machine) -> None:
    assert int(packaged.show("msfs.service", "MemoryMax")) == 2 << 30


def test_the_package_holds_what_it_needs(trees: Trees) -> None:
    root = trees.packaged.root
    facts = in_tree(root, "dpkg-query -W -f '${Maintainer}' msfs").stdout
    assert re.fullmatch(r".+ <.+@.+>", facts), facts
    files = in_tree(root, "dpkg-query -L msfs").stdout.splitlines()
    assert not [each for each in files if re.search(r"\.gitignore|/include", each)]


def test_the_service_tells_its_state(packaged: Machine) -> None:
    assert packaged.show("msfs.service", "Type").startswith("notify")
    assert packaged.show("msfs.service", "UnitFileState") == "enabled"
    assert packaged.show("msfs.service", "StatusText") != ""
    main = packaged.show("msfs.service", "MainPID")
    assert f"\npid: {main}\n" in packaged.output(f"cat {MOUNT}/.msfs/status")
    assert "remote-fs.target" in packaged.show("msfs.service", "Before")


def test_two_users_talk(packaged: Machine) -> None:
    _passes_messages(packaged)


def test_reload_keeps_the_mount(packaged: Machine) -> None:
    main = packaged.show("msfs.service", "MainPID")
    packaged.shell("systemctl reload msfs.service")
    assert packaged.show("msfs.service", "ActiveState") == "active"
    assert packaged.show("msfs.service", "MainPID") == main
    _passes_messages(packaged)


def test_a_killed_daemon_comes_back(packaged: Machine) -> None:
    main = packaged.show("msfs.service", "MainPID")
    assert main != "0"
    packaged.shell(f"kill -KILL {main}")
    packaged.wait_for(
        f"[ $(systemctl show -P MainPID msfs) != {main} ] && systemctl is-active msfs "
        f"&& stat {MOUNT}/.msfs/status"
    )
    assert packaged.output("findmnt -n -t fuse.msfs -o TARGET") == MOUNT
    _passes_messages(packaged)


def test_stop_leaves_nothing_and_start_mounts_again(packaged: Machine) -> None:
    _start_reader(packaged, "busy", f"{MOUNT}/busy")
    packaged.shell("systemctl stop msfs.service")
    assert "fuse.msfs" not in packaged.output("cat /proc/self/mountinfo")
    assert packaged.shell("pgrep -a -x msfs", check=False).stdout == ""
    assert packaged.show("msfs.service", "Result") == "success"
    packaged.wait_for("! systemctl --quiet is-active busy")
    _takes_no_files(packaged)
    packaged.shell("systemctl start msfs.service")
    _passes_messages(packaged)


def _takes_no_files(machine: Machine) -> None:
    """With no mount there the directory takes nothing, as far as the file system can do that."""
    if "i" in machine.shell(f"lsattr -d {MOUNT}", check=False).stdout.partition(" ")[0]:
        result = machine.shell(f"echo lost > {MOUNT}/x", check=False)
        assert "Operation not permitted" in result.stderr
    else:
        assert machine.output(f"stat -c %a {MOUNT}") == "555"
    assert machine.output(f"ls -A {MOUNT}") == ""


def _start_reader(machine: Machine, unit: str, slot: str, *properties: str) -> None:
    """A service of Alice's that waits for messages and writes them to /tmp/UNIT."""
    more = "".join(f"-p {each} " for each in properties)
    machine.shell(
        f"systemd-run --quiet --collect --unit={unit} --uid=alice {more}"
        f"-p StandardOutput=file:/tmp/{unit} bash -c 'umask 0; exec cat <>{slot}'"
    )
    machine.wait_for(f"[ -e {slot} ]")


def test_a_user_mounts_at_home(packaged: Machine) -> None:
    packaged.shell("mkdir mail; msfs mount ~/mail", user="alice")
    assert _mounted_at(packaged, "/home/alice/mail") == "fuse.msfs"
    script = "exec 3<>mail/note; echo hi > mail/note; read -r line <&3; echo $line"
    assert packaged.output(script, user="alice") == "hi"
    packaged.shell("msfs umount ~/mail", user="alice")
    assert _mounted_at(packaged, "/home/alice/mail") == ""


def test_a_user_may_not_let_others_in(packaged: Machine) -> None:
    result = packaged.shell(
        "mkdir -p mail; msfs mount -o allow_other ~/mail", user="alice", check=False
    )
    assert result.returncode != 0
    assert "user_allow_other" in result.stderr
    assert _one_line(result.stderr)


def test_a_user_has_a_service_of_his_own(packaged: Machine) -> None:
    packaged.shell("rmdir /home/alice/mail", check=False)  # the service makes it
    packaged.shell("loginctl enable-linger alice")
    systemctl = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user"
    packaged.wait_for(f"{systemctl} is-active default.target", user="alice")
    [line] = [
        line.removeprefix("$ systemctl --user ")
        for block in blocks("docs/installing.md")
        for line in block.text.splitlines()
        if line.startswith("$ systemctl --user ")
    ]
    packaged.shell(f"{systemctl} {line}", user="alice")
    assert _mounted_at(packaged, "/home/alice/mail") == "fuse.msfs"
    packaged.shell(f"{systemctl} disable --now msfs@mail.service", user="alice")
    assert _mounted_at(packaged, "/home/alice/mail") == ""
    packaged.shell("loginctl disable-linger alice")


@pytest.fixture
def recipe(packaged: Machine) -> Iterator[None]:
    """The files of the documents for systemd, and what docs/recipes.md does with them."""
    mine = ["/etc/systemd/system/backup.service"]
    packaged.shell(f"printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > {mine[0]}")
    for block in all_blocks():
        if block.language == "ini":
            mine.append(block.text.partition("\n")[0].removeprefix("# "))
            (packaged.share / "pasted").write_text(block.text)
            packaged.shell(f"install -D -m 644 /srv/tests/pasted {mine[-1]}")
    assert len(mine) == 5
    systemctl = "XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user"
    packaged.shell("loginctl enable-linger alice")
    packaged.wait_for(f"{systemctl} is-active default.target", user="alice")
    for block in blocks("docs/recipes.md"):
        if block.language == "console":
            for line in block.text.splitlines():
                command = line.removeprefix("$ ").removeprefix("sudo ")
                user = "alice" if "--user" in command else "root"
                command = command.replace("systemctl --user", systemctl)
                packaged.shell(command, user=user)
    yield
    # The alerter stays enabled, for a later test to see that its package takes that away, too.
    packaged.shell(f"{systemctl} disable --now msfs-messenger", user="alice")
    packaged.shell("loginctl disable-linger alice")
    directories = {str(Path(path).parent) for path in mine if ".d/" in path}
    packaged.shell(f"rm {' '.join(mine)}; rmdir {' '.join(directories)}; systemctl daemon-reload")


def test_what_fails_is_told_by_the_alerter_and_the_messenger(
    packaged: Machine, recipe: None
) -> None:
    packaged.wait_for(f"[ -s {MOUNT}/Alerter ] && [ -s {MOUNT}/MESSNGR ]")
    assert packaged.output(f"stat -c %a {MOUNT}/Alerter") == "622"
    assert packaged.output(f"stat -c %U {MOUNT}/MESSNGR") == "alice"
    uid = int(packaged.output(f"stat -c %u {MOUNT}/Alerter"))
    assert 61184 <= uid <= 65519  # a dynamic user's, systemd.exec(5)
    assert packaged.shell("systemctl start backup.service", check=False).returncode == 1
    told = f"Message from Alerter (this host, user {uid}) to alice: backup.service has failed"
    packaged.wait_for(f"journalctl --no-pager -t msfs | grep -F '{told}'")
    packaged.shell("msfs send Alerter 'so says bob'", user="bob")
    packaged.wait_for("journalctl --no-pager -t msfs | grep -F 'to alice: so says bob'")
    packaged.shell("systemctl restart msfs.service")
    capabilities = packaged.show("msfs.service", "CapabilityBoundingSet").split()
    assert {"cap_net_bind_service", "cap_sys_admin"} <= set(capabilities)
    packaged.wait_for("systemctl is-active msfs-alerter.service")
    packaged.wait_for(f"[ -s {MOUNT}/Alerter ] && [ -s {MOUNT}/MESSNGR ]")
    packaged.shell("msfs send Alerter 'after a restart'", user="bob")
    packaged.wait_for("journalctl --no-pager -t msfs | grep -F 'to alice: after a restart'")


def test_an_upgrade_keeps_the_live_mount(packaged: Machine, trees: Trees) -> None:
    _start_reader(packaged, "before", f"{MOUNT}/before")
    done = packaged.shell(f"dpkg -i {trees.package}", timeout=60)
    assert "still runs" not in done.stdout  # it is the same version
    packaged.shell(f"echo afterwards > {MOUNT}/before", user="bob")
    packaged.wait_for("grep -qx afterwards /tmp/before")
    packaged.shell("systemctl stop before")
    assert packaged.show("msfs.service", "ActiveState") == "active"
    _passes_messages(packaged)


def test_purge_leaves_nothing_and_install_starts(packaged: Machine, trees: Trees) -> None:
    packaged.shell("dpkg --purge msfs", timeout=60)
    assert "fuse.msfs" not in packaged.output("cat /proc/self/mountinfo")
    assert packaged.shell("pgrep -a -x msfs", check=False).stdout == ""
    assert trees.packaged.left_behind() == []
    packaged.shell(f"dpkg -i {trees.package}", timeout=60)
    assert packaged.show("msfs.service", "ActiveState") == "active"
    _passes_messages(packaged)


def test_shutdown_is_not_delayed(packaged: Machine) -> None:
    _start_reader(packaged, "reader", f"{MOUNT}/reader")
    packaged.shell(
        "systemd-run --quiet --collect --unit=holder --uid=alice bash -c "
        f"'umask 0; exec 3<>{MOUNT}/queue; exec sleep 1000'"
    )
    packaged.wait_for(f"[ -e {MOUNT}/queue ]")
    packaged.shell(f"for i in {{1..100}}; do echo $i; done > {MOUNT}/queue", user="bob")
    packaged.power_off()
    journal = packaged.journal()
    stopping, stopped = (
        _moment(journal, f"{word} msfs.service") for word in ("Stopping", "Stopped")
    )
    assert 0 <= stopped - stopping < 15  # when systemd kills what does not stop
    assert not re.search(
        "timed out|SIGKILL|Failed unmounting", journal.rpartition("Stopping ms")[2]
    )


def _moment(journal: str, message: str) -> float:
    """When the journal says something for the last time."""
    return float(re.findall(rf"^\[ *([0-9.]+)\] .*{re.escape(message)}", journal, re.M)[-1])


@pytest.mark.parametrize("path", ["/mnt/plain", "/mnt/typed"])
def test_fstab_mounts_at_boot(installed: Machine, path: str) -> None:
    assert installed.show("msfs.service", "ActiveState") == "inactive"
    installed.wait_for(f"findmnt {path}")  # with nofail nothing else has waited for it
    assert _mounted_at(installed, path) == "fuse.msfs"
    unit = installed.output(f"systemd-escape --path --suffix=mount {path}")
    assert installed.show(unit, "Result") == "success"
    _passes_messages(installed, path)


def test_fstab_mounts_on_use(installed: Machine) -> None:
    if not Path("/dev/autofs").exists():
        pytest.skip("this kernel has no autofs")
    assert _mounted_at(installed, "/mnt/auto") == "autofs"
    installed.shell("ls /mnt/auto/.msfs")
    assert _mounted_at(installed, "/mnt/auto").split()[-1] == "fuse.msfs"
    _passes_messages(installed, "/mnt/auto")


def test_fstab_by_hand(installed: Machine) -> None:
    for _ in range(2):
        installed.shell("mkdir -p /mnt/later; mount /mnt/later")
        _passes_messages(installed, "/mnt/later")
        installed.shell("umount /mnt/later")
        assert _mounted_at(installed, "/mnt/later") == ""
    installed.shell("umount /mnt/plain")
    installed.shell("mount -a")
    _passes_messages(installed, "/mnt/plain")
    assert installed.output("findmnt -n -t fuse.msfs -o TARGET /mnt/plain") == "/mnt/plain"


@pytest.mark.parametrize("kind", ["msfs", "fuse.msfs"])
def test_mount_by_hand(installed: Machine, kind: str) -> None:
    installed.shell(f"mkdir -p /mnt/hand; mount -t {kind} -o allow_other msfs /mnt/hand")
    _passes_messages(installed, "/mnt/hand")
    installed.shell("umount /mnt/hand")
    installed.wait_for("! pgrep -f [/]mnt/hand")
    result = installed.shell(f"mount -t {kind} -o max_slots=many msfs /mnt/hand", check=False)
    assert result.returncode in (1, 32)
    assert _one_line(result.stderr)
    assert "max_slots" in result.stderr
    assert _mounted_at(installed, "/mnt/hand") == ""


def test_the_installed_service(installed: Machine) -> None:
    installed.shell("systemctl enable --now msfs.service")
    assert _mounted_at(installed, MOUNT) == "fuse.msfs"
    _passes_messages(installed)


def test_a_package_does_not_go_over_what_was_installed(installed: Machine, trees: Trees) -> None:
    package = trees.packaged.root / trees.package.lstrip("/")
    shutil.copy(package, installed.share)
    result = installed.shell(f"dpkg -i /srv/tests/{package.name}", check=False, timeout=60)
    assert result.returncode != 0
    assert "scripts/uninstall --prefix /usr/local first" in result.stderr
    installed.shell("dpkg --purge msfs", check=False)
    assert _mounted_at(installed, MOUNT) == "fuse.msfs"
    assert installed.output("readlink /usr/sbin/mount.msfs").startswith("/usr/local/")


def test_uninstall_leaves_the_configuration_alone(installed: Machine, trees: Trees) -> None:
    installed.shell(f"{SOURCE}/scripts/uninstall", timeout=60)
    assert _mounted_at(installed, MOUNT) == ""
    (trees.installed.root / "etc/fstab").write_text("")
    left = [path for path in trees.installed.left_behind() if not path.startswith("/etc/msfs")]
    assert left == []
    assert (trees.installed.root / "etc/msfs/msfs.toml").exists()


def test_shutdown_with_mounts_of_fstab_is_not_delayed(installed: Machine) -> None:
    # As a service that needs a mount says: else systemd may unmount what it still uses, and tell.
    _start_reader(installed, "reader", "/mnt/plain/reader", "RequiresMountsFor=/mnt/plain")
    installed.power_off()
    assert not re.search("timed out|SIGKILL|Failed unmounting", installed.journal())
