"""Listings that go on while entries come and go."""

from itertools import islice

import hypothesis.strategies as st
from hypothesis import given

from msfs_fuse.core.order import Order

# Positive: add that many; negative: remove the one at that index, if there is one; 0: read a part.
STEPS = st.lists(st.integers(-40, 30), max_size=200)


@given(STEPS)
def test_what_stays_is_shown_once_and_in_order(steps: list[int]) -> None:
    order: Order[str] = Order()
    live: dict[str, int] = {}
    stayed: set[str] | None = None
    shown: list[str] = []
    at = 0
    for number, step in enumerate(steps):
        if step > 0:
            for each in range(step):
                name = f"{number}-{each}"
                live[name] = order.add(name)
        elif step < 0 and len(live) >= -step:
            name = list(live)[-step - 1]
            order.remove(live.pop(name))
            if stayed is not None:
                stayed.discard(name)
        elif step == 0:
            stayed = set(live) if stayed is None else stayed
            part = list(islice(order.after(at), 3))
            shown += [name for _, name in part]
            at = part[-1][0] if part else at
    assert [entry for _, entry in order.after(0)] == list(live)
    if stayed is not None:
        shown += [name for _, name in order.after(at)]
        assert len(set(shown)) == len(shown)
        assert stayed <= set(shown)


def test_removed_entries_leave_no_room_behind() -> None:
    order: Order[int] = Order()
    for number in range(10_000):
        order.remove(order.add(number))
    assert len(order._places) < 200
