"""Evaluate: the loss on text that the model was not trained on, and how sure that number is.

Every token is scored exactly once, the same ones each time.
Taught in notebooks 04_training and 13_evaluation. Error bars: Miller 2024, arXiv:2411.00640 (clusters)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tinylm.device import Precision
from tinylm.errors import InputError, require_count
from tinylm.model.gpt import eval_mode
from tinylm.model.losses import LossFn, next_token_loss
from tinylm.text.batches import EvaluationRows, Keep

BLOCK_TOKENS, FIRST_BLOCKS, MIN_BLOCKS = 8_192, 10, 5


@dataclass(frozen=True)
class Evaluation:
    """A measured loss. All losses are in nats."""

    loss: float  # Mean over the scored tokens, nats per token; nan where the model's weights are not finite.
    standard_error: float
    """Standard error of `loss`, from the spread between units; nan when there is only one."""
    n_tokens: int  # Tokens scored.
    bits_per_byte: float | None = None
    """loss / ln 2 / bytes per token; None when the bytes per token were not given."""
    unit: str = ""  # What the standard error was taken over: "412 documents" or "13 blocks of 8,580 tokens".
    metrics: dict[str, float] = field(default_factory=dict)  # The loss function's own, means over the rows.
    by_source: dict[str, "Evaluation"] = field(default_factory=dict)  # The same of each source of a mixture.

    @property
    def perplexity(self) -> float:
        """exp(loss): as uncertain as a fair choice between this many tokens; inf where a float ends."""
        return math.inf if self.loss > 709 else math.exp(self.loss)

    @property
    def bits_per_token(self) -> float:
        """loss / ln 2. For a character tokenizer these are bits per character."""
        return self.loss / math.log(2)

    def described(self, unit: str) -> str:
        """The evaluation in one line; `unit` is what one token is called. Its ± says over what it was taken.

        Bits per byte, which compare across tokenizers, are said where they are not the bits per character."""
        error = "" if math.isnan(self.standard_error) else f" ± {self.standard_error:.4f}"
        words = [f"validation loss {self.loss:.4f}{error} nats per {unit}"]
        words.append(f"perplexity {self.perplexity:.2f}, {self.bits_per_token:.3f} bits per {unit}")
        if unit != "character" and self.bits_per_byte is not None:
            words.append(f"{self.bits_per_byte:.4f} bits per byte")
        words[-1] += f" (± over {self.unit})" if error else ""
        return ", ".join([*words, *(f"{n.replace('_', ' ')} {mean:.2%}" for n, mean in self.metrics.items())])


def evaluate(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    documents: Sequence[int] | np.ndarray | None = None,
    sources: Sequence[str] | None = None,
    from_beginning: bool = False,
    keep: Keep | None = None,
    batch_size: int = 32,
    max_tokens: int | None = None,
    bytes_per_token: float | None = None,
    dtype: str = "float32",
    loss_fn: LossFn = next_token_loss,
    world: Any = None,
) -> Evaluation:
    """Return the mean loss over a whole text, read in windows as long as the model's context.

    tokens (N,) ids. Each of the N - 1 tokens that have a predecessor is scored once, or those of them that
    keep(tokens, targets) -> bool (B, T) chooses. A token early in its window sees little context, so the
    number is a little above what the model reaches with a full one. max_tokens scores about that many, in
    whole rows spread evenly over the text and always the same.

    The standard error says how far another text of this kind may lie, so its units must not depend on one
    another. Neighbouring windows do: they share a scene. `documents`, the positions (D,) at which documents
    begin, from 0 on, makes each document a unit. With from_beginning each document is also read from its
    beginning, as a model does that was trained so; else `documents` changes nothing in the loss. `sources`
    names the source of each document, (D,): the evaluation of each one is then in `by_source`.
    Running text without borders is cut into blocks (`_blocks`): of at least 8,192 tokens, or 10 where it is
    short, and larger ones where neighbouring blocks turn out to be alike.

    loss_fn gives the nats of each target; the metrics it gives become `metrics`, means over the rows. dtype
    is the arithmetic of the matrix products ("auto": the device's). world: a training/ddp.World, of which
    each process reads its share.

    The model is read in evaluation mode and all its parts are left as they were. Weights that are not finite
    give a loss of nan. Raises InputError when nothing is to score or the documents do not fit the tokens."""
    require_count("batch_size", batch_size)
    precision = Precision.of(next((p.device for p in model.parameters()), "cpu"), dtype)
    context_length, n_targets = model.config.context_length, len(tokens) - 1
    borders = None if documents is None else np.asarray(documents)  # (D,)
    if borders is not None and (list(borders[:1]) != [0] or (np.diff(borders, append=len(tokens)) < 1).any()):
        raise InputError(f"{len(borders)} documents in {len(tokens)} tokens: give rising positions, 0 first")
    apart = borders if from_beginning else None
    rows = EvaluationRows(tokens, context_length=context_length, documents=apart, keep=keep)
    per_row = n_targets / len(rows) if from_beginning else context_length
    n_chosen = len(rows) if max_tokens is None else min(len(rows), math.ceil(max_tokens / per_row))
    rank, size = (0, 1) if world is None else (world.rank, world.size)
    # Spread evenly. If there are fewer rows than processes, rank 0 still has one, and names the metrics.
    chosen = np.arange(rank, n_chosen, size) * len(rows) // n_chosen

    # The finest units: documents, or else the windows themselves, which are joined into blocks later.
    starts = 1 + rows.begins if borders is None else borders  # position 0 has no predecessor
    sums, counts = np.zeros((2, len(starts)))
    totals: dict[str, float] = {}  # each metric, summed over rows
    with eval_mode(model.modules()), torch.no_grad(), precision.autocast():
        for begin in range(0, -(-n_chosen // size), batch_size):  # up to the largest share
            numbers = chosen[begin : begin + batch_size]
            if len(numbers) == 0:  # all processes do as many forward passes: fsdp gathers weights in each
                loss_fn(model, rows.rows(np.array([0])).to(precision.device))
                continue
            batch = rows.rows(numbers).to(precision.device)
            nats, metrics = loss_fn(model, batch)  # (B, T)
            # In float64, so that the order of thousands of float32 losses does not show.
            weights = batch.scored().cpu().double().numpy()  # (B, T)
            scored = weights > 0
            places = rows.begins[numbers, None] + 1 + np.arange(context_length)  # (B, T) of the targets
            units = np.searchsorted(starts, places[scored], side="right") - 1  # (M,)
            losses = nats.cpu().double().numpy()[scored] * weights[scored]  # (M,)
            sums += np.bincount(units, weights=losses, minlength=len(sums))
            counts += np.bincount(units, weights=weights[scored], minlength=len(counts))
            for name, mean in metrics.items():
                if mean.ndim == 0:
                    totals[name] = totals.get(name, 0.0) + float(mean) * len(numbers)
    if world is not None:
        sums, counts = world.sum(torch.from_numpy(np.stack((sums, counts)))).numpy()  # (units,) each
        names = world.broadcast(" ".join(totals)).split()
        totals = {name: float(world.sum(torch.tensor(totals.get(name, 0.0)).double())) for name in names}

    named, by_source = np.asarray([] if sources is None else sources), {}
    if sources is not None and (borders is None or len(named) != len(starts)):
        raise InputError(f"{len(named)} sources for {len(starts)} documents: name one for each document")
    for name in dict.fromkeys(named.tolist()):
        by_source[name] = summarize(sums[named == name], counts[named == name], unit="documents")
    unit = "documents"
    if borders is None:
        sums, counts = _blocks(sums, counts, n_targets)
        unit = f"blocks of {n_targets / len(counts):,.0f} tokens"
    unit = f"{np.count_nonzero(counts):,} {unit}"
    if n_chosen < len(rows):
        unit += f", {counts.sum() / max(np.count_nonzero(counts), 1):,.0f} scored in each"
    result = summarize(sums, counts, unit=unit, bytes_per_token=bytes_per_token)
    means = {name: total / n_chosen for name, total in totals.items()}
    return replace(result, metrics=means, by_source=by_source)


def summarize(
    sums: np.ndarray, counts: np.ndarray, *, unit: str, bytes_per_token: float | None = None
) -> Evaluation:
    """The evaluation from the nats s_i and the scored tokens n_i of k independent units, (k,) each.

    With L = sum s / sum n the standard error is sqrt(k / (k - 1) * sum (s_i - L n_i)^2) / sum n, which weighs
    a short unit less; for equal ones it is the textbook's. Units without a scored token count for nothing.
    Raises InputError when none has any."""
    sums, counts = sums[counts > 0], counts[counts > 0]
    k, total = len(counts), counts.sum()
    if k == 0:
        raise InputError("0 tokens were scored: give texts with at least one token after their start")
    loss = float(sums.sum() / total)
    spread = float(np.sqrt(np.sum((sums - loss * counts) ** 2)) / total)
    return Evaluation(
        loss=loss,
        standard_error=spread * math.sqrt(k / (k - 1)) if k > 1 else math.nan,
        n_tokens=int(total),
        bits_per_byte=None if bytes_per_token is None else loss / math.log(2) / bytes_per_token,
        unit=unit,
    )


def _blocks(sums: np.ndarray, counts: np.ndarray, n_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Join neighbouring windows, (N,) each, into blocks that hardly depend on one another.

    They begin with blocks of at least 8,192 tokens, or 10 blocks where the text is short. Plays have longer
    moods than that: then neighbouring blocks are alike, and fewer, longer blocks give a larger error. So
    twice and four times as long ones are tried too, while at least MIN_BLOCKS remain, and the size with the
    largest error is taken (Flyvbjerg and Petersen 1989, J. Chem. Phys. 91, 461: the error grows with the
    block until blocks are independent). Where they were, it errs on the large side by about a tenth."""
    finest = min(len(sums), max(n_targets // BLOCK_TOKENS, FIRST_BLOCKS))
    ways = []
    for n_blocks in (finest, *(n for n in (finest // 2, finest // 4) if n >= MIN_BLOCKS)):
        firsts = -(-np.arange(n_blocks) * len(sums) // n_blocks)  # the window that each block begins with
        ways.append((np.add.reduceat(sums, firsts), np.add.reduceat(counts, firsts)))
    return max(ways, key=lambda blocks: summarize(*blocks, unit="").standard_error)
