"""Errors that a person can put right, one kind for each thing to do about it, and the checks behind them.
Each message is one sentence with both numbers and the way out."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

NOT_NEGATIVE = (lambda number: number >= 0, "a number of 0 or more")
BELOW_1 = (lambda number: 0 <= number < 1, "at least 0 and below 1")


class TinyLMError(ValueError):
    """Something a person can put right."""


class ConfigError(TinyLMError):
    """A setting that cannot work, or not with another one: choose another."""


class InputError(TinyLMError):
    """Tokens, logits or a prompt that a function cannot take: hand in something else."""


class DataError(TinyLMError):
    """A text, a tokenizer, shards or batches that cannot be right: fix the data or make it again."""


class DownloadError(DataError):
    """A file did not arrive, or arrived wrong: try again."""


class CorpusMissing(DataError):
    """No source has the corpus. `reason` says why in a few words, `way_out` what to do."""

    def __init__(self, name: str, reason: str, way_out: str) -> None:
        super().__init__(f"{name} is not here ({reason}): {way_out}")
        self.reason, self.way_out = reason, way_out


class CheckpointError(TinyLMError):
    """A checkpoint that is missing, damaged, or belongs to something else: use another one."""


class RunError(TinyLMError):
    """A run, its name or its record with which one cannot begin or go on."""


class Divergence(TinyLMError):
    """Something is not a number any more: train with a lower rate."""


class WorldLost(TinyLMError):
    """Another process of those that train together has ended or is silent: go on from the checkpoint."""


def require_count(name: str, value: Any, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raises ConfigError unless the value is a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {short(value)}: it must be a whole number")
    if not least <= value <= most:
        bound = f"at least {least}" if value < least else f"at most {most}"
        raise ConfigError(f"{name} is {short(value)}: it must be {bound}")


def require_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raises ConfigError unless the value is one of those allowed, and of their type (True is not 1)."""
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ConfigError(f"{name} is {short(value)}: use {' or '.join(repr(choice) for choice in allowed)}")


def require_number(name: str, value: Any, fits: Callable[[float], bool], allowed: str) -> None:
    """Raises ConfigError unless the value is a finite number that fits; `allowed` says which do."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -1e308 < value < 1e308 or not fits(value):
        raise ConfigError(f"{name} is {short(value)}: it must be {allowed}")


def short(value: Any, most: int = 80) -> str:
    """repr(value), cut where it is long: a sentence stays one."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**most:
        return f"a number of more than {most} digits"
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 20]}… ({len(text)} characters)"


class Config:
    """A frozen dataclass of settings checked by their annotations: a Literal or a bool is a choice; an int is
    at least 1, a float at least 0, unless BOUNDS says otherwise. Raises ConfigError for what it cannot be."""

    BOUNDS: ClassVar[dict] = {}  # an int's least and most; what a float must be, asked and in words
    ADDED_LATER: ClassVar[dict] = {}  # settings that earlier versions did not have, with what they were then
    RENAMED: ClassVar[dict] = {}  # what earlier versions called a setting, with its name

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, bounds = getattr(self, name), self.BOUNDS.get(name)
            if kind is int:
                require_count(name, value, *(bounds or ()))
            elif kind is float:
                require_number(name, value, *(bounds or NOT_NEGATIVE))
            elif kind is bool or get_origin(kind) is Literal:
                require_choice(name, value, get_args(kind) or (True, False))

    def to_json(self) -> dict[str, Any]:
        """Every setting by name, ready for json.dump."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of to_json, also for what an earlier version wrote."""
        given = {cls.RENAMED.get(name, name): value for name, value in (cls.ADDED_LATER | data).items()}
        if wrong := given.keys() ^ {field.name for field in fields(cls)}:
            names = short(", ".join(sorted(wrong)))
            raise ConfigError(f"{cls.__name__} lacks or has unknown {names}: use the tinylm that wrote it")
        return cls(**given)
