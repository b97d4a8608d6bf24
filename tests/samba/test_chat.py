"""`msfs chat` where NetBIOS is the only network: it stays on this host, as nobody is proven."""

import contextlib

from tests.conftest import Mount
from tests.samba.conftest import OWN, Net, link
from tests.support.command import msfs, refusal
from tests.support.network import read_all, served, settle, write
from tests.support.processes import wait_until
from tests.support.samba import WORKGROUP


def test_nothing_of_a_chat_goes_out(net: Net, mount: Mount) -> None:
    config = net.third.configure(OWN.replace('"PYHOST"', '"THIRD"').replace("msfs/*", "chat.*"))
    with contextlib.ExitStack() as stack:
        third = stack.enter_context(net.third.mounted(config=config))
        wait_until(lambda: link(third, "THIRD") == "connected")
        fd = stack.enter_context(served(third, "chat.lobby.everybodyinthisroom"))
        write(mount, f"@{WORKGROUP}/chat.lobby.everybodyinthisroom", b"it could come")
        assert settle(fd, 1) == [b"it could come"]
        result = msfs(mount, "chat", "-t", 0.5, input="secret\n")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        write(mount, f"@{WORKGROUP}/chat.lobby.everybodyinthisroom", b"after it")
        assert settle(fd, 1) == [b"after it"]
        assert read_all(fd) == []
    assert f"is in no domain {WORKGROUP}" in refusal(msfs(mount, "chat", f"{WORKGROUP}/lobby"))
