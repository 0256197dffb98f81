"""Weights: a checkpoint is a folder with three files that prove that they belong together.

    model.safetensors   the model's state: every parameter and persistent buffer by name, a tied matrix once
    tokenizer.json      how text becomes ids
    tinylm.json         the config, the notes, the size and sha256 of the other two, and a sha256 of itself

None of them holds code, and no model is filled with weights that fit only partly.
Taught in notebook 04_training."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from tinylm.device import whole
from tinylm.errors import CheckpointError, ConfigError, DataError, short
from tinylm.model.config import ModelConfig
from tinylm.model.cost import parameter_counts
from tinylm.model.gpt import GPT
from tinylm.storage import atomic
from tinylm.storage.atomic import JSON
from tinylm.text.tokenizers import Tokenizer, tokenizer_from_json
from tinylm.training.finite import first_nonfinite

FORMAT, VERSION = "tinylm checkpoint", 3
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"
FIELDS = {"format": (FORMAT,), "version": (VERSION,), "config": dict, "notes": dict, "files": dict}
FIELDS |= {"provenance": dict}


@dataclass(frozen=True)
class Checkpoint:
    """What the three files hold, verified: plain data until the model is asked for.

    Raises CheckpointError if tensors and tokenizer cannot be those of the config. That each tensor fits is
    checked when a model is filled."""

    name: str  # What messages call the folder.
    config: ModelConfig
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    notes: JSON  # What is known of it: the steps that were done, its loss.
    provenance: JSON = field(default_factory=dict)
    """What the run was made of: recipe, data, settings. Empty for a model that no run made."""

    def __post_init__(self) -> None:
        check_size(self.name, self.tensors, self.config)
        found, expected = self.tokenizer.vocab_size, self.config.vocab_size
        if found != expected:
            raise CheckpointError(f"the tokenizer has {found} tokens and its model {expected}: use its own")

    @property
    def corpus(self) -> str:
        """The corpus that it was trained on. Raises CheckpointError if neither run nor notes name one."""
        corpus = self.provenance.get("data", self.notes).get("corpus")
        if not isinstance(corpus, str):
            raise CheckpointError("it names no corpus: train it again, or import it with --corpus")
        return corpus

    @property
    def prompt(self) -> str | None:
        """The question that it was asked in training; None for a model of running text."""
        prompt = self.notes.get("prompt")
        if not isinstance(prompt, str | None):
            raise atomic.damaged(f"{self.name}/{ABOUT}", f"prompt is {short(prompt)}")
        return prompt

    @cached_property
    def model(self) -> GPT:
        """The model in float32, in evaluation mode, on the CPU. It is built on the first use and then kept.

        Raises CheckpointError as `fill`."""
        model = GPT(self.config)
        self.fill(model)
        return model.eval()

    def fill(self, model: GPT) -> None:
        """Copy the weights and buffers into a model.

        Raises CheckpointError naming a tensor that is missing or different, before anything is changed."""
        copy_into(tensors_of(model), self.tensors, self.name)


def save(
    folder: str | Path,
    model: GPT,
    *,
    tokenizer: JSON,
    notes: JSON,
    provenance: JSON | None = None,
    overwrite: bool = True,
) -> None:
    """Write a checkpoint folder in one step. An earlier checkpoint is replaced, and nothing else ever is.

    overwrite: see `atomic.atomic_directory`. Raises CheckpointError as it does, and for a folder with a
    Hugging Face model, whose weights have the same name."""
    if overwrite and Path(folder, "config.json").exists():
        raise CheckpointError(f"{folder} holds a Hugging Face model: name another folder for the checkpoint")
    with atomic.atomic_directory(folder, (WEIGHTS, TOKENIZER, ABOUT), overwrite=overwrite) as draft:
        write(draft, model, tokenizer=tokenizer, notes=notes, provenance=provenance)


def write(folder: Path, model: GPT, *, tokenizer: JSON, notes: JSON, provenance: JSON | None = None) -> JSON:
    """Write the three files into an existing folder and return the digest of tinylm.json.

    The caller makes them appear together. Raises CheckpointError for tensors, a tokenizer or notes that could
    not be read back, and DataError for what is no tokenizer."""
    tensors = tensors_of(model)
    Checkpoint(folder.name, model.config, tensors, tokenizer_from_json(tokenizer), notes)  # they must fit
    files = {TOKENIZER: atomic.write_json(folder / TOKENIZER, tokenizer)}
    files[WEIGHTS] = write_tensors(tensors, folder / WEIGHTS)
    about = {"format": FORMAT, "version": VERSION, "config": model.config.to_json()}
    about |= {"provenance": provenance or {}, "notes": notes, "files": files}
    return atomic.write_json(folder / ABOUT, about, sealed=True)


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict | None = None) -> JSON:
    """Write one .safetensors file and return its digest. Raises CheckpointError for nan and infinity.

    The bytes are made in memory, as safetensors itself does. So they are hashed without being read again, and
    a full disk gives the system's own OSError, whichever version of safetensors is installed."""
    tensors = {name: whole(tensor).cpu() for name, tensor in tensors.items()}
    if bad := first_nonfinite(tensors):
        raise CheckpointError(f"{bad}: numbers that are not finite are not saved, lower the learning rate")
    by_rows = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return atomic.write(path, safetensors.torch.save(by_rows, metadata))


