"""Context: what the tokens of a forward pass may look at, besides the tokens before them in the same call.

`KVCache` is the memory of a model that writes: a new token computes only its own keys and values. `Documents`
keeps the documents of packed rows apart. Taught in notebook 05_sampling.
Sources: Shazeer 2019, arXiv:1911.02150, section 2.4 (the cache); Krell et al. 2021, arXiv:2107.02027,
section 3.2 (attention and positions of packed rows)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tinylm.errors import InputError

Positions = slice | Tensor  # a slice where every row has the same positions, otherwise (B, T)


class Context:
    """Base class of what `GPT.forward(tokens, context)` asks.

    A forward pass calls `positions` once, then `previous_inputs` (with token shift) and `attend` in each
    layer, then `commit` once."""

    capacity: int | None = None  # The most tokens in one call; None stands for the model's context_length.
    stateful = False  # Whether `attend` stores what it gets. If so, no layer may be computed twice.
    mask: Tensor | None = None  # (B, 1, T, S): where each new token may look; None: everything up to itself

    def positions(self, rows: int, T: int) -> Positions:
        """Return the positions of T new tokens in each row. Raises InputError where they do not fit."""

    def previous_inputs(self, layer: int, x: Tensor) -> Tensor:
        """Return the layer's input one position before each of x (B, T, C); 0 before the first."""

    def attend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the keys and values to attend to, (B, H, S, D) each, and the mask.

        k, v (B, H, T, D) are the new tokens' own; H counts key-value heads."""
        return k, v, self.mask

    def commit(self, rows: int, T: int) -> None:
        """Note that all layers have been computed for the T new tokens."""


