"""Alerts: STD_ALERT as the Windows SDK's header has it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.programs import FormatError, alerter
from msfs_fuse.programs.alerter import Admin, Alert, ErrorLog, Print, User

COMPILER = "x86_64-w64-mingw32-gcc"
OBJCOPY = "x86_64-w64-mingw32-objcopy"

DWORD = st.integers(0, 2**32 - 1)
WORD_TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"], max_codepoint=0xFFFF)
)
STRINGS = st.lists(WORD_TEXT, max_size=5).map(tuple)
DETAILS = {
    "ADMIN": st.builds(Admin, DWORD, STRINGS),
    "ERRORLOG": st.builds(ErrorLog, DWORD, DWORD),
    "PRINTING": st.builds(Print, *[DWORD] * 4, *[WORD_TEXT] * 5),
    "USER": st.builds(User, DWORD, STRINGS, WORD_TEXT, WORD_TEXT),
    "MESSAGE": st.binary(),
    "anything else": st.binary(),
}
SERVICE = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"], max_codepoint=0xFFFF),
    max_size=80,
)
ALERTS = st.one_of(
    *(st.builds(Alert, DWORD, st.just(event), SERVICE, how) for event, how in DETAILS.items())
)


@given(ALERTS)
def test_what_is_encoded_is_decoded(alert: Alert) -> None:
    data = alerter.encode(alert)
    assert alerter.is_alert(data)
    assert alerter.decode(data) == alert
    assert alerter.describe(alert).startswith(alert.event)


@given(st.sampled_from([*DETAILS]), st.binary())
def test_anything_behind_a_good_head_is_an_alert_or_refused(event: str, rest: bytes) -> None:
    head = alerter.encode(Alert(0, "x", "service", b""))
    name = event.encode("utf-16-le").ljust(34, b"\0")
    try:
        alert = alerter.decode(head[:4] + name + head[38:] + rest)
    except FormatError:
        return
    alerter.describe(alert)


@given(st.binary(max_size=400))
def test_anything_is_an_alert_or_refused(data: bytes) -> None:
    try:
        alert = alerter.decode(data)
    except FormatError:
        return
    assert len(alert.event) <= 16
    assert len(alert.service) <= 80


@pytest.mark.parametrize(
    "details", [b"", (2).to_bytes(4, "little") + b"\xff\xff\xff\xff" + b"a\0\0\0"]
)
def test_a_count_that_lies(details: bytes) -> None:
    head = bytearray(alerter.encode(Alert(0, "ADMI_", "s", b"")))
    head[12:14] = b"N\0"
    with pytest.raises(FormatError):
        alerter.decode(bytes(head) + details)


@pytest.mark.parametrize(
    "alert",
    [
        Alert(0, "seventeen letters", "s", b""),
        Alert(0, "x", "s" * 81, b""),
        Alert(0, "a\0b", "s", b""),
        Alert(0, "ADMIN", "s", b"bytes"),
        Alert(0, "ADMIN", "s", Admin(0, ("a\0b",))),
        Alert(0, "other", "s", ErrorLog(0, 0)),
    ],
)
def test_what_cannot_be_encoded(alert: Alert) -> None:
    with pytest.raises(FormatError):
        alerter.encode(alert)


@pytest.mark.parametrize("text", [b"disk is full", b"x" * 300, "\N{SNOWMAN}".encode() * 100])
def test_plain_text_is_no_alert(text: bytes) -> None:
    assert not alerter.is_alert(text)


def test_what_people_are_told() -> None:
    job = Print(7, 0, 1, 512, "PC1", "ann", "laser", "LPT1", "out of paper")
    texts = {
        Alert(0, "PRINTING", "SPOOLER", job): "job 7 of ann on PC1: out of paper",
        Alert(0, "ADMIN", "SERVER", Admin(5, ("C:", "is full"))): "error 5\nC:\nis full",
        Alert(0, "ERRORLOG", "SERVER", ErrorLog(5, 9)): "error 5 was logged at 9",
        Alert(0, "USER", "SERVER", User(0, ("logged off",), "ann", "PC1")): "about ann on PC1",
        Alert(0, "MESSAGE", "", "hello".encode("utf-16-le")): "an unnamed service\nhello",
        Alert(0, "UPS", "apcupsd", b"on battery\0"): "UPS from apcupsd\non battery",
    }
    for alert, text in texts.items():
        assert text in alerter.describe(alert)


# Buffers as a Windows program builds them: each event's in a section of its own.
SOURCE = r"""
#include <windows.h>
#include <lmcons.h>
#include <lmalert.h>

