"""Answers that people give to 07_tokenizers: none that is wrong passes, and most are told why."""

import re
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb07

NOTEBOOK = {name: getattr(nb07, f"given_{name}") for name in ("to_bytes", "count_pairs", "merge", "train")}
NOTEBOOK |= {"Counter": Counter, "defaultdict": defaultdict, "combinations": combinations, "re": re, "np": np}

BYTES = function(
    "to_bytes(text)",
    ("return text.encode('utf-8')", "bytes object"),
    ("return [ord(c) for c in text]", "233"),
    ("return list(text.encode('latin-1'))", "233"),
    ("return list(text.encode('utf-16'))", "UTF-16"),
    ("return list(text)", "encode the text first"),
    ("return [c.encode() for c in text]", "all bytes in one list"),
    ("return [list(c.encode()) for c in text]", "all bytes in one list"),
    ("return [str(b) for b in text.encode()]", "no str, hex or bin"),
    ("return [hex(b) for b in text.encode()]", "hexadecimal"),
    ("return [bin(b) for b in text.encode()]", "ones and zeros"),
    ("return list(set(text.encode()))", "twice stays twice"),
    ("return list(text.encode('ascii', errors='ignore'))", "errors='ignore'"),
    ("return list(text.encode('ascii', errors='replace'))", "errors='replace'"),
    ("return len(text.encode())", "not a single number"),
    ("return bytearray(text, 'utf-8')", "bytearray"),
    ("return str(list(text.encode()))", "not a text"),
    ("return list(text.encode('ascii'))", "UnicodeEncodeError"),
    ("list(text.encode())", "is `return` missing?"),
    ("return list('é'.encode())", "your shape is"),
    ("return (b for b in text.encode())", "that is a generator"),
    ("return map(int, text.encode())", "that is a map"),
    ("return tuple(text.encode())", "that is a tuple"),
    ("return [bytes([b]) for b in text.encode()]", "not a bytes object for each"),
    ("return list(text.encode().hex())", "digits of a hexadecimal text"),
)
LOOP = "counts = {}\nfor i in range(len(ids) - 1):\n    pair = (ids[i], ids[i + 1])\n"
PAIRS = function(
    "count_pairs(ids)",
    ("return Counter(ids)", "single ids"),
    ("return Counter(zip(ids[::2], ids[1::2]))", "not by two"),
    ("return Counter(zip(ids, ids[1:] + ids[:1]))", "do not go round"),
    ("return Counter(zip(ids[1:], ids))", "left neighbour stands first"),
    ("return Counter(tuple(sorted(p)) for p in zip(ids, ids[1:]))", "do not sort"),
    ("return Counter(zip(ids[:-2], ids[1:]))", "last pair is missing"),
    (LOOP + "    counts[pair] = counts.get(pair, 1) + 1\nreturn counts", "one too many"),
    (LOOP + "    counts[pair] = 1\nreturn counts", "add up"),
    (LOOP + "    counts[pair] = counts[pair] + 1\nreturn counts", "KeyError"),
    (LOOP + "    counts[pair] = counts.get(pair, 0) + 1\n    return counts", None),
    (LOOP + "    counts[pair] = counts.get(pair, -1) + 1\nreturn counts", "one too few"),
    ("return Counter(combinations(ids, 2))", "not any two"),
    ("return Counter(zip(ids, ids))", "no neighbour of itself"),
    ("return Counter(zip(ids, ids[2:]))", "between"),
    ("return Counter(zip(ids, ids[1:])).most_common()", "a dictionary is asked for"),
    ("return set(zip(ids, ids[1:]))", "a dictionary is asked for"),
    ("return list(zip(ids, ids[1:]))", "a dictionary is asked for"),
    ("return Counter(f'{a},{b}' for a, b in zip(ids, ids[1:]))", "not a text"),
    ("return Counter([ids[i], ids[i + 1]] for i in range(len(ids) - 1))", "TypeError"),
    ("return dict(Counter(zip(ids, ids[1:])).most_common(1))", "only the most frequent"),
    (
        "counts = Counter()\nwhile len(ids) > 1:\n    counts[ids.pop(0), ids[0]] += 1\nreturn counts",
        "changes the list",
    ),
    ("Counter(zip(ids, ids[1:]))", "is `return` missing?"),
    (LOOP.replace(" - 1", "") + "    counts[pair] = counts.get(pair, 0) + 1\nreturn counts", "IndexError"),
    ("return len(list(zip(ids, ids[1:])))", "a dictionary is asked for"),
)
WALK = "row, i = [], 0\nwhile i < len(ids):\n    found = tuple(ids[i : i + 2]) == pair\n"
MERGES = function(
    "merge(ids, pair, new)",
    (WALK + "    row.append(new if found else ids[i])\n    i += 1\nreturn row", "second id of the pair"),
    (
        "row = []\nfor i in range(len(ids)):\n    if tuple(ids[i : i + 2]) == pair:\n"
        "        row.append(new)\n"
        "    elif i == 0 or tuple(ids[i - 1 : i + 1]) != pair:\n        row.append(ids[i])\nreturn row",
        "share an id",
    ),
    (
        "for i in range(len(ids) - 1):\n    if (ids[i], ids[i + 1]) == pair:\n"
        "        return ids[:i] + [new] + ids[i + 2 :]\nreturn list(ids)",
        "not only the first",
    ),
    (
        "for i in range(len(ids) - 1, 0, -1):\n    if (ids[i - 1], ids[i]) == pair:\n"
        "        ids = ids[: i - 1] + [new] + ids[i + 1 :]\nreturn list(ids)",
        None,
    ),
    (
        "i = 0\nwhile i < len(ids) - 1:\n    if (ids[i], ids[i + 1]) == pair:\n"
        "        ids[i : i + 2] = [new]\n"
        "    i += 1\nreturn ids",
        "changes the list",
    ),
    (
        "row, i = [], 0\nwhile i < len(ids) - 1:\n    if (ids[i], ids[i + 1]) == pair:\n"
        "        row.append(new)\n"
        "        i += 2\n    else:\n        row.append(ids[i])\n        i += 1\nreturn row",
        "last id is lost",
    ),
    (
        WALK.replace("== pair", "in (pair, pair[::-1])")
        + "    row.append(new if found else ids[i])\n    i += 2 if found else 1\nreturn row",
        "order matters",
    ),
    ("return [new if n in pair else n for n in ids]", "alone is no pair"),
    ("return [new if n == pair[0] else n for n in ids]", "the second id of the pair"),
    (
        WALK.replace("tuple(ids[i : i + 2])", "ids[i : i + 2]")
        + "    row.append(new if found else ids[i])\n    i += 2 if found else 1\nreturn row",
        "not (1, 2)",
    ),
    (
        WALK + "    row.append(256 if found else ids[i])\n    i += 2 if found else 1\nreturn row",
        "not always 256",
    ),
    (WALK + "    row.append(new if found else ids[i])\n    i += 3 if found else 1\nreturn row", "not three"),
    (
        WALK + "    if found:\n        row.append(new)\n    i += 2 if found else 1\nreturn row",
        "all others stay",
    ),
    (WALK + "    if not found:\n        row.append(ids[i])\n    i += 2 if found else 1\nreturn row", None),
    (WALK + "    row += [new] if found else ids[i : i + 2]\n    i += 2\nreturn row", "at any place"),
    (
        "row, i = [], 0\nwhile i < len(ids):\n    if ids[i] == pair[0] and ids[i + 1] == pair[1]:\n"
        "        row.append(new)\n        i += 2\n    else:\n        row.append(ids[i])\n        i += 1\n"
        "return row",
        "IndexError",
    ),
    ("return eval(str(ids).replace(f'{pair[0]}, {pair[1]}', str(new)))", None),
    (WALK + "    row.append(new if found else ids[i])\n    i += 2 if found else 1", "is `return` missing?"),
    ("return tuple(ids).count(pair)", None),
    (
        "row, i = [], 0\nwhile i < len(ids) - 1:\n    if (ids[i], ids[i + 1]) == pair:\n"
        "        row.append(new)\n        i += 2\n    else:\n        row.append(ids[i])\n        i += 1\n"
        "row.append(ids[-1])\nreturn row",
        "the last id is there twice",
    ),
    (
        "row = list(ids)\nfor i in range(len(row)):\n    if (row[i], row[i + 1]) == pair:\n"
        "        row[i] = new\n        del row[i + 1]\nreturn row",
        "for [7, 1, 2, 9, 1, 2]",
    ),
    ("return ids + [new, *pair]", "for [7, 1, 2, 9, 1, 2], the pair (1, 2) and new = 300: yours is"),
)
TIES = "min(counts, key=lambda p: (-counts[p], p))"


