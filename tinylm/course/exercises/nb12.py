"""Exercises of notebook 12_gpt2."""

import itertools
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from tinylm.course import diagrams, style
from tinylm.course.checks import Check
from tinylm.course.exercises import nb03
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.text import corpora, documents

lesson = Lesson(__file__)
lesson.names["gpt2_name"] = nb03.gpt2_name.given
PARTS = ("token table", "positions", "attention", "MLPs", "norms")


def counted(check: Check, answer: Any, part: str, *sizes: int) -> Any:
    """Return the count of one part."""
    found = call(check, answer, *sizes)
    check.that(isinstance(found, dict), "return a dictionary of five counts")
    odd = ", ".join(sorted(map(str, found.keys() ^ {*PARTS})))
    check.that(not odd, f"the names are {', '.join(PARTS)}: yours differ in {odd}")
    return found[part]


parameters = lesson.exercise(
    "parameters",
    run=counted,
    cases=[(part, *sizes) for sizes in ((211, 31, 4, 22), (50257, 1024, 12, 768)) for part in PARTS],
)


def to_scale(counts: dict[str, int]) -> None:
    """Draw the counts as a strip to scale, each part with its name where there is room."""
    total, left = sum(counts.values()), 0.0
    alt = f"A strip, to scale, of the parameters of {', '.join(counts)}."
    with diagrams.paper(alt, 9.6, 1.2, title="GPT-2's parameters, to scale") as axes:
        for (name, n), colour in zip(counts.items(), style.COLOURS, strict=False):
            wide = 9.6 * n / total  # inches
            axes.bar(left, 1.2, wide, align="edge", color=style.tint(colour), edgecolor=style.INK)
            said = f"{name}\n{n / 1e6:.1f} million\n{n / total:.0%}" if wide > 1 else ""
            diagrams.write(axes, left + wide / 2, 0.6, said, ha="center")
            left += wide


