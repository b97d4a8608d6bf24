"""What is promised holds on a hostile network; and each rule that it needs is missed when gone."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msfs_fuse.net.trust.bodies import Message
from msfs_fuse.net.trust.handshake import Handshake
from msfs_fuse.net.trust.hearing import Hearing
from msfs_fuse.net.trust.here import Here
from msfs_fuse.net.trust.mounts import GROUP_WAY, Mount, Pair
from msfs_fuse.net.trust.own import Own
from msfs_fuse.net.trust.questions import Questions
from msfs_fuse.net.trust.wire import Kind
from tests.support import hostile
from tests.support.trust import message

STEPS = 300


@pytest.mark.parametrize("seed", range(25))
def test_promises_hold(seed: int) -> None:
    world = hostile.run(seed, STEPS)
    assert len(world.delivered) > 20  # it is not silence that keeps them


@settings(max_examples=15, deadline=None)
@given(st.integers(1000, 1 << 32), st.integers(20, 400))
def test_promises_hold_with_any_seed(seed: int, steps: int) -> None:
    hostile.run(seed, steps)


Mutant = Callable[[pytest.MonkeyPatch], None]


def age_is_always_five_seconds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Own, "age", lambda self, now: 5000)


def age_ignores_forgetting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Own, "forgot", lambda self, now: None)


def nonces_survive_forgetting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Handshake, "_void", lambda self: None)


def counters_begin_anew_with_each_handshake(patch: pytest.MonkeyPatch) -> None:
    plain = Handshake._prove

    def prove(self: Handshake, *words: Any, **more: Any) -> None:
        plain(self, *words, **more)
        self._here.own.counter = 0

    patch.setattr(Handshake, "_prove", prove)


def the_older_way_is_taken(patch: pytest.MonkeyPatch) -> None:
    def best_way(self: Mount, is_up: object = None) -> object:
        return min(self.ways, key=lambda way: self.ways[way].since) if self.ways else None

    patch.setattr(Mount, "best_way", best_way)


def a_proof_counts_from_anywhere(patch: pytest.MonkeyPatch) -> None:
    plain = Handshake._check_proof

    def check(
        self: Handshake, key: Any, proof: Any, body: Any, way: Any, arrival: Any, now: Any
    ) -> None:
        asked = self.questions._nonces.get(proof.nonce)
        if asked is not None and asked.question.way != GROUP_WAY:
            way = asked.question.way
        plain(self, key, proof, body, way, arrival, now)

    patch.setattr(Questions, "_may_answer", lambda self, asked, way: True)
    patch.setattr(Handshake, "_check_proof", check)


def the_window_is_marked_by_members(patch: pytest.MonkeyPatch) -> None:
    plain = Hearing._take_open

    def take(self: Hearing, key: Any, header: Any, *words: Any) -> None:
        plain(self, key, header, *words)
        mount = self._here.table.get(header.id)
        if mount is not None and mount.window is not None and header.kind is Kind.GROUP:
            mount.group_window.mark(header.counter)

    patch.setattr(Hearing, "_take_open", take)


def signatures_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Here, "verify", lambda self, public, header, body: None)


def keys_are_not_confirmed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pair, "check", lambda self, confirmed, code: None)


def what_counts_is_when_it_was_written(patch: pytest.MonkeyPatch) -> None:
    """Not when it was sealed: but what waits for a key is sealed later, and then it is new."""

    def note(self: hostile.World, host: str, data: bytes) -> Message:
        self.sealed[data] = host, self.wire.now
        return message(data)

    patch.setattr(hostile.World, "_message", note)


def windows_have_no_floor(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Own, "floor", lambda self, arrival, age: 0)


@pytest.mark.slow
@pytest.mark.timeout(300)  # until a seed shows it
@pytest.mark.parametrize(
    "mutant",
    [
        age_is_always_five_seconds,
        age_ignores_forgetting,
        nonces_survive_forgetting,
        counters_begin_anew_with_each_handshake,
        the_older_way_is_taken,
        a_proof_counts_from_anywhere,
        the_window_is_marked_by_members,
        signatures_are_not_looked_at,
        keys_are_not_confirmed,
        windows_have_no_floor,
        what_counts_is_when_it_was_written,
    ],
)
def test_each_rule_is_missed(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    mutant(monkeypatch)
    assert hostile.breaks(range(200), STEPS)
