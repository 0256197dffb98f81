"""Export: models in other layouts. Hugging Face's GPT-2 goes out and in, OpenAI's and nanoGPT's weights in.

Taught in notebooks 03_transformer, 08_tinystories and 12_gpt2."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.model.config import ModelConfig
from tinylm.model.layers import EPSILON
from tinylm.storage import atomic, weights
from tinylm.storage.tokenizer_json import WORDS_OF_GPT2, from_tokenizers, settings_of, to_tokenizers
from tinylm.text.tokenizers import Tokenizer, tokenizer_from_json

GPT2_PARTS = {"wte": "token_embedding", "wpe": "position_embedding", "h.": "blocks.", "ln_f": "final_norm"}
GPT2_PARTS |= {"ln_1": "attn_norm", "attn.c_attn": "attn.qkv", "attn.c_proj": "attn.proj"}
GPT2_PARTS |= {"ln_2": "mlp_norm", "mlp.c_fc": "mlp.up", "mlp.c_proj": "mlp.down", "lm_head": "head"}
PARTS_GPT2 = {ours: theirs for theirs, ours in GPT2_PARTS.items()}
NANOGPT = (
    r"(w[tp]e|lm_head)\.weight|(h\.\d+\.(ln_[12]|attn\.c_(attn|proj)|mlp\.c_(fc|proj))|ln_f)\.(weight|bias)"
)
TURNED = r"\.c_\w+\.weight$"
GPT2_MASKS = r"h\.\d+\.attn\.(masked_)?bias"  # which are no weights
SIZES = {name: name for name in ("vocab_size", "n_layer", "n_head", "n_embd")}  # ours: Hugging Face's
SIZES |= {"context_length": "n_positions"}
# What a GPT-2 may have one way or the other. All the rest is as ModelConfig has it by itself.
FREE = {*SIZES, "tied_head", "rope_base"}  # GPT-2 has no rotary positions, so their base changes nothing
# Hugging Face's settings that change a result, and what they must be; first what it is where nothing is said.
GPT2_ONLY = {"model_type": ("gpt2",), "activation_function": ("gelu_new", "gelu_pytorch_tanh")}
GPT2_ONLY |= {"layer_norm_epsilon": (EPSILON,), "scale_attn_weights": (True,)}
GPT2_ONLY |= dict.fromkeys(("scale_attn_by_inverse_layer_idx", "add_cross_attention"), (False,))
CONFIG, INDEX, VOCAB, MERGES = "config.json", "model.safetensors.index.json", "vocab.json", "merges.txt"
FILES = [CONFIG, INDEX, VOCAB, MERGES, weights.TOKENIZER, weights.WEIGHTS, "model-*-of-*.safetensors"]
PUBLISHED = {  # OpenAI's four sizes: the commit that is fetched, so that it is always the same file
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai-community/gpt2-medium": "6dcaa7a952f72f9298047fd5137cd6e4f05f41da",
    "openai-community/gpt2-large": "32b71b12589c2f8d625668d2335a01cac3249519",
    "openai-community/gpt2-xl": "15ea56dee5df4983c59b2538573817e1667135e2",
}


def gpt2_name(name: str) -> str:
    """What tinylm calls one of OpenAI's tensors: "h.3.attn.c_attn.bias" is "blocks.3.attn.qkv.bias"."""
    for theirs, ours in GPT2_PARTS.items():
        name = name.replace(theirs, ours)
    return name


def read_gpt2(path: str | Path, rename: Callable[[str], str] = gpt2_name) -> dict[str, Tensor]:
    """The tensors of OpenAI's file under our names, ready for `load_state_dict`, the head tied to the tokens.

    Raises CheckpointError for another file."""
    found = _plain(weights.read_tensors(Path(path), "GPT-2"))
    if "wte.weight" not in found:
        what = f"{Path(path).name} has {len(found)} tensors and no wte.weight"
        raise CheckpointError(f"{what}: use the model.safetensors of GPT-2")
    return _turned(found, rename) | {"head.weight": found["wte.weight"]}


