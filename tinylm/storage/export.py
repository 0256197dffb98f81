"""Export: models for other programs, and from them: Hugging Face's folders out and in, OpenAI's weights in.

Taught in notebooks 03_transformer and 12_gpt2."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import CheckpointError, ConfigError, short
from tinylm.storage import atomic, weights
from tinylm.storage.layouts import GPT2, LAYOUTS, Layout
from tinylm.storage.tokenizer_json import from_tokenizers, settings_of, to_tokenizers

CONFIG, GENERATION, CARD = "config.json", "generation_config.json", "README.md"
TOKENIZER_CONFIG, SHARDS = "tokenizer_config.json", "model-*-of-*.safetensors"
EXPORTED = {CONFIG, GENERATION, CARD, TOKENIZER_CONFIG, weights.TOKENIZER, weights.WEIGHTS}


def gpt2_name(name: str) -> str:
    """Return our name for one of OpenAI's tensors: "h.3.attn.c_attn.bias" is "blocks.3.attn.qkv.bias"."""
    return GPT2.our_name(GPT2.in_full(name)) or name


def read_gpt2(path: str | Path, rename: Callable[[str], str] = gpt2_name) -> dict[str, Tensor]:
    """Return the tensors of OpenAI's file under our names, ready for `load_state_dict`, with the tied head.

    OpenAI's layers compute x @ W and torch's Linear x @ W.T, so every matrix c_* is transposed. rename: from
    OpenAI's names without "transformer." to yours. Raises CheckpointError for another file."""
    found = _in_full(weights.read_tensors(Path(path), "GPT-2").items(), GPT2, "GPT-2")
    if "transformer.wte.weight" not in found:
        what = f"{Path(path).name} has {len(found)} tensors and no wte.weight"
        raise CheckpointError(f"{what}: use the model.safetensors of GPT-2")
    ours = {"head.weight": found["transformer.wte.weight"]}
    for name, tensor in found.items():
        is_transposed = re.search(r"\.c_\w+\.weight$", name) and tensor.dim() == 2
        ours[rename(name.removeprefix(GPT2.prefix))] = tensor.t() if is_transposed else tensor
    return ours


def write_hugging_face(
    checkpoint: weights.Checkpoint, folder: str | Path, *, card: str = "", overwrite: bool = True
) -> None:
    """Write the folder that transformers' AutoModelForCausalLM and AutoTokenizer open, ready for the Hub.

    card: the text of README.md. A README.md that is already there is kept, word for word.
    overwrite: whether the folder may hold files, see `atomic.atomic_directory`.
    AutoTokenizer takes a special token's name in a text for plain text, as tinylm does. It leaves out a
    character outside a character model's vocabulary, or replaces it if the tokenizer has an `unknown` one.

    Raises CheckpointError for a model that fits no layout, naming its settings, and for a folder with other
    files."""
    config, end = checkpoint.config, checkpoint.tokenizer.end_of_text
    layout = min(LAYOUTS.values(), key=lambda layout: len(layout.differences(config)))
    if found := ", ".join(layout.differences(config)):
        raise CheckpointError(f"{checkpoint.name} is no {layout.kind} model, it has {found}: export another")
    if Path(folder, weights.ABOUT).exists():  # whose own weights would be overwritten
        raise CheckpointError(f"{folder} holds a checkpoint of tinylm: name another folder for the export")
    ends = {"bos_token_id": checkpoint.tokenizer.begin_of_text, "eos_token_id": end}
    jsons = {
        CONFIG: layout.settings_of(config) | ends,
        GENERATION: ends | {"pad_token_id": end, "do_sample": True},
        weights.TOKENIZER: to_tokenizers(checkpoint.tokenizer),
        TOKENIZER_CONFIG: settings_of(checkpoint.tokenizer) | {"model_max_length": config.context_length},
    }
    tensors = layout.to_theirs(weights.tensors_of(checkpoint.model), config)
    earlier = Path(folder, CARD)
    text = earlier.read_bytes() if earlier.is_file() else card.encode()
    with atomic.atomic_directory(folder, EXPORTED, overwrite=overwrite) as draft:
        weights.write_tensors(tensors, draft / weights.WEIGHTS, {"format": "pt"})
        for name, content in jsons.items():
            atomic.write_json(draft / name, content)
        if text:
            atomic.write(draft / CARD, text)


