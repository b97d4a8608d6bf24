"""A minute of everything at once, by scripts/soak; and that its verdict can be a bad one."""

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.boot import CHECKOUT

SOAK = CHECKOUT / "scripts" / "soak"


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("soak", str(SOAK))
    spec = importlib.util.spec_from_loader("soak", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module  # its dataclasses look there
    loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_of_everything() -> None:
    msfs = Path(sys.executable).with_name("msfs")
    command = [sys.executable, str(SOAK), "--seconds", "60", "--msfs", str(msfs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    figures, verdict = done.stdout.splitlines()[-2:]
    assert verdict == "held"
    assert int(figures.split()[2]) > 1000
    print(f"\n{figures}")


def test_the_verdict(soak: ModuleType) -> None:
    flat = [(float(second), 30 << 20) for second in range(60)]
    assert soak.failure(soak.Figures(messages=5, lost=2, readers_killed=2), flat) is None
    assert "lost" in soak.failure(soak.Figures(lost=3, readers_killed=2), flat)
    assert "torn" in soak.failure(soak.Figures(torn=1), flat)
    assert "out of order" in soak.failure(soak.Figures(twice_or_out_of_order=1), flat)
    growing = [(second, size + int(second) * (1 << 20)) for second, size in flat]
    assert "memory grew by 29.0 MiB" in soak.failure(soak.Figures(), growing)


def test_what_comes_wrong_is_counted(soak: ModuleType) -> None:
    pair = object.__new__(soak.Pair)
    pair.pipe, reports = os.pipe()
    pair._last = {1: 0, 2: 0}
    figures = soak.Figures()
    told = [(1, 1, True), (1, 2, True), (2, 1, True), (1, 4, True), (1, 4, True), (2, 2, False)]
    for each in told:
        os.write(reports, soak.REPORT.pack(*each))
    pair.take_reports(figures)
    assert figures.messages == len(told)
    assert (figures.lost, figures.twice_or_out_of_order, figures.torn) == (1, 1, 1)
    for descriptor in (pair.pipe, reports):
        os.close(descriptor)


@pytest.mark.parametrize("size", [0, 1, 2000])
def test_a_message_that_is_cut_is_not_whole(soak: ModuleType, size: int) -> None:
    filling = bytes(range(256)) * 8
    head = soak.HEAD.pack(1, 1, size, soak.zlib.crc32(filling[:size]))
    assert soak.is_whole(head + filling[:size])
    assert not soak.is_whole((head + filling[:size])[:-1])
    assert not soak.is_whole((head + filling[:size])[1:])
