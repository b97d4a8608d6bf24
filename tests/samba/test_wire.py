"""What stands on the wire: tshark and scapy understand it, and we scapy; smbtorture is served."""

import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.netbios import NBTDatagram
from scapy.layers.smb import SMB_Header, SMBMailslot_Write

from msfs_fuse.net.netbios import datagram, mailslot
from msfs_fuse.net.netbios.mailslot import Write
from msfs_fuse.net.netbios.names import Name
from tests.conftest import Mount
from tests.samba.conftest import OWN, Net, link
from tests.support import browser
from tests.support.capture import captured, dissect, protocols
from tests.support.network import served, settle, write
from tests.support.processes import wait_until
from tests.support.samba import WORKGROUP, addresses, nmblookup

OURS = "ip.src == 10.77.0.2"


def test_tshark_understands_every_frame(net: Net, tmp_path: Path) -> None:
    capture = tmp_path / "all.pcapng"
    with (
        captured(net.third, capture, "udp port 137 or udp port 138"),
        net.ours.mounted(config=net.ours.configure(OWN)) as mount,
    ):
        wait_until(lambda: link(mount, "PYHOST") == "connected")
        addresses(net.third, "PYHOST")
        nmblookup(net.third, "-A", net.ours.address)
        write(mount, f"@{WORKGROUP}#1d/BROWSE", browser.host_announcement("PYHOST", "ours"))
        write(mount, f"@{WORKGROUP}#1c/NET\\NETLOGON", browser.primary_query("PYHOST", "x"))
        for size in (1, 2, 3, 4, 400):
            write(mount, f"@{WORKGROUP}/msfs\\inbox", b"x" * size)
    assert dissect(capture, "_ws.malformed") == []
    assert dissect(capture, "_ws.expert.severity == error") == []
    ours = protocols(capture, OURS)
    tail = [each.partition(":udp:")[2] for each in ours]
    assert tail.count("nbdgm:smb:browser") == 1
    assert tail.count("nbdgm:smb:smb_netlogon") == 1
    # The rest of a mailslot that it does not know is data.
    assert (
        sum(each.startswith("nbdgm:smb:mailslot") or each == "nbdgm:smb:data" for each in tail) == 5
    )
    # Claims of three names, three times; then they are taken; answers; and they are released.
    assert tail.count("nbns") >= 3 * 3 + 3 + 2 + 3
    (write_frame, *_) = dissect(capture, f'{OURS} and mailslot.name == "\\\\MAILSLOT\\\\BROWSE"')
    assert write_frame["mailslot"]["mailslot.opcode"] == "1"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 399, 400])
def test_scapy_takes_ours_apart_and_makes_the_same(size: int) -> None:
    data = bytes(range(256))[:size].ljust(size, b"x")
    ours = mailslot.encode(Write(("MSFS", "inbox"), data))
    packet = datagram.encode(
        datagram.Datagram(
            datagram.Kind.UNIQUE,
            7,
            IPv4Address("10.77.0.2"),
            138,
            Name(b"PYHOST"),
            Name(b"NMBHOST"),
            ours,
        )
    )
    parsed = NBTDatagram(packet)
    assert (parsed.SourceName.rstrip(), parsed.DestinationName.rstrip()) == (b"PYHOST", b"NMBHOST")
    assert (parsed.ID, parsed.SourceIP, parsed.SourcePort) == (7, "10.77.0.2", 138)
    written = parsed[SMBMailslot_Write]
    assert written.Name == b"\\MAILSLOT\\MSFS\\inbox"
    assert bytes(written.Buffer[0][1]) == data
    for layer in (parsed, parsed[SMB_Header], written):
        layer.raw_packet_cache = None
    assert bytes(parsed) == packet


def test_what_scapy_makes_is_delivered(net: Net, mount: Mount) -> None:
    script = """
import sys
from scapy.layers.inet import IP, UDP
from scapy.layers.netbios import NBTDatagram
from scapy.layers.smb import SMB_Header, SMBMailslot_Write
from scapy.sendrecv import send
send(
    IP(dst=sys.argv[1]) / UDP(sport=4711, dport=138)
    / NBTDatagram(Type=16, Flags=0x0A, ID=9, SourceIP="10.77.0.3", SourceName=b"SCAPY",
                  DestinationName=b"PYHOST", SUFFIX1=0x4141, SUFFIX2=0x4141)
    / SMB_Header() / SMBMailslot_Write(Name=b"\\\\MAILSLOT\\\\msfs\\\\inbox",
                                       Buffer=[("Data", b"made by scapy")]),
    verbose=False,
)
"""
    with served(mount, "msfs/inbox") as fd:
        subprocess.run(
            [*net.third.inside, sys.executable, "-c", script, net.ours.address],
            check=True,
            timeout=30,
        )
        assert settle(fd, 1) == [b"made by scapy"], mount.log.read_text()
        assert mount.attribute("msfs/inbox", "sender_host") == f"SCAPY@{net.third.address}"


# Answers who asks for a domain controller, as one would; the whole of a server.
NETLOGON_SERVER = """
import os, struct, sys
mount = sys.argv[1]
os.makedirs(mount + "/net", exist_ok=True)
slot = mount + "/net/netlogon"
fd = os.open(slot, os.O_RDWR | os.O_CREAT)
print("ready", flush=True)
while True:
    request = os.read(fd, 65536)
    sender = os.getxattr(slot, "user.mailslot.sender_host").decode()
    if request[0] == 0x07:
        # computer name, name of the slot for the answer
        name, _, rest = request[2:].partition(b"\\0")
        reply_slot = rest.partition(b"\\0")[0]
        answer = b"\\x0c\\0" + b"PYSRV\\0"
        answer += b"\\0" * (len(answer) % 2)
        answer += "PYSRV\\0MSFSTEST\\0".encode("utf-16-le")
        answer += b"\\0" * (-len(answer) % 4)
        answer += struct.pack("<IHH", 1, 0xFFFF, 0xFFFF)
    else:
        continue
    reply = reply_slot.decode().split("\\\\", 2)[2]
    with open(mount + "/@" + sender + "/" + reply, "wb", buffering=0) as out:
        out.write(answer)
    print("answered", sender, reply, flush=True)
"""


def test_smbtorture_finds_a_domain_controller_that_is_a_script(net: Net, tmp_path: Path) -> None:
    config = OWN.replace('"PYHOST"', '"PYSRV"') + f'names = ["{WORKGROUP}#1c"]\n'
    with net.ours.mounted(config=net.ours.configure(config)) as mount:
        wait_until(lambda: link(mount, "PYSRV") == "connected")
        script = [sys.executable, "-c", NETLOGON_SERVER, str(mount.path)]
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == "ready\n"
                conf = tmp_path / "smb.conf"
                conf.write_text(
                    f"[global]\nworkgroup = {WORKGROUP}\nnetbios name = TORTURE\n"
                    "interfaces = eth0\nbind interfaces only = yes\n"
                    f"private dir = {tmp_path}\nlock directory = {tmp_path}\n"
                    f"state directory = {tmp_path}\ncache directory = {tmp_path}\n"
                )
                torture = ["smbtorture", "-s", str(conf), "-U%", f"//{net.ours.address}/x"]
                done = subprocess.run(
                    [*net.third.inside, *torture, "nbt.dgram.netlogon"],
                    capture_output=True,
                    text=True,
                    timeout=50,
                    check=False,
                )
            finally:
                server.kill()
        assert "success: netlogon" in done.stdout, done.stdout + done.stderr + mount.log.read_text()
