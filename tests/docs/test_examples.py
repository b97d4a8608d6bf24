"""The examples in README.md and docs do what they say, pasted as they are."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from msfs_fuse.config.file import read_configuration
from msfs_fuse.config.options import parse_options
from tests.support.examples import (
    CHECKOUT,
    DOCUMENTS,
    RUNNABLE,
    Block,
    Example,
    all_blocks,
    examples,
    run,
)
from tests.support.processes import is_root

# What a ```console block is for: it changes the machine, so whole machines test it (tests/system).
CHANGES_THE_MACHINE = (
    *("git clone", "export PATH=", "scripts/", "cd "),
    *("systemctl", "apt", "dpkg", "pip", "python3 -m venv", "docker", "kill -HUP"),
)

_LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")


def _of(language: str) -> list[Block]:
    return [block for block in all_blocks() if block.language == language]


def _name(block: Block) -> str:
    return f"{block.document}:{block.line}"


@pytest.mark.skipif(not is_root(), reason="it makes namespaces, and shows what root sees")
@pytest.mark.parametrize("example", [*examples()], ids=str)
def test_example(example: Example, tmp_path: Path) -> None:
    printed = run(example, tmp_path)
    assert example.is_printed(printed), printed


def test_every_block_is_run_or_checked() -> None:
    known = {*RUNNABLE, "output", "console", "toml", "fstab", "mosquitto"}
    known |= {"text"}  # what a person sees, which changes all the time
    known |= {"ini", "crontab", "script"}  # test_recipes, tests/system
    assert {block.language for block in all_blocks()} <= known


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_is_fenced(document: str) -> None:
    outside = re.sub(
        r"^( *)```.*?^\1```$", "", (CHECKOUT / document).read_text(), flags=re.M | re.S
    )
    assert re.findall(r"^ {4,}.*$", outside, re.MULTILINE) == []


@pytest.mark.parametrize("block", _of("console"), ids=_name)
def test_what_is_not_run_changes_the_machine(block: Block) -> None:
    for line in block.text.splitlines():
        assert line.startswith("$ "), line
        command = line.removeprefix("$ ").removeprefix("sudo ")
        assert command.startswith(CHANGES_THE_MACHINE), command
        for script in re.findall(r"scripts/\w+", command):
            assert (CHECKOUT / script).stat().st_mode & 0o111, script
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=10)


@pytest.mark.parametrize("block", _of("toml"), ids=_name)
def test_configuration(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "msfs.toml"
    path.write_text(block.text)
    read = read_configuration(str(path))
    told = tomllib.loads(block.text)
    domains = read.network.domains if read.network else ()
    assert [domain.name for domain in domains] == list(told.get("domain", {}))
    assert list(read.options) == told.get("mount", {}).get("options", [])


@pytest.mark.parametrize("block", _of("fstab"), ids=_name)
def test_fstab(block: Block) -> None:
    for line in block.text.splitlines():
        source, directory, kind, options, *numbers = line.split()
        assert (source, kind, numbers) == ("msfs", "fuse.msfs", ["0", "0"])
        words = [each for each in options.split(",") if not each.startswith("config=")]
        assert parse_options(directory, words).allow_other


@pytest.mark.parametrize("document", [*DOCUMENTS, "ARCHITECTURE.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = CHECKOUT / document
    for target, heading in _LINK.findall(path.read_text()):
        if target.startswith("https://"):
            continue
        to = path.parent / target if target else path
        assert to.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", to.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading.removeprefix("#") in anchors, heading


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text().splitlines()) < 250
