"""The examples in the API's docstrings do what they say, each text in a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import Mount

RUN = """
import doctest, importlib, sys
module = importlib.import_module(sys.argv[1])
names = {**vars(module), "os": __import__("os")}
failed, tried = doctest.testmod(module, globs=names, optionflags=doctest.ELLIPSIS)
print(tried)
sys.exit(failed)
"""


@pytest.mark.parametrize("module", ["msfs_fuse.client", "msfs_fuse.async_client"])
def test_examples(mount: Mount, module: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", RUN, module],
        env={**os.environ, "MSFS_MOUNT": str(mount.path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert int(result.stdout) >= 5
