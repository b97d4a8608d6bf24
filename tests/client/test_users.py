"""The Python API and the slots of other users."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from msfs_fuse import Mailslot, path_of, send
from tests.conftest import Mount
from tests.support.processes import ALICE, BOB, is_root, line_of, started

pytestmark = pytest.mark.skipif(not is_root(), reason="needs to be more than one user")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def refused_to(uid: int, call: Callable[[], object]) -> str:
    """The path in the PermissionError that a user gets, in a child of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            call()
        except PermissionError as error:
            os.write(writer, os.fsencode(error.filename))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        path = file.read()
    os.waitpid(child, 0)
    return path


def test_another_users_slot_is_refused_and_not_waited_for(mount: Mount) -> None:
    path_of("a", mount=str(mount.path))  # loads here what the child may not be able to read
    code = """
    slot = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT, 0o600)
    print("ready", flush=True)
    sys.stdin.read()
    """
    with started(code, mount / "a", uid=ALICE) as server:
        assert line_of(server) == "ready"
        for call in (
            lambda: send("a", "x", mount=str(mount.path), wait=3600),
            lambda: Mailslot("a", mount=str(mount.path)),
        ):
            assert refused_to(BOB, call) == str(mount / "a")
