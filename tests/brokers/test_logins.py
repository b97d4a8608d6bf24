"""Who may come in at a broker, and which broker is believed: TLS, logins and rules."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import trio

from msfs_fuse.net.mqtt.transport import MqttTransport
from tests.support.broker import Authority, Server, mosquitto, nats, password_file, running
from tests.support.mqtt import Host, eventually, in_contact, mqtt, serving


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


ACL = """
pattern read ms2/corp/h/%u/+
pattern read ms2/corp/b/+
pattern read ms2/corp/p/+/+
pattern write ms2/corp/h/+/%u
pattern write ms2/corp/b/%u
pattern write ms2/corp/p/%u/+
"""


def tls_settings(authority: Authority, directory: Path, *, days: int = 10) -> list[str]:
    cert, key = authority.issue("broker", days=days)
    rules = directory / "acl"
    rules.write_text(ACL)
    return [f"cafile {authority.path}", f"certfile {cert}", f"keyfile {key}"]


async def test_certificates_and_rules_pin_the_sender(tmp_path: Path, authority: Authority) -> None:
    settings = [
        *tls_settings(authority, tmp_path),
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path}/acl",
    ]

    def of(name: str, certificate: str, url: str) -> Host:
        cert, key = authority.issue(certificate)
        options = {"ca": str(authority.path), "cert": str(cert), "key": str(key)}
        return Host(name, mqtt(name, url, **options))

    with mosquitto(tmp_path / "broker", *settings, scheme="mqtts") as server:
        ada, bob, eve = (
            of(name, certificate, server.url)
            for name, certificate in (("ada", "ada"), ("bob", "bob"), ("bob", "eve"))
        )
        async with serving(ada), serving(bob), serving(eve, up=False):
            await in_contact(ada, bob)
            await eventually(lambda: eve.state.startswith("away: the broker refused what we write"))
            ada.send("bob", b"to bob")
            bob.send("ada", b"to ada")
            await eventually(lambda: bob.delivered == [b"to bob"])
            await eventually(lambda: ada.delivered == [b"to ada"])
            assert [each.host for each in ada.router.heard()] == ["bob"]
            # Under its own name it gets past the broker, and is found out here.
            transport = eve.transports[0]
            assert isinstance(transport, MqttTransport)
            transport._host = "eve"
            transport._topics = type(transport._topics)("ms2", "corp", "eve", "m")
            await eventually(lambda: eve.state == "connected")
            eve.send("corp", b"I am bob")
            await eventually(lambda: ada.count("dropped", reason="other_sender"))
            assert ada.delivered == [b"to ada"]


async def test_rules_that_refuse_everything_are_no_connection(tmp_path: Path) -> None:
    """mosquitto grants each subscription all the same, and passes nothing on."""
    (tmp_path / "acl").write_text("topic read nothing\n")
    settings = ["allow_anonymous true", f"acl_file {tmp_path}/acl"]
    with mosquitto(tmp_path / "broker", *settings) as broker:
        ada = Host("ada", mqtt("ada", broker.url))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state != "connecting")
            assert ada.state == "away: the broker refused what we write: not authorized"


@pytest.mark.parametrize("kind", ["mosquitto", "nats"])
async def test_a_burst_by_tls_arrives_whole(
    tmp_path: Path, authority: Authority, kind: str
) -> None:
    """Records of TLS hold several packets: none may be left where nobody looks."""
    server: AbstractContextManager[Server]
    if kind == "nats":
        server = running(nats(tmp_path / "nats", tls=authority.issue("broker")))
    else:
        settings = [*tls_settings(authority, tmp_path), "allow_anonymous true"]
        server = mosquitto(tmp_path / "broker", *settings, scheme="mqtts")
    with server as broker:
        ada, bob = (Host(n, mqtt(n, broker.url, ca=str(authority.path))) for n in ("ada", "bob"))
        async with serving(ada), serving(bob):
            await in_contact(ada, bob)
            expected = []
            for size in (1, 50, 424):
                for number in range(200):
                    expected.append(b"%d" % number + b"x" * (size - 3))
                    ada.send("bob", expected[-1])
                await eventually(lambda: len(bob.delivered) == len(expected))
            assert bob.delivered == expected


async def test_without_a_certificate_nobody_comes_in(tmp_path: Path, authority: Authority) -> None:
    settings = [*tls_settings(authority, tmp_path), "require_certificate true"]
    with mosquitto(tmp_path / "broker", *settings, scheme="mqtts") as broker:
        ada = Host("ada", mqtt("ada", broker.url, ca=str(authority.path)))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state.startswith("away: TLS: "))
            assert "certificate required" in ada.state


@pytest.mark.parametrize(
    ("days", "known", "words"),
    [
        (-1, True, "certificate has expired"),
        (
            10,
            False,
            "self-signed certificate in certificate chain",
        ),
    ],
)
async def test_a_broker_that_cannot_be_trusted(
    tmp_path: Path, authority: Authority, days: int, known: bool, words: str
) -> None:
    other = Authority(tmp_path / "other", "other")
    settings = [*tls_settings(authority, tmp_path, days=days), "allow_anonymous true"]
    with mosquitto(tmp_path / "broker", *settings, scheme="mqtts") as broker:
        ca = str((authority if known else other).path)
        ada = Host("ada", mqtt("ada", broker.url, ca=ca))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state == f"away: its certificate is refused: {words}")


async def test_tls_where_there_is_none(tmp_path: Path, authority: Authority) -> None:
    with mosquitto(tmp_path / "broker") as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        ada = Host("ada", mqtt("ada", url, ca=str(authority.path), connect_timeout=1.0))
        async with serving(ada, up=False):
            await eventually(lambda: ada.state.startswith("away: "))


async def test_logins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    passwords = password_file(tmp_path / "passwords", "ada", "right")
    for word in ("right", "wrong"):
        (tmp_path / word).touch(0o600)
        (tmp_path / word).write_text(f"{word}\n")
    settings = [f"password_file {passwords}", "allow_anonymous false"]
    with mosquitto(tmp_path / "broker", *settings) as broker, caplog.at_level("INFO"):
        good = mqtt("ada", broker.url, user="ada", password_file=str(tmp_path / "right"))
        async with serving(Host("ada", good)) as ada:
            assert ada.state == "connected"
        for protocol in ("5", "3.1.1"):
            bad = mqtt(
                *("ada", broker.url),
                user="ada",
                password_file=str(tmp_path / "wrong"),
                protocol=protocol,
            )
            caplog.clear()
            async with serving(Host("ada", bad), up=False) as ada:
                await eventually(lambda: ada.state == "away: the broker refused the login")
                await trio.sleep(0.5)
            assert caplog.text.count("refused the login") == 1
        assert "wrong" not in caplog.text


async def test_a_login_that_is_put_right_is_tried_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = password_file(tmp_path / "passwords", "ada", "right")
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("wrong")
    settings = [f"password_file {passwords}", "allow_anonymous false"]
    with mosquitto(tmp_path / "broker", *settings) as broker:
        transport = mqtt("ada", broker.url, user="ada", password_file=str(secret))
        async with serving(Host("ada", transport), up=False) as ada:
            await eventually(lambda: ada.state == "away: the broker refused the login")
            secret.write_text("right")
            secret.chmod(0o644)
            ada.transports[0].reload()
            assert "others" in caplog.records[-1].message  # not taken
            secret.chmod(0o600)
            ada.transports[0].reload()
            await eventually(lambda: ada.state == "connected")
            secret.write_text("wrong")
            ada.transports[0].reload()  # who is in stays in
            await trio.sleep(0.3)
            assert ada.state == "connected"
