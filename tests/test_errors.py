"""The errors that are meant for a person, and the checks behind them."""

import importlib
import inspect
import math
import pkgutil

import pytest

import tinylm
from tinylm.errors import ConfigError, TinyLMError, require_choice, require_count, require_number, short


def test_errors_of_the_package_are_value_errors_for_the_reader_and_in_one_module():
    kinds = []
    names = [m.name for m in pkgutil.walk_packages(tinylm.__path__, "tinylm.") if "__main__" not in m.name]
    for name in names:
        members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
        kinds += [kind for _, kind in members if issubclass(kind, Exception) and kind.__module__ == name]
    public = [kind for kind in kinds if not kind.__name__.startswith("_")]
    assert len(public) > 5 and issubclass(TinyLMError, ValueError)
    assert {kind.__module__ for kind in public} == {"tinylm.errors"}
    assert [kind.__name__ for kind in public if not issubclass(kind, TinyLMError)] == []


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (2, "layers is 2: it must be at least 3"),
        (8, "layers is 8: it must be at most 7"),
        (10**400, "layers is a number of more than 80 digits: it must be at most 7"),
        (-(10**5000), "layers is a number of more than 80 digits: it must be at least 3"),
        (3.0, "layers is 3.0: it must be a whole number"),
        (True, "layers is True: it must be a whole number"),
    ],
    ids=lambda given: short(given, 30),
)
def test_require_count_takes_whole_numbers_between_its_bounds(value, sentence):
    with pytest.raises(ConfigError) as refusal:
        require_count("layers", value, least=3, most=7)
    assert str(refusal.value) == sentence
    for allowed in (3, 7):
        require_count("layers", allowed, least=3, most=7)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -1, True, "0.5", None], ids=short)
def test_require_number_takes_finite_numbers_that_fit(value):
    with pytest.raises(ConfigError, match=r"share is .*: it must be at least 0"):
        require_number("share", value, lambda x: x >= 0, "at least 0")
    for allowed in (0, 0.5, 1e300):
        require_number("share", allowed, lambda x: x >= 0, "at least 0")


def test_require_choice_takes_what_is_listed_in_its_own_type():
    for value, allowed in ((1, (True, False)), ("c", ("a", "b")), (["a"], ("a", "b")), (2.0, (1, 2))):
        with pytest.raises(ConfigError, match=f"kind is .*: use {allowed[0]!r} or {allowed[1]!r}"):
            require_choice("kind", value, allowed)
    require_choice("kind", "b", ("a", "b"))


def test_short_keeps_a_sentence_short():
    assert short("abc") == "'abc'"
    assert short("x" * 5000) == f"'{'x' * 59}… (5002 characters)"
    assert short(10**79) == str(10**79)