def load(folder: str | Path) -> Checkpoint:
    """Read and verify the three files. Raises CheckpointError naming the one that is not as it was saved."""
    home = atomic.recover_directory(Path(os.path.realpath(folder)))
    about = atomic.read_sealed(home, ABOUT, folder, FIELDS, (WEIGHTS, TOKENIZER))
    for part in ("data", "dataset", "train"):
        if not isinstance(about["provenance"].get(part, {}), dict):
            raise atomic.damaged(f"{folder}/{ABOUT}", f"{part} of its provenance is no object")
    try:
        config = ModelConfig.from_json(about["config"])
        tokenizer = tokenizer_from_json(atomic.read_json(home, TOKENIZER, folder))
    except (ConfigError, DataError, TypeError) as error:
        raise atomic.damaged(str(folder), str(error)) from error
    tensors = read_tensors(home / WEIGHTS, folder)
    return Checkpoint(str(folder), config, tensors, tokenizer, about["notes"], about["provenance"])


def read_tensors(path: Path, shown: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file. Raises CheckpointError for another file, nan, infinity."""
    try:
        tensors = safetensors.torch.load_file(path)
        bad = first_nonfinite(tensors)
    except (safetensors.SafetensorError, NotImplementedError) as error:  # torch cannot test 8-bit floats
        raise atomic.damaged(f"{shown}/{path.name}", str(error)) from error
    if bad:
        raise atomic.damaged(f"{shown}/{path.name}", repr(bad[-80:])[1:-1])
    return tensors


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state by name: its parameters and persistent buffers, without gradients, not copied.

    A tied matrix is there once, under its first name. Buffers that are computed from the config, such as
    rotary tables, are not persistent and not part of the state."""
    names: dict[Tensor, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(tensor, name)
    return {name: tensor.detach() for tensor, name in names.items()}


def check_size(name: str, tensors: dict[str, Tensor], config: ModelConfig) -> None:
    """Raises CheckpointError if a config asks for far more than the file holds, perhaps more than any machine
    can build."""
    held, asked = sum(tensor.numel() for tensor in tensors.values()), parameter_counts(config)["total"]
    if asked > 2 * held or config.n_layer > len(tensors):
        raise atomic.damaged(name, f"it holds {held:,} parameters and its config asks for {asked:,}")


def copy_into(state: dict[str, Tensor], found: dict[str, Tensor], name: str) -> None:
    """Copy tensors into those of the same names. Raises as `check_fit`, before anything is changed."""
    check_fit(state, found, name)
    with torch.no_grad():
        for each, tensor in state.items():
            tensor.copy_(found[each])


def check_fit(state: dict[str, Tensor], found: dict[str, Tensor], name: str) -> None:
    """Raise CheckpointError unless what was found, called `name`, has the names and shapes of a state.

    Floats of any precision fit floats; integers and booleans only fit their own type, and complex numbers fit
    nothing: a cast would make another model of them."""
    have, want = ({each: _described(tensor) for each, tensor in both.items()} for both in (found, state))
    if different := want.items() ^ have.items():
        odd, _ = min(different)
        shapes = f"{have.get(odd)} and its model asks for {want.get(odd)}"
        raise atomic.damaged(name, f"it has {repr(odd[:80])[1:-1]} with shape {shapes}")


def _described(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else f" of {str(tensor.dtype).removeprefix('torch.')}"
    return f"{short(tuple(tensor.shape))}{kind}"
