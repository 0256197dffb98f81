"""Weights: a checkpoint is a folder with three files that prove they belong together.

    model.safetensors   every parameter by name, a tied matrix once
    tokenizer.json      how text becomes ids, handed in as data
    tinylm.json         the config, the notes, and the size and sha256 of the other two

Refuses to know optimisers and text, to run code out of a file, and to load anything that fits only partly.
Taught in notebook 04_training."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tinylm.errors import TinyLMError
from tinylm.model.config import ConfigError, ModelConfig
from tinylm.model.gpt import GPT

FORMAT, VERSION = "tinylm checkpoint", 2
ADDED = {1: {"residual_init": "scaled"}, 2: {}}  # what a checkpoint of each version does not say yet
WEIGHTS, TOKENIZER, ABOUT = "model.safetensors", "tokenizer.json", "tinylm.json"


class CheckpointError(TinyLMError):
    """A checkpoint that is missing, altered, or does not fit together."""


@dataclass(frozen=True)
class Checkpoint:
    """What load returns."""

    model: GPT
    config: ModelConfig
    tokenizer: dict[str, Any]
    notes: dict[str, Any]


def save(folder: str | Path, model: GPT, *, tokenizer: dict[str, Any], notes: dict[str, Any]) -> None:
    """Write the checkpoint folder, replacing an earlier checkpoint of that name but nothing else.

    All is written and flushed to disk beside `folder`, then renamed. Whenever this is cut short, `load` finds
    either the earlier checkpoint or the new one, whole."""
    home = Path(folder).resolve()
    if not isinstance(model, GPT):
        raise CheckpointError(
            f"a checkpoint holds a GPT, not a {type(model).__name__}: pass the GPT inside it"
        )
    _check_vocabulary(tokenizer, model.config)
    _check_replaceable(home, folder)
    about = {"format": FORMAT, "version": VERSION, "config": model.config.to_json(), "notes": notes}
    texts = {TOKENIZER: _json_text("the tokenizer", tokenizer), ABOUT: _json_text("the notes", about)}

    home.parent.mkdir(parents=True, exist_ok=True)
    beside = home.with_name(f".{home.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        save_file(_tensors(model), beside / WEIGHTS)
        (beside / TOKENIZER).write_text(texts[TOKENIZER], encoding="utf-8")
        (beside / WEIGHTS).chmod((beside / TOKENIZER).stat().st_mode)  # safetensors lets nobody else read it
        about["files"] = {name: _fingerprint(beside / name) for name in (WEIGHTS, TOKENIZER)}
        (beside / ABOUT).write_text(_json_text("the notes", about), encoding="utf-8")
        for path in (*beside.iterdir(), beside):
            _flush(path)
        _replace(home, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def load(folder: str | Path, *, device: torch.device | str = "cpu") -> Checkpoint:
    """Read and verify a checkpoint. The model comes back in float32, in evaluation mode, on `device`.

    Raises CheckpointError naming the file or the tensor that is missing, altered or does not fit."""
    home = Path(folder).resolve()
    if not home.exists():
        home = _earlier(home)  # save was cut short between its two renames
    about = _read_json(home, ABOUT, folder)
    version = about.get("version")
    if about.get("format") != FORMAT or version not in ADDED or isinstance(version, bool):
        raise CheckpointError(
            f"{folder}/{ABOUT} is {about.get('format')!r} version {version!r}, "
            f"this tinylm reads {FORMAT!r} version 1 to {VERSION}: use the tinylm that wrote it"
        )
    if missing := [name for name in ("config", "notes", "files") if not isinstance(about.get(name), dict)]:
        raise CheckpointError(f"{folder}/{ABOUT} has no {missing[0]}: copy or download the checkpoint again")
    for name in (WEIGHTS, TOKENIZER):
        _verify(home, name, about["files"].get(name, {}), folder)
    try:
        config = ModelConfig.from_json(ADDED[version] | about["config"])
        tensors = load_file(home / WEIGHTS)
    except (ConfigError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from error
    tokenizer = _read_json(home, TOKENIZER, folder)
    _check_vocabulary(tokenizer, config)

    model = GPT(config)
    _check_fit(tensors, _tensors(model), folder)
    if config.tied_head:
        tensors["head.weight"] = tensors["token_embedding.weight"]
    model.load_state_dict(tensors, strict=True)
    return Checkpoint(model.to(device).eval(), config, tokenizer, about["notes"])


def _tensors(model: GPT) -> dict[str, Tensor]:
    """What a checkpoint of this model holds: its state, without the second name of a tied matrix."""
    tied = {"head.weight"} if model.config.tied_head else set()
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name not in tied}


def _check_fit(found: dict[str, Tensor], expected: dict[str, Tensor], folder: str | Path) -> None:
    for name, tensor in expected.items():
        if name not in found:
            raise CheckpointError(f"{folder} lacks the tensor {name} that its config asks for")
        if found[name].shape != tensor.shape:
            shapes = f"{tuple(found[name].shape)}, its config asks for {tuple(tensor.shape)}"
            raise CheckpointError(f"{folder} holds the tensor {name} with shape {shapes}")
    if unexpected := sorted(found.keys() - expected.keys()):
        raise CheckpointError(f"{folder} holds the tensor {unexpected[0]}, for which its config has no place")


def _check_vocabulary(tokenizer: dict[str, Any], config: ModelConfig) -> None:
    size = len(tokenizer["characters"]) if "characters" in tokenizer else tokenizer.get("vocab_size")
    if size != config.vocab_size:
        raise CheckpointError(
            f"the tokenizer has {size} tokens and the model has vocab_size {config.vocab_size}: "
            "they do not belong together"
        )


def _check_replaceable(home: Path, folder: str | Path) -> None:
    names = (
        {path.name for path in home.iterdir()} if home.is_dir() else {home.name} if home.exists() else set()
    )
    strangers = {name for name in names if not name.startswith(".")} - {WEIGHTS, TOKENIZER, ABOUT}
    if strangers:
        raise CheckpointError(
            f"{folder} holds {min(strangers)}, which is no part of a checkpoint: save into another folder"
        )


def _verify(home: Path, name: str, expected: dict[str, Any], folder: str | Path) -> None:
    found = _fingerprint(home / name) if (home / name).exists() else {}
    if found != expected:
        raise CheckpointError(
            f"{folder}/{name} is not the file that was saved: expected {_in_words(expected)}, "
            f"found {_in_words(found)}; copy or download the checkpoint again"
        )


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _in_words(fingerprint: dict[str, Any]) -> str:
    if not fingerprint:
        return "no file"
    return f"{fingerprint.get('bytes')} bytes with sha256 {fingerprint.get('sha256')}"


def _json_text(what: str, data: dict[str, Any]) -> str:
    try:
        return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{what} cannot be written as JSON: {error}") from error


def _read_json(home: Path, name: str, folder: str | Path) -> dict[str, Any]:
    try:
        data = json.loads((home / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {folder}: {name} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{folder}/{name} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{folder}/{name} holds a {type(data).__name__}, not an object")
    return data


def _earlier(home: Path) -> Path:
    return home.with_name(f".{home.name}.earlier")


def _replace(home: Path, new: Path) -> None:
    """Put `new` where `home` is. Folders cannot be swapped in one step: the earlier one steps aside."""
    earlier = _earlier(home)
    if home.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        home.rename(earlier)
    try:
        new.rename(home)
    except OSError:
        if earlier.exists():
            earlier.rename(home)
        raise
    _flush(home.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
