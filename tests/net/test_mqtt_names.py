"""Names in topics, URLs of brokers, and how long to wait: what needs no broker."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msfs_fuse.core.names import fold
from msfs_fuse.net.mqtt.settings import BrokerAddress, BrokerSettings
from msfs_fuse.net.mqtt.topics import Origin, Topics, escape, unescape
from msfs_fuse.net.mqtt.transport import pause

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True)


@given(names)
def test_a_name_becomes_a_level_and_back(name: str) -> None:
    level = escape(name)
    assert re.fullmatch(r"[a-z0-9_-]+", level)
    assert unescape(level) == fold(name)


@given(names, names)
def test_different_names_are_different_levels(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (fold(one) == fold(other))


@given(st.text(max_size=20))
def test_what_is_no_level_is_refused(text: str) -> None:
    try:
        name = unescape(text)
    except ValueError:
        return
    assert escape(name) == text


@given(names, names, names)
def test_who_has_sent_is_in_the_topic(domain: str, ada: str, bob: str) -> None:
    sender, receiver = (Topics("a/b", domain, host, host) for host in (ada, bob))
    assert receiver.origin(sender.host(bob)) == Origin(fold(ada))
    assert receiver.origin(sender.domain) == Origin(fold(ada))
    assert receiver.origin(sender.presence) == Origin(fold(ada), ada)


TOPICS = Topics("ms2", "Corp", "Build.7", "m")


def test_the_topics_stay_what_they_are() -> None:
    """Other versions of this program have to find them."""
    assert TOPICS.host("Web_1.example") == "ms2/corp/h/web__1_-example/build_-7"
    assert TOPICS.domain == "ms2/corp/b/build_-7"
    assert TOPICS.presence == "ms2/corp/p/build_-7/m"
    assert TOPICS.subscriptions == ("ms2/corp/h/build_-7/+", "ms2/corp/b/+", "ms2/corp/p/+/+")


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "ms2/corp/b",
        "ms2/corp/b/",
        "ms2/corp/b/a/b",
        "ms2/corp/b/_x",
        "ms2/corp/b/A",
        "ms2/corp/h/other/ada",
        "ms2/corp/p/ada",
        "ms2/corp/q/ada/m",
        "ms2/lab/b/ada",
        "x/ms2/corp/b/ada",
    ],
)
def test_what_is_no_topic_of_ours(topic: str) -> None:
    with pytest.raises(ValueError, match="not "):
        TOPICS.origin(topic)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", BrokerAddress("mqtt", "broker", 1883, "")),
        ("mqtt://broker:1884/", BrokerAddress("mqtt", "broker", 1884, "")),
        ("mqtts://Broker.example", BrokerAddress("mqtts", "broker.example", 8883, "")),
        ("mqtts://[fd00::1]:1", BrokerAddress("mqtts", "fd00::1", 1, "")),
        ("mqtt+unix:///run/broker.sock", BrokerAddress("mqtt+unix", "", 0, "/run/broker.sock")),
    ],
)
def test_urls(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("broker", "not udp://"),
        ("http://broker", "not udp://"),
        ("udp://broker", "not udp://"),
        ("mqtt://", "not mqtt://HOST"),
        ("mqtt://:1883", "not mqtt://HOST"),
        ("mqtt://a:0", "not mqtt://HOST"),
        ("mqtt://a:70000", "not a URL"),
        ("mqtt://a:b", "not a URL"),
        ("mqtt://a/topic", "not mqtt://HOST"),
        ("mqtt://me@a", "password_file"),
        ("mqtts://me:secret@a", "password_file"),
        ("mqtt://a?prefix=x", "options do not go in the URL"),
        ("mqtt://a#x", "options do not go in the URL"),
        ("mqtt://a b", "no spaces"),
        ("mqtt://a\n", "no spaces"),
        ("mqtt+unix://run/broker.sock", "three slashes"),
        ("mqtt+unix:///", "three slashes"),
    ],
)
def test_what_is_no_url(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        BrokerAddress.parse(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("text", "good"), [("ms1", True), ("a/B-1", True), ("", False)])
def test_prefixes(text: str, good: bool) -> None:
    def is_prefix(text: str) -> bool:
        try:
            msgspec.convert({"url": "mqtt://a", "prefix": text}, BrokerSettings)
        except msgspec.ValidationError:
            return False
        return True

    assert is_prefix(text) == good
    for bad in ("/", "#", "+", ".", " ", "\n"):
        assert not is_prefix(text + bad)


@given(st.integers(0, 10_000), st.floats(0, 1e6))
def test_the_pause_is_short_at_first_and_never_long(attempts: int, outage: float) -> None:
    assert pause(0, outage) == 0.05
    assert 0.05 <= pause(attempts, outage) <= 30
    assert pause(attempts, min(outage, 20)) <= 2
