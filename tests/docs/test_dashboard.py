"""Grafana's dashboard asks for what a mount exports: a real Prometheus answers each question."""

import contextlib
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Mount
from tests.support.broker import accepts, free_port, mosquitto, program
from tests.support.examples import CHECKOUT
from tests.support.network import Lan
from tests.support.processes import is_root, wait_until

DASHBOARD = json.loads((CHECKOUT / "docs" / "grafana-dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]

CONFIG = """
[domain.corp]
[[domain.corp.transport]]
url = "udp://"
[[domain.corp.transport]]
url = "{broker}"

[netbios]
interfaces = ["eth0"]
way = "own"
slots = ["BROWSE"]
"""

PROMETHEUS = """
global: {{ scrape_interval: 500ms, scrape_timeout: 500ms }}
scrape_configs:
  - job_name: node
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
"""


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """A mount with every kind of network."""
    if not is_root():
        pytest.skip("needs root for network namespaces")
    lan = Lan(tmp_path)
    try:
        with mosquitto(tmp_path / "broker", scheme="mqtt+unix") as broker:
            host = lan.add("ada")
            text = CONFIG.format(broker=broker.url)
            with host.mounted(config=host.configure(text)) as mount:
                yield mount
    finally:
        lan.close()


@contextlib.contextmanager
def serving(port: int, *command: str | Path) -> Iterator[None]:
    """A server on loopback until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port))
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def scraped(mount: Mount, directory: Path) -> Iterator[str]:
    """A Prometheus that gets the metrics of a mount from a node exporter, as docs say; its URL."""
    texts = directory / "texts"
    texts.mkdir()
    (texts / "msfs.prom").symlink_to(mount / ".msfs/metrics")
    exporter, prometheus = free_port(), free_port()
    config = directory / "prometheus.yml"
    config.write_text(PROMETHEUS.format(port=exporter))
    with (
        serving(
            exporter,
            program("prometheus-node-exporter"),
            f"--web.listen-address=127.0.0.1:{exporter}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={texts}",
        ),
        serving(
            prometheus,
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ),
    ):
        url = f"http://127.0.0.1:{prometheus}"
        wait_until(lambda: is_ready(url))
        yield url


def is_ready(url: str) -> bool:
    """Whether Prometheus takes questions."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=20):
            return True
    except OSError:
        return False


def results(url: str, expression: str) -> Sequence[Any]:
    """What Prometheus says now, as a dashboard of all hosts would ask."""
    for variable, value in (("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s")):
        expression = expression.replace(variable, value)
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=20) as answer:
        found: Sequence[Any] = json.load(answer)["data"]["result"]
    return found


def test_each_question_has_an_answer(mount: Mount, tmp_path: Path) -> None:
    with scraped(mount, tmp_path) as url:
        assert len(EXPRESSIONS) > 30
        wait_until(lambda: bool(results(url, "rate(msfs_messages_written_total[10s])")))
        for expression in EXPRESSIONS:
            # Of what is only shown when there is some, the question without that.
            wait_until(lambda: bool(results(url, expression.removesuffix(" > 0"))))  # noqa: B023
        assert not results(url, "msfs_no_such_thing")
        [up] = results(url, "msfs_network_link_up")
        assert up["metric"]["domain"] == "corp"


def test_every_metric_is_shown_and_counters_as_rates(mount: Mount) -> None:
    text = (mount / ".msfs/metrics").read_text()
    kinds = {
        name: kind
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M)
        if not name.endswith("_created")
    }
    shown = set()
    for expression in EXPRESSIONS:
        for name in re.findall(r"msfs_\w+", expression):
            shown.add(name)
            assert (kinds[name] == "counter") == (f"rate({name}" in expression), expression
    assert shown == {name for name in kinds if name.startswith("msfs_")}


def test_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
