"""Rubbish that is nearly right: nothing is raised but a refusal, and nothing grows."""

import random
from collections.abc import Callable

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from tests.support.fuzz import members
from tests.support.fuzz.parsers import broker_parser
from tests.support.fuzz.run import fuzz


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_minute_of_it() -> None:
    report = fuzz(60, seed=1)
    assert not report.failures
    assert all(each.fed >= 100 for each in report.figures.values())
    # The rubbish gets far enough to be refused for what is in it.
    assert sum(number > 0 for number in report.refused.values()) > 15


@pytest.mark.parametrize(
    "data",
    [
        b"\x20\x03\0\0\0" + b"\x31\x0a\0\x04\xff\xfe/x\0text",  # a topic that is not UTF-8
        b"\x20\x06\0\0\x03\x1f\xff\xff",  # a reason that is longer than the packet
    ],
)
async def test_what_a_broker_must_not_send_ends_the_connection(data: bytes) -> None:
    broker_parser(random.Random(1), MQTTProtocolVersion.MQTTv5, "MQTT 5").feed(data)


def broken(error: BaseException) -> Callable[[members.Members, bytes], None]:
    def feed(self: members.Members, datagram: bytes) -> None:
        raise error

    return feed


@pytest.mark.parametrize("error", [ValueError("x"), BaseException("x")])
def test_what_is_raised_is_seen(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(members.Members, "feed", broken(error))
    report = fuzz(0.1, 1, "datagrams", lambda failure: None)
    assert type(error).__name__ in "".join(report.failures)
