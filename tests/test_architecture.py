"""The walls of the house: what each room of `msfs_fuse` may import, and nothing else.

A room is a package, or a module that stands by itself. Imports point one way: commands, daemon,
then files and network side by side, then the core.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import msfs_fuse

ROOT = Path(msfs_fuse.__file__).parent

# By room: the rooms, and what is not of the standard library, that it may import beside itself.
# `__init__` is the version and the Python interface.
MAY_IMPORT = {
    "errors": set(),
    "hostinfo": set(),
    "core": set(),
    "mounts": {"core", "errors"},
    "client": {"core", "errors", "mounts"},
    "async_client": {"client", "anyio"},
    "__init__": {"async_client", "client"},
    "fuse": {"__init__", "core", "prometheus_client", "pyfuse3", "trio"},
    "net": {"core", "cryptography", "msgspec", "paho", "trio"},
    "config": {"core", "errors", "net", "msgspec"},
    "daemon": {"config", "core", "errors", "fuse", "hostinfo", "mounts", "net", "trio"},
    "programs": {"core"},
    "commands": {
        "__init__",
        "async_client",
        "client",
        "config",
        "core",
        "daemon",
        "errors",
        "fuse",
        "hostinfo",
        "mounts",
        "net",
        "programs",
        "anyio",
        "jeepney",
        "prompt_toolkit",
        "pyfuse3",  # doctor looks whether it loads
    },
    "__main__": {"commands"},
}

# The core has no clock, no files, no event loop: of the standard library it uses these alone.
# `os` is for the constants of open(2) and for the names of errors.
CORE_MAY_IMPORT = {
    "collections",
    "bisect",
    "dataclasses",
    "enum",
    "errno",
    "heapq",
    "itertools",
    "os",
    "re",
    "stat",
    "string",
    "typing",
}

# Of the network these have no event loop, socket or clock.
PURE = (
    "fields",
    "settings",
    "mqtt/settings",
    "mqtt/topics",
    "netbios/claims",
    "netbios/counts",
    "netbios/datagram",
    "netbios/lookups",
    "netbios/mailslot",
    "netbios/names",
    "netbios/nameservice",
    "netbios/recent",
    "netbios/settings",
    "netbios/unexpected",
    *(f"trust/{path.stem}" for path in sorted((ROOT / "net/trust").glob("*.py"))),
    "udp/settings",
)


def imports_of(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it, by full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str:
    """The room, or the package from elsewhere, that an imported name is in."""
    first, *below = name.split(".")
    if first != "msfs_fuse":
        return first
    path = ROOT / below[0] if below else ROOT
    return below[0] if below and (path.is_dir() or path.with_suffix(".py").exists()) else "__init__"


def files() -> Iterator[tuple[str, Path]]:
    """Each file with its room."""
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).parts[0].removesuffix(".py"), path


@pytest.mark.parametrize(
    ("room", "path"), [pytest.param(*each, id=str(each[1].relative_to(ROOT))) for each in files()]
)
def test_each_file_imports_what_its_room_may(room: str, path: Path) -> None:
    rooms = {room_of(name) for name in imports_of(path)}
    allowed = MAY_IMPORT[room] | {room}
    allowed |= CORE_MAY_IMPORT if room == "core" else sys.stdlib_module_names
    assert rooms <= allowed, rooms - allowed


@pytest.mark.parametrize("module", PURE)
def test_what_is_pure(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports_of(ROOT / "net" / f"{module}.py")}
    assert not packages & {"trio", "socket", "time", "logging"}
