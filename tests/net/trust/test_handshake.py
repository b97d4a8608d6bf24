"""Two members and what is between them: who is heard, by which way, and when."""

import pytest

from msfs_fuse.net.trust.domain import Unknown
from tests.support.trust import Corp, Wire


def test_two_find_each_other_and_talk_both_ways(wire: Wire, corp: Corp) -> None:
    one, two = wire.node(corp.admit("one"), 1), wire.node(corp.admit("two"), 2)
    wire.run(0.1)
    one.write("TWO", b"hi")
    two.write("one", b"ho")
    one.broadcast(b"all")
    wire.run(0.1)
    assert two.delivered == [("one", b"hi"), ("one", b"all")]
    assert one.delivered == [("two", b"ho")]


def test_one_that_comes_later_is_known_within_three_round_trips(wire: Wire, corp: Corp) -> None:
    one = wire.node(corp.admit("one"), 1)
    wire.run(20)
    two = wire.node(corp.admit("two"), 2)
    wire.run(0.008)
    assert one.knows("two")
    assert two.knows("one")


def test_unknown_host(wire: Wire, corp: Corp) -> None:
    one = wire.node(corp.admit("one"), 1)
    with pytest.raises(Unknown):
        one.write("two", b"hi")