def loop(
    choose=TIES, new="256 + i", keep="ids = merge(ids, pair, {})", end="return merges", guard="if not counts:"
):
    """The training loop with one part exchanged."""
    lines = ["merges = []", "for i in range(n_merges):", "    counts = count_pairs(ids)", f"    {guard}"]
    lines += [
        "        break",
        f"    pair = {choose}",
        "    merges.append(pair)",
        f"    {keep.format(new)}",
        end,
    ]
    return "\n".join(lines)


TRAINED = function(
    "train(ids, n_merges)",
    (loop("max(counts, key=counts.get)"), "not the first that was met"),
    (loop("counts.most_common(1)[0][0]"), "not the first that was met"),
    (loop("max(counts, key=lambda p: (counts[p], p))"), "not the largest"),
    (loop("min(counts, key=lambda p: (counts[p], p))"), "not the rarest"),
    (loop("min(counts)"), "among the equally frequent"),
    (loop("max(counts)"), "no measure"),
    (loop(new="256"), "always 256"),
    (loop(new="257 + i"), "first new id is 256"),
    (loop(new="255 + i"), "255 is a byte"),
    (loop(new="max(ids) + 1"), None),
    (loop(new="i"), "not at 0"),
    (loop(keep="merge(ids, pair, 256 + i)"), "back into ids"),
    (loop(end="return ids"), "not the row"),
    (loop(end="return merges, ids"), "without the row"),
    (loop(end="return {pair: 256 + i for i, pair in enumerate(merges)}"), "in their order"),
    (loop(end="return [(pair, 256 + i) for i, pair in enumerate(merges)]"), "only the pairs"),
    (loop(guard="if False:"), "no pair left"),
    (loop(guard="if max(counts.values(), default=0) < 2:"), "once is merged too"),
    (loop(guard="if len(counts) < 2:"), "until no pair is left"),
    (
        "counts = count_pairs(ids)\nreturn sorted(counts, key=lambda p: (-counts[p], p))[:n_merges]",
        "count anew",
    ),
    ("return [pair for pair, _ in count_pairs(ids).most_common(n_merges)]", "count anew"),
    (loop().replace("range(n_merges)", "range(n_merges - 256)"), "n_merges counts the merges"),
    (loop().replace("range(n_merges)", "range(n_merges + 1)"), "one merge too many"),
    (loop().replace("range(n_merges)", "range(1, n_merges)"), None),
    (loop(end=""), "is `return` missing?"),
    (loop("max(counts, key=lambda p: (counts[p], -p[0]))"), "smaller right id"),
    (loop("min(counts, key=lambda p: (-counts[p], p[0]))"), "smaller right id"),
    (loop("min(counts, key=lambda p: (-counts[p], p[1]))"), "left ids first"),
    (loop("min(counts, key=lambda p: (-counts[p], sum(p)))"), None),
    (loop().replace("append(pair)", "append(list(pair))"), "a pair is a tuple"),
    (loop(end="    return merges"), "inside the loop"),
)
LONGEST = """pieces = [bytes([i]) for i in range(256)]
for a, b in merges:
    pieces.append(pieces[a] + pieces[b])
data, row = bytes(ids), []
while data:
    best = max((p for p in pieces if data.startswith(p)), key=len)
    row.append(pieces.index(best))
    data = data[len(best) :]
return row"""
LEFT = """row, i = [], 0
while i < len(ids):
    pair = tuple(ids[i : i + 2])
    if pair in merges:
        row.append(256 + merges.index(pair))
        i += 2
    else:
        row.append(ids[i])
        i += 1
"""
ENCODED = function(
    "encode(ids, merges)",
    (LONGEST, "longest token"),
    (LEFT + "return row", "once from the left"),
    (
        "while True:\n"
        + "\n".join("    " + line for line in LEFT.splitlines())
        + "\n    if row == ids:\n        return row\n    ids = row",
        "whatever fits",
    ),
    (
        "for i, pair in reversed(list(enumerate(merges))):\n    ids = merge(ids, pair, 256 + i)\nreturn ids",
        "not the latest",
    ),
    ("for i, pair in enumerate(merges):\n    ids = merge(ids, pair, 257 + i)\nreturn ids", "too large"),
    ("for i, pair in enumerate(merges):\n    ids = merge(ids, pair, i)\nreturn ids", "left out the 256"),
    (
        "for i, pair in enumerate(merges):\n    if pair not in count_pairs(ids):\n        break\n"
        "    ids = merge(ids, pair, 256 + i)\nreturn ids",
        "the next one tried",
    ),
    ("for i, pair in enumerate(merges):\n    ids = merge(ids, pair, 256 + i)\n    return ids", None),
    (
        "for i, pair in enumerate(merges):\n    row = merge(ids, pair, 256 + i)\nreturn row",
        "the bytes as they were",
    ),
    ("for i, pair in enumerate(merges):\n    merge(ids, pair, 256 + i)\nreturn ids", "back into ids"),
    (
        "for i, pair in enumerate(train(ids, len(merges))):\n    ids = merge(ids, pair, 256 + i)\nreturn ids",
        "trains new ones",
    ),
    (
        "while True:\n    counts = {p: n for p, n in count_pairs(ids).items() if p in merges}\n"
        "    if not counts:\n"
        "        return ids\n    pair = min(counts, key=lambda p: (-counts[p], p))\n"
        "    ids = merge(ids, pair, 256 + merges.index(pair))",
        "how frequent",
    ),
    (
        "row = list(ids)\nwhile True:\n"
        "    fit = [i for i in range(len(row) - 1) if (row[i], row[i + 1]) in merges]\n    if not fit:\n"
        "        return row\n    i = fit[0]\n    row[i : i + 2] = [256 + merges.index((row[i], row[i + 1]))]",
        "leftmost pair",
    ),
    (
        "for i, pair in enumerate(merges[1:]):\n    ids = merge(ids, pair, 257 + i)\nreturn ids",
        "first merge is missing",
    ),
    (
        "for i, pair in enumerate(merges[:-1]):\n    ids = merge(ids, pair, 256 + i)\nreturn ids",
        "last merge is missing",
    ),
    ("for i, pair in enumerate(merges):\n    ids = merge(ids, pair, 256 + i)", "is `return` missing?"),
    ("for pair in merges:\n    ids = merge(ids, pair, 256)\nreturn ids", None),
    (
        "while True:\n    new = [p for p in merges if p in count_pairs(ids)]\n"
        "    ids = merge(ids, new[0], 256 + merges.index(new[0]))",
        "IndexError",
    ),
    (
        "new = 256\nfor pair in merges:\n    if pair in count_pairs(ids):\n"
        "        ids = merge(ids, pair, new)\n        new += 1\nreturn ids",
        "keeps its number",
    ),
)
DECODED = function(
    "decode(ids, pieces)",
    ("return ''.join(pieces[i].decode('utf-8', errors='replace') for i in ids)", "join all bytes first"),
    ("return b''.join(pieces[i] for i in ids).decode('utf-8')", "must not end in an error"),
    ("return ''.join(pieces[i].decode('utf-8') for i in ids)", "join all bytes first"),
    ("return b''.join(pieces[i] for i in ids).decode('utf-8', errors='ignore')", "not 'ignore'"),
    ("return ''.join(pieces[i].decode('utf-8', errors='ignore') for i in ids)", "join all bytes first"),
    ("return b''.join(pieces[i] for i in ids)", "not a text yet"),
    ("return str(b''.join(pieces[i] for i in ids))", "the b and the quotes"),
    ("return ''.join(str(pieces[i]) for i in ids)", "its b and its quotes"),
    ("return b''.join(pieces[i] for i in ids).decode('latin-1')", "takes each for a character"),
    ("return ' '.join(pieces[i].decode('utf-8', errors='replace') for i in ids)", "nothing stands between"),
    ("return b' '.join(pieces[i] for i in ids).decode('utf-8', errors='replace')", "nothing stands between"),
    ("return ''.join(chr(i) for i in ids)", "no character number"),
    ("return [pieces[i] for i in ids]", "one text is asked for"),
    ("return bytes(ids).decode('utf-8', errors='replace')", "ValueError"),
    ("return b''.join(pieces[i] for i in ids).decode(errors='backslashreplace')", "not \\x"),
    ("return b''.join(pieces[i] for i in ids[:-1]).decode(errors='replace')", "last token is missing"),
    ("return ''.join(pieces[i] for i in ids)", "TypeError"),
    ("b''.join(pieces[i] for i in ids).decode(errors='replace')", "is `return` missing?"),
    ("return b''.join(pieces[i] for i in ids).decode('ascii', errors='replace')", "not as ASCII"),
    ("return b''.join(pieces).decode(errors='replace')", "does not use its argument `ids`"),
)
EVERY = "counts = Counter()\nfor word, n in words.items():\n    for pair in zip(word, word[1:]):\n        "
WORDS = function(
    "count_in_words(words)",
    (EVERY + "counts[pair] += 1\nreturn counts", "add its number"),
    (EVERY + "counts[pair] = n\nreturn counts", "+= adds"),
    (
        EVERY.replace("zip(word, word[1:])", "set(zip(word, word[1:]))") + "counts[pair] += n\nreturn counts",
        "stands twice",
    ),
    ("return count_pairs([i for word in words for i in word])", "one word into the next"),
    (EVERY + "counts[pair] += n * len(word)\nreturn counts", "whatever its length"),
    (EVERY + "counts[pair] += n + 1\nreturn counts", "one too many"),
    (EVERY + "counts[pair] += n\n        break\nreturn counts", "not only its first"),
    (EVERY + "counts[pair[::-1]] += n\nreturn counts", "left neighbour"),
    (EVERY + "counts[tuple(sorted(pair))] += n\nreturn counts", "do not sort"),
    ("return Counter(words)", None),
    (
        "counts = Counter()\nfor word, n in words.items():\n    for i in word:\n        counts[i] += n\n"
        "return counts",
        "single ids",
    ),
    (
        "counts = Counter()\nfor word in words:\n    counts += count_pairs(word)\nreturn counts",
        "add its number",
    ),
    (EVERY + "counts[pair] += n\nreturn counts.most_common()", "a dictionary is asked for"),
    ("counts = {}\n" + EVERY.partition("\n")[2] + "counts[pair] += n\nreturn counts", "KeyError"),
    ("counts = Counter()\nfor word, n in words:\n    counts[word] += n\nreturn counts", "ValueError"),
    (EVERY + "counts[pair] += n", "is `return` missing?"),
    (
        "counts = Counter()\nfor word, n in words.items():\n"
        "    counts.update(list(zip(word, word[1:])) * n)\n    return counts",
        None,
    ),
)
EACH = "row = []\nfor text in texts:\n    row += {} + [tokenizer.{}]\nreturn row"
JOINED = function(
    "join_documents(texts, tokenizer)",
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text + '<|endoftext|>').tolist()\n"
        "return row",
        "not text",
    ),
    ("return tokenizer.encode('<|endoftext|>'.join(texts)).tolist()", "not text"),
    (
        "row = []\nfor text in texts:\n    row += list(tokenizer.encode(text) + tokenizer.end_of_text)\n"
        "return row",
        "numpy adds",
    ),
    (
        "row = []\nfor text in texts:\n"
        "    row += tokenizer.encode(text).tolist() + [tokenizer.end_of_text]\nreturn row[:-1]",
        "last document",
    ),
    (
        "row = []\nfor text in texts:\n"
        "    row += [tokenizer.end_of_text] + tokenizer.encode(text).tolist()\nreturn row",
        "not before it",
    ),
    ("row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist()\nreturn row", "are missing"),
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist()\n"
        "return row + [tokenizer.end_of_text]",
        "not only after the last",
    ),
    ("return [tokenizer.encode(t).tolist() + [tokenizer.end_of_text] for t in texts]", "not one for each"),
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist() + [50256]\nreturn row",
        "GPT-2's",
    ),
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist() + ['<|endoftext|>']\n"
        "return row",
        "a number",
    ),
    (
        "row = []\nfor text in texts:\n    row.append(tokenizer.encode(text))\n"
        "    row.append(tokenizer.end_of_text)\nreturn row",
        "append adds the array",
    ),
    ("return ''.join(text + '<|endoftext|>' for text in texts)", "not text"),
    (
        "row = []\nfor text in texts:\n"
        "    row += tokenizer.encode(text).tolist() + [tokenizer.end_of_text]\n    return row",
        None,
    ),
    (
        "for text in texts:\n    row = tokenizer.encode(text).tolist() + [tokenizer.end_of_text]\nreturn row",
        "only the last",
    ),
    (
        "row = []\nfor text in texts:\n    for i in tokenizer.encode(text).tolist():\n"
        "        row += [i, tokenizer.end_of_text]\nreturn row",
        "after each id",
    ),
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist() + [tokenizer.end_of_text]",
        "is `return` missing?",
    ),
    (
        "row = []\nfor text in texts:\n    row += tokenizer.encode(text).tolist()\n"
        "    row += tokenizer.end_of_text\nreturn row",
        "TypeError",
    ),
    (
        "row = []\nfor text in texts:\n    row.append(tokenizer.encode(text).tolist())\n"
        "    row.append(tokenizer.end_of_text)\nreturn row",
        "append adds the list",
    ),
    (
        "row = [np.append(tokenizer.encode(text), tokenizer.end_of_text) for text in texts]\n"
        "return np.concatenate(row)",
        "that is an array",
    ),
    (EACH.format("to_bytes(text)", "end_of_text"), "not bytes"),
    (EACH.format("tokenizer.encode(text).tolist()", "vocab_size - 1"), "need not be the last id"),
    (EACH.format("tokenizer.encode(text.strip()).tolist()", "end_of_text"), "no strip"),
    (
        EACH.replace("row +=", "row += text and").format("tokenizer.encode(text).tolist()", "end_of_text"),
        None,
    ),
    (
        "row = []\nfor text in filter(None, texts):\n"
        "    row += tokenizer.encode(text).tolist() + [tokenizer.end_of_text]\nreturn row",
        "an empty text is a document",
    ),
)
SIZE = "len(text.encode('utf-8'))"
BITS = function(
    "bits_per_byte(nats, n_tokens, text)",
    ("return nats * n_tokens / math.log(2) / len(text)", "not characters"),
    (f"return nats * n_tokens / {SIZE}", "divided by ln 2"),
    (f"return nats * n_tokens * math.log(2) / {SIZE}", "more than a bit"),
    (f"return nats * n_tokens / math.log2(2) / {SIZE}", "divided by ln 2"),
    (f"return math.log2(nats) * n_tokens / {SIZE}", "no change of unit"),
    (f"return nats / math.log(2) / {SIZE}", "times n_tokens"),
    ("return nats * n_tokens / math.log(2)", "bits of the whole text"),
    (f"return nats / math.log(2) * {SIZE} / n_tokens", "turned over"),
    ("return nats / math.log(2) / n_tokens + 0 * len(text)", "not by the tokens"),
    (f"return nats * n_tokens / math.log(2) // {SIZE}", "with //"),
    (f"return math.exp(nats) * n_tokens / {SIZE}", "perplexity"),
    (f"return nats * n_tokens / math.log(2) / (8 * {SIZE})", "not its 8 bits"),
    (f"nats * n_tokens / math.log(2) / {SIZE}", "is `return` missing?"),
    (f"return nats * n_tokens / math.log(10) / {SIZE}", "not by ln 10"),
    ("return nats * n_tokens / math.log(2) / len(text.encode('utf-16'))", None),
    (f"return nats / n_tokens / math.log(2) / {SIZE}", "divided by the tokens"),
    (f"return math.log2(math.exp(nats * n_tokens)) / {SIZE}", "is no number"),
    ("return nats * n_tokens / math.log(2) / len(text.split())", "a word is no byte"),
    (f"return nats * n_tokens / math.log(2) / ({SIZE} / 8)", None),
)
ANSWERS = {
    "to_bytes": BYTES,
    "count_pairs": PAIRS,
    "merge": MERGES,
    "train": TRAINED,
    "encode": ENCODED,
    "decode": DECODED,
    "count_in_words": WORDS,
    "join_documents": JOINED,
    "bits_per_byte": BITS,
}
RIGHT = {  # other ways that are as good as the solution's
    "to_bytes": ["return [b for c in text for b in c.encode()]", "return list(bytes(text, 'utf-8'))"],
    "count_pairs": [
        LOOP + "    counts[pair] = counts.get(pair, 0) + 1\nreturn counts",
        "counts = defaultdict(int)\nfor pair in zip(ids, ids[1:]):\n    counts[pair] += 1\nreturn counts",
    ],
    "merge": [
        "row, skip = [], False\nfor i, n in enumerate(ids):\n    if skip:\n        skip = False\n"
        "    elif ids[i : i + 2] == list(pair):\n        row.append(new)\n        skip = True\n"
        "    else:\n        row.append(n)\nreturn row",
        "row = list(ids)\ni = 0\nwhile i < len(row) - 1:\n    if (row[i], row[i + 1]) == pair:\n"
        "        row[i : i + 2] = [new]\n    i += 1\nreturn row",
    ],
    "train": [
        loop("sorted(counts, key=lambda p: (-counts[p], p))[0]"),
        "merges = []\nwhile len(merges) < n_merges and len(ids) > 1:\n    counts = count_pairs(ids)\n"
        "    top = max(counts.values())\n    pair = min(p for p in counts if counts[p] == top)\n"
        "    ids = merge(ids, pair, 256 + len(merges))\n    merges.append(pair)\nreturn merges",
    ],
    "encode": [
        "for i, pair in enumerate(merges):\n    ids = merge(ids, pair, 256 + i)\nreturn ids",
        "rank = {pair: i for i, pair in enumerate(merges)}\nwhile True:\n"
        "    fit = [p for p in zip(ids, ids[1:]) if p in rank]\n    if not fit:\n        return list(ids)\n"
        "    first = min(fit, key=rank.get)\n    ids = merge(ids, first, 256 + rank[first])",
    ],
    "decode": [
        "data = b''\nfor i in ids:\n    data += pieces[i]\nreturn str(data, 'utf-8', 'replace')",
        "return bytes(b for i in ids for b in pieces[i]).decode('utf-8', 'replace')",
    ],
    "count_in_words": [
        "counts = {}\nfor word, n in words.items():\n    for i in range(len(word) - 1):\n"
        "        pair = word[i], word[i + 1]\n        counts[pair] = counts.get(pair, 0) + n\nreturn counts",
        "counts = Counter()\nfor word, n in words.items():\n"
        "    counts.update(list(zip(word, word[1:])) * n)\nreturn counts",
    ],
    "join_documents": [
        "row = []\nfor text in texts:\n    row.extend(tokenizer.encode(text))\n"
        "    row.append(tokenizer.end_of_text)\nreturn row",
        "return [i for t in texts for i in [*tokenizer.encode(t), tokenizer.end_of_text]]",
        "end = [tokenizer.id_of('<|endoftext|>')]\n"
        "return sum((tokenizer.encode(t).tolist() + end for t in texts), [])",
    ],
    "bits_per_byte": [
        f"bits = nats * n_tokens / math.log(2)\nreturn bits / {SIZE}",
        f"return nats * math.log2(math.e) * n_tokens / {SIZE}",
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb07, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb07, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_notebook_goes_on_with_is_right(name):
    assert verdict_on_given(nb07, name) == "correct"
