"""Nothing twice and nothing old, against a model that remembers everything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.net.datagram import Reason, Refused
from msfs_fuse.net.replay import FRESHNESS, WINDOW, Replays, Window

START = 1_000_000
NOW = START + 1000

counters = st.one_of(
    st.integers(0, 3 * WINDOW), st.sampled_from([0, WINDOW - 1, WINDOW, 2**64 - 1, 2**63])
)


@given(st.lists(counters, max_size=60))
def test_a_window_takes_each_counter_once(sequence: list[int]) -> None:
    window, seen = Window(), set[int]()
    for counter in sequence:
        too_old = bool(seen) and counter <= max(seen) - WINDOW
        assert window.is_new(counter) == (counter not in seen and not too_old)
        if window.is_new(counter):
            window.mark(counter)
            seen.add(counter)
        assert window.seen.bit_length() <= WINDOW


def refused(
    reason: Reason, replays: Replays, epoch: bytes, counter: int, at: int, now: int
) -> None:
    with pytest.raises(Refused) as caught:
        replays.accept(epoch, counter, at, now)
    assert caught.value.reason is reason


def test_a_datagram_is_accepted_once() -> None:
    replays = Replays(START)
    replays.check(b"a", 1)
    replays.accept(b"a", 1, NOW, NOW)
    replays.accept(b"a", 2, NOW, NOW)
    with pytest.raises(Refused):
        replays.check(b"a", 1)
    refused(Reason.REPLAYED, replays, b"a", 1, NOW, NOW)
    replays.accept(b"b", 1, NOW, NOW)


def test_what_is_not_fresh_is_refused() -> None:
    replays = Replays(0)
    for at in (NOW - FRESHNESS - 1, NOW + FRESHNESS + 1):
        refused(Reason.STALE, replays, b"a", 1, at, NOW)
    assert len(replays) == 0
    replays.accept(b"a", 1, NOW - FRESHNESS, NOW)
    replays.accept(b"a", 2, NOW + FRESHNESS, NOW)


def test_what_came_before_our_start_is_refused() -> None:
    replays = Replays(START)
    refused(Reason.BEFORE_START, replays, b"a", 1, START - 1, NOW)
    replays.accept(b"a", 2, START, NOW)
    refused(Reason.BEFORE_START, replays, b"a", 3, START - 1, NOW)  # though its window is here now


def test_a_stored_hello_from_before_our_start_is_a_sign_of_life_and_nothing_more() -> None:
    replays = Replays(START)
    for _ in range(2):
        replays.accept(b"a", 5, START - 1, NOW, stored=True)
    assert len(replays) == 0
    refused(Reason.BEFORE_START, replays, b"a", 6, START - 1, NOW)
    with pytest.raises(Refused, match="stale"):
        replays.accept(b"a", 5, NOW - FRESHNESS - 1, NOW, stored=True)


def test_a_stored_hello_from_after_our_start_is_like_any_other() -> None:
    replays = Replays(START)
    replays.accept(b"a", 5, START, NOW, stored=True)
    refused(Reason.REPLAYED, replays, b"a", 5, START, NOW)
    with pytest.raises(Refused, match="replayed"):
        replays.accept(b"a", 5, START, NOW, stored=True)


def test_a_full_table_refuses_new_senders_and_ages() -> None:
    replays = Replays(START, capacity=2)
    for epoch in (b"a", b"b"):
        replays.accept(epoch, 1, NOW, NOW)
    refused(Reason.TOO_MANY_SENDERS, replays, b"c", 1, NOW, NOW)
    replays.accept(b"a", 2, NOW, NOW)
    later = NOW + 2 * FRESHNESS + 1001
    replays.accept(b"c", 1, later, later)
    assert len(replays) == 1


def test_a_clock_that_is_set_back_makes_nothing_fresh_again() -> None:
    replays = Replays(START)
    replays.accept(b"a", 1, NOW, NOW)
    later = NOW + 10 * FRESHNESS
    replays.accept(b"b", 1, later, later)  # a's window has aged
    refused(Reason.BEFORE_START, replays, b"a", 1, NOW, NOW)
    replays.accept(b"a", 2, NOW + 1, NOW)  # and a new one is here
    refused(Reason.BEFORE_START, replays, b"a", 1, NOW, NOW)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"b", b"c"]),
            st.integers(0, 4),
            st.integers(-90_000, 90_000),
            st.integers(-40_000, 150_000),
        ),
        max_size=40,
    )
)
def test_no_datagram_twice_whatever_the_clocks_do(
    steps: list[tuple[bytes, int, int, int]],
) -> None:
    """A datagram has one epoch, counter and time; it comes again and again, at any time."""
    replays = Replays(START, capacity=2)
    sent: dict[tuple[bytes, int], int] = {}
    taken = set()
    now = NOW
    for epoch, counter, skew, pause in steps:
        now += pause
        at = sent.setdefault((epoch, counter), now + skew)
        try:
            replays.accept(epoch, counter, at, now)
        except Refused:
            continue
        assert (epoch, counter) not in taken
        taken.add((epoch, counter))