def write_hugging_face(checkpoint: weights.Checkpoint, folder: str | Path) -> None:
    """Write the folder that transformers' AutoModelForCausalLM and AutoTokenizer open, in one step.

    It replaces an earlier export and nothing else. A special token's name in a text is text for AutoTokenizer
    too. Raises CheckpointError for a model that is no GPT-2, naming what is another."""
    config, tokenizer, plain = checkpoint.config, checkpoint.tokenizer, ModelConfig().to_json()
    if other := [f"{n} {v!r}" for n, v in config.shape().items() if n not in FREE and v != plain[n]]:
        raise CheckpointError(f"{checkpoint.name} is no GPT-2, it has {', '.join(other)}: export one that is")
    end, text = tokenizer.end_of_text, to_tokenizers(tokenizer)
    ids = settings_of(tokenizer) | {"model_max_length": config.context_length}
    about = {"architectures": ["GPT2LMHeadModel"], "torch_dtype": "float32"}
    about |= {name: allowed[0] for name, allowed in GPT2_ONLY.items()}
    about |= {theirs: getattr(config, ours) for ours, theirs in SIZES.items()}
    about |= dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), config.dropout)
    about |= {"tie_word_embeddings": config.tied_head, "bos_token_id": end, "eos_token_id": end}
    tensors = {}
    for ours, tensor in weights.tensors_of(checkpoint.model).items():
        name = re.sub("|".join(PARTS_GPT2), lambda part: PARTS_GPT2[part[0]], ours)
        name = name if ours.startswith("head") else f"transformer.{name}"
        tensors[name] = tensor.t() if re.search(TURNED, name) else tensor
    jsons = {CONFIG: about, weights.TOKENIZER: text, "tokenizer_config.json": ids}
    with atomic.atomic_directory(Path(folder).resolve(), {weights.WEIGHTS, *jsons}) as beside:
        weights.write_tensors(tensors, beside / weights.WEIGHTS, {"format": "pt"})
        for name, content in jsons.items():
            atomic.write_json(beside / name, content)


def read_hugging_face(source: str | Path) -> tuple[ModelConfig, dict[str, Tensor], atomic.JSON]:
    """A GPT-2's (config, tensors ready for `load_state_dict`, tokenizer as its `to_json` gives it).

    source: a folder with config.json, model.safetensors (or shards with their index) and tokenizer.json (or
    vocab.json and merges.txt), or a model's name on the hub, such as "openai-community/gpt2"; what OpenAI has
    PUBLISHED at one commit. Raises CheckpointError for what is missing, damaged, or no GPT-2."""
    home, shown = _folder_of(str(source)), str(source)
    config = _config_of(atomic.read_json(home, CONFIG, shown), f"{shown}/{CONFIG}")
    found = _plain(_tensors_in(home, shown))
    both = [found[name] for name in ("lm_head.weight", "wte.weight") if name in found]
    if config.tied_head and len(both) == 2 and torch.equal(*both):  # written twice by some
        del found["lm_head.weight"]
    tensors = _turned(found)
    weights.check_shapes(shown, tensors, config)
    tokenizer = weights.tokenizer_of(config, _tokenizer_in(home, shown).to_json())
    tied = {"head.weight": tensors["token_embedding.weight"]} if config.tied_head else {}
    return config, tensors | tied, tokenizer.to_json()


def open_hugging_face(source: str | Path) -> weights.Checkpoint:
    """The same, opened as a checkpoint; it knows no corpus. Raises CheckpointError as `read_hugging_face`."""
    config, tensors, tokenizer = read_hugging_face(source)
    if config.tied_head:  # a tied matrix stands under its first name
        del tensors["head.weight"]
    home = Path(source)  # a folder of one's own is named, and none above it
    notes = {"imported": home.resolve().name if home.is_dir() else str(source)}
    return weights.Checkpoint(str(source), config, tensors, tokenizer_from_json(tokenizer), notes)


