"""Who is in a room of a chat, and what is shown of what they send."""

from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.names import fold
from msfs_fuse.programs import room
from msfs_fuse.programs.chat import KINDS, Line
from msfs_fuse.programs.room import Room, Source

ADA = Source("ada", "1000", "1")
BOB = Source("bob", "1000", "2")
PRIVATE = f"ask.1000/{'0' * 32}"


def line(kind: str, nick: str = "anna", text: str = "") -> Line:
    return Line(kind, "00000000", nick, text)


def test_a_spelling_is_the_same_name_to_the_network() -> None:
    spellings = {room.spelling("lobby") for _ in range(100)}
    assert len(spellings) > 90
    assert {fold(each) for each in spellings} == {room.room_slot("lobby")}


def test_from_join_to_leave() -> None:
    here = Room()
    taken = here.take(ADA, line("join", text=PRIVATE), 0, is_private=False)
    assert taken.shown == ["anna@ada has joined"]
    assert taken.answer is not None
    assert taken.answer.private == PRIVATE
    say = here.take(ADA, line("say", text="hello"), 1, is_private=False)
    assert say.shown == ["anna@ada: hello"]
    renamed = here.take(ADA, line("nick", "ann", "anna"), 2, is_private=False)
    assert renamed.shown == ["anna@ada is now ann@ada"]
    assert here.named("ANN") == here.named("ann@ada") == here.members
    assert here.take(ADA, line("leave", "ann"), 3, is_private=False).shown == ["ann@ada has left"]
    assert here.members == []


def test_nobody_is_called_like_who_looks() -> None:
    here = Room("anna@ada")
    assert here.take(ADA, line("join"), 0, is_private=False).shown == ["anna@ada#2 has joined"]
    assert here.named("anna@ada") == []


def test_nobody_poses_as_another_or_speaks_in_private_to_all() -> None:
    here = Room()
    here.take(ADA, line("join"), 0, is_private=False)
    twin = here.take(ADA._replace(pid="9", uid="0"), line("say", text="x"), 0, is_private=False)
    assert twin.shown == ["anna@ada#2 is here", "anna@ada#2: x"]
    assert here.take(BOB, line("say"), 0, is_private=True).shown == []
    assert here.take(BOB, line("tell"), 0, is_private=False).shown == []
    assert [each.label for each in here.named("anna")] == ["anna@ada", "anna@ada#2"]
    here.take(BOB, line("leave"), 0, is_private=False)
    assert len(here.members) == 2


def test_only_slots_for_private_lines_are_taken_for_such() -> None:
    here = Room()
    for path in ("secret", "ask.0/victim", f"../{PRIVATE}", f"{PRIVATE}/x"):
        here.take(ADA, line("join", text=path), 0, is_private=False)
        [member] = here.members
        assert member.private is None


def test_who_joins_again_and_again_is_answered_once() -> None:
    here = Room()
    answers = [here.take(ADA, line("join"), 0, is_private=False).answer for _ in range(10)]
    assert len([each for each in answers if each]) == 1
    assert here.take(ADA, line("join"), room.ANSWER_SECONDS, is_private=False).answer


def test_who_is_silent_is_gone() -> None:
    here = Room()
    here.take(ADA, line("join"), 0, is_private=False)
    here.take(BOB, line("join"), 0, is_private=False)
    here.take(ADA, line("here"), 50, is_private=False)
    assert here.expire(room.GONE_SECONDS) == ["anna@bob is not heard of any more"]
    assert [each.source for each in here.members] == [ADA]


def test_a_flood_is_not_shown_and_does_not_silence_others() -> None:
    here = Room()
    shown = []
    for number in range(1000):
        source = ADA._replace(pid=str(number % 7))
        shown += here.take(source, line("say", text=str(number)), 0, is_private=False).shown
    assert len(shown) == room.BURST
    assert shown[-1] == "user 1000 of ada writes too much to show it all"
    assert len(here.take(BOB, line("say"), 0, is_private=False).shown) == 2
    assert here.take(ADA, line("say", text="x"), 60, is_private=False).shown[-1].endswith(": x")


def test_what_is_kept_is_bounded() -> None:
    here = Room()
    for number in range(room.MAX_MEMBERS_OF_ONE * 3):
        here.take(ADA._replace(pid=str(number)), line("join"), 0, is_private=False)
    assert len(here.members) == room.MAX_MEMBERS_OF_ONE
    for number in range(room.MAX_MEMBERS + 10):
        source = Source(f"h{number}", None, None)
        here.take(source, line("join"), 0, is_private=False)
    assert len(here.members) == room.MAX_MEMBERS
    assert len(here._allowances) <= room.MAX_USERS


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ADA, BOB, ADA._replace(pid="3")]),
            st.sampled_from(sorted(KINDS)),
            st.sampled_from(["anna", "bob", "Anna"]),
            st.booleans(),
        )
    )
)
def test_labels_are_unique(steps: list[tuple[Source, str, str, bool]]) -> None:
    here = Room()
    for source, kind, nick, is_private in steps:
        here.take(source, line(kind, nick), 0, is_private=is_private)
        labels = [fold(member.label) for member in here.members]
        assert len(set(labels)) == len(labels)
