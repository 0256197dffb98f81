"""Weights: a checkpoint is a folder with three files that prove they belong together.

    model.safetensors   every parameter by name, a tied matrix once
    tokenizer.json      how text becomes ids
    tinylm.json         the config, the notes, the size and sha256 of the other two, and a sha256 of itself

Nothing in them is code, and nothing is loaded that fits only partly. Taught in notebook 04_training."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, DataError, short
from tinylm.model.config import ModelConfig
from tinylm.model.cost import parameter_counts
from tinylm.model.gpt import GPT
from tinylm.storage import atomic
from tinylm.text.tokenizers import Tokenizer, tokenizer_from_json
from tinylm.training.finite import first_nonfinite

FORMAT, VERSION = "tinylm checkpoint", 3  # version 3 is sealed
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"
FIELDS = {"format": (FORMAT,), "version": (1, 2, VERSION), "config": dict, "notes": dict, "files": dict}
FIELDS |= {"provenance": dict}


@dataclass(frozen=True)
class Checkpoint:
    """What the three files hold, verified."""

    name: str  # What the folder is called in sentences.
    config: ModelConfig
    tensors: dict[str, Tensor]
    tokenizer: Tokenizer
    notes: atomic.JSON  # What is known of it: the steps that were done, its loss.
    provenance: atomic.JSON = field(default_factory=dict)
    """What the run was made of: recipe, data, settings. Empty for a model of no run."""

    @property
    def corpus(self) -> str:
        """The corpus that it was trained on. Raises CheckpointError when its notes do not say."""
        corpus = self.provenance.get("data", self.notes).get("corpus")
        if not isinstance(corpus, str):
            raise CheckpointError(
                "the checkpoint names no corpus: train it again, or import it with --corpus"
            )
        return corpus

    @property
    def prompt(self) -> str | None:
        """The question that it was asked while it learned; None for a model of running text."""
        prompt = self.notes.get("prompt")
        if not isinstance(prompt, str | None):
            raise atomic.damaged(f"{self.name}/{ABOUT}", f"prompt is {short(prompt)}")
        return prompt

    @cached_property
    def model(self) -> GPT:
        """The model, built when it is first asked for: in float32, in evaluation mode, on the CPU."""
        model = GPT(self.config)
        self.fill(model)
        return model.eval()

    def fill(self, model: GPT) -> None:
        """Copy the weights into a model.

        Raises CheckpointError, and changes nothing, naming a tensor that has another shape there or none."""
        check_shapes(self.name, self.tensors, model.config)
        tied = {"head.weight": self.tensors["token_embedding.weight"]} if self.config.tied_head else {}
        model.load_state_dict(self.tensors | tied)


def save(
    folder: str | Path,
    model: GPT,
    *,
    tokenizer: atomic.JSON,
    notes: atomic.JSON,
    provenance: atomic.JSON | None = None,
) -> None:
    """Write the checkpoint folder in one step, in place of an earlier checkpoint but of nothing else."""
    with atomic.atomic_directory(Path(folder).resolve(), {WEIGHTS, TOKENIZER, ABOUT}) as beside:
        write(beside, model, tokenizer=tokenizer, notes=notes, provenance=provenance)


def write(
    folder: Path,
    model: GPT,
    *,
    tokenizer: atomic.JSON,
    notes: atomic.JSON,
    provenance: atomic.JSON | None = None,
) -> atomic.JSON:
    """Write the three files into a folder that is there; the caller sees to it that they appear together.

    Returns the digest of tinylm.json. Raises CheckpointError for what could not be read back."""
    if not isinstance(model, GPT):
        raise CheckpointError(f"only a GPT is saved, not a {type(model).__name__}: pass the GPT inside it")
    tokenizer_of(model.config, tokenizer)
    files = {TOKENIZER: atomic.write_json(folder / TOKENIZER, tokenizer)}
    files[WEIGHTS] = write_tensors(tensors_of(model), folder / WEIGHTS)
    about = {"format": FORMAT, "version": VERSION, "config": model.config.to_json()}
    about |= {"provenance": provenance or {}, "notes": notes, "files": files}
    return atomic.write_json(folder / ABOUT, about, sealed=True)


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict | None = None) -> atomic.JSON:
    """Write one .safetensors file; returns its digest. Raises CheckpointError for what is not finite.

    The bytes are made in memory, as safetensors itself does: so they are hashed without being read again, and
    a full disk is the system's own OSError, whatever version of safetensors is here."""
    if bad := first_nonfinite(tensors):
        raise CheckpointError(f"{bad}: numbers that are not finite are not saved, train with a lower rate")
    by_rows = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return atomic.write(path, safetensors.torch.save(by_rows, metadata))


