"""`msfs browse` in a domain: the other hosts, and what they offer."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.support.command import MSFS, TIMEOUT, msfs, refusal, serves
from tests.support.network import Lan, mounted, served
from tests.support.processes import is_root, wait_until

pytestmark = pytest.mark.skipif(not is_root(), reason="needs network namespaces")


def test_hosts_and_what_they_offer(tmp_path: Path) -> None:
    lan = Lan(tmp_path)
    try:
        hosts = [lan.add(name) for name in ("ada", "bob", "cyd")]
        with (
            mounted(hosts, "") as (ada, bob, cyd),
            served(bob, "backup\x1b[2J"),
            served(bob, "private"),
        ):
            os.setxattr(bob / "private", "user.mailslot.network", b"off")
            process = subprocess.Popen(
                [*MSFS, "browse", "--announce", "--comment", "4 TB"],
                env={**os.environ, "MSFS_MOUNT": str(bob.path)},
            )
            try:
                wait_until(lambda: serves(bob, process.pid, ("BROWSE",)))
                result = msfs(ada, "browse", "--json", "-t", 4)
                assert result.stderr == ""
                found = {each["host"]: each for each in json.loads(result.stdout)}
                assert found.keys() == {"bob", "cyd"}
                assert found["bob"]["comment"] == "4 TB"
                assert found["bob"]["slots"] == ["backup\x1b[2J", "BROWSE"]
                assert (found["cyd"]["comment"], found["cyd"]["slots"]) == ("", [])
                head, *rows = msfs(cyd, "browse", "-t", 4).stdout.splitlines()
                assert head.split() == ["DOMAIN", "HOST", "ADDRESS", "HEARD", "COMMENT", "OFFERS"]
                assert rows[1].endswith("4 TB     backup\\x1b[2J BROWSE")
                assert rows[0].split()[1] == "ada"
                for word, completed in (("anna@b", "anna@bob"), ("co", "corp"), ("cy", "cyd")):
                    assert msfs(ada, "complete", "hosts", "--", word).stdout == f"{completed}\n"
                assert ada.status()["domains"] == "corp"
            finally:
                process.terminate()
                process.wait(TIMEOUT)
    finally:
        lan.close()


def test_a_host_by_itself(mount: Mount) -> None:
    assert "neither a domain nor [netbios]" in refusal(msfs(mount, "browse"))
