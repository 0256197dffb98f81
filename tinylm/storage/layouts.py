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


@dataclass(frozen=True)
class Row:
    """What one of our tensors is called there.

    Names leave open {layer} and {kind} (weight or bias). Where theirs leaves open {expert}, ours is the stack
    of all experts."""

    ours: str
    theirs: list[str]  # One name, or those of the parts that make up ours, in this order.
    transposed: bool = False  # Whether matrices are stored as (in, out). torch's Linear has (out, in).
    sizes: str | None = None  # For parts that ours joins: the attribute of ModelConfig with their sizes.


@dataclass(frozen=True)
class Layout:
    """How transformers stores one kind of model: its names for our tensors and settings."""

    kind: str  # config.json's model_type.
    architecture: str  # The class in transformers that opens it.
    rows: list[Row]
    settings: Mapping[str, str]  # config.json's name -> ModelConfig's. Of several, the last said is read.
    fixed: Mapping[str, list]  # What config.json must say: the values allowed. The first is the default.
    prefix: str = ""  # Begins most names. A file may leave it out.
    ignored: str = r"(?!)"  # A pattern for names in a file that are no weights, such as masks.
    reads: Mapping[str, str] = field(default_factory=dict)  # For properties in settings: what to set.
    unsaid: Mapping[str, Any] = field(default_factory=dict)  # What it means if a setting is left out.
    ours: Mapping[str, Any] = field(default_factory=dict)  # Settings of ours that differ from our defaults.
    least: Mapping[str, int] = field(default_factory=dict)  # Settings that must not be lower than this.
    published: Mapping[str, str] = field(default_factory=dict)  # Hub name -> the commit that is downloaded.

    def differences(self, config: ModelConfig) -> list[str]:
        """Return each setting in which a model does not fit the layout: "position 'rotary'"."""
        asked = ModelConfig(**self.ours).shape()
        said = {*self.settings.values(), *self.reads.values()}
        mine = {name: v for name, v in config.shape().items() if name not in said}
        found = {name: value for name, value in mine.items() if value != asked[name]}
        found |= {n: getattr(config, n) for n, least in self.least.items() if getattr(config, n) < least}
        return [f"{name} {value!r}" for name, value in found.items()]

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

    def find(self, name: str) -> tuple[Row, dict[str, str]]:
        """Return the row of one of our tensors, and what its name has in the places that the row leaves open.

        Raises CheckpointError for a tensor without a row."""
        for row in self.rows:
            if found := _pattern(row.ours).fullmatch(name):
                return row, found.groupdict()
        raise CheckpointError(f"a {self.kind} model has no place for {short(name)}: export another model")

    def to_theirs(self, tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
        """Return a model's tensors under their names, split and transposed as they are stored there.

        All of them are views: a copy into one of them changes the model's tensor."""
        made = {}
        for name, tensor in tensors.items():
            row, places = self.find(name)
            names, parts = row.theirs, [tensor]
            if row.sizes:
                parts = tensor.split(getattr(config, row.sizes))
            elif "{expert}" in names[0]:
                names, parts = names * len(tensor), tensor.unbind()
            for n, (theirs, part) in enumerate(zip(names, parts, strict=True)):
                made[theirs.format(**places, expert=n)] = part.t() if row.transposed else part
        return made

    def to_ours(self, tensors: dict[str, Tensor], config: ModelConfig, shown: str) -> dict[str, Tensor]:
        """Return their tensors under our names: the inverse of `to_theirs`.

        Raises CheckpointError unless they are exactly what `to_theirs` makes, in names, shapes and types."""
        weights.check_size(shown, tensors, config)
        with torch.device("meta"):  # shapes without numbers
            state = weights.tensors_of(GPT(config))
        ours = {name: torch.empty_like(tensor, device="cpu") for name, tensor in state.items()}
        weights.copy_into(self.to_theirs(ours, config), tensors, shown)
        return ours

    def settings_of(self, config: ModelConfig) -> dict[str, Any]:
        """Return what config.json says of a model."""
        about = {"architectures": [self.architecture], "torch_dtype": "float32", "model_type": self.kind}
        about |= {name: allowed[0] for name, allowed in self.fixed.items()}
        return about | {name: getattr(config, ours) for name, ours in self.settings.items()}

    def config_of(self, theirs: Mapping[str, Any]) -> ModelConfig:
        """Return our config for their config.json. Raises ConfigError naming a setting that does not fit."""
        theirs = {**theirs, **(theirs.get("rope_parameters") or {})}  # as transformers 5 writes them
        said = {**self.unsaid, **theirs}
        for name, allowed in {"quantization_config": [None], "rope_scaling": [None], **self.fixed}.items():
            if (value := said.get(name, allowed[0])) not in allowed:
                raise ConfigError(f"{name} is {short(value)}")
        known = ModelConfig.__dataclass_fields__  # the others are properties, such as mlp_hidden
        made = {ours: said.get(name) or 0 for name, ours in self.reads.items()}
        for name, ours in self.settings.items():
            if ours in known:
                made[ours] = said.get(name, made.get(ours))
        config = ModelConfig(**self.ours, **made)
        for name, ours in self.settings.items():
            if said.get(name) not in (None, getattr(config, ours)) and ours != "dropout":  # changes no result
                raise ConfigError(f"{name} is {short(said[name])}")
        return config


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of a name in a row: a place that it leaves open matches all between two dots."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^.]+)", re.escape(name)))


def read_layouts(text: str) -> dict[str, Layout]:
    """Return the layouts in a TOML text, by their kind."""
    made = {}
    for kind, told in tomllib.loads(text).items():
        rows = [Row(**row) for row in told.pop("rows")]
        made[kind] = Layout(kind=kind, rows=rows, **told)
    return made


LAYOUTS = read_layouts(Path(__file__).with_name("layouts.toml").read_text(encoding="utf-8"))
GPT2 = LAYOUTS["gpt2"]
