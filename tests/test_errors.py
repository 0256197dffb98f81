"""The errors that are meant for a person, and settings: what a declaration says is checked and read back."""

import importlib
import inspect
import math
import pkgutil
from dataclasses import dataclass
from typing import Literal

import pytest

import tinylm
from tinylm.errors import Config, ConfigError, TinyLMError, require_choice, setting, short


def test_errors_of_the_package_are_value_errors_for_the_reader_and_in_one_module():
    kinds = []
    names = [m.name for m in pkgutil.walk_packages(tinylm.__path__, "tinylm.") if "__main__" not in m.name]
    for name in names:
        members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
        kinds += [kind for _, kind in members if issubclass(kind, Exception) and kind.__module__ == name]
    # What ends an exercise is caught in `course`, and no reader sees it.
    public = [kind for kind in kinds if not kind.__module__.startswith("tinylm.course.")]
    assert len(public) > 5 and issubclass(TinyLMError, ValueError)
    assert {kind.__module__ for kind in public} == {"tinylm.errors"}
    assert [kind.__name__ for kind in public if not issubclass(kind, TinyLMError)] == []


def test_short_keeps_a_sentence_short():
    assert short("abc") == "'abc'"
    assert short("x" * 5000) == f"'{'x' * 59}… (5002 characters)"
    assert short(10**79) == str(10**79)


def test_require_choice_takes_what_is_listed_in_its_own_type():
    for value, allowed in ((1, (True, False)), ("c", ("a", "b")), (["a"], ("a", "b")), (2.0, (1, 2))):
        with pytest.raises(ConfigError, match=f"kind is .*: use {allowed[0]!r} or {allowed[1]!r}"):
            require_choice("kind", value, allowed)
    require_choice("kind", "b", ("a", "b"))


@dataclass(frozen=True)
class Soup(Config):
    bowls: int = 3
    salt: float = setting(0.5, above=0, below=1, use="0.25")
    pepper: float = 0.1
    spoons: int = setting(0, least=0, most=7, shapes=False)
    taste: Literal["mild", "hot"] = setting("mild", shapes=False)


WHOLE, SALT = "it must be an integer", "it must be above 0 and below 1: use 0.25"
HUGE = "a number of more than 80 digits"


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("bowls", 0, "0: it must be at least 1"),
        ("bowls", 2**63, "9223372036854775808: it must be at most 9223372036854775807"),  # int64 ends there
        ("spoons", -1, "-1: it must be at least 0"),
        ("spoons", 10**400, f"{HUGE}: it must be at most 7"),
        ("spoons", -(10**5000), f"{HUGE}: it must be at least 0"),
        ("spoons", 3.0, f"3.0: {WHOLE}"),
        ("spoons", True, f"True: {WHOLE}"),
        ("pepper", -1e-9, "-1e-09: it must be at least 0"),
        *(("salt", value, f"{value!r}: {SALT}") for value in (0, 1.0, math.nan, True, "0.5", None)),
        *(("pepper", value, f"{value!r}: it must be at least 0") for value in (math.nan, math.inf)),
        ("pepper", 10**400, f"{HUGE}: it must be at least 0"),
        ("taste", "sweet", "'sweet': use 'mild' or 'hot'"),
    ],
    ids=lambda given: short(given, 30),
)
def test_setting_outside_its_declaration_is_refused_with_its_limits(name, value, sentence):
    with pytest.raises(ConfigError) as refusal:
        Soup(**{name: value})
    assert str(refusal.value) == f"{name} is {sentence}"


def test_setting_takes_each_limit_that_is_allowed():
    for limits in ({"spoons": 0, "pepper": 0}, {"spoons": 7, "pepper": 1e300, "bowls": 2**63 - 1}):
        assert limits.items() <= Soup(**limits).to_json().items()


def test_config_is_read_back_as_it_was_written_and_only_with_exactly_its_names():
    soup = Soup(bowls=5, taste="hot")
    data = soup.to_json()
    assert Soup.from_json(data) == soup
    with pytest.raises(ConfigError, match=r"lacks or does not know .salt.: use the tinylm that wrote it$"):
        Soup.from_json({name: value for name, value in data.items() if name != "salt"})
    with pytest.raises(ConfigError, match="does not know 'plates'"):
        Soup.from_json(data | {"plates": 3})
    with pytest.raises(ConfigError, match="bowls is '3'"):
        Soup.from_json(data | {"bowls": "3"})


def test_shape_is_every_setting_but_those_declared_otherwise():
    assert Soup(bowls=5, spoons=2).shape() == {"bowls": 5, "salt": 0.5, "pepper": 0.1}
