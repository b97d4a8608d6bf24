"""`.msfs`: every number is shown, whoever counts it."""

from msfs_fuse.core.metrics import Metric
from tests.support.fuse import Kernel, OtherHosts


async def test_metrics_are_rendered_by_their_own_description() -> None:
    router = OtherHosts()
    labels = [{"reason": "stale"}, {"reason": "own"}]
    router.numbers = [
        Metric("network_dropped", "Datagrams dropped.", "counter", 3, labels[0]),
        Metric("network_dropped", "Datagrams dropped.", "counter", 4, labels[1]),
        Metric("never_heard_of", "What nobody has heard of.", "gauge", 1.5),
    ]
    kernel = Kernel(router=router)
    server = await kernel.create("slot")
    kernel.write(server, b"abc")
    lines = (await kernel.contents(".msfs/metrics")).splitlines()
    for line in (
        "# HELP msfs_messages Messages queued.",
        "# TYPE msfs_messages gauge",
        "msfs_messages 1.0",
        "# TYPE msfs_bytes_written_total counter",
        "msfs_bytes_written_total 3.0",
        'msfs_network_dropped_total{reason="stale"} 3.0',
        'msfs_network_dropped_total{reason="own"} 4.0',
        "# HELP msfs_never_heard_of What nobody has heard of.",
        "msfs_never_heard_of 1.5",
    ):
        assert line in lines, line


async def test_status_has_the_numbers_and_the_limits() -> None:
    kernel = Kernel(max_waiting=7)
    kernel.read(await kernel.create("slot"))
    status = dict(
        line.split(": ", 1) for line in (await kernel.contents(".msfs/status")).splitlines()
    )
    assert status["mountpoint"] == "/mnt"
    assert status["host"] == "here"
    assert (status["slots"], status["waiting"], status["max_waiting"]) == ("1", "1", "7")
    assert status["slots_created"] == "1"
