"""Export: weights in the layouts of other projects. So far in: OpenAI's GPT-2, and models by nanoGPT's names.

Taught in notebooks 03_transformer and 08_tinystories."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, short
from tinylm.storage.weights import read_tensors

GPT2_PARTS = {"wte": "token_embedding", "wpe": "position_embedding", "h.": "blocks.", "ln_f": "final_norm"}
GPT2_PARTS |= {"ln_1": "attn_norm", "attn.c_attn": "attn.qkv", "attn.c_proj": "attn.proj"}
GPT2_PARTS |= {"ln_2": "mlp_norm", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down"}
NANOGPT = (
    r"(w[tp]e|lm_head)\.weight|(h\.\d+\.(ln_[12]|attn\.c_(attn|proj)|mlp\.c_(fc|proj))|ln_f)\.(weight|bias)"
)
GPT2_MASKS = r"h\.\d+\.attn\.(masked_)?bias"  # which are no weights


def gpt2_name(name: str) -> str:
    """What tinylm calls one of OpenAI's tensors: "h.3.attn.c_attn.bias" is "blocks.3.attn.qkv.bias"."""
    for theirs, ours in GPT2_PARTS.items():
        name = name.replace(theirs, ours)
    return name


def read_gpt2(path: str | Path, rename: Callable[[str], str] = gpt2_name) -> dict[str, Tensor]:
    """The tensors of OpenAI's file under our names, ready for `load_state_dict`, the head tied to the tokens.

    OpenAI's layers compute x @ W, torch's Linear x @ W.T: every matrix c_* is turned over. Left out are the
    masks, h.N.attn.bias, which are no weights. Raises CheckpointError for another file."""
    found = {n.removeprefix("transformer."): w for n, w in read_tensors(Path(path), "GPT-2").items()}
    if "wte.weight" not in found:
        what = f"{Path(path).name} has {len(found)} tensors and no wte.weight"
        raise CheckpointError(f"{what}: use the model.safetensors of GPT-2")
    weights = {name: w for name, w in found.items() if not re.fullmatch(GPT2_MASKS, name)}
    ours = {rename(n): w.t() if re.search(r"\.c_\w+\.weight$", n) else w for n, w in weights.items()}
    return ours | {"head.weight": ours[rename("wte.weight")]}


def read_published(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.pt` state dict by nanoGPT's names under our names, ready for `load_state_dict`.

    All its matrices are torch's own, (out, in). What `compile` and `DDP` write before a name is cut off, and
    masks are left out. Raises CheckpointError for another file."""
    try:  # weights_only: it reads tensors, lists and numbers, and refuses what would run code
        held = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
        held = held["model"] if isinstance(held.get("model"), dict) else held  # nanoGPT's own ckpt.pt
        cut = re.compile(r"^((_orig_mod|module)\.)*(transformer\.)?")
        found = {re.sub(r"\bln([12])\b", r"ln_\1", cut.sub("", name)): held[name] for name in held}
    except Exception as error:  # a file that is none can fail in many ways
        why = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise CheckpointError(f"{Path(path).name} is no state dict of tensors ({why}): use a .pt") from error
    weights = {name: w for name, w in found.items() if not re.fullmatch(GPT2_MASKS, name)}
    strange = {n for n, w in weights.items() if not (re.fullmatch(NANOGPT, n) and isinstance(w, Tensor))}
    tokens = weights.get("wte.weight")
    if strange or tokens is None or not torch.equal(weights.pop("lm_head.weight", tokens), tokens):
        wrong = short(min(strange)) if strange else "no lm_head.weight that is its wte.weight"
        raise CheckpointError(f"{Path(path).name} has {wrong} among {len(found)} tensors: use a GPT's")
    ours = {gpt2_name(name): weight for name, weight in weights.items()}
    return ours | {"head.weight": ours["token_embedding.weight"]}
