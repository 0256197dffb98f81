"""Tests of tinylm.runs.names."""

import pytest

from tinylm.errors import ConfigError
from tinylm.runs.names import LONGEST, validate_name


@pytest.mark.parametrize("name", ["one", "my-first_run.2", "_", "7", "x" * LONGEST, "console", "a..b"])
def test_a_plain_name_comes_back_as_it_is_and_can_be_a_file(name, tmp_path):
    assert validate_name(name, "a run") == name
    (tmp_path / f"{name}.jsonl").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.jsonl"]


ELSEWHERE = ["", ".", "..", "../x", "a/b", "a\\b", "a b", "-x", ".x", "x.", "a\0", "\n", "né"]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(ConfigError, match="cannot name a run: use letters"):
        validate_name(name, "a run")


@pytest.mark.parametrize("name", ["con", "NUL", "com1", "aux.txt"])
def test_a_name_that_windows_keeps_for_itself_is_refused_everywhere(name):
    with pytest.raises(ConfigError, match="on Windows it is a device"):
        validate_name(name, "a run")


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000])
def test_a_name_that_is_too_long_is_refused_in_a_short_sentence(name):
    with pytest.raises(ConfigError) as refused:
        validate_name(name, "a record")
    assert len(str(refused.value)) < 150 and "cannot name a record" in str(refused.value)


def test_a_long_name_is_told_its_length_and_the_most_there_may_be():
    with pytest.raises(ConfigError, match=f"a name of {LONGEST + 1} characters .* use {LONGEST} or fewer"):
        validate_name("y" * (LONGEST + 1), "a run")
