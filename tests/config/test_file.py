"""The configuration: what it says, and every mistake named with its file and line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from msfs_fuse.config.file import Configuration, read_configuration, read_settings
from msfs_fuse.config.options import parse_options, split_options
from msfs_fuse.errors import CommandError, Exit
from msfs_fuse.net.fields import FilePath
from msfs_fuse.net.mqtt.settings import BrokerAddress, BrokerSettings
from msfs_fuse.net.settings import DomainSettings, NetworkSettings
from msfs_fuse.net.udp.settings import UdpSettings
from tests.support.broker import Authority
from tests.support.network import admitted
from tests.support.processes import msfs

GOOD = """\
host = "build7"

[domain.corp]
member = "corp/build7.member"
port = 4425
peers = ["build8", "10.0.0.9:4425", "[fd00::9]:1"]
interfaces = ["eth0"]
multicast = false

[domain.lab]
member = "/keys/lab"
"""


def configure(directory: Path, text: str, name: str = "msfs.toml") -> str:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def domains_of(path: str) -> tuple[DomainSettings, ...]:
    network = read_configuration(path).network
    assert network is not None
    return network.domains


def complaint(path: str) -> str:
    with pytest.raises(CommandError) as caught:
        read_configuration(path)
    return str(caught.value)


def test_all_that_it_can_say(tmp_path: Path) -> None:
    udp = UdpSettings(
        port=4425,
        peers=("build8", "10.0.0.9:4425", "[fd00::9]:1"),
        interfaces=("eth0",),
        multicast=False,
    )
    corp = DomainSettings("corp", str(tmp_path / "corp/build7.member"), (udp,))
    lab = DomainSettings("lab", "/keys/lab", (UdpSettings(),))
    configuration = read_configuration(configure(tmp_path, GOOD))
    assert configuration == Configuration("build7", NetworkSettings((corp, lab)))


def test_an_empty_file_is_no_network(tmp_path: Path) -> None:
    assert read_configuration(configure(tmp_path, "")) == Configuration()


def test_drop_ins_come_after_in_order(tmp_path: Path) -> None:
    path = configure(tmp_path, '[domain.a]\nmember = "a"\n')
    for name in ("20-c", "10-b"):
        configure(tmp_path, f'[domain.{name[3:]}]\nmember = "k"', f"msfs.toml.d/{name}.toml")
    configure(tmp_path, "nonsense", "msfs.toml.d/ignored.txt")
    domains = domains_of(path)
    assert [domain.name for domain in domains] == ["a", "b", "c"]
    assert domains[1].member == str(tmp_path / "msfs.toml.d/k")
    bad = configure(tmp_path, '\n[domain.A]\nmember = "k"', "msfs.toml.d/30.toml")
    assert complaint(path) == f"{bad}:2: domain A is there already"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("hots = 1", 1, "unknown key 'hots' (known here: domain, host, mount, netbios)"),
        (GOOD + 'colour = "red"\n', 12, "unknown key 'colour'"),
        (GOOD.replace("port", "ports"), 5, "unknown key 'ports'"),
        ("\n\n[domian.x]\n", 3, "unknown key 'domian'"),
        ('\n[domain."a b"]\nmember = "k"', 2, "'a b' is not a name"),
        ("domain = 3", 1, "domain has to be a table"),
        ("[domain]\nx = 3", 2, "domain.x has to be a table"),
        ("[domain.x]\nmember = 1", 2, "member has to be the path of a file"),
        ("[domain.x]\npresence = 'some'", 2, 'presence has to be "all" or "asked"'),
        ("[domain.x]\nmember = 'k'\nport = 0", 3, "port has to be a number"),
        ("[domain.x]\nmember = 'k'\nport = true", 3, "port has to be a number"),
        ("[domain.x]\nmember = 'k'\npeers = 'a'", 3, "peers has to be a list"),
        ("[domain.x]\nmember = 'k'\npeers = ['a:b']", 3, "peers: not HOST, HOST:PORT"),
        ("[domain.x]\nmember = 'k'\nmulticast = 1", 3, "multicast has to be true or false"),
        ("[domain.x]\nmember = 'k'\ninterfaces = [1]", 3, "interfaces has to be a list"),
        ("[domain]\nx.member = 'k'\nx.port = 'p'", 3, "port has to be a number"),
        ("host = ''", 1, "'' is not a name"),
        ("host = 'a'\nport 3", 2, "Expected '='"),
        ("host = 'a'\n[domain", 2, ""),
    ],
)
def test_mistakes_have_their_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = configure(tmp_path, text)
    message = complaint(path)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message


MQTT = """\
[domain.corp]
member = "corp/build7.member"
transport = [
    "udp://",
    { url = "mqtts://broker.example", ca = "ca.pem", cert = "me.crt", key = "/keys/me" },
    "mqtt://[::1]:1884",
]