def is_hugging_face(source: str | Path) -> bool:
    """Whether that is a folder of Hugging Face's layout, or can only be a name on the hub, as ada/gpt2."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)) and not os.path.exists(str(source).split("/")[0]):
        return True
    return os.path.isfile(Path(source, CONFIG))


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


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """By OpenAI's own names, without the masks, h.N.attn.bias, which are no weights."""
    found = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in found.items() if not re.fullmatch(GPT2_MASKS, name)}


def _turned(found: dict[str, Tensor], rename: Callable[[str], str] = gpt2_name) -> dict[str, Tensor]:
    """OpenAI's layers compute x @ W, torch's Linear x @ W.T: every matrix c_* is turned over."""
    return {rename(name): w.t() if re.search(TURNED, name) else w for name, w in found.items()}


def _config_of(theirs: atomic.JSON, shown: str) -> ModelConfig:
    """Our config of their config.json; its one dropout is their resid_pdrop."""
    sizes = {ours: theirs.get(name) for ours, name in SIZES.items()}
    inner = 4 * sizes["n_embd"] if isinstance(sizes["n_embd"], int) else None
    try:
        for name, allowed in (GPT2_ONLY | {"n_inner": (None, inner)}).items():
            if (value := ({"model_type": None} | theirs).get(name, allowed[0])) not in allowed:
                raise ConfigError(f"{name} is {short(value)}")
        tied = theirs.get("tie_word_embeddings", True)
        return ModelConfig(**sizes, tied_head=tied, dropout=theirs.get("resid_pdrop", 0.1))
    except ConfigError as error:
        raise CheckpointError(f"{shown} is no GPT-2's, {error}: use one that is") from error


def _tensors_in(home: Path, shown: str) -> dict[str, Tensor]:
    """All tensors of one file, or of the shards that an index lists: in each exactly those of the list."""
    files, listed = [weights.WEIGHTS], None
    if (home / INDEX).is_file() and not (home / weights.WEIGHTS).is_file():
        listed = atomic.read_json(home, INDEX, shown).get("weight_map")
        files = [*listed.values()] if isinstance(listed, dict) else []
        if not files or not all(re.fullmatch(r"\w[\w.-]*\.safetensors", str(file)) for file in files):
            raise atomic.damaged(f"{shown}/{INDEX}", f"its weight_map is {short(listed)}")
    tensors: dict[str, Tensor] = {}
    for file in sorted({*files}):
        if not (home / file).is_file():
            raise CheckpointError(f"{shown} has no {file}: save it there as safetensors, not as pickle")
        part = weights.read_tensors(home / file, shown)
        if listed and (odd := part.keys() ^ {name for name in listed if listed[name] == file}):
            raise atomic.damaged(f"{shown}/{file}", f"{short(min(odd))} is not in it and in {INDEX}")
        tensors |= part
    return tensors


def _tokenizer_in(home: Path, shown: str) -> Tokenizer:
    """Of tokenizer.json, else of GPT-2's older two files, which say the same."""
    if (home / weights.TOKENIZER).is_file() or not (home / MERGES).is_file():
        return from_tokenizers(atomic.read_json(home, weights.TOKENIZER, shown), shown)
    lines = (home / MERGES).read_text(encoding="utf-8", errors="replace").split("\n")
    merges = [line for line in lines if line and not line.startswith("#version")]
    model = {"vocab": atomic.read_json(home, VOCAB, shown), "merges": merges}
    return from_tokenizers({"model": model, "added_tokens": []} | WORDS_OF_GPT2, shown)


def _folder_of(name: str) -> Path:
    """The folder itself, or where the hub's model of that name has been fetched to."""
    if os.path.isdir(name):
        return Path(name)
    from huggingface_hub import snapshot_download  # half a second, and only here

    try:
        here = os.environ.get("TINYLM_OFFLINE", "") not in ("", "0")  # then only what was fetched before
        revision = PUBLISHED.get(name)
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=here))
    except Exception as error:  # its own kinds, the system's, and those of the HTTP library that it has
        what = f"there is no folder {short(name)}, and no such model from the hub ({type(error).__name__})"
        raise CheckpointError(f"{what}: look at the name and the connection, and try again") from error
