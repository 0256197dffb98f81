"""Export: weights in the layouts of other projects. So far one way in: OpenAI's GPT-2, as published.

Taught in notebook 03_transformer."""

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tinylm.errors import CheckpointError
from tinylm.storage.weights import read_tensors

GPT2_PARTS = {"wte": "token_embedding", "wpe": "position_embedding", "h.": "blocks.", "ln_f": "final_norm"}
GPT2_PARTS |= {"ln_1": "attn_norm", "attn.c_attn": "attn.qkv", "attn.c_proj": "attn.proj"}
GPT2_PARTS |= {"ln_2": "mlp_norm", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down"}


def gpt2_name(name: str) -> str:
    """What tinylm calls one of OpenAI's tensors: "h.3.attn.c_attn.bias" is "blocks.3.attn.qkv.bias"."""
    for theirs, ours in GPT2_PARTS.items():
        name = name.replace(theirs, ours)
    return name


def read_gpt2(path: str | Path, rename: Callable[[str], str] = gpt2_name) -> dict[str, Tensor]:
    """The tensors of OpenAI's file under our names, ready for `load_state_dict`, the head tied to the tokens.

    OpenAI's layers compute x @ W, torch's Linear x @ W.T: every matrix c_* is turned over. Left out are the
    masks, h.N.attn.bias, which are no weights. Raises CheckpointError for another file."""
    masks = r"h\.\d+\.attn\.(masked_)?bias"
    found = {n.removeprefix("transformer."): w for n, w in read_tensors(Path(path), "GPT-2").items()}
    if "wte.weight" not in found:
        what = f"{Path(path).name} has {len(found)} tensors and no wte.weight"
        raise CheckpointError(f"{what}: use the model.safetensors of GPT-2")
    weights = {name: w for name, w in found.items() if not re.fullmatch(masks, name)}
    ours = {rename(n): w.t() if re.search(r"\.c_\w+\.weight$", n) else w for n, w in weights.items()}
    return ours | {"head.weight": ours[rename("wte.weight")]}