def load(folder: str | Path) -> Checkpoint:
    """Read and verify the three files. Raises CheckpointError naming the one that is not as it was saved."""
    home = atomic.recover_directory(Path(folder).resolve())
    about = atomic.read_json(home, ABOUT, folder, FIELDS)
    for name in (WEIGHTS, TOKENIZER):
        atomic.verify(home, name, about["files"].get(name), folder)
    try:
        config = ModelConfig.from_json(about["config"])
    except (ConfigError, TypeError) as error:
        raise atomic.damaged(f"{folder}/{ABOUT}", str(error)) from error
    tokenizer = tokenizer_of(config, atomic.read_json(home, TOKENIZER, folder))
    tensors = read_tensors(home / WEIGHTS, folder)
    check_shapes(str(folder), tensors, config)
    return Checkpoint(str(folder), config, tensors, tokenizer, about["notes"], about["provenance"])


def read_tensors(path: Path, shown: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises CheckpointError when it is none, or not finite."""
    try:
        tensors = safetensors.torch.load_file(path)
        bad = first_nonfinite(tensors)
    except (safetensors.SafetensorError, NotImplementedError) as error:  # of 8 bits: nobody asks them
        raise atomic.damaged(f"{shown}/{path.name}", str(error)) from error
    if bad:
        raise atomic.damaged(f"{shown}/{path.name}", repr(bad[-80:])[1:-1])
    return tensors


def tensors_of(model: GPT) -> dict[str, Tensor]:
    """What a checkpoint of this model holds: its state, a tied matrix under its first name."""
    state = model.state_dict()
    return {name: state[name] for name, _ in model.named_parameters()}


def check_shapes(name: str, tensors: dict[str, Tensor], config: ModelConfig) -> None:
    """Raises CheckpointError, naming a tensor, unless a model of this config has just these shapes."""
    held, asked = sum(tensor.numel() for tensor in tensors.values()), parameter_counts(config)["total"]
    if asked > 2 * held or config.n_layer > len(tensors):  # a model that perhaps no machine can build
        raise atomic.damaged(name, f"it holds {held:,} parameters and its config asks for {asked:,}")
    with torch.device("meta"):  # shapes without numbers
        both = tensors, tensors_of(GPT(config))
    found, wanted = ({name: tuple(tensor.shape) for name, tensor in it.items()} for it in both)
    if different := wanted.items() ^ found.items():
        odd, _ = min(different)
        shapes = f"{found.get(odd)} and its model asks for {wanted.get(odd)}"
        raise atomic.damaged(name, f"it has {repr(odd[:80])[1:-1]} with shape {shapes}")


def tokenizer_of(config: ModelConfig, data: atomic.JSON) -> Tokenizer:
    """The model's tokenizer. Raises CheckpointError where it is none, or has not as many tokens."""
    try:
        tokenizer = tokenizer_from_json(data)
        found = f"{tokenizer.vocab_size} tokens"
    except DataError as error:
        found = str(error)
    if found != (expected := f"{config.vocab_size} tokens"):
        raise CheckpointError(f"the tokenizer is not the model's, which has {expected}: {found}")
    return tokenizer
