"""Laws of my_lm.py: it runs where there is no tinylm, trains, writes, and opens GPT-2's weights."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest
import torch

from tests.authoring.execute import ROOT
from tests.course.exercises.test_exercises import EXERCISES, LESSONS
from tests.course.test_yours import cell
from tests.support.hugging_face import transformers
from tinylm.course import library, yours
from tinylm.errors import TinyLMError
from tinylm.text import corpora
from tinylm.text.tokenizers import BPETokenizer
from tinylm.text.toyworld.world import STORIES

ALONE = "import runpy, sys; sys.modules['tinylm'] = None; sys.argv[0] = 'my_lm.py'; "
ALONE += "runpy.run_path('my_lm.py', run_name='__main__')"


def run(folder, *arguments):
    """What my_lm.py prints in a process that cannot import tinylm."""
    command = [sys.executable, "-c", ALONE, *map(str, arguments)]
    how = {"capture_output": True, "encoding": "utf-8", "check": True}
    return subprocess.run(command, cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, **how).stdout


@pytest.fixture
def solved(mine, tmp_path):
    """A folder with my_lm.py, all of whose exercises are solved."""
    for number, name in EXERCISES:
        if LESSONS[number].exercises[name].number:
            assert yours.keep(number, name, LESSONS[number].exercises[name].given) == ""
    library.write(tmp_path / "my_lm.py")
    return tmp_path


def imported(folder):
    """my_lm.py as a module."""
    spec = importlib.util.spec_from_file_location("my_lm", folder / "my_lm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("modern", [{}, {"n_kv_head": 1}], ids=["GPT", "modern"])
def test_what_it_trained_is_saved_with_its_tokenizer_and_writes_the_same(solved, modern):
    mine, text = imported(solved), "\n".join(STORIES.texts(80, seed=1))
    tokenizer = mine.Tokenizer(mine.train({tuple(mine.to_bytes(text[:2000])): 1}, 30))
    sizes = {"vocab_size": 286, "context_length": 16, "n_layer": 1, "n_head": 2, "n_embd": 8} | modern
    model, _ = mine.train_model(text, tokenizer, sizes=sizes, steps=3, batch_size=4, peak=0.01)
    assert type(model).__name__ == ("ModernGPT" if modern else "GPT")
    mine.save(solved / "my_lm.pt", model, sizes, tokenizer)
    written = mine.continue_text(model, tokenizer, "Rosa", 20)
    assert written == mine.continue_text(*mine.load(solved / "my_lm.pt"), "Rosa", 20) != "Rosa"
    for change, words in (
        ({"n_embd": 7}, "multiple of --n-head"),
        ({}, "the text has 8 tokens: use a longer"),
    ):
        with pytest.raises(SystemExit, match=words):
            odd = text if change else "too short"
            mine.train_model(odd, tokenizer, sizes=sizes | change, steps=2, batch_size=1, peak=0.01)
    (solved / "latin.txt").write_bytes(b"\xe9")
    for work, words in {
        lambda: mine.load(solved / "latin.txt"): "is not a model that this file has saved",
        lambda: mine.load(solved / "none.pt"): "is not here: `python my_lm.py train TEXT.txt` makes one",
        lambda: mine.read_text(solved / "latin.txt"): "cannot be read as text in UTF-8",
        lambda: mine.open_gpt2(solved): "has no config.json: it needs config.json, model.safetensors",
    }.items():
        with pytest.raises(SystemExit, match=words):
            work()


@pytest.mark.slow
def test_it_learns_in_a_process_without_tinylm_as_well_as_notebook_04_demands(solved):
    text = corpora.load("tinyshakespeare", fallback="toyworld-plays")
    (solved / "plays.txt").write_text(text.train[-300_000:], encoding="utf-8")
    trained = run(solved, "train", "plays.txt", "--steps", 200)
    (loss,) = re.findall(r"validation loss ([.\d]+) ± [.\d]+ nats per token", trained)
    assert float(loss) < 2.7  # which notebook 04 demands after 300 steps
    assert run(solved, "sample", "--prompt", "The king", "--tokens", 30).startswith("The king")


def test_logits_and_text_of_a_random_gpt2_are_those_of_transformers(solved):
    torch.manual_seed(0)
    sizes = {"vocab_size": 257, "n_positions": 37, "n_layer": 3, "n_head": 3, "n_embd": 24}
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    ).eval()
    theirs.save_pretrained(solved / "gpt2")
    (solved / "gpt2" / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokens = torch.randint(257, (2, 37))
    with torch.no_grad():
        mine = imported(solved).open_gpt2(solved / "gpt2")(tokens)
        torch.testing.assert_close(mine, theirs(tokens).logits, rtol=1e-5, atol=1e-5)
    assert run(solved, "gpt2", "gpt2", "--prompt", "Hello", "--tokens", 3).startswith("Hello")


def test_ids_are_those_of_the_same_merges_in_tinylm(solved):
    ours = BPETokenizer.train(STORIES.texts(50, seed=1), 400)
    (solved / "merges.txt").write_text(f"#version: 0.2\n{ours.merges}\n", encoding="utf-8")
    mine = imported(solved).gpt2_tokenizer(solved / "merges.txt")
    for text in ("Then Rosa's cat, 12½ x² é\u0302!", "  don't\n\n\tनमस्ते 🎃", "a\u00a0b\u2003<|endoftext|>"):
        assert mine.encode(text) == ours.encode(text).tolist()
        assert mine.decode(mine.encode(text)) == text


def test_each_part_says_whose_it_is_and_the_file_is_sound(mine, capsys):
    clip = LESSONS["04"].exercises["clip"].solution
    LESSONS["04"].exercises["clip"](cell(clip.replace("length", "norm"))["clip"])
    blank, _ = library.Library(), capsys.readouterr()
    assert "# 4.5 · clip · yours\ndef clip(parameters, limit):\n    norm =" in blank.text
    assert "# 4.4 · the cosine · tinylm's, until you have solved it\ndef cosine(" in blank.text
    library.progress(blank)
    said = capsys.readouterr().out
    assert re.search(r"you have written 1 of its \d\d exercises, 6 of \d+ lines", said) and " 4.5" not in said
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=F,E9", "-"]
    assert (
        subprocess.run(command, input=blank.text.encode(), capture_output=True).stdout
        == b"All checks passed!\n"
    )


HELPERS = {
    "main": "def main(x):\n    return x\n",
    "print": "def print(x):\n    return x\n",
    "np": "def np(x):\n    return x\n",
    "recipe": "from tinylm.runs.recipes import recipe\n",
    "clip": "def clip(x):\n    return x\n",
    "gpt2_name": "def gpt2_name(x):\n    return x\n",
}


@pytest.mark.parametrize("helper", HELPERS)
def test_answer_that_would_redefine_a_name_or_needs_tinylm_gives_way_to_the_solution(mine, helper):
    source = f"{HELPERS[helper]}\n\ndef min_p(logits, m):\n    {helper}(3) if m > 9 else 0\n"
    source += "    return logits.masked_fill((logits - logits.max()).exp() < m, -math.inf)\n"
    LESSONS["05"].exercises["min_p"](cell(source)["min_p"])
    assert yours.opened("05", "min_p")[1] == "yours"
    built = library.Library()
    assert "# 5.4 · min-p · tinylm's, since yours does not fit" in built.text
    assert "5.4 · min-p: solved, but the file has tinylm's: " in built.told[0] and helper in built.told[0]


def test_readme_promises_as_many_parts_and_lines_as_there_are(mine):
    library_as_it_is, readme = library.Library(), (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"It holds {len(library_as_it_is.parts)} of your answers." in readme
    promised = int(re.search(r"`my_lm.py`, of about (\d+) lines", readme)[1])
    assert abs(len(library_as_it_is.text.splitlines()) - promised) < 30


def test_file_that_was_changed_by_hand_is_not_overwritten(mine, tmp_path, capsys):
    file = tmp_path / "my_lm.py"
    library.write(file)
    library.write(file)
    file.write_text(file.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    with pytest.raises(TinyLMError, match="has changes of yours: give another name, or --overwrite"):
        library.write(file)
    library.write(file, overwrite=True)
    assert "# mine" not in file.read_text(encoding="utf-8")
