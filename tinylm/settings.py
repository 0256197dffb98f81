"""Settings: each one is declared once, as a field of a frozen dataclass, and checked when it gets a value.

The declaration holds everything that is true of a setting: its type, its default, its limits and, for a
model, whether the weights depend on it. The command line, checkpoints and error messages read it there."""

import operator
from dataclasses import asdict, field, fields
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from tinylm.errors import ConfigError, require_choice, require_count, short

Limits = dict[str, float]  # a word of HOLDS with its number, such as {"at least": 0, "below": 1}
HOLDS = {"above": operator.gt, "at least": operator.ge, "at most": operator.le, "below": operator.lt}


def setting(
    default: Any,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    use: str = "",
    shapes: bool = True,
) -> Any:
    """Declare a setting of a `Config` that needs more than a default.

    The limits `least` and `most` are allowed values, `above` and `below` are not. `use` is what the error
    message suggests, for example "0.8, or 0 for greedy". `shapes=False` is for a setting of a model on which
    the weights do not depend, such as dropout."""
    limits = {"above": above, "at least": least, "at most": most, "below": below}
    given = {words: limit for words, limit in limits.items() if limit is not None}
    return field(default=default, metadata={"limits": given, "use": use, "shapes": shapes})


class Config:
    """Base class of a frozen dataclass of settings, which checks each value against its field's declaration.

    Without limits of its own an int must be at least 1 and a float at least 0. A bool or a Literal must be
    one of its choices. Raises ConfigError for any other value."""

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for declared in fields(self):
            name, about = declared.name, declared.metadata
            kind, value, limits = kinds[name], getattr(self, name), about.get("limits")
            if kind is int:
                limits = limits or {}
                require_count(name, value, limits.get("at least", 1), limits.get("at most"))
            elif kind is float:
                require_number(name, value, limits or {"at least": 0}, about.get("use", ""))
            elif kind is bool or get_origin(kind) is Literal:
                require_choice(name, value, get_args(kind) or (True, False))

    def shape(self) -> dict[str, Any]:
        """Return the settings that the weights depend on, by name: all that are not declared `shapes=False`.

        Two models can use the same weights only if these are equal."""
        return {it.name: getattr(self, it.name) for it in fields(self) if it.metadata.get("shapes", True)}

    def to_json(self) -> dict[str, Any]:
        """Return every setting by name, ready for json.dump."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Build the config that `to_json` wrote. Raises ConfigError for an unknown or a missing name."""
        if wrong := data.keys() ^ {it.name for it in fields(cls)}:
            names = short(", ".join(sorted(wrong)))
            raise ConfigError(f"{cls.__name__} lacks or does not know {names}: use the tinylm that wrote it")
        return cls(**data)


def require_number(name: str, value: Any, limits: Limits, use: str = "") -> None:
    """Raise ConfigError unless the value is a finite number within the limits; the message suggests `use`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # 1e308 comes first: an integer that is larger cannot be compared with a float
    fits = is_number and abs(value) < 1e308 and all(HOLDS[word](value, limits[word]) for word in limits)
    if not fits:
        allowed = " and ".join(f"{word} {limit:,}" for word, limit in limits.items())
        raise ConfigError(f"{name} is {short(value)}: it must be {allowed}{f': use {use}' if use else ''}")
