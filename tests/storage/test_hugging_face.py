"""Hugging Face's GPT-2, out and in: transformers opens what we write, and we open what it writes."""

import json

import pytest
import torch

from tinylm.inference.config import GenerationConfig
from tinylm.inference.generate import generate
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage import weights
from tinylm.storage.export import read_hugging_face, write_hugging_face
from tinylm.storage.tokenizer_json import to_tokenizers
from tinylm.text.tokenizers import BPETokenizer, CharTokenizer

LETTERS = CharTokenizer("\n !abcdefghijkLM")  # 17 of them
SMALL = {"context_length": 61, "n_layer": 3, "n_head": 2, "n_embd": 26}
WORDS = BPETokenizer.train("the cat sat on the mat, the dog sat on the cat", 271)


@pytest.fixture(scope="module")
def transformers():
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HF_HUB_OFFLINE", "1")
        import transformers

        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        yield transformers


def drawn(model):
    """The model with large random weights, so that its logits differ."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.6, generator=generator)
    return model.eval()


def checkpoint(tokenizer=LETTERS, **changes):
    """A GPT of large random weights with this tokenizer, as `load` would give it."""
    config = ModelConfig(**({"vocab_size": tokenizer.vocab_size} | SMALL | changes))
    model = drawn(GPT(config))
    return weights.Checkpoint("here", config, weights.tensors_of(model), tokenizer, {})


def read_back(folder):
    config, tensors, tokenizer = read_hugging_face(folder)
    model = GPT(config).eval()
    model.load_state_dict(tensors)  # strict
    return model, tokenizer


def assert_same_logits_and_greedy_ids(ours, theirs):
    """The largest difference of logits below 1e-4, where they are some units apart; 50 ids the same."""
    tokens = torch.arange(122).view(2, 61) * 7 % ours.config.vocab_size  # (B, T)
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 1
        assert (ours(tokens) - expected).abs().max() < 1e-4
    prompt = tokens[:1, :5]
    config = GenerationConfig(max_new_tokens=50, temperature=0.0)
    theirs.generation_config.eos_token_id = None  # ours goes on behind the end of a document
    written = theirs.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=50, do_sample=False, pad_token_id=0
    )
    mine = [*generate(ours, prompt[0].tolist(), config, generator=torch.Generator())]
    assert len(mine) == 50 and mine == written[0, 5:].tolist()


@pytest.mark.parametrize(
    "changes", [{}, {"tied_head": False}, {"n_head": 1, "n_embd": 23, "vocab_multiple": 8}]
)
def test_exported_folder_opens_in_transformers_with_our_logits_greedy_ids_and_ends(
    transformers, tmp_path, changes
):
    original = checkpoint(WORDS, **changes)
    write_hugging_face(original, tmp_path / "out")
    theirs, loaded = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert isinstance(theirs, transformers.GPT2LMHeadModel) and not any(loaded.values())
    assert_same_logits_and_greedy_ids(original.model, theirs.eval())
    assert sum(p.numel() for p in theirs.parameters()) == original.model.n_parameters()
    assert theirs.config.eos_token_id == theirs.config.bos_token_id == WORDS.end_of_text
    again, tokenizer = read_back(tmp_path / "out")
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), original.model.parameters(), strict=True)
    )
    assert tokenizer == WORDS.to_json() | {"special": WORDS.special}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_folder_of_transformers_is_read_with_its_logits_and_greedy_ids(transformers, tmp_path, tied, shards):
    sizes = {"vocab_size": WORDS.vocab_size, "n_positions": 61, "n_embd": 26, "n_layer": 3, "n_head": 2}
    config = transformers.GPT2Config(**sizes, tie_word_embeddings=tied, bos_token_id=None, eos_token_id=None)
    theirs = drawn(transformers.GPT2LMHeadModel(config))
    theirs.save_pretrained(tmp_path, max_shard_size="60KB" if shards > 1 else "1GB")
    assert (len([*tmp_path.glob("*.safetensors")]) > 1) == (shards > 1)
    (tmp_path / "tokenizer.json").write_text(json.dumps(to_tokenizers(WORDS)), encoding="utf-8")
    ours, _ = read_back(tmp_path)
    assert_same_logits_and_greedy_ids(ours, theirs)
