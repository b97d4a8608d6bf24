"""Imports point one way: command line, service, then files and network, then the core."""

import ast
from pathlib import Path

import pytest

import msfs_fuse

ROOT = Path(msfs_fuse.__file__).parent

FORBIDDEN = {
    "core": ("fuse", "net", "commands", "config", "daemon"),
    "fuse": ("net", "commands", "config", "daemon"),
    "net": ("fuse", "commands", "config", "daemon"),
}

OUTSIDE = {"core": {"trio", "pyfuse3", "socket", "time"}, "fuse": set(), "net": {"pyfuse3"}}

# Of the network these have no event loop, socket or clock.
PURE = (
    "datagram",
    "domain",
    "fields",
    "presence",
    "replay",
    "settings",
    "ways",
    "mqtt/settings",
    "mqtt/topics",
    "udp/settings",
)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        imported = imports_of(path)
        for name in FORBIDDEN[package]:
            whole = f"msfs_fuse.{name}"
            assert not [each for each in imported if f"{each}.".startswith(f"{whole}.")], path
        assert not imported & OUTSIDE[package], path


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure(module: str) -> None:
    imported = imports_of(ROOT / "net" / f"{module}.py")
    assert not imported & {"trio", "socket", "time", "logging"}
