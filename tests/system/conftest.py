"""What the machines of a module are made in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.boot import in_memory


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with in_memory(tmp_path_factory.mktemp("machines")) as path:
        yield path