def openai_tensors(layers: tuple[int, ...], C: int, V: int, T: int) -> dict[str, torch.Tensor]:
    """Return tensors under OpenAI's names, all different, with the masks that the file also holds."""
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C), "ln_f.weight": (C,), "ln_f.bias": (C,)}
    for n in layers:
        parts = {"ln_1": (C,), "ln_2": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C)}
        parts |= {"mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}
        for part, shape in parts.items():
            shapes |= {f"h.{n}.{part}.weight": shape, f"h.{n}.{part}.bias": shape[-1:]}
        shapes |= {f"h.{n}.attn.bias": (1, 1, T, T), f"h.{n}.attn.masked_bias": (1,)}
    return {name: random(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}


def translated(check: Check, answer: Any, theirs: dict[str, torch.Tensor], part: str) -> Any:
    """Return the tensors whose names have this part in them, or all names."""
    ours = call(check, answer, theirs)
    check.that(isinstance(ours, dict), "return a dictionary: names and tensors")
    return {name: ours[name] for name in ours if re.search(part, name)} if part else sorted(map(str, ours))


translate = lesson.exercise(
    "translate",
    run=translated,
    cases=lambda: [
        (openai_tensors(layers, C, V, T), part)
        for layers, C, V, T in (((0, 1), 6, 11, 7), ((0, 11), 4, 4, 5))
        for part in ("", "embedding|head", "qkv", "attn", ".")
    ],
)


ORDER = ("embedding", "b.attn", "b.mlp", "a.attn", "a.mlp", "head")


def outputs(first: int, change: Callable[[torch.Tensor], torch.Tensor], noise: float) -> dict[str, Any]:
    """Return the outputs of six parts, (2, 3, 4) each, with noise, and changed from the part `first` on."""
    found = [random(2, 3, 4, seed=n) + noise * random(2, 3, 4, seed=9).clamp(-2, 2) for n in range(6)]
    return {part: change(found[n]) if n >= first else found[n] for n, part in enumerate(ORDER)}


def one(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a change that adds this to one number of a tensor."""
    return lambda output: output + number * (torch.arange(24).view(2, 3, 4) == 5)


def parted(check: Check, answer: Any, mine: dict[str, Any], theirs: dict[str, Any]) -> Any:
    """Return the name that is found, or None where all parts agree."""
    found = check.run(lambda *parts: (answer(*parts),), mine, theirs)[0]  # None is an answer here
    found = found.tolist() if isinstance(found, torch.Tensor) else found
    # A wrong name is compared. What is no name at all cannot be right where nothing differs.
    return "no part's name" if isinstance(found, str | bool) and found not in [*mine] else found


first_wrong = lesson.exercise(
    "first_wrong",
    run=parted,
    cases=lambda: (
        [
            (outputs(first, change, noise), outputs(6, one(0), 0.0))
            for first, change, noise in (
                (2, one(0.5), 0.0),
                (3, one(-0.3), 3e-4),
                (5, one(0.015), 3e-4),
                (1, lambda output: output.flip(0), 0.0),
                (4, one(math.nan), 3e-4),
                (0, one(2.0), 0.0),
                (6, one(0), 3e-4),
                (6, one(0), 0.0),
            )
        ]
        + [(outputs(3, one(math.nan), 0.0), outputs(3, one(math.nan), 0.0))]
    ),
)


def suspects(right: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """Return four copies of a GPT's weights, each with one fault that no shape and no error shows."""
    q, k, v = right["blocks.1.attn.qkv.weight"].chunk(3)
    table = right["position_embedding.weight"]
    faults = {
        "A": {"blocks.1.attn.qkv.weight": torch.cat([k, q, v])},
        "B": {"position_embedding.weight": table.roll(1, 0)},
        "C": {"final_norm.weight": right["blocks.0.attn_norm.weight"]},
        "D": {"blocks.2.mlp.down.bias": torch.zeros_like(right["blocks.2.mlp.down.bias"])},
    }
    return {name: right | fault for name, fault in faults.items()}


@torch.no_grad()
def part_outputs(model: nn.Module, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the output of each part that has no parts of its own, by name, in the order of computation."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: found.update({name: output}))
        for name, part in model.named_modules()
        if not [*part.children()]
    ]
    model(tokens)
    for hook in hooks:
        hook.remove()
    return found


def written(check: Check, answer: Any, theirs: dict[str, torch.Tensor], n_head: int, T: int) -> Any:
    """Return the logits of the model that is loaded."""
    model = call(check, answer, theirs, n_head)
    check.that(callable(model), "return the model itself, something to call with tokens")
    V = len(theirs["wte.weight"])
    logits = check.run(model, torch.arange(2 * T).view(2, T) * 5 % V)
    return logits.detach() if isinstance(logits, torch.Tensor) else logits


load = lesson.exercise(
    "load",
    run=written,
    cases=lambda: [
        ({name: w / 2 for name, w in openai_tensors((*range(L),), C, 13, 7).items()}, n_head, T)
        for L, C, n_head, T in ((1, 8, 2, 7), (2, 12, 3, 7), (3, 8, 1, 4), (12, 4, 2, 7))
    ],
    rtol=1e-3,
    atol=1e-4,
)


def pages(name: str, characters: int, instead: list[str]) -> list[str]:
    """Return the first documents of a corpus that is on this machine, and otherwise `instead`."""
    if not corpora.locate(name):  # nothing is downloaded here
        print(f"{name} is not here: toyworld is used instead")
        return instead
    parts, files = corpora.corpus_here(name).parts["train"], corpora.fetch(name)
    texts = (text for part in parts for text in documents.read(files[part]))
    return [*documents.beginning(texts, characters)]


def killed_in(document: int, encode: Callable[[str], list[int]]) -> Callable[[str], list[int]]:
    """Return `encode`, which raises KeyboardInterrupt when it is called for this document, counted from 1."""
    calls = itertools.count(1)

    def until(text: str) -> list[int]:
        if next(calls) == document:
            raise KeyboardInterrupt
        return encode(text)

    return until


class Killed(Exception):
    """What stops a run in the middle of a shard."""


PIECES = [["abc", "de"], ["fghij"], ["k", "lm", "nop", "q"], ["rs", "tuvwx"]]
END = 50256


def letters(document: str) -> list[int]:
    """Return an id for each letter, up to some ten thousand, which one byte cannot hold."""
    return [401 * (ord(letter) - 96) for letter in document]


def shards(check: Check, answer: Any, event: Any, part: str) -> Any:
    """Return one part of what is seen of a run that is killed at this event, and of the next run.

    event: the first "rename", or the number of a document; 0 for a run that is not killed."""
    asked: list[str] = []

    def encode(document: str) -> list[int]:
        asked.append(document)
        if len(asked) == event:
            raise Killed("the machine was switched off")
        return letters(document)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, seen = Path(name), {}
        Path(folder, "notes.txt").touch()  # which is no shard
        rename = mock.Mock(wraps=os.replace, side_effect=Killed if event == "rename" else None)
        try:
            with mock.patch.multiple(os, replace=rename, rename=rename):
                paths = call(check, answer, PIECES, encode, END, folder)
        except Killed:
            whole, n = sorted(path.name for path in folder.glob("*.bin")), len(asked)
            paths = call(check, answer, PIECES, encode, END, folder)
            finished = [text for piece in PIECES[: len(whole)] for text in piece]
            seen = {"whole": whole, "again": [text for text in finished if text in asked[n:]]}
        except OSError as error:
            raise type(error)(str(error).replace(name, "folder")) from None
        check.that(isinstance(paths, list | tuple), "return the list of all paths")
        seen["paths"] = [str(path).replace(name, "folder") for path in paths]
        seen["files"] = {path.name: ids(path.read_bytes()) for path in sorted(folder.glob("*.bin"))}
        seen["left"] = sorted(path.name for path in folder.glob("*") if path.suffix != ".bin")
    return seen.get(part, "no kill was noticed")


def ids(data: bytes) -> str:
    """Return how many bytes these are, and the ids in them."""
    return f"{len(data)} bytes: {np.frombuffer(data[: len(data) // 2 * 2], '<u2').tolist()}"


write_shards = lesson.exercise(
    "write_shards",
    run=shards,
    cases=[
        *((0, part) for part in ("files", "paths", "left")),
        *(("rename", part) for part in ("whole", "files")),
        *((5, part) for part in ("whole", "again", "files", "paths")),
    ],
)


def sides(check: Check, answer: Any, one_in: int, space: str) -> Any:
    """Return the sides of many documents with this white space."""
    texts = [f"Page{n % 60} has number {n} of the wéb. " + "word " * (n % 7) for n in range(200)]
    found = [check.run(answer, text.replace(" ", space), one_in) for text in texts]
    check.that(all(isinstance(side, bool | np.bool_) for side in found), "return True or False")
    return [bool(side) for side in found]


set_aside = lesson.exercise(
    "set_aside",
    run=sides,
    cases=[(one_in, space) for one_in in (10, 3, 7, 20) for space in (" ", "\n\n ")],
    forbid=("random", "default_rng", "shuffle", "manual_seed"),
)


utilisation = lesson.exercise(
    "utilisation",
    cases=[(9_000, 30.0, 700, 8, 84_000.0), (10**10, 9800.0, 855 * 10**6, 8, 312e12), (500, 2.5, 40, 1, 8e4)],
)
