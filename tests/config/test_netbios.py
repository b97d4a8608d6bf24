"""The table [netbios]."""

from pathlib import Path

import pytest

from msfs_fuse.config.file import read_configuration
from msfs_fuse.errors import CommandError
from msfs_fuse.net.netbios.settings import NetbiosSettings, Way
from tests.support.processes import msfs

WHOLE = """
[netbios]
interfaces = ["eth0", "eth1"]
way = "own"
workgroup = "Workshop"
name = "build7"
slots = ['alerts', 'msfs/*', 'NET\\NETLOGON']
names = ["ALICE#03"]
hosts = { NAS = "10.0.0.9", OLD = "old.example" }
lookup = false
windows_size = true
nmbd_socket = "/tmp/unexpected"
"""

LEAST = '[netbios]\ninterfaces = ["eth0"]\n'


def read(tmp_path: Path, text: str) -> NetbiosSettings:
    path = tmp_path / "msfs.toml"
    path.write_text(text)
    network = read_configuration(str(path)).network
    assert network is not None
    assert network.netbios is not None
    return network.netbios


def test_all_of_it(tmp_path: Path) -> None:
    settings = read(tmp_path, WHOLE)
    assert settings == NetbiosSettings(
        interfaces=("eth0", "eth1"),
        way=Way.OWN,
        workgroup="Workshop",
        name="build7",
        slots=("alerts", "msfs/*", "NET\\NETLOGON"),
        names=("ALICE#03",),
        hosts={"NAS": "10.0.0.9", "OLD": "old.example"},
        lookup=False,
        windows_size=True,
        nmbd_socket="/tmp/unexpected",
    )
    assert read(tmp_path, LEAST) == NetbiosSettings(interfaces=("eth0",))


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        (("alerts",), True),
        (("ALERTS",), True),
        (("alerts", "x"), False),
        (("alertsx",), False),
        (("msfs",), False),
        (("MSFS", "any", "depth"), True),
        (("net", "netlogon"), True),
        (("net",), False),
    ],
)
def test_slots_that_are_open(tmp_path: Path, path: tuple[str, ...], is_open: bool) -> None:
    assert read(tmp_path, WHOLE).opens(path) is is_open


def test_none_is_open_by_default(tmp_path: Path) -> None:
    assert not read(tmp_path, LEAST).opens(("alerts",))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[netbios]\nway = 'own'", 1, "netbios needs interfaces"),
        ("[netbios]\ninterfaces = []", 2, "has to name at least one"),
        ("[netbios]\ninterfaces = 'eth0'", 2, 'interfaces has to be a list such as ["eth0"]'),
        (LEAST + "way = 'both'", 3, 'way has to be "own", "nmbd" or "send"'),
        (LEAST + "workgroup = 'much too long a name'", 3, "not a NetBIOS name"),
        (LEAST + "name = 'a b'", 3, "not a NetBIOS name"),
        (LEAST + "name = 'a#20'", 3, "not a name of letters"),
        (LEAST + "names = ['x#2']", 3, "not a NetBIOS name"),
        (LEAST + "hosts = { NAS = '10.0.0.9:138' }", 3, "neither an IPv4 address nor a name"),
        (LEAST + "hosts = { 'no/name' = '10.0.0.9' }", 3, "not a NetBIOS name"),
        (LEAST + "slots = ['a']", 3, 'slots are for way = "own" or "nmbd"'),
        (LEAST + "port = 138", 3, "unknown key 'port'"),
        (LEAST + "[domain.netbios]\nmember = 'k'", None, "no domain can be called netbios"),
    ],
)
def test_mistakes_have_their_line(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(CommandError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert line is None or str(caught.value).startswith(f"{tmp_path}/msfs.toml:{line}: ")


def test_one_network_is_enough(tmp_path: Path) -> None:
    (tmp_path / "msfs.toml.d").mkdir()
    (tmp_path / "msfs.toml.d" / "more.toml").write_text(LEAST)
    with pytest.raises(CommandError, match=r"another file has \[netbios\] already"):
        read(tmp_path, LEAST)


def test_config_check_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "msfs.toml"
    path.write_text(WHOLE)
    done = msfs("config", "--check", "--config", path)
    assert done.stdout == (
        "NetBIOS workgroup Workshop: own by eth0, eth1; "
        "slots open to it: alerts, msfs/*, NET\\NETLOGON\n"
    )