class KVCache(Context):
    """Keys and values of a batch's tokens so far, (B, H, capacity, D) for each layer.

    The cache does not slide. A window that moves on by one token moves every position, and all keys would
    have to be computed again. What to do when the cache is full is decided in `inference/generate`.

    Rows of different lengths are aligned at their ends: `padding` (B,) says how many slots at the start of
    each row hold no token. No token looks at them, and a row's first token has position 0. The padding is on
    the left because the next token of every row then goes into the same slot, with one slice.

    `mask` and `is_first` belong to the new tokens: `positions` sets them and the layers read them. If
    `positions` refuses the tokens, the cache stays as it was."""

    stateful = True

    def __init__(self, capacity: int, padding: Tensor | None = None) -> None:
        self.capacity = capacity
        self.padding = padding if padding is not None and bool(padding.any()) else None
        self.rows = None if padding is None else len(padding)
        self.length = 0  # slots filled, in every layer
        self.keys: dict[int, Tensor] = {}  # by layer, as the next two
        self.values: dict[int, Tensor] = {}
        self.last_inputs: dict[int, Tensor] = {}  # (B, 1, C), with token shift only
        self.is_first: Tensor | None = None  # (B, T, 1): True for the first token of a row

    def positions(self, rows: int, T: int) -> Positions:
        """Return a slice; with padding (B, T). Raises InputError for a full cache or other rows."""
        if self.rows is not None and rows != self.rows:
            raise InputError(f"the cache holds {self.rows} rows, not {rows}: make one for each batch")
        begin, end = self.length, self.length + T
        if end > self.capacity:
            full = f"the cache holds {begin} of {self.capacity} tokens and has no room for {T} more"
            raise InputError(f"{full}: start a new one from the last tokens of the text")
        if self.padding is None:
            return slice(begin, end)
        slots = torch.arange(end, device=self.padding.device)  # (S,)
        new = slots[begin:]  # (T,)
        seen = (slots <= new[:, None]) & (slots >= self.padding[:, None, None])  # (B, T, S)
        self.is_first = (new == self.padding[:, None]).unsqueeze(-1)  # (B, T, 1)
        # Padding looks at itself: the softmax of a row without any score is NaN, and NaN spreads.
        self.mask = (seen | (slots == new[:, None])).unsqueeze(1)  # (B, 1, T, S)
        return (new - self.padding[:, None]).clamp(min=0)  # (B, T)

    def previous_inputs(self, layer: int, x: Tensor) -> Tensor:
        """Keep the last of x (B, T, C) for the next call."""
        last = self.last_inputs[layer] if layer in self.last_inputs else torch.zeros_like(x[:, :1])
        self.last_inputs[layer] = x[:, -1:].detach()  # (B, 1, C)
        previous = torch.cat((last, x[:, :-1]), dim=1)  # (B, T, C)
        return previous if self.is_first is None else previous.masked_fill(self.is_first, 0.0)

    def attend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store k and v behind those of the tokens so far. The cache is read but never trained through."""
        if layer not in self.keys:  # the first keys decide how many rows and heads there are, and the dtype
            B, H, _, D = k.shape
            self.keys[layer] = k.new_empty(B, H, self.capacity, D)
            self.values[layer] = v.new_empty(B, H, self.capacity, D)
        keys, values, end = self.keys[layer], self.values[layer], self.length + k.size(2)
        # narrow(2, begin, T) is [:, :, begin : begin + T], and faster.
        keys.narrow(2, self.length, k.size(2)).copy_(k.detach())
        values.narrow(2, self.length, k.size(2)).copy_(v.detach())
        return keys.narrow(2, 0, end), values.narrow(2, 0, end), self.mask  # (B, H, S, D) each

    def commit(self, rows: int, T: int) -> None:
        """Count the T tokens that all layers have stored."""
        self.rows = rows
        self.length += T


class Documents(Context):
    """Several documents packed into each row, kept apart: the model computes what it would compute if every
    document had a row of its own.

    documents (B, T) integers: a document is a run of equal ids, so a change of id is a border. No token
    attends across a border, and TokenShift does not read across it. Positions start again at 0 in each
    document. Otherwise the model would learn that texts begin at any position, and when it writes or is
    evaluated, every text begins at 0.

    With shared_beginning, the documents of a row are continuations of one beginning, the tokens of id 0 at
    the start of the row (there may be none). Each continuation sees the beginning and itself, at the
    positions it would have right after the beginning. What the continuations share is computed only once, so
    a row may be longer than the model's context_length. A beginning plus any one continuation must fit."""

    def __init__(self, documents: Tensor, *, shared_beginning: bool = False) -> None:
        places = torch.arange(documents.size(1), device=documents.device)  # (T,)
        is_first = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0))  # (B, T), after each border
        begins = (places * is_first).cummax(dim=1).values  # (B, T): where the token's own document begins
        shared = (documents == 0) & shared_beginning  # (B, T)
        n_shared = shared.sum(dim=1, keepdim=True)  # (B, 1)
        self.capacity = documents.size(1) if shared_beginning else None
        self.position_ids = places - begins + n_shared * ~shared  # (B, T)
        self.previous = torch.where(is_first, n_shared, places) - 1  # (B, T): its place in the row; -1: none
        seen = (places >= begins.unsqueeze(-1)) | shared.unsqueeze(1)  # (B, T, T)
        self.mask = seen.tril().unsqueeze(1)  # (B, 1, T, T)

    def positions(self, rows: int, T: int) -> Tensor:
        """Return (B, T). Raises InputError for tokens of another shape than `documents`."""
        if (rows, T) != self.position_ids.shape:
            has = f"documents {tuple(self.position_ids.shape)}"
            raise InputError(f"{has} do not fit tokens {(rows, T)}: give an id for each token")
        return self.position_ids

    def previous_inputs(self, layer: int, x: Tensor) -> Tensor:
        """Read from the same document, or for a continuation's first token from the shared beginning."""
        before = x.gather(1, self.previous.clamp(min=0).unsqueeze(-1).expand_as(x))  # (B, T, C)
        return before.masked_fill((self.previous < 0).unsqueeze(-1), 0.0)
