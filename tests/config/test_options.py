"""The table of mount options, and what is made from it."""

import dataclasses
import re

import pytest

from msfs_fuse.config.options import (
    KERNEL_OPTIONS,
    OPTIONS,
    Option,
    changed_but_not_reloadable,
    completions,
    help_text,
    parse_options,
)
from msfs_fuse.config.settings import Settings
from msfs_fuse.core.limits import Limits
from msfs_fuse.errors import CommandError

# A value for each placeholder that is not the default.
VALUES = {"N": "77", "NAME": "other", "FILE": "/some/file", "[=MODE]": "0700"}


def given(name: str) -> list[str]:
    """What to write to have that option, and what it needs beside it."""
    option = next(each for each in OPTIONS if each.name == name)
    words = [name if option.value is None else f"{name}={VALUES[option.value]}"]
    other = {"domain": "member"}.get(name)
    return words + ([f"{other}=x"] if other else [])


def test_each_limit_is_an_option() -> None:
    limits = {option.name for option in OPTIONS if option.setting == "limits"}
    assert limits == {each.name for each in dataclasses.fields(Limits)}


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_option_changes_its_setting_and_no_other(option: Option) -> None:
    before, after = parse_options("/m", []), parse_options("/m", given(option.name))
    changed = {
        each.name
        for each in dataclasses.fields(Settings)
        if getattr(before, each.name) != getattr(after, each.name)
    }
    assert changed == ({option.setting} if option.setting else set())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_each_default_is_the_one_of_the_settings(option: Option) -> None:
    if option.value == "N":
        written = parse_options("/m", [f"{option.name}={option.default}"])
        assert written == parse_options("/m", [])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_reload_takes_what_the_table_says(option: Option) -> None:
    before, after = parse_options("/m", []), parse_options("/m", given(option.name))
    later = changed_but_not_reloadable(before, after)
    if option.reloadable or not option.setting:
        assert later == []
    else:
        assert later == ["network" if option.setting == "network" else option.name]


def test_the_help_has_each_option_and_fits_a_terminal() -> None:
    lines = help_text().splitlines()
    assert max(map(len, lines)) <= 100
    told = re.findall(r"^  (\S+)  ", help_text(), re.MULTILINE)
    assert told[:-1] == [option.usage for option in OPTIONS]
    assert "  max_bytes=N             bytes queued in the mount (256m)" in lines


def test_completion_has_each_option() -> None:
    words = completions()
    assert {"strict", "max_bytes=", "domain=", "X-mount.mkdir"} <= set(words)
    assert len(words) == len(OPTIONS) + len(KERNEL_OPTIONS)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_a_value_that_is_missing_or_too_much_is_told_by_name(option: Option) -> None:
    wrong = f"{option.name}=1" if option.value is None else f"{option.name}="
    if option.value == "[=MODE]":
        wrong = f"{option.name}=9"
    with pytest.raises(CommandError, match=f"^option {re.escape(option.name)}: "):
        parse_options("/m", [wrong])