def plain_card(checkpoint: weights.Checkpoint, licence: str | None = None) -> str:
    """Return a short model card, with the Hub's header, for a model without a record of its training.

    licence: that of the weights, by the Hub's name for it ("mit")."""
    header = f"license: {licence}\n" if licence else ""
    name = checkpoint.notes.get("imported", Path(checkpoint.name).name)
    corpus = checkpoint.notes.get("corpus", "a text that is not known here")
    return (
        f"---\n{header}library_name: transformers\npipeline_tag: text-generation\n---\n\n# {name}\n\n"
        f"A GPT with {checkpoint.model.n_parameters():,} parameters, trained on {corpus}.\n"
        "No record of its training is at hand, so this card has no measured numbers.\n"
        f"The licence of the weights is {licence or 'not known here: find it out before you publish them'}.\n"
    )


def open_hugging_face(source: str | Path) -> weights.Checkpoint:
    """Open a model of Hugging Face's as a checkpoint without a corpus.

    source: a folder with config.json, tokenizer.json and model.safetensors (or its shards), or a model's name
    on the Hub, such as "openai-community/gpt2"; OpenAI's own are downloaded at one fixed commit.
    Raises CheckpointError for a file that is missing or damaged, weights that are quantized or no floats, and
    a model that fits no layout."""
    home, shown = _folder_of(str(source)), str(source)
    about = atomic.read_json(home, CONFIG, shown)
    try:
        if (kind := about.get("model_type")) not in list(LAYOUTS):
            raise ConfigError(f"model_type is {short(kind)}")
        layout = LAYOUTS[kind]
        config = layout.config_of(about)
    except ConfigError as error:
        wanted = f"use a plain {' or '.join(LAYOUTS)} model"
        raise CheckpointError(f"{shown}/{CONFIG} is not for tinylm, {error}: {wanted}") from error
    found = _in_full(_tensors_in(home, shown), layout, shown)
    table, head = (layout.find(f"{part}.weight")[0].theirs[0] for part in ("token_embedding", "head"))
    if config.tied_head and {table, head} <= found.keys() and torch.equal(found[table], found[head]):
        del found[head]  # some files hold the tied matrix twice
    tensors = layout.to_ours(found, config, shown)
    tokenizer = from_tokenizers(atomic.read_json(home, weights.TOKENIZER, shown), shown, config.vocab_size)
    folder = Path(source)  # a folder of one's own is named, and no folder above it
    notes = {"imported": folder.resolve().name if folder.is_dir() else shown}
    return weights.Checkpoint(shown, config, tensors, tokenizer, notes)


def is_hugging_face(source: str | Path) -> bool:
    """Return whether this is a folder with config.json, or can only be a Hub name such as ada/gpt2."""
    names_a_model = bool(re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)))
    return os.path.isfile(Path(source, CONFIG)) or (names_a_model and not Path(source).parent.exists())


def _in_full(tensors: Iterable[tuple[str, Tensor]], layout: Layout, shown: str) -> dict[str, Tensor]:
    """Return the tensors by their full names, without masks. Raises CheckpointError for two of one name."""
    made: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if (full := layout.in_full(name)) in made:
            raise CheckpointError(f"{shown} has two tensors for {short(full)}: remove one of them")
        if not re.fullmatch(layout.ignored, full):
            made[full] = tensor
    return made


def _tensors_in(home: Path, shown: str) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor of model.safetensors or, without it, of all its shards, with its name."""
    whole = home / weights.WEIGHTS
    files = [whole] if whole.is_file() else sorted(home.glob(SHARDS))
    if not files:
        raise CheckpointError(f"{shown} has no {whole.name}: save it there as safetensors, not as pickle")
    for file in files:
        yield from weights.read_tensors(file, shown).items()


def _folder_of(name: str) -> Path:
    """Return the folder itself, or where the Hub's model of that name has been downloaded to."""
    if os.path.isdir(name):
        return Path(name)
    from huggingface_hub import snapshot_download  # takes half a second, so only here

    files = [CONFIG, weights.TOKENIZER, weights.WEIGHTS, SHARDS]
    try:
        here = os.environ.get("TINYLM_OFFLINE", "") not in ("", "0")  # then only what was downloaded before
        revision = GPT2.published.get(name)
        return Path(snapshot_download(name, revision=revision, allow_patterns=files, local_files_only=here))
    except Exception as error:  # its own kinds, the system's, and those of the HTTP library that it has
        what = f"there is no folder {short(name)}, and no such model from the Hub ({type(error).__name__})"
        raise CheckpointError(f"{what}: check the name and the connection, and try again") from error
