"""What goes over a wire, kept by tshark and taken apart by it."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.network import Host
from tests.support.processes import wait_until

_MARK = "the end of the capture"
_MARK_PORT = "udp port 9"


@contextlib.contextmanager
def captured(host: Host, path: Path, what: str) -> Iterator[Path]:
    """Keep what the interface of a host sees, until the end of the block.

    Args:
        path: of the file, in pcapng.
        what: a capture filter.
    """
    log = path.with_suffix(".log")
    command = ["dumpcap", "-q", "-i", "eth0", "-w", str(path)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*host.inside, *command, "-f", f"{what} or {_MARK_PORT}"],
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: b"File: " in log.read_bytes())
        yield path
        # dumpcap drops what it has not got round to when it is told to end.
        mark = f"echo {_MARK} >/dev/udp/10.77.0.1/9"
        subprocess.run([*host.inside, "bash", "-c", mark], check=True, timeout=20)
        wait_until(lambda: _MARK.encode() in path.read_bytes())
    finally:
        process.terminate()
        process.wait(20)


def dissect(path: Path, display: str = "") -> list[dict[str, Any]]:
    """The frames of a capture as tshark understands them: its layers by name."""
    done = subprocess.run(
        ["tshark", "-r", str(path), "-Y", display, "-T", "json"],
        capture_output=True,
        check=True,
        timeout=50,
    )
    return [frame["_source"]["layers"] for frame in json.loads(done.stdout)]


def protocols(path: Path, display: str = "") -> list[str]:
    """For each frame the protocols in it, such as `eth:ethertype:ip:udp:nbdgm:smb:browser`."""
    return [layers["frame"]["frame.protocols"] for layers in dissect(path, display)]
