"""Real hosts: three network namespaces on a bridge, each with its own mount and daemon."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Mount
from tests.network_support import (
    Host,
    Lan,
    make_keyring,
    sees,
    served,
    settle,
    write,
)
from tests.processes import is_root, wait_until

pytestmark = [
    pytest.mark.skipif(not is_root(), reason="needs network namespaces"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    lan = Lan(tmp_path)
    try:
        yield lan
    finally:
        lan.close()


@contextlib.contextmanager
def mounted(hosts: list[Host], domain: str, *, keys: str = "corp.keys") -> Iterator[list[Mount]]:
    """A mount on each host, all members of the domain `corp`, that see each other.

    Args:
        domain: what more the configuration says of it.
    """
    path = hosts[0].directory / keys
    if not path.exists():
        make_keyring(path)
    with contextlib.ExitStack() as stack:
        mounts = [
            stack.enter_context(
                host.mounted(
                    "allow_other",
                    config=host.configure(f'[domain.corp]\nkeyring = "{path}"\n{domain}'),
                )
            )
            for host in hosts
        ]
        for mount, host in zip(mounts, hosts, strict=True):
            others = [each.name for each in hosts if each is not host]
            wait_until(lambda mount=mount, others=others: sees(mount, *others))  # type: ignore[misc]
        yield mounts


@pytest.fixture
def hosts(lan: Lan) -> list[Host]:
    return [lan.add(name) for name in ("ada", "bob", "cyd")]


MULTICAST = ""
STATIC = 'multicast = false\npeers = ["10.77.0.1", "10.77.0.2", "10.77.0.3"]'


@pytest.mark.parametrize("domain", [MULTICAST, STATIC], ids=["multicast", "static"])
def test_a_host_and_a_domain(hosts: list[Host], domain: str) -> None:
    with mounted(hosts, domain) as (ada, bob, cyd), contextlib.ExitStack() as stack:
        slots = [stack.enter_context(served(each, "alerts")) for each in (ada, bob, cyd)]
        write(ada, "@bob/alerts", b"to bob")
        assert settle(slots[1], 1) == [b"to bob"]
        write(ada, "@corp/alerts", b"to all")
        write(bob, "@*/ALERTS", b"to all of mine")
        for slot in slots:
            assert sorted(settle(slot, 2)) == [b"to all", b"to all of mine"]
        assert os.getxattr(slots[2], "user.mailslot.sender_host") in (b"ada", b"bob")
        assert os.getxattr(slots[2], "user.mailslot.sender_uid") == b"0"
        names = set(os.listdir(ada.path))
        assert {"@corp", "@bob", "@cyd", "alerts", ".msfs"} == names
