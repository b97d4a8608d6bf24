"""Names of hosts in several domains at once."""

import trio.testing

from msfs_fuse.net.member import Member
from msfs_fuse.net.memory import Wire
from msfs_fuse.net.router import DomainRouter
from tests.support.mqtt import Host, eventually, serving
from tests.support.trust import Corp

OUTER, INNER = Corp("example"), Corp("corp.example")


async def test_no_host_takes_the_name_of_one_in_another_domain() -> None:
    """`db.corp` of the domain `example` would be called like `db` of `corp.example`."""
    outer, inner = Wire(), Wire()
    ada = Host("ada", corp=OUTER)
    members = [
        Member(corp.admit("ada"), [wire.attach("ada")])
        for corp, wire in ((OUTER, outer), (INNER, inner))
    ]
    ada.router = DomainRouter(members)
    false_db = Host("db.corp", outer.attach("db.corp"), corp=OUTER)
    db = Host("db", inner.attach("db"), corp=INNER)
    bob = Host("bob", outer.attach("bob"), corp=OUTER)
    async with serving(ada), serving(false_db), serving(db), serving(bob):
        await eventually(lambda: all(host.router.route("ada") for host in (false_db, db, bob)))
        for host in (false_db, db, bob):
            host.send("ada", f"of {host.name}".encode())
        await eventually(lambda: len(ada.delivered) == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(zip(ada.senders, ada.delivered, strict=True)) == [
            ("bob.example", b"of bob"),
            ("db.corp.example", b"of db"),
        ]
        assert ada.count("dropped", reason="other_sender") == 1
        assert ada.router.names() == ["example", "corp.example", "bob.example", "db.corp.example"]
        ada.send("db.corp.example", b"to db")
        await eventually(lambda: db.delivered)
        assert not false_db.delivered
