"""The tests of one machine on another release of Debian: its Python, its libfuse, its programs."""

from pathlib import Path

import pytest

from tests.support.boot import SOURCE, build_tree, copy_checkout, in_tree, layered, why_not

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
]


def test_all_tests_pass(memory: Path) -> None:
    with layered(build_tree("trixie"), memory, "suite") as root:
        copy_checkout(root)
        in_tree(root, f"cd {SOURCE}; scripts/setup test")
        rooms = "tests/core tests/fuse tests/mount tests/daemon"
        suite = f"cd {SOURCE}; .venv/bin/python -m pytest -n 2 -m 'not slow' {rooms}"
        done = in_tree(root, suite, timeout=1200, check=False)
    assert done.returncode == 0, done.stdout
