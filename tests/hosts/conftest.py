"""Hosts on a bridge for the tests of this room."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.network import Host, Lan


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory that every user may walk into; pytest's own is for one user."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan]:
    lan = Lan(tmp_path)
    try:
        yield lan
    finally:
        lan.close()


@pytest.fixture
def hosts(lan: Lan) -> list[Host]:
    return [lan.add(name) for name in ("ada", "bob", "cyd")]