#define TEXT_OF(name, text) WCHAR name[sizeof(text) / sizeof(WCHAR)]
#define IN(name) __attribute__((section(name), used))

#pragma pack(push, 1)
IN("admin") struct { STD_ALERT a; ADMIN_OTHER_INFO i; TEXT_OF(s1, L"C:"); TEXT_OF(s2, L"full"); }
admin = {{1000000000, ALERT_ADMIN_EVENT, L"SERVER"}, {5, 2}, L"C:", L"full"};

IN("errlog") struct { STD_ALERT a; ERRLOG_OTHER_INFO i; }
errlog = {{1000000000, ALERT_ERRORLOG_EVENT, L"SERVER"}, {5, 0x1234}};

IN("user") struct { STD_ALERT a; USER_OTHER_INFO i; TEXT_OF(s1, L"gone"); TEXT_OF(u, L"ann");
    TEXT_OF(c, L"PC1"); }
user = {{1000000000, ALERT_USER_EVENT, L"WKSTA"}, {0, 1}, L"gone", L"ann", L"PC1"};

IN("print") struct { STD_ALERT a; PRINT_OTHER_INFO i; TEXT_OF(c, L"PC1"); TEXT_OF(u, L"ann");
    TEXT_OF(q, L"laser"); TEXT_OF(d, L"LPT1"); TEXT_OF(s, L"no paper"); }
print = {{1000000000, ALERT_PRINT_EVENT, L"SPOOLER"}, {7, 3, 999999999, 512},
    L"PC1", L"ann", L"laser", L"LPT1", L"no paper"};

IN("message") struct { STD_ALERT a; TEXT_OF(s, L"hello"); }
message = {{1000000000, ALERT_MESSAGE_EVENT, L"MESSENGER"}, L"hello"};
#pragma pack(pop)

IN("slot") WCHAR slot[] = ALERTER_MAILSLOT;
"""

BUILT = {
    "admin": Alert(1000000000, "ADMIN", "SERVER", Admin(5, ("C:", "full"))),
    "errlog": Alert(1000000000, "ERRORLOG", "SERVER", ErrorLog(5, 0x1234)),
    "user": Alert(1000000000, "USER", "WKSTA", User(0, ("gone",), "ann", "PC1")),
    "print": Alert(
        1000000000,
        "PRINTING",
        "SPOOLER",
        Print(7, 3, 999999999, 512, "PC1", "ann", "laser", "LPT1", "no paper"),
    ),
    "message": Alert(1000000000, "MESSAGE", "MESSENGER", "hello\0".encode("utf-16-le")),
}


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs the Windows SDK's headers")
def test_buffers_built_with_the_header_of_the_sdk(tmp_path: Path) -> None:
    (tmp_path / "alerts.c").write_text(SOURCE)
    built = tmp_path / "alerts.o"
    subprocess.run(
        [COMPILER, "-c", "alerts.c", "-o", str(built)], cwd=tmp_path, check=True, timeout=50
    )

    def section(name: str) -> bytes:
        file = tmp_path / name
        command = [OBJCOPY, "-O", "binary", f"--only-section={name}", str(built), str(file)]
        subprocess.run(command, check=True, timeout=20)
        return file.read_bytes()

    for name, alert in BUILT.items():
        # Sections are filled up at their end.
        data = alerter.encode(alert)
        buffer = section(name)
        assert buffer[: len(data)] == data, name
        assert not buffer[len(data) :].strip(b"\0")
        assert alerter.decode(data) == alert
    slot = section("slot").decode("utf-16-le").rstrip("\0")
    assert slot.upper() == rf"\\.\mailslot\{alerter.SLOT}".upper()
