"""Discovery by broadcast among three hosts, with the names that licence and backup servers had."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from msfs_fuse import Mailslot, send
from msfs_fuse.programs import discovery
from msfs_fuse.programs.discovery import LocatorQuery, LocatorReply
from tests.conftest import Mount
from tests.support.command import MSFS, TIMEOUT, msfs, serves
from tests.support.network import Lan, mounted
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[list[Mount]]:
    lan = Lan(tmp_path)
    try:
        with mounted([lan.add(name) for name in ("ada", "bob", "cyd")], "") as mounts:
            yield mounts
    finally:
        lan.close()


@contextlib.contextmanager
def answering(slot: str, *servers: tuple[Mount, str]) -> Iterator[None]:
    """`msfs answer` on some hosts, each with a command of its own."""
    with contextlib.ExitStack() as stack:
        for mount, command in servers:
            environment = {**os.environ, "MSFS_MOUNT": str(mount.path)}
            process = stack.enter_context(
                subprocess.Popen([*MSFS, "answer", slot, "--exec", command], env=environment)
            )
            stack.callback(process.kill)
            wait_until(lambda: serves(mount, process.pid, (slot,)))  # noqa: B023
        yield


@pytest.mark.parametrize("slot", ["HydraLsServer", "CheyenneDS"])
def test_servers_found_by_broadcast(mounts: list[Mount], slot: str) -> None:
    ada, bob, cyd = mounts
    command = 'test "$(cat)" = "licence?" && echo "yes, $MSFS_SENDER_HOST"'
    with answering(slot, (ada, "exit 0"), (bob, command), (cyd, command)):
        result = msfs(ada, "ask", f"*/{slot}", "licence?", "--all", "--json", "-t", 4)
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert sorted(each["sender_host"] for each in answers) == ["bob", "cyd"]
        assert {each["message"] for each in answers} == {"yes, ada"}
        for options in ((), ("--random",)):
            result = msfs(ada, "ask", f"@corp/{slot}", "licence?", "-t", 4, *options)
            assert result.stdout == "yes, ada\n"
        assert msfs(cyd, "ask", f"bob/{slot}", "licence?", "-t", 20).stdout == "yes, cyd\n"
        # A host that asks its domain is asked, too.
        result = msfs(bob, "ask", f"*/{slot}", "licence?", "--all", "-t", 4)
        assert result.stdout == "yes, bob\n" * 2


def test_another_host_cannot_have_answers_written_elsewhere(mounts: list[Mount]) -> None:
    ada, bob, cyd = mounts
    (cyd / "ask.0").mkdir()
    with (
        Mailslot("ask.0/victim", mount=str(cyd.path)) as victim,
        Mailslot("done", mount=str(ada.path)) as done,
        answering("q", (bob, "echo yes")),
    ):
        for reply in (r"\\cyd\mailslot\ask.0\victim", r"\\bob\mailslot\ask.0\victim"):
            send("@bob/q", f"{reply}\n?", mount=str(ada.path))
        assert msfs(ada, "ask", "@bob/q", "-t", 20).stdout == "yes\n"  # it has come to that
        assert (victim.message_count, done.message_count) == (0, 0)


def test_the_master_locator_of_ms_rpcl(mounts: list[Mount]) -> None:
    """The published pair: a query to all, and the reply to the host it names."""
    ada, bob, _ = (str(mount.path) for mount in mounts)
    with (
        Mailslot(discovery.LOCATOR_ANSWERS, mount=ada) as answers,
        Mailslot(discovery.LOCATOR_QUERIES, mount=bob) as queries,
    ):
        send(
            f"@*/{discovery.LOCATOR_QUERIES}",
            discovery.encode_locator(LocatorQuery("ADA")),
            mount=ada,
        )
        query = discovery.decode_locator_query(queries.receive(TIMEOUT).data)
        reply = discovery.encode_locator(LocatorReply("BOB", 3600))
        send(f"@{query.requester}/{discovery.LOCATOR_ANSWERS}", reply, mount=bob)
        answer = answers.receive(TIMEOUT)
        assert discovery.decode_locator_reply(answer.data) == LocatorReply("BOB", 3600)
        assert answer.sender.host == "bob"
