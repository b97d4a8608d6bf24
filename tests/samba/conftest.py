"""One nmbd for all tests of this folder: it takes its time to become master."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.network import Host, Lan
from tests.support.processes import is_root
from tests.support.samba import Nmbd, nmbd


@dataclass
class Net:
    """A network with an nmbd, a host for our mount, and one for other programs.

    Attributes:
        samba: where nmbd runs, NMBHOST.
        ours: where it does not.
        third: nobody runs there.
    """

    samba: Host
    ours: Host
    third: Host
    nmbd: Nmbd


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Three hosts, and nmbd on the first."""
    if not is_root():
        pytest.skip("needs root for network namespaces")
    lan = Lan(tmp_path_factory.mktemp("samba"))
    try:
        samba, ours, third = (lan.add(name, v6=False) for name in ("samba", "ours", "third"))
        with nmbd(samba, "NMBHOST") as server:
            yield Net(samba, ours, third, server)
    finally:
        lan.close()
