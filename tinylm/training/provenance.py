"""Provenance: what must not change within a run, compared when it is resumed and between its processes.

It is one nested dictionary of plain JSON, such as {"train": {"seed": 5}, "batches": ...}. The text is part
of it by its fingerprint, so a resumed run is known to read the same text (`check_unchanged`).
Taught in notebook 04_training."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from tinylm.batch import TrainingBatches
from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.training.config import TrainConfig
from tinylm.training.ddp import World


def default_provenance(model: nn.Module, config: TrainConfig, batches: TrainingBatches) -> dict[str, Any]:
    """Return the settings of model, training and batches: the provenance of a run that was given none."""
    shape = model.config.to_json() if hasattr(model, "config") else type(model).__name__
    return {"model": shape, "train": config.to_json(), "batches": batches.fingerprint()}


def check_unchanged(what: str, saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise CheckpointError if two provenances differ. It names every field that does, with both values.

    what: the name of what was saved, such as "step_00000004"."""
    if found := ", ".join(differences(saved, now)):
        remedy = "resume with what was saved, or start a new run"
        raise CheckpointError(f"{what} belongs to another run: {found}; {remedy}")


def check_same(world: World, mine: dict[str, Any]) -> None:
    """Raise ConfigError on every process if any of them differs from rank 0, naming each field that does."""
    everyone = [world.broadcast(mine, rank) for rank in range(world.size)]
    for rank, theirs in enumerate(everyone):
        words = f"is {{}} on rank 0 and {{}} on rank {rank}"
        if found := ", ".join(differences(everyone[0], theirs, words=words)):
            remedy = "give every machine the same files, and start all processes again"
            raise ConfigError(f"the processes would not train the same: {found}; {remedy}")


def fingerprint(model: nn.Module) -> str:
    """Return the sha256 of the parameters and persistent buffers. It takes 0.3 seconds for GPT-2's 500 MB."""
    sha256, seen = hashlib.sha256(), set()
    for tensor in model.state_dict(keep_vars=True).values():
        if id(tensor) not in seen:  # a tied matrix has two names
            seen.add(id(tensor))
            sha256.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy())
    return sha256.hexdigest()


def differences(saved: Any, now: Any, name: str = "", words: str = "was {} and is {}") -> Iterator[str]:
    """Yield each field in which two nested dictionaries differ, such as "train.seed was 5 and is 6"."""
    if isinstance(saved, dict) and isinstance(now, dict):
        for key in saved | now:
            inner = f"{name}.{key}" if name else str(key)
            yield from differences(saved.get(key, "not there"), now.get(key, "not there"), inner, words)
    elif saved != now:
        both = (
            value if isinstance(value, str) and len(value) <= 80 else short(value) for value in (saved, now)
        )
        sentence = f"{name} {words.format(*both)}"
        yield re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", sentence)  # 12 letters of a sha256 will do
