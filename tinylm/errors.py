"""Errors that a person can put right, one class for each thing to do about it, and the settings they guard.

Each message is one sentence: what is wrong, with both numbers, and what to type instead. A setting is
declared once, as a field of a `Config`: its type, its default, its limits and, for a model, whether the
weights depend on it. The command line, checkpoints and error messages all read it there."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

# The limits of a setting: when a value keeps each, and what a message calls it.
HOLDS = {"above": operator.gt, "least": operator.ge, "most": operator.le, "below": operator.lt}
WORDS = {"above": "above", "least": "at least", "most": "at most", "below": "below"}


class TinyLMError(ValueError):
    """Base class of everything that a person can put right."""


class ConfigError(TinyLMError):
    """A setting that cannot work, by itself or beside another one: choose another value."""


class InputError(TinyLMError):
    """Tokens, logits or a prompt that a function cannot take: pass something else."""


class DataError(TinyLMError):
    """A text, a tokenizer, shards or batches that cannot be right: fix the data or prepare it again."""


class DownloadError(DataError):
    """A file did not arrive, or arrived damaged: try again."""


class CorpusMissing(DataError):
    """No source has the corpus. `reason` says why in a few words, `way_out` says what to do."""

    def __init__(self, name: str, reason: str, way_out: str) -> None:
        super().__init__(f"{name} is not here ({reason}): {way_out}")
        self.reason, self.way_out = reason, way_out


class CheckpointError(TinyLMError):
    """A checkpoint that is missing, is damaged, or belongs to something else: use another one."""


class RunError(TinyLMError):
    """A run, its name or its record that cannot be started or resumed."""


class Divergence(TinyLMError):
    """A loss, gradient or weight that is no longer a finite number: train with a lower learning rate."""


class WorldLost(TinyLMError):
    """Another process of the same training has ended or does not answer: resume from the checkpoint."""


def require_count(name: str, value: Any, least: int = 1, most: int = 2**63 - 1) -> None:
    """Raise ConfigError unless the value is an integer from `least` to `most` (what int64 holds)."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is {short(value)}: it must be an integer")
    require_number(name, value, {"least": least} if value < least else {"most": most})


def require_number(name: str, value: Any, limits: Mapping[str, float], use: str = "") -> None:
    """Raise ConfigError unless the value is a finite number within the limits; the message suggests `use`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_finite = is_number and abs(value) < 1e308  # a larger integer would not become a float
    if not is_finite or not all(HOLDS[each](value, limit) for each, limit in limits.items()):
        allowed = " and ".join(f"{WORDS[each]} {limit}" for each, limit in limits.items())
        raise ConfigError(f"{name} is {short(value)}: it must be {allowed}{f': use {use}' if use else ''}")


def require_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise ConfigError unless the value is one of those allowed, and of their type (True is not 1)."""
    if type(value) is not type(allowed[0]) or value not in allowed:
        raise ConfigError(f"{name} is {short(value)}: use {' or '.join(repr(choice) for choice in allowed)}")


def short(value: Any, most: int = 80) -> str:
    """Return repr(value), shortened if it is long: an error message is one sentence on one line."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**most:
        return f"a number of more than {most} digits"  # Python refuses to print more than 4,300 of them
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 20]}… ({len(text)} characters)"


def setting(default: Any, *, use: str = "", shapes: bool = True, later: bool = False, **limits: float) -> Any:
    """Declare a setting of a `Config` that needs more than a default.

    The limits `least` and `most` are allowed values, `above` and `below` are not. `use` is what the error
    message suggests, for example "0.8, or 0 for greedy". `shapes=False` is for a setting of a model on which
    the weights do not depend, such as dropout. `later=True` is for a setting that older files don't have: its
    default must be what they did, and only another value is written."""
    return field(default=default, metadata={"limits": limits, "use": use, "shapes": shapes, "later": later})


class Config:
    """Base class of a frozen dataclass of settings, which checks each value against its field's declaration.

    Without limits of its own an int must be at least 1 and a float at least 0. A text must be in UTF-8. A
    bool or a Literal must be one of its choices. Raises ConfigError for any other value."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for declared in fields(self):
            name, about = declared.name, declared.metadata
            kind, value, limits = kinds[name], getattr(self, name), about.get("limits", {})
            if kind is int:
                require_count(name, value, limits.get("least", 1), limits.get("most", 2**63 - 1))
            elif kind is float:
                require_number(name, value, limits or {"least": 0}, about.get("use", ""))
            elif kind is str:  # the name of a file may be none in UTF-8, and no record could hold it
                if not isinstance(value, str) or value.encode("utf-8", "replace").decode() != value:
                    raise ConfigError(f"{name} is {short(value)}: it must be a text in UTF-8")
            elif kind is bool or get_origin(kind) is Literal:
                require_choice(name, value, get_args(kind) or (True, False))

    def shape(self) -> dict[str, Any]:
        """Return the settings that the weights depend on, by name: all that are not declared `shapes=False`.

        Two models can use the same weights only if these are equal."""
        return {it.name: getattr(self, it.name) for it in fields(self) if it.metadata.get("shapes", True)}

    def to_json(self) -> dict[str, Any]:
        """Return the settings by name, ready for json.dump: all but defaults of those declared `later`."""
        later = {it.name: it.default for it in fields(self) if it.metadata.get("later")}
        return {name: value for name, value in asdict(self).items() if later.get(name) != value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Build the config that `to_json` wrote. Raises ConfigError for an unknown or a missing name."""
        later = {it.name for it in fields(cls) if it.metadata.get("later")}
        if wrong := (data.keys() ^ {it.name for it in fields(cls)}) - later:
            names = short(", ".join(sorted(wrong)))
            raise ConfigError(f"{cls.__name__} lacks or does not know {names}: use the tinylm that wrote it")
        return cls(**data)
