"""Export: OpenAI's GPT-2 comes in whole, into tinylm's class and into those that a reader writes in 03."""

import ast
import math
import sys
from types import SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from tests.authoring.execute import NOTEBOOKS
from tests.support.hugging_face import transformers
from tests.support.settings import lively
from tinylm.course.exercises import nb02, nb03
from tinylm.course.notebooks import put_solutions_in
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.storage.export import gpt2_name, read_gpt2

SIZES = {"vocab_size": 17, "context_length": 11, "n_layer": 11, "n_head": 2, "n_embd": 26}
SOLVED = nbformat.read(NOTEBOOKS / "03_transformer.ipynb", as_version=4)
put_solutions_in(SOLVED)


def written_in_03():
    """What the cells of 03 define, the solutions put in."""
    names = {"math": math, "torch": torch, "F": F, "nn": nn, "generator": torch.Generator().manual_seed(0)}
    names |= {"tokenizer": SimpleNamespace(vocab_size=65)}  # a default of one of them
    names |= {"attention": nb02.attention.given, "split_heads": nb02.split_heads.given}  # which `yours` opens
    for cell in SOLVED.cells:
        tree = ast.parse(cell.source) if cell.cell_type == "code" else ast.Module([], [])
        tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        exec(compile(tree, "<cell>", "exec"), names)
    return names


MINE = written_in_03()
CLASSES = {
    "tinylm's": lambda: GPT(ModelConfig(**SIZES)),
    "03 left blank": lambda: nb03.GPT.given(**SIZES),
    "03 solved": lambda: MINE["GPT"](**SIZES),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Hugging Face's model, its tensors under OpenAI's names, their masks among them, and these in a file."""
    sizes = {name: SIZES[name] for name in ("vocab_size", "n_embd", "n_layer", "n_head")}
    ends = {"bos_token_id": None, "eos_token_id": None}
    config = transformers.GPT2Config(n_positions=SIZES["context_length"], **sizes, **ends)
    theirs = lively(transformers.GPT2LMHeadModel(config), 0.3).eval()
    T = SIZES["context_length"]
    tensors = {name: t.clone().contiguous() for name, t in theirs.transformer.state_dict().items()}
    tensors |= {f"h.{n}.attn.bias": torch.ones(1, 1, T, T).tril() for n in range(SIZES["n_layer"])}
    file = tmp_path_factory.mktemp("gpt2") / "model.safetensors"
    save_file(tensors, file)
    return theirs, tensors, file


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("rename", [gpt2_name, MINE["gpt2_name"]], ids=["tinylm's", "03's"])
def test_gpt2s_file_gives_hugging_faces_logits_in_every_class(published, kind, rename):
    theirs, _, file = published
    model = CLASSES[kind]().eval()
    model.load_state_dict(read_gpt2(file, rename))  # strict
    tokens = torch.arange(22).view(2, 11) % 17  # (B, T)
    with torch.no_grad():
        expected = theirs(tokens).logits
        assert expected.std() > 0.1
        assert_close(model(tokens), expected, rtol=1e-5, atol=1e-5)


def fetched(monkeypatch, switch, download):
    """Runs the cell of 03 that fetches GPT-2, small, with its switch so and a download that we give."""
    (source,) = [cell.source for cell in SOLVED.cells if cell.source.count("DOWNLOAD = False")]
    built = []

    def build(**sizes):
        built.append(sizes)
        return MINE["GPT"](**SIZES)

    bpe = SimpleNamespace(encode=lambda text: [1, 2, 3], decode=lambda ids: f"{len(ids)} tokens")
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(get_encoding=lambda name: bpe))
    wide = {"write": lambda *args, context: MINE["write"](*args, context=SIZES["context_length"])}
    exec(source.replace("DOWNLOAD = False", f"DOWNLOAD = {switch}"), MINE | {"GPT": build} | wide)
    return built


def test_the_cell_fills_the_readers_gpt_and_writes(published, monkeypatch, capsys):
    asked = []
    (sizes,) = fetched(monkeypatch, True, lambda *names: asked.append(names) or published[2])
    assert asked == [("openai-community/gpt2", "model.safetensors")]
    published_sizes = {"vocab_size": 50257, "context_length": 1024, "n_layer": 12, "n_head": 12}
    assert sizes == published_sizes | {"n_embd": 768}
    assert capsys.readouterr().out == "43 tokens\n"


@pytest.mark.parametrize(
    "switch, said",
    [(False, "GPT-2 is not fetched: DOWNLOAD is False"), (True, "GPT-2 could not be fetched (ConnectionErr")],
)
def test_the_cell_says_in_one_line_why_it_fetched_nothing(monkeypatch, capsys, switch, said):
    def download(*names):
        raise ConnectionError("no route to host")

    assert fetched(monkeypatch, switch, download) == []
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(said)
