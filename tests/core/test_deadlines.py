"""Which waiting reads give up when."""

import weakref

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from msfs_fuse.core.deadlines import Deadlines


class _Comparison(RuleBasedStateMachine):
    """Against a dict of token to deadline. Tokens are numbers, in the order they are added."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines = Deadlines()
        self.model: dict[int, int] = {}
        self.tokens = 0

    # Many at a time: the heap is rebuilt only when it is large.
    @rule(number=st.integers(1, 100), first=st.integers(0, 20), step=st.integers(0, 20))
    def add(self, number: int, first: int, step: int) -> None:
        for i in range(number):
            time = (first + i * step) % 21
            self.tokens += 1
            self.deadlines.add(self.tokens, time)
            self.model[self.tokens] = time

    @rule(n=st.integers(2, 30))
    def discard_all_but_every_nth(self, n: int) -> None:
        for token in [token for token in self.model if token % n]:
            self.deadlines.discard(token)
            del self.model[token]

    @rule(token=st.integers(0, 500))
    def discard(self, token: int) -> None:
        self.deadlines.discard(token)
        self.model.pop(token, None)

    @rule(now=st.integers(-1, 21))
    def pop_due(self, now: int) -> None:
        due = sorted((time, token) for token, time in self.model.items() if time <= now)
        assert self.deadlines.pop_due(now) == [token for _, token in due]
        for _, token in due:
            del self.model[token]

    @invariant()
    def agrees(self) -> None:
        assert len(self.deadlines) == len(self.model)
        assert self.deadlines.next() == min(self.model.values(), default=None)


def test_any_sequence() -> None:
    run_state_machine_as_test(
        _Comparison, settings=settings(max_examples=200, stateful_step_count=30, deadline=None)
    )


class _Token:
    """Neither ordered nor equal to another, like the requests that it stands for."""


def test_tokens_are_not_compared() -> None:
    deadlines = Deadlines()
    tokens = [_Token() for _ in range(3)]
    for token in tokens:
        deadlines.add(token, 7)
    assert deadlines.pop_due(7) == tokens


def test_a_deadline_is_due_when_it_is_reached() -> None:
    deadlines = Deadlines()
    deadlines.add("read", 100)
    assert deadlines.pop_due(99) == []
    assert deadlines.pop_due(100) == ["read"]
    assert deadlines.pop_due(100) == []


def test_a_token_may_come_back() -> None:
    deadlines = Deadlines()
    deadlines.add("read", 5)
    deadlines.discard("read")
    deadlines.add("read", 9)
    assert deadlines.next() == 9
    assert deadlines.pop_due(8) == []
    assert deadlines.pop_due(9) == ["read"]


def test_reads_served_early_are_let_go() -> None:
    """A server with an hour's timeout that gets its messages at once must not pile up entries."""
    deadlines = Deadlines()
    standing = [_Token() for _ in range(100)]
    for token in standing:
        deadlines.add(token, 1)
    kept: weakref.WeakSet[_Token] = weakref.WeakSet()
    most = 0
    for _ in range(10_000):
        token = _Token()
        kept.add(token)
        deadlines.add(token, 3600)
        deadlines.discard(token)
        del token
        most = max(most, len(kept))
    assert most < 4 * len(standing)
    assert deadlines.pop_due(1) == standing
    assert deadlines.next() is None
    assert not kept
