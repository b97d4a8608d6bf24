"""Run the sections that were asked for, and report."""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from fairness import Fairness
from growth import Growth
from handshakes import Handshakes
from lab import Lab, Missing
from netbios import Netbios
from network import Network
from report import Table, save_json, save_plot
from rivals import Rivals
from scale import Scale
from sections import Sections, tell
from shared import Shared


def first_line(*command: str | Path) -> str:
    """What a program says about its version, whatever its exit status."""
    with contextlib.suppress(OSError, IndexError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.stdout.splitlines()[0].strip()
    return "missing"


def version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    virtual = any(line.startswith("flags") and " hypervisor" in line for line in lines)
    kind = " (virtual)" if virtual else ""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = models[0] if models else platform.machine()
    return f"{model}{kind}, {os.cpu_count()} cores, {gigabytes:.0f} GiB"


def header(lab: Lab, args: argparse.Namespace) -> dict[str, str]:
    """What a reader must know before believing a figure."""
    packages = ", ".join(f"{name} {version_of(name)}" for name in ("pyfuse3", "trio"))
    return {
        "machine": machine(),
        "kernel": platform.release(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "pinned": f"clients to core {lab.client_core}, servers to core {lab.server_core}",
        "rounds": f"{args.rounds}{', quick' if args.quick else ''}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "msfs": first_line(args.msfs, "--version"),
        "Python": f"{platform.python_version()}, {packages}",
        "libfuse": first_line("pkg-config", "--modversion", "fuse3"),
    }


def rivals_versions() -> dict[str, str]:
    """After the sections, which have installed what was missing."""
    return {
        "Wine": first_line("wine", "--version"),
        "redis": first_line("redis-server", "--version").partition(" sha")[0],
        "mosquitto": first_line("mosquitto", "-h"),
    }


def run(args: argparse.Namespace) -> int:
    tables: list[Table] = []
    with Lab(args.msfs, not args.no_install) as lab:
        head = header(lab, args)
        show(head)
        if lab.client_core == lab.server_core:
            tell("only one core: clients and servers take turns on it, and every ratio is another")
        rivals = Rivals(lab)
        duel = Sections(lab, rivals, args.rounds, args.quick)
        growth = Growth(lab, rivals, args.rounds, args.quick)
        network = Network(lab, rivals, args.rounds, args.quick, args.earlier)
        shared = Shared(lab, rivals, args.rounds, args.quick)
        fairness = Fairness(lab, rivals, args.rounds, args.quick, args.earlier)
        many = args.hosts, args.presence, args.carrier, args.at_once
        scale = Scale(lab, rivals, args.quick, *many)
        sections = {
            "core": shared.core,
            "write": duel.write,
            "pingpong": duel.pingpong,
            "saturated": shared.saturated,
            "fairness": fairness.tables,
            "sizes": shared.sizes,
            "listing": shared.listing,
            "shell": duel.shell,
            "idle": duel.idle,
            "growth": growth.tables,
            "network": network.tables,
            "handshakes": Handshakes(lab, rivals, args.quick).tables,
            "scale": scale.tables,
            "netbios": Netbios(lab).tables,
        }
        for name in args.sections:
            tell(name)
            try:
                found = sections[name]()
            except Missing as error:  # one section's trouble is not the next one's
                found = [Table(name, f"{name}: missing: {error}", ())]
            for table in found:
                print(f"\n{table.text()}", flush=True)
            tables += found
    print()
    show(versions := rivals_versions())
    head |= versions
    if args.json:
        save_json(args.json, head, tables)
    if args.plot:
        save_plot(args.plot, head, tables)
    return 0


def show(facts: dict[str, str]) -> None:
    for name, value in facts.items():
        print(f"{name + ':':13}{value}", flush=True)
