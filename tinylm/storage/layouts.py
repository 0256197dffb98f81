"""Layouts: how transformers stores each kind of model, as data, and the conversion both ways.

layouts.toml is the data. Another kind of model needs a table there and no code. Used in notebook 12_gpt2."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage import weights

PLACES = {"layer": r"\d+", "expert": r"\d+", "kind": "weight|bias"}  # what a name in a layout may leave open


@dataclass(frozen=True)
class Row:
    """What one of our tensors is called there.

    Names leave open {layer}, {kind} (weight or bias) and, for the parts of a stack, {expert}."""

    ours: str
    theirs: list[str]  # One name, or those of the parts that make up ours, in this order.
    transposed: bool = False  # Whether matrices are stored as (in, out). torch's Linear has (out, in).
    sizes: str | None = None  # For parts that ours joins: the attribute of ModelConfig with their sizes.
    experts: str | None = None  # For parts that ours stacks: the attribute of ModelConfig with their number.


@dataclass(frozen=True)
class Layout:
    """How transformers stores one kind of model: its names for our tensors and settings."""

    kind: str  # config.json's model_type.
    architecture: str  # The class in transformers that opens it.
    rows: list[Row]
    settings: Mapping[str, str]  # config.json's name -> ModelConfig's. Of several, the last is read.
    fixed: Mapping[str, list]  # What config.json must say: the values allowed. The first is the default.
    prefix: str = ""  # Begins most names. A file may leave it out.
    ignored: str = r"(?!)"  # A pattern for names in a file that are no weights, such as masks.
    checked: Mapping[str, str] = field(default_factory=dict)  # Like settings, but not written.
    unsaid: Mapping[str, Any] = field(default_factory=dict)  # What it means if a setting is left out.
    ours: Mapping[str, Any] = field(default_factory=dict)  # Settings of ours that differ from our defaults.
    free: list[str] = field(default_factory=list)  # Settings of ours that change nothing in such a model.
    published: Mapping[str, str] = field(default_factory=dict)  # Hub name -> the commit that is downloaded.

    def differences(self, config: ModelConfig) -> list[str]:
        """Return each setting in which a model does not fit the layout: "position 'rotary'"."""
        asked = ModelConfig().to_json() | dict(self.ours)
        told = {*self.settings.values(), *self.free}
        mine = {name: value for name, value in config.to_json().items() if name not in told}
        return [f"{name} {value!r}" for name, value in mine.items() if value != asked[name]]

    def our_name(self, name: str) -> str | None:
        """Return our name for one of theirs, or None for a name that is not in the layout."""
        for row in self.rows:
            for theirs in row.theirs:
                if found := _pattern(theirs).fullmatch(name):
                    return row.ours.format(**found.groupdict())
        return None

    def in_full(self, name: str) -> str:
        """Return one of their names with the prefix, if it was left out."""
        full = self.prefix + name
        return full if self.our_name(full) else name

    def find(self, name: str, config: ModelConfig) -> tuple[Row, list[str]]:
        """Return the row of one of our tensors and its names there. Raises CheckpointError if it has none."""
        for row in self.rows:
            if found := _pattern(row.ours).fullmatch(name):
                count = getattr(config, row.experts) if row.experts else 1
                parts = [(theirs, expert) for theirs in row.theirs for expert in range(count)]
                return row, [theirs.format(**found.groupdict(), expert=expert) for theirs, expert in parts]
        raise CheckpointError(f"a {self.kind} model has no place for {short(name)}: export another model")

    def to_theirs(self, tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """Return a model's tensors under their names, split and transposed as they are stored there."""
        made = {}
        for name, tensor in tensors.items():
            row, names = self.find(name, config)
            sizes = getattr(config, row.sizes) if row.sizes else len(tensor)
            parts = tensor.unbind() if row.experts else tensor.split(sizes)
            for theirs, part in zip(names, parts, strict=True):
                made[theirs] = part.t() if row.transposed else part
        return made

    def to_ours(self, tensors: Mapping[str, Tensor], config: ModelConfig, shown: str) -> dict[str, Tensor]:
        """Return their tensors under our names: the inverse of `to_theirs`.

        Raises CheckpointError unless they are exactly what `to_theirs` makes, in names, shapes and types."""
        weights.check_size(shown, tensors, config)
        with torch.device("meta"):  # shapes without numbers
            state = weights.tensors_of(GPT(config))
        weights.check_tensors(shown, tensors, self.to_theirs(state, config))
        made = {}
        for name in state:
            row, names = self.find(name, config)
            parts = [tensors[theirs].t() if row.transposed else tensors[theirs] for theirs in names]
            if row.experts:
                made[name] = torch.stack(parts)
            else:
                made[name] = torch.cat(parts) if row.sizes else parts[0]
        return made

    def settings_of(self, config: ModelConfig) -> dict[str, Any]:
        """Return what config.json says of a model."""
        about = {"architectures": [self.architecture], "torch_dtype": "float32", "model_type": self.kind}
        about |= {name: allowed[0] for name, allowed in self.fixed.items()}
        return about | {name: getattr(config, ours) for name, ours in self.settings.items()}

    def config_of(self, theirs: Mapping[str, Any]) -> ModelConfig:
        """Return our config for their config.json. Raises ConfigError naming a setting that does not fit."""
        for name, allowed in {"quantization_config": [None], **self.fixed}.items():
            if (value := theirs.get(name, allowed[0])) not in allowed:
                raise ConfigError(f"{name} is {short(value)}")
        said = {**self.unsaid, **theirs}
        settings = {ours: said.get(name) for name, ours in self.settings.items()}
        made = {ours: value for ours, value in settings.items() if ours in ModelConfig.__dataclass_fields__}
        config = ModelConfig(**self.ours, **made)
        for name, ours in {**self.settings, **self.checked}.items():
            is_said = said.get(name) is not None and ours != "dropout"  # which changes no result
            if is_said and said[name] != getattr(config, ours):
                raise ConfigError(f"{name} is {short(said[name])}")
        return config


@cache
def _pattern(name: str) -> re.Pattern[str]:
    pattern = re.escape(name)
    for place, allowed in PLACES.items():
        pattern = pattern.replace(rf"\{{{place}\}}", f"(?P<{place}>{allowed})")
    return re.compile(pattern)


def read_layouts(text: str) -> dict[str, Layout]:
    """Return the layouts in a TOML text, by their kind."""
    made = {}
    for kind, told in tomllib.loads(text).items():
        rows = [Row(**row) for row in told.pop("rows")]
        made[kind] = Layout(kind=kind, rows=rows, **told)
    return made


LAYOUTS = read_layouts(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8"))
GPT2 = LAYOUTS["gpt2"]