[domain.lab]
member = "lab.member"
[[domain.lab.transport]]
url = "mqtt+unix:///run/broker.sock"
user = "build7"
password_file = "secret"
prefix = "a/b"
protocol = "3.1.1"
keepalive = 2.5
connect_timeout = 3
"""


def test_transports(tmp_path: Path) -> None:
    corp, lab = domains_of(configure(tmp_path, MQTT))
    udp, tls, plain = corp.transports
    assert udp == UdpSettings()
    assert isinstance(tls, BrokerSettings)
    assert tls.address == BrokerAddress("mqtts", "broker.example", 8883, "")
    assert (tls.ca, tls.cert, tls.key) == (f"{tmp_path}/ca.pem", f"{tmp_path}/me.crt", "/keys/me")
    assert plain == BrokerSettings(url="mqtt://[::1]:1884")
    assert lab.transports == (
        BrokerSettings(
            url="mqtt+unix:///run/broker.sock",
            prefix="a/b",
            user="build7",
            password_file=FilePath(f"{tmp_path}/secret"),
            protocol="3.1.1",
            keepalive=2.5,
            connect_timeout=3.0,
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("mqtts://broker", "mqtts://me:x@broker", 5, "password_file"),
        ('"mqtt://[::1]:1884"', '"http://a"', 6, "not udp://"),
        ('"mqtt://[::1]:1884"', "3", 3, "each transport has to be a URL"),
        ('"mqtt://[::1]:1884"', '{ ca = "x" }', 3, "each transport has to be a URL"),
        ('"mqtt://[::1]:1884"', '"mqtts://broker.example"', 5, "is there already"),
        ('"mqtt://[::1]:1884"', '{ url = "mqtt://a", cert = "x" }', 6, "cert needs key"),
        ('"mqtt://[::1]:1884"', '{ url = "mqtt://a", ca = "x" }', 6, "is for mqtts:// alone"),
        ('"udp://"', '{ url = "udp://", port = 1 }', 4, "udp:// has no option port"),
        ('ca = "ca.pem"', "ca = 1", 5, "ca has to be the path of a file"),
        ('ca = "ca.pem"', 'cacert = "x"', 5, "unknown key 'cacert'"),
        ('"3.1.1"', '"3"', 16, 'protocol has to be "auto", "5" or "3.1.1"'),
        ('"3.1.1"', "5", 16, "protocol has to be"),
        ('"a/b"', '"a/#"', 15, "prefix has to be letters"),
        ("2.5", "0", 17, "keepalive has to be a number of seconds"),
        ("2.5", "true", 17, "keepalive has to be a number of seconds"),
        ('user = "build7"', "", 14, "password_file needs user"),
        ("[[domain.lab.transport]]", "port = 1\n[[domain.lab.transport]]", 11, "is for"),
        ('url = "mqtt+unix:///run/broker.sock"', "", 11, "each transport has to be a URL"),
    ],
)
def test_mistakes_in_transports_have_their_line(
    tmp_path: Path, old: str, new: str, line: int, words: str
) -> None:
    assert old in MQTT
    path = configure(tmp_path, MQTT.replace(old, new))
    message = complaint(path)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message


@pytest.mark.parametrize("value", ["[]", '"udp://"', "3"])
def test_transport_is_a_list(tmp_path: Path, value: str) -> None:
    path = configure(tmp_path, f"[domain.x]\nmember = 'k'\ntransport = {value}")
    assert complaint(path).startswith(f"{path}:3: transport has to be a list")


@pytest.mark.parametrize("depth", [100, 20_000])
def test_what_is_nested_too_deeply(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "msfs.toml"
    path.write_text("host = " + "[" * depth + "]" * depth)
    with pytest.raises(CommandError) as refused:
        read_configuration(str(path))
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "No such file" in complaint(str(tmp_path / "missing.toml"))


def test_mount_options_make_the_primary_domain() -> None:
    lab = DomainSettings("lab", "/keys/lab")
    settings = parse_options(
        "/mnt",
        split_options(["domain=corp,member=/keys/corp", "host=me"]),
        NetworkSettings((lab,)),
        host="you",
    )
    assert settings.host == "me"
    assert settings.network == NetworkSettings((DomainSettings("corp", "/keys/corp"), lab))
    again = parse_options("/mnt", ["domain=LAB", "member=/other"], NetworkSettings((lab,)))
    assert again.network == NetworkSettings((DomainSettings("LAB", "/other"),))


@pytest.mark.parametrize("words", ["domain=x", "domain=a b,member=x", "host=a/b"])
def test_mount_options_that_make_no_sense(words: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_options("/mnt", split_options([words]))
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("strict,allow_other", ["strict", "allow_other"]),
        (",,strict,", ["strict"]),
        ('config="/etc/a,b.toml",strict', ["config=/etc/a,b.toml", "strict"]),
        ('x-a="1,2"', ["x-a=1,2"]),
    ],
)
def test_options_are_split_as_mount_does(words: str, options: list[str]) -> None:
    assert split_options([words]) == options


def test_a_quote_that_is_not_closed() -> None:
    with pytest.raises(CommandError, match="a quote is not closed"):
        split_options(['config="/etc/a,strict'])


def test_paths_in_options_become_absolute() -> None:
    assert split_options(["member=file"]) == [f"member={os.getcwd()}/file"]


@pytest.mark.parametrize(
    "option",
    [
        "defaults",
        "nofail",
        "_netdev",
        "noauto",
        "x-systemd.automount",
        "X-x",
        "comment=a",
        "user=a",
    ],
)
def test_options_that_are_not_for_us(option: str) -> None:
    assert parse_options("/mnt", [option]) == parse_options("/mnt", [])


@pytest.mark.parametrize("option", ["ro", "remount", "strct", "strict=1", "X-mount.mkdir=9"])
def test_options_that_are_refused_by_name(option: str) -> None:
    with pytest.raises(CommandError, match=option.partition("=")[0]) as caught:
        parse_options("/mnt", [option])
    assert caught.value.code == Exit.USAGE


def test_mount_options_in_the_configuration(tmp_path: Path) -> None:
    path = configure(tmp_path, '[mount]\noptions = ["strict", "max_messages=5"]\n')
    settings = read_settings("/mnt", ["max_messages=6"], path)
    assert settings.strict
    assert settings.limits.max_messages == 6
    assert read_settings("/mnt", [f"config={path}"]).limits.max_messages == 5


@pytest.mark.parametrize("option", ["ro", "host=x", "config=/x", "unknown", "max_bytes=x"])
def test_mount_options_that_the_configuration_may_not_have(tmp_path: Path, option: str) -> None:
    path = configure(tmp_path, f'[mount]\noptions = ["{option}"]\n')
    assert complaint(path).startswith(f"{path}:2: ")


# ---- commands ----


def test_config_check(tmp_path: Path) -> None:
    path = configure(tmp_path, GOOD.replace("/keys/lab", "lab/build7.member"))
    assert "No such file" in msfs("config", "--check", "--config", path).stderr
    member = admitted(tmp_path / "corp", "build7")
    admitted(tmp_path / "lab", "build7")
    done = msfs("config", "--check", "--config", path)
    assert done.returncode == Exit.OK, done.stderr
    assert f"domain corp: host build7, UDP port 4425, {member}" in done.stdout
    assert "sends and receives" in done.stdout
    assert "warning" not in done.stdout
    same = configure(tmp_path, Path(path).read_text() + "port = 4425\n", "same.toml")
    assert "both want UDP port 4425" in msfs("config", "--check", "--config", same).stdout
    member.chmod(0o644)
    assert "chmod 600" in msfs("config", "--check", "--config", path).stderr
    bad = configure(tmp_path, "x = 1", "bad.toml")
    done = msfs("config", "--check", "--config", bad)
    assert (done.returncode, done.stderr) == (
        Exit.USAGE,
        f"msfs: {bad}:1: unknown key 'x' (known here: domain, host, mount, netbios)\n",
    )


def test_config_check_warns_of_a_host_that_is_called_like_a_domain(tmp_path: Path) -> None:
    admitted(tmp_path / "corp", "corp")
    path = configure(tmp_path, '[domain.corp]\nmember = "corp/corp.member"')
    assert "host corp is called like a domain" in msfs("config", "--check", "--config", path).stdout


def test_config_check_looks_at_what_a_broker_needs(tmp_path: Path) -> None:
    member = admitted(tmp_path / "corp", "build7")

    def check(options: str) -> str:
        text = '[domain.corp]\nmember = "corp/build7.member"\n[[domain.corp.transport]]\n'
        done = msfs("config", "--check", "--config", configure(tmp_path, text + options))
        assert (done.returncode == Exit.OK) == (done.stderr == "")
        assert done.stderr.count("\n") <= 1
        return done.stdout or done.stderr

    assert f"domain corp: host build7, mqtt://a, {member}\n" in check('url = "mqtt://a"')
    login = 'url = "mqtt://a"\nuser = "me"\npassword_file = "secret"'
    assert f"password_file {tmp_path}/secret: No such file" in check(login)
    (tmp_path / "secret").touch(0o644)
    assert "group or others may use it (chmod 600" in check(login)
    authority = Authority(tmp_path)
    authority.issue("me")
    tls = 'url = "mqtts://a"\nca = "ca.pem"\ncert = "me.crt"\nkey = "me.key"'
    assert "domain corp: host build7, mqtts://a" in check(tls)
    (tmp_path / "me.key").chmod(0o640)
    assert f"key {tmp_path}/me.key: group or others may use it" in check(tls)
    Authority(tmp_path, "other").issue("me")
    (tmp_path / "me.key").chmod(0o600)
    assert "domain corp: host build7, mqtts://a" in check(tls)
    (tmp_path / "me.crt").write_text("nonsense")
    assert f"cert {tmp_path}/me.crt: TLS: " in check(tls)
    (tmp_path / "ca.pem").unlink()
    assert f"ca {tmp_path}/ca.pem: no such file" in check(tls)


def test_mount_refuses_a_member_file_that_others_can_read(tmp_path: Path) -> None:
    member = admitted(tmp_path / "corp", "ada")
    member.chmod(0o644)
    (tmp_path / "mnt").mkdir()
    for foreground in ([], ["-f"]):
        done = msfs("mount", *foreground, "-o", f"member={member}", tmp_path / "mnt")
        assert done.returncode == Exit.FAILED
        assert done.stderr.startswith(f"msfs: {member}: group or others may use it")
        assert not os.path.ismount(tmp_path / "mnt")


def test_a_network_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    member = admitted(tmp_path / "corp", "ada")
    (tmp_path / "mnt").mkdir()
    code = """
import sys
from msfs_fuse.commands.main import main
from msfs_fuse.net.udp.transport import UdpTransport

def fail(self, family):
    raise PermissionError(13, "Permission denied")

UdpTransport._bind = fail
main()
"""
    done = subprocess.run(
        [
            *(sys.executable, "-c", code, "mount", "-f", "--config", "/dev/null"),
            *("-o", f"member={member}", tmp_path / "mnt"),
        ],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == Exit.FAILED
    assert done.stderr.endswith("\nmsfs: cannot use the network: Permission denied\n")
    assert "Traceback" not in done.stderr
    assert not os.path.ismount(tmp_path / "mnt")
