r"""Names: `\\HOST\mailslot\a\b` to and from `@HOST/a/b`, and what may be called what."""

import errno
import os

import hypothesis.strategies as st
import pytest
from hypothesis import given

from msfs_fuse.core.names import Address, check_length, check_new_name, is_reserved
from tests.support.core import refused

# All that a Linux file name may hold but for the separators: the bytes that are not UTF-8 come
# as surrogates.
_CHARACTERS = st.characters(
    exclude_characters="/\\\0", exclude_categories=["Cs"]
) | st.sampled_from([os.fsdecode(b"\xff"), "@", ".", "*", "\n"])
_PARTS = st.text(_CHARACTERS, min_size=1).filter(lambda part: part not in (".", ".."))
_REMOTE = st.builds(
    Address,
    st.text(_CHARACTERS, min_size=1).filter(lambda host: host != "."),
    st.lists(_PARTS, min_size=1).map(tuple),
)
_LOCAL = st.builds(
    Address,
    st.none(),
    st.lists(_PARTS, min_size=1).filter(lambda parts: not is_reserved(parts[0])).map(tuple),
)


# ---- addresses ----


@pytest.mark.parametrize(
    ("unc", "path", "address"),
    [
        (r"\\.\mailslot\alerts", "alerts", Address(None, ("alerts",))),
        (
            r"\\.\mailslot\53cb31a0\UnimodemNotifyTSP",
            "53cb31a0/UnimodemNotifyTSP",
            Address(None, ("53cb31a0", "UnimodemNotifyTSP")),
        ),
        (
            r"\\HOST\mailslot\53cb31a0\UnimodemNotifyTSP",
            "@HOST/53cb31a0/UnimodemNotifyTSP",
            Address("HOST", ("53cb31a0", "UnimodemNotifyTSP")),
        ),
        (r"\\build7\mailslot\alerts", "@build7/alerts", Address("build7", ("alerts",))),
        (r"\\*\mailslot\alerts", "@*/alerts", Address("*", ("alerts",))),
        (r"\\a.example\mailslot\Größe", "@a.example/Größe", Address("a.example", ("Größe",))),
        (r"\\far\mailslot\@x\.msfs", "@far/@x/.msfs", Address("far", ("@x", ".msfs"))),
        (r"\\.\mailslot\dir\@x", "dir/@x", Address(None, ("dir", "@x"))),
    ],
)
def test_three_ways_to_say_the_same(unc: str, path: str, address: Address) -> None:
    assert Address.from_unc(unc) == address
    assert Address.from_path(path) == address
    assert address.to_unc() == unc
    assert address.to_path() == path


@given(_LOCAL | _REMOTE)
def test_unc_round_trip(address: Address) -> None:
    assert Address.from_unc(address.to_unc()) == address


@given(_LOCAL | _REMOTE)
def test_path_round_trip(address: Address) -> None:
    assert Address.from_path(address.to_path()) == address


@given(st.text("\\/.@*a"), st.text("\\/.@*a\n", max_size=5))
def test_every_unc_is_refused_or_kept(before: str, after: str) -> None:
    text = f"\\\\{before}mailslot{after}"
    try:
        address = Address.from_unc(text)
    except ValueError:
        return
    assert address.to_unc() == text


@given(st.text("\\/.@*a\0"))
def test_every_path_is_refused_or_kept(text: str) -> None:
    try:
        address = Address.from_path(text)
    except ValueError:
        return
    assert address.to_path() == text.replace("\\", "/")


def test_the_word_mailslot_in_any_case() -> None:
    assert Address.from_unc(r"\\H\MAILSLOT\a") == Address("H", ("a",))
    assert Address.from_unc(r"\\H\Mailslot\a") == Address("H", ("a",))


def test_names_keep_their_case() -> None:
    assert Address.from_unc(r"\\Host\mailslot\NaMe").to_path() == "@Host/NaMe"


def test_a_backslash_separates_below_a_host() -> None:
    """So that nobody needs mkdir to write to a nested slot elsewhere."""
    expected = Address("h", ("53cb31a0", "UnimodemNotifyTSP"))
    assert Address.from_path(r"@h/53cb31a0\UnimodemNotifyTSP") == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alerts",
        r"\\.",
        r"\\.\mailslot",
        "\\\\.\\mailslot\\",
        r"\.\mailslot\a",
        r"\\\mailslot\a",
        r"\\H\pipe\a",
        r"\\H\x\mailslot\a",
        r"\\H\mailslots\a",
        r"\\H\mail" + "\u017f" + r"lot\a",  # a long s, which is an s without regard to case
        r"\\H\mailslot\a\\b",
        "\\\\H\\mailslot\\a\\",
        r"\\H\mailslot\a\..\b",
        r"\\H\mailslot\.",
        r"\\H\mailslot\a/b",
        r"\\H/x\mailslot\a",
        "\\\\H\0\\mailslot\\a",
        "\\\\H\\mailslot\\a\0",
        r" \\H\mailslot\a",
    ],
)
def test_not_a_mailslot_in_unc(text: str) -> None:
    with pytest.raises(ValueError, match="not "):
        Address.from_unc(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a\0",
        "@",
        "@/a",
        "@h",
        "@h/",
        "@h/a/",
        "@h/./a",
        "@h\\a",
        "@h\\x/a",
        "@h/\\a",
        r"dir\name",  # the separator on the wire
    ],
)
def test_not_a_mailslot_as_a_path(text: str) -> None:
    with pytest.raises(ValueError, match=r"not "):
        Address.from_path(text)


def test_a_host_is_not_called_dot() -> None:
    """In UNC it would become this host."""
    with pytest.raises(ValueError, match="not a host"):
        Address.from_path("@./a")


@pytest.mark.parametrize("path", [("@x", "y"), ("@x",), (".msfs", "status"), (".msfsx",)])
def test_no_local_slot_has_a_reserved_name(path: tuple[str, ...]) -> None:
    """As a path, `@x/y` would become another host's slot."""
    with pytest.raises(ValueError, match="reserved"):
        Address(None, path)


# ---- names of slots and directories ----


@pytest.mark.parametrize("name", ["@", "@HOST", "@*", ".msfs", ".msfs-more"])
def test_reserved_in_the_root_only(name: str) -> None:
    assert is_reserved(name)
    with refused(errno.EPERM):
        check_new_name(name, in_root=True)
    check_new_name(name, in_root=False)


@pytest.mark.parametrize("name", ["a", "a@b", ".hidden", ".ms", "msfs", "*", "ä", "two words"])
def test_not_reserved(name: str) -> None:
    assert not is_reserved(name)
    check_new_name(name, in_root=True)


@pytest.mark.parametrize("in_root", [True, False])
@pytest.mark.parametrize("name", ["\\", "a\\b", "a\\"])
def test_no_backslash_in_a_local_name(name: str, in_root: bool) -> None:
    with refused(errno.EINVAL):
        check_new_name(name, in_root=in_root)


@pytest.mark.parametrize(
    ("longest", "too_long"),
    [
        ("a" * 255, "a" * 256),
        ("é" * 127 + "a", "é" * 128),
        ("😀" * 63 + "abc", "😀" * 64),
        (os.fsdecode(b"\xff" * 255), os.fsdecode(b"\xff" * 256)),  # no UTF-8: one byte each
    ],
)
def test_lengths_count_in_bytes(longest: str, too_long: str) -> None:
    check_length(longest)
    check_new_name(longest, in_root=True)
    with refused(errno.ENAMETOOLONG):
        check_length(too_long)
    with refused(errno.ENAMETOOLONG):
        check_new_name(too_long, in_root=True)
