"""GetMailslotInfo and SetMailslotInfo as extended attributes, at a real mount."""

import errno
import os
import time

from tests.conftest import Mount
from tests.support.processes import SERVER, line_of, opened, refused, started


def test_attributes_tell_what_getmailslotinfo_tells(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        names = {name.removeprefix("user.mailslot.") for name in os.listxattr(server)}
        assert names == {
            "max_message_size",
            "next_size",
            "message_count",
            "read_timeout",
            "short_read",
            "network",
        }
        assert mount.attribute("slot", "next_size") == "none"
        os.write(server, b"abc")
        os.write(server, b"de")
        assert mount.attribute("slot", "next_size") == "3"
        assert mount.attribute("slot", "message_count") == "2"


def test_the_sender_is_known(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        write = """
        import threading
        def write():
            os.write(os.open(sys.argv[1], os.O_WRONLY), b"x")
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        print(os.getpid(), flush=True)
        sys.stdin.read()
        """
        before = time.time()
        with started(write, mount / "slot") as writer:
            assert os.read(server, 10) == b"x"
            assert mount.attribute("slot", "sender_pid") == line_of(writer)
        assert mount.attribute("slot", "sender_uid") == str(os.getuid())
        assert mount.attribute("slot", "sender_host") == mount.status()["host"]
        assert before <= float(mount.attribute("slot", "sent_at")) <= time.time()


def test_nonsense_in_attributes_is_refused(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        for name, value in {
            "read_timeout": "-1",
            "short_read": "maybe",
            "network": "",
            "max_message_size": "65537",
        }.items():
            before = mount.attribute("slot", name)
            with refused(errno.EINVAL):
                mount.set_attribute("slot", name, value)
            assert mount.attribute("slot", name) == before
        for name in ("message_count", "next_size", "sender_uid", "sent_at"):
            with refused(errno.EPERM):
                mount.set_attribute("slot", name, "1")
        with refused(errno.ENOTSUP):
            os.setxattr(server, "user.other", b"1")
        with refused(errno.ENODATA):
            os.getxattr(server, "user.other")
        for name in ("security.selinux", "security.capability", "system.posix_acl_access"):
            for path in (mount / "slot", mount.path):
                with refused(errno.ENOTSUP):
                    os.getxattr(path, name)
        with refused(errno.EPERM):
            os.removexattr(server, "user.mailslot.read_timeout")


def test_a_slots_own_size_limit(mount: Mount) -> None:
    with opened(mount / "slot", SERVER) as server:
        mount.set_attribute("slot", "max_message_size", "10")
        with refused(errno.EMSGSIZE):
            os.write(server, b"x" * 11)
        assert os.write(server, b"x" * 10) == 10
