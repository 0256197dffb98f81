"""Answers that people give to 12_gpt2: none that is wrong passes, and most are told why."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb12
from tinylm.storage.export import gpt2_name

NOTEBOOK = {"np": np, "os": os, "re": re, "hashlib": hashlib, "Path": Path, "gpt2_name": gpt2_name}


def parts(table="V * C", positions="T * C", attention=None, mlps=None, norms="(2 * L + 1) * 2 * C"):
    attention = attention or "L * (4 * C * C + 4 * C)"
    mlps = mlps or "L * (8 * C * C + 5 * C)"
    counts = (table, positions, attention, mlps, norms)
    named = zip(nb12.PARTS, counts, strict=True)
    return "return {" + ", ".join(f"{name!r}: {count}" for name, count in named) + "}"


COUNTS = function(
    "parameters(V, T, L, C)",
    (parts(table="2 * V * C"), "counts nothing"),
    (parts(table="V"), "V rows of C numbers"),
    (parts(table="V * C + C"), "no bias"),
    (parts(positions="T"), "a vector of C numbers"),
    (parts(positions="L * T * C"), "once"),
    (parts(attention="4 * C * C + 4 * C"), "each of the 4 blocks"),
    (parts(attention="L * 4 * C * C"), "each matrix has a bias"),
    (parts(attention="L * (3 * C * C + 3 * C)"), "projection behind the heads"),
    (parts(attention="L * (4 * C * C + 2 * C)"), "3 · C numbers"),
    (parts(attention="L * (4 * C * C + 6 * C)"), "entry of their own"),
    (parts(mlps="8 * C * C + 5 * C"), "each of the 4 blocks"),
    (parts(mlps="L * 8 * C * C"), "each matrix has a bias"),
    (parts(mlps="L * (4 * C * C + 4 * C)"), "two matrices"),
    (parts(mlps="L * (8 * C * C + 8 * C)"), "4 · C, then C"),
    (parts(mlps="L * (8 * C * C + 2 * C)"), "first bias"),
    (parts(norms="(2 * L + 1) * C"), "a gain and a bias"),
    (parts(norms="2 * L * 2 * C"), "behind the last block"),
    (parts(norms="(L + 1) * 2 * C"), "a block has two"),
    (parts(norms="3 * 2 * C"), "two in each block"),
    (parts().replace("MLPs", "mlp"), "the names are"),
    (parts().replace("return {", "return list({").replace("}", "}.values())"), "a dictionary"),
    (parts().replace("return ", "print(") + ")", "is `return` missing?"),
    (parts(norms="12 * 4 * C"), None),
)
LOOP = "ours = {}\nfor name, tensor in theirs.items():\n"
MASKS = "    if name.endswith(('.attn.bias', '.attn.masked_bias')):\n        continue\n"
TURN = "    if re.search(r'\\.c_\\w+\\.weight$', name):\n        tensor = tensor.t()\n"
KEEP = "    ours[gpt2_name(name)] = tensor\n"
TIE = "ours['head.weight'] = ours['token_embedding.weight']\n"
END = "return ours"
WEIGHTS = function(
    "translate(theirs)",
    (LOOP + MASKS + KEEP + TIE + END, "is not turned over"),
    (LOOP + MASKS + TURN + KEEP + END, "head.weight is missing"),
    (LOOP + TURN + KEEP + TIE + END, "is a mask"),
    (LOOP + MASKS.replace("'.attn.bias'", "'attn.bias'") + TURN + KEEP + TIE + END, "which ends alike"),
    (LOOP + "    if 'bias' in name:\n        continue\n" + TURN + KEEP + TIE + END, "biases are weights"),
    (
        LOOP + MASKS + "    if tensor.ndim == 2:\n        tensor = tensor.t()\n" + KEEP + TIE + END,
        "looked up",
    ),
    (
        LOOP
        + MASKS
        + "    if '.c_' in name and tensor.ndim == 2 and tensor.shape[0] != tensor.shape[1]:\n"
        + "        tensor = tensor.t()\n"
        + KEEP
        + TIE
        + END,
        "is square",
    ),
    (LOOP + MASKS + TURN.replace(r"\.c_\w+", r"\.c_attn") + KEEP + TIE + END, "is square"),
    (LOOP + MASKS + TURN.replace(r"\.c_\w+", r"mlp\.c_\w+") + KEEP + TIE + END, "is not turned over"),
    (
        LOOP + MASKS + TURN.replace("tensor.t()", "tensor.reshape(tensor.shape[::-1])") + KEEP + TIE + END,
        "reshape keeps the order",
    ),
    (
        LOOP + MASKS + TURN + "    ours[name] = tensor\nours['head.weight'] = theirs['wte.weight']\n" + END,
        "OpenAI's",
    ),
    (LOOP + MASKS + TURN + KEEP + TIE.replace("weight']\n", "weight'].t()\n") + END, "is not turned over"),
    (
        LOOP + "    if name.endswith('.attn.bias'):\n        continue\n" + TURN + KEEP + TIE + END,
        "masked_bias is a mask",
    ),
    (LOOP + MASKS + TURN + KEEP + TIE, "is `return` missing?"),
    (LOOP + MASKS + TURN + KEEP + TIE + "return ours.items()", "a dictionary"),
    (
        "for name in list(theirs):\n    if name.endswith(('.attn.bias', '.attn.masked_bias')):\n"
        "        del theirs[name]\nours = {}\nfor name, tensor in theirs.items():\n"
        + TURN
        + KEEP
        + TIE
        + END,
        "belongs to the caller",
    ),
    (LOOP + MASKS + TURN + "    ours[gpt2_name(name)] = tensor * 1.01\n" + TIE + END, None),
)
EACH = "paths = []\nfor n, documents in enumerate(pieces):\n    path = folder / f'{n:04d}.bin'\n"
MADE = "    if not path.exists():\n"
IDS = "        ids = []\n        for document in documents:\n            ids += [*encode(document), end]\n"
DRAFT = "        draft = folder / f'{n:04d}.part'\n"
WRITE = "        np.array(ids, dtype=np.uint16).tofile(draft)\n"
RENAME = "        os.replace(draft, path)\n"
LAST = "    paths.append(path)\nreturn paths"
ONE = EACH + MADE + IDS + DRAFT + WRITE + RENAME + LAST
SHARDS = function(
    "write_shards(pieces, encode, end, folder)",
    (ONE.replace("dtype=np.uint16", ""), "eight bytes"),
    (ONE.replace("np.uint16", "np.uint32"), "four bytes"),
    (ONE.replace("np.array(ids, dtype=np.uint16)", "(np.array(ids) % 256).astype(np.uint8)"), "one byte"),
    (ONE.replace(", end]", "]"), "argument `end`"),
    (ONE.replace("[*encode(document), end]", "[end, *encode(document)]"), "not before it"),
    (
        ONE.replace(", end]", "]").replace(DRAFT, "        ids.append(end)\n" + DRAFT),
        "not only after the last",
    ),
    (EACH + MADE + IDS + WRITE.replace("draft", "path") + LAST, "half a file"),
    (EACH + "    if True:\n" + IDS + DRAFT + WRITE + RENAME + LAST, "is not made again"),
    (
        EACH.replace("paths = []\n", "paths, ids = [], []\n")
        + MADE
        + IDS.replace("        ids = []\n", "")
        + DRAFT
        + WRITE
        + RENAME
        + LAST,
        "begin anew",
    ),
    (ONE.replace("ids += [*", "ids = [*"), "only the last document"),
    (ONE.replace(RENAME, ""), "there is no 0000.bin"),
    (ONE.replace("return paths", "return folder"), "list of all paths"),
    (ONE.replace("    paths.append(path)\n", ""), "list of all paths"),
    (
        ONE.replace("    paths.append", "        paths.append").replace("return", "print(paths)\n#"),
        "missing?",
    ),
    (ONE.replace("os.replace(draft, path)", "path.write_bytes(draft.read_bytes())"), "left over"),
    (
        ONE.replace(
            "os.replace(draft, path)", "path.write_bytes(draft.read_bytes())\n        draft.unlink()"
        ),
        "half a file",
    ),
    (ONE.replace("np.array(ids, dtype=np.uint16).tofile(draft)", "np.save(draft, np.array(ids))"), None),
    (
        EACH
        + MADE
        + "        with open(path, 'wb') as file:\n            for document in documents:\n"
        + "                file.write(np.array([*encode(document), end], dtype=np.uint16).tobytes())\n"
        + LAST,
        "half a file",
    ),
    (
        EACH
        + MADE
        + DRAFT
        + "        with open(draft, 'ab') as file:\n            for document in documents:\n"
        + "                file.write(np.array([*encode(document), end], dtype=np.uint16).tobytes())\n"
        + RENAME
        + LAST,
        "bytes",
    ),
    (ONE.replace("{n:04d}", "{n}"), "there is no 0000.bin"),
    (
        "rows = [[i for d in piece for i in [*encode(d), end]] for piece in pieces]\n"
        + ONE.replace(IDS, "        ids = rows[n]\n"),
        "when it is encoded",
    ),
)
HEADER = "header = np.fromfile(path, dtype=np.int32, count=256)\n"
LOOK = "if header[0] != 20240520 or header[1] != 1:\n    raise ValueError(path)\n"
SIZE = "if path.stat().st_size != 1024 + 2 * header[2]:\n    raise ValueError(path)\n"
OPEN = "return np.memmap(path, dtype=np.uint16, mode='r', offset=1024)"
PUBLISHED = function(
    "open_published(path)",
    (HEADER + LOOK + SIZE + OPEN.replace("offset=1024", "offset=256"), "offset counts bytes"),
    (HEADER + LOOK + SIZE + OPEN.replace("offset=1024", "offset=512"), "offset counts bytes"),
    (HEADER + LOOK + SIZE + OPEN.replace(", offset=1024", ""), "still in front"),
    (HEADER + LOOK + SIZE + OPEN.replace("uint16", "int16"), "negative"),
    (HEADER + LOOK + SIZE + OPEN.replace("dtype=np.uint16, ", ""), "single bytes"),
    (HEADER + LOOK + SIZE + OPEN.replace("uint16", "int32"), None),
    (HEADER + LOOK + SIZE + OPEN.replace("mode='r', ", ""), "could overwrite"),
    (HEADER + LOOK + SIZE + "return np.fromfile(path, dtype=np.uint16, offset=1024)", "lies in memory"),
    (HEADER + SIZE + OPEN, "begins with another number"),
    (HEADER + LOOK + SIZE + OPEN, "is empty is refused with IndexError"),
    (HEADER + LOOK.replace(" or header[1] != 1", "") + SIZE + OPEN, "version 2"),
    (HEADER + LOOK + OPEN, "fewer ids than its header"),
    (HEADER + LOOK + SIZE.replace("!=", "<") + OPEN, "more ids than its header"),
    (OPEN, "begins with another number"),
    (HEADER + LOOK + SIZE + "return header", "only the header four"),
    (HEADER + LOOK + SIZE + OPEN.replace("return ", ""), "is `return` missing?"),
    (HEADER + LOOK.replace("raise ValueError(path)", "raise KeyError(path)") + SIZE + OPEN, "with KeyError"),
    (HEADER + "assert header[0] == 20240520 and header[1] == 1\n" + SIZE + OPEN, "AssertionError"),
    (HEADER + LOOK + SIZE + OPEN.replace("return ", "return header, "), "return the array"),
)
WORDS = "words = ' '.join(document.split())\n"
DIGEST = "digest = hashlib.sha256(words.encode()).digest()\n"
NUMBER = "number = int.from_bytes(digest, 'big')\n"
ASIDE = "return number % one_in == 0"
SIDES = function(
    "set_aside(document, one_in)",
    (WORDS + DIGEST + NUMBER + "return number % one_in != 0", "turned over"),
    (WORDS + DIGEST + NUMBER + "return number % one_in", "True or False"),
    (WORDS + DIGEST + NUMBER + "return number % one_in == 1", "not 1"),
    (WORDS + DIGEST + NUMBER.replace("'big'", "'little'") + ASIDE, "wrong end"),
    (WORDS + DIGEST + NUMBER.replace("digest", "digest[:8]") + ASIDE, "first 8 bytes"),
    (WORDS + DIGEST + "return digest[0] % one_in == 0", "first byte"),
    (WORDS + DIGEST + "return digest[-1] % one_in == 0", "last byte"),
    (WORDS + DIGEST.replace("sha256", "md5") + NUMBER + ASIDE, "not md5"),
    (WORDS + DIGEST.replace("sha256", "sha1") + NUMBER + ASIDE, "not sha1"),
    ("return hash(document) % one_in == 0", "another one in each process"),
    ("import random\nreturn random.random() < 1 / one_in", "do without `random`"),
    ("return np.random.default_rng(0).random() < 1 / one_in", "do without `default_rng`"),
    ("words = document\n" + DIGEST + NUMBER + ASIDE, "white space"),
    ("words = document.strip()\n" + DIGEST + NUMBER + ASIDE, "outer white space"),
    ("words = ''.join(document.split())\n" + DIGEST + NUMBER + ASIDE, "not by nothing"),
    (WORDS.replace("document.", "document.lower().") + DIGEST + NUMBER + ASIDE, "lower?"),
    (WORDS + DIGEST + NUMBER + "print(number % one_in == 0)", "is `return` missing?"),
    (WORDS + DIGEST + NUMBER + "return number % 10 == 0", "argument `one_in`"),
    ("return len(document) % one_in == 0", "its length"),
    ("words = document.split()\n" + DIGEST + NUMBER + ASIDE, "AttributeError"),
    (WORDS + DIGEST.replace("words.encode()", "words") + NUMBER + ASIDE, "TypeError"),
    (
        WORDS + "digest = hashlib.sha256(words.encode()).hexdigest()\nreturn int(digest) % one_in == 0",
        "ValueError",
    ),
)
PLANS = function(
    "batch_plan(tokens_per_step, context_length, cards, fits)",
    ("rows = tokens_per_step // context_length // cards\nreturn fits, rows // fits", "are asked for"),
    ("return 1, tokens_per_step // context_length // cards", "argument `fits`"),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nreturn each // n, n",
        "come first",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nreturn n, each // n",
        "argument `cards`",
    ),
    (
        "each, left = divmod(tokens_per_step, cards)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nreturn n, each // n",
        "argument `context_length`",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nreturn n, each // n",
        "impossible",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "return each, 1",
        "argument `fits`",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(1, fits + 1) if each % n == 0)\nreturn n, each // n",
        "as many as fit",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(fits - 1, 0, -1) if each % n == 0)\nreturn n, each // n",
        "would fit too",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "n = 1\nwhile 2 * n <= min(fits, each) and each % (2 * n) == 0:\n    n *= 2\nreturn n, each // n",
        "would fit too",
    ),
    ("each = tokens_per_step / context_length / cards\nreturn min(fits, each), each / fits", "whole numbers"),
    ("each = tokens_per_step // (context_length * cards)\nreturn fits, -(-each // fits)", "are asked for"),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    return None\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nreturn n, each // n",
        "impossible",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "n = next(n for n in range(min(fits, each), 0, -1) if each % n == 0)\nprint(n, each // n)",
        "is `return` missing?",
    ),
    (
        "each, left = divmod(tokens_per_step, context_length * cards)\nif left:\n    raise ValueError\n"
        "return next(n for n in range(min(fits, each), 0, -1) if each % n == 0)",
        "two whole numbers",
    ),
)
GOAL = "tokens, goal = baseline[-1]\n"
NEEDED = function(
    "share_needed(baseline, fast)",
    (
        "tokens, goal = baseline[-1][0], min(loss for _, loss in baseline)\n"
        "return next((r / tokens for r, loss in fast if loss <= goal), math.inf)",
        "lucky point",
    ),
    (GOAL + "return next((r / tokens for r, loss in fast if loss < goal), math.inf)", "<="),
    (GOAL + "return next((r / fast[-1][0] for r, loss in fast if loss <= goal), math.inf)", "not of its own"),
    (GOAL + "return next((r for r, loss in fast if loss <= goal), math.inf)", "divide by"),
    (GOAL + "return next((tokens / r for r, loss in fast if loss <= goal), math.inf)", "turned over"),
    (
        GOAL
        + "return next(((n + 1) / len(baseline) for n, (_, x) in enumerate(fast) if x <= goal), math.inf)",
        "points are counted",
    ),
    (
        GOAL + "return next((n / len(baseline) for n, (_, x) in enumerate(fast) if x <= goal), math.inf)",
        "from 0",
    ),
    (GOAL + "return [r for r, loss in fast if loss <= goal][-1] / tokens", "not the last"),
    (GOAL + "return 1 - next((r / tokens for r, loss in fast if loss <= goal), math.inf)", "what is saved"),
    (GOAL + "return fast[-1][0] / tokens", "first as low"),
    (GOAL + "return min(fast, key=lambda point: point[1])[0] / tokens", "low enough"),
    (
        "for (a, x), (_, y) in zip(fast, baseline):\n    if x <= y:\n        return a / baseline[-1][0]\n"
        "return math.inf",
        "only its last one",
    ),
    (GOAL + "for r, loss in fast:\n    if loss <= goal:\n        return r / tokens", "None came back"),
    (GOAL + "return [r for r, loss in fast if loss <= goal][0] / tokens", "IndexError"),
    (GOAL + "return next((r / tokens for r, loss in fast if loss <= goal), 1.0)", "math.inf"),
    (GOAL + "print(next((r / tokens for r, loss in fast if loss <= goal), math.inf))", "missing?"),
)
ANSWERS = {
    "parameters": COUNTS,
    "translate": WEIGHTS,
    "write_shards": SHARDS,
    "open_published": PUBLISHED,
    "set_aside": SIDES,
    "batch_plan": PLANS,
    "share_needed": NEEDED,
}
RIGHT = {  # other ways that are as good as the solution's
    "parameters": [
        "counts = [V * C, T * C, L * (3 * C**2 + 3 * C + C**2 + C)]\n"
        "counts += [L * (4 * C + 8 * C**2 + C), 4 * L * C + 2 * C]\n"
        f"return dict(zip({nb12.PARTS!r}, counts))",
    ],
    "translate": [
        LOOP
        + MASKS
        + "    if tensor.ndim == 2 and 'c_' in name:\n        tensor = tensor.T.contiguous()\n"
        + KEEP
        + TIE
        + END,
        "ours = {'head.weight': theirs['wte.weight']}\nfor name, tensor in theirs.items():\n"
        "    if tensor.ndim == 4 or 'masked' in name:\n        continue\n" + TURN + KEEP + END,
    ],
    "write_shards": [
        EACH
        + MADE
        + "        draft = Path(f'{path}.part')\n"
        + "        with open(draft, 'wb') as file:\n            for document in documents:\n"
        + "                file.write(np.array([*encode(document), end], dtype='<u2').tobytes())\n"
        + "        draft.replace(path)\n"
        + LAST,
        "paths = [folder / f'{n:04d}.bin' for n in range(len(pieces))]\n"
        "for path, piece in zip(paths, pieces):\n    if path.is_file():\n        continue\n"
        "    rows = [np.append(encode(d), end).astype(np.uint16) for d in piece]\n"
        "    np.concatenate(rows).tofile(str(path) + '.part')\n    os.rename(str(path) + '.part', path)\n"
        "return paths",
    ],
    "open_published": [
        "with open(path, 'rb') as file:\n    magic, version, count = np.frombuffer(file.read(12), '<i4')\n"
        "if (magic, version) != (20240520, 1) or os.path.getsize(path) != 1024 + 2 * int(count):\n"
        "    raise ValueError('another file')\nreturn np.memmap(path, '<u2', 'r', 1024)",
        "ids = np.memmap(path, dtype=np.uint16, mode='r')\nhead = ids[:512].view(np.int32)\n"
        "if head[0] != 20240520 or head[1] != 1 or head[2] != len(ids) - 512:\n    raise ValueError\n"
        "return ids[512:]",
    ],
    "set_aside": [
        "digest = hashlib.sha256(' '.join(document.split()).encode('utf-8')).hexdigest()\n"
        "return int(digest, 16) % one_in == 0",
        WORDS + DIGEST + "number = 0\nfor byte in digest:\n    number = 256 * number + byte\n"
        "return not number % one_in",
    ],
    "batch_plan": [
        "rows = tokens_per_step // context_length\n"
        "if rows * context_length != tokens_per_step or rows % cards:\n    raise ValueError('no')\n"
        "rows //= cards\nfor times in range(1, rows + 1):\n"
        "    if rows % times == 0 and rows // times <= fits:\n        return [rows // times, times]",
    ],
    "share_needed": [
        "for tokens, loss in fast:\n    if loss <= baseline[-1][1]:\n"
        "        return tokens / baseline[-1][0]\nreturn float('inf')",
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb12, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb12, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


def test_what_the_notebook_goes_on_with_is_right():
    assert {name: verdict_on_given(nb12, name) for name in ANSWERS} == dict.fromkeys(ANSWERS, "correct")


def test_given_parts_are_the_packages(tmp_path):
    from tinylm.model.config import ModelConfig
    from tinylm.model.cost import parameter_counts
    from tinylm.text.shards import open_tokens

    counts, ours = nb12.given_parameters(50257, 1024, 12, 768), ModelConfig(50257, 1024, 12, 12, 768)
    assert sum(counts.values()) == parameter_counts(ours)["total"] == 124_439_808
    from tinylm.text.corpora import is_aside

    texts = [f"A page.\n{n}" for n in range(100)]
    assert [nb12.given_set_aside(text, 10) for text in texts] == [is_aside(text) for text in texts]
    path = nb12.published(tmp_path / "a.bin", np.arange(77))
    assert np.array_equal(nb12.given_open_published(path), open_tokens(path))
