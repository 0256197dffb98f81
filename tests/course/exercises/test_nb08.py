"""Answers that people give to 08_tinystories: none that is wrong passes, and most are told why."""

import numpy as np
import pytest
import torch

from tests.course.exercises.marking import assert_right, assert_wrong, function
from tinylm.course.exercises import nb08

NOTEBOOK = {"np": np, "torch": torch}

PIECES = "ids = []\nfor piece in text.split(separator):\n"
DOCUMENTS = PIECES + "    piece = piece.strip()\n    if piece:\n"
END = "tokenizer.end_of_text"
FILES = function(
    "to_ids(text, separator, tokenizer)",
    (
        DOCUMENTS + "        ids += tokenizer.encode(piece).tolist() + "
        "tokenizer.encode(separator).tolist()\nreturn ids",
        "spelled as text",
    ),
    (
        DOCUMENTS + "        ids += tokenizer.encode(piece + '<|endoftext|>').tolist()\nreturn ids",
        "spelled as text",
    ),
    (DOCUMENTS + "        ids += tokenizer.encode(piece).tolist()\nreturn ids", "after each story stands"),
    (
        DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids[:-1]",
        "last story has an end",
    ),
    (DOCUMENTS + f"        ids += [{END}] + tokenizer.encode(piece).tolist()\nreturn ids", "not before it"),
    (PIECES + f"    ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids", "strip() is missing"),
    (
        PIECES + f"    ids += tokenizer.encode(piece.strip()).tolist() + [{END}]\nreturn ids",
        "is no story, so it has no end",
    ),
    (
        PIECES + f"    if piece.strip():\n        ids += tokenizer.encode(piece).tolist() + [{END}]\n"
        "return ids",
        "newlines at a story's ends",
    ),
    (f"return tokenizer.encode(text).tolist() + [{END}]", "separators were encoded too"),
    (
        f"ids = tokenizer.encode(text.replace(separator, '')).tolist()\nreturn ids + [{END}]",
        None,
    ),
    (
        DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist()\nreturn ids + [{END}]",
        "not only one at the end",
    ),
    (
        DOCUMENTS + "        ids += tokenizer.encode(piece).tolist() + [50256]\nreturn ids",
        "another tokenizer",
    ),
    (DOCUMENTS + "        ids += tokenizer.encode(piece).tolist() + [0]\nreturn ids", "0 is a token"),
    (
        DOCUMENTS + f"        ids.append(tokenizer.encode(piece).tolist() + [{END}])\nreturn ids",
        "one list for all stories",
    ),
    (
        DOCUMENTS + f"        ids.append(tokenizer.encode(piece))\n        ids.append({END})\nreturn ids",
        "one list for all stories",
    ),
    (DOCUMENTS + f"        ids += list(tokenizer.encode(piece) + {END})\nreturn ids", "numpy's +"),
    (
        DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist() + [{END}]\n        return ids",
        "only the first story",
    ),
    (
        DOCUMENTS + f"        ids = tokenizer.encode(piece).tolist() + [{END}]\nreturn ids",
        "only the last story",
    ),
    (
        "ids = []\nfor line in text.replace(separator, '').split('\\n'):\n    if line.strip():\n"
        f"        ids += tokenizer.encode(line.strip()).tolist() + [{END}]\nreturn ids",
        None,
    ),
    (DOCUMENTS + "        ids += [*piece, tokenizer.end_of_text]\nreturn ids", "ids are asked for"),
    (
        "pieces = [p.strip() for p in text.split(separator) if p.strip()]\nids = []\n"
        "for piece in dict.fromkeys(pieces):\n"
        f"    ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids",
        "may come twice",
    ),
    *[
        (
            DOCUMENTS.replace("strip()", strip) + f"        ids += tokenizer.encode(piece).tolist() + [{END}]"
            "\nreturn ids",
            said,
        )
        for strip, said in (
            ("strip('\\n')", "without an argument"),
            ("strip(' \\n')", "without an argument"),
            ("rstrip()", "this is rstrip"),
            ("lstrip()", "this is lstrip"),
        )
    ],
    (
        DOCUMENTS.replace("(separator)", "('<|endoftext|>')")
        + f"        ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids",
        "not the same in every file",
    ),
    (
        DOCUMENTS.replace("(separator)", "('\\n' + separator + '\\n')")
        + f"        ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids",
        "newlines around it",
    ),
    (
        DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist() + [{END}]\nreturn ids or [{END}]",
        "without stories",
    ),
    (
        DOCUMENTS + f"        ids = ids + tokenizer.encode(piece) + [{END}]\nreturn ids",
        "adds number to number",
    ),
    (
        DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist()[1:] + [{END}]\nreturn ids",
        "your list has 27 ids",
    ),
    (DOCUMENTS + f"        ids += tokenizer.encode(piece).tolist() + [{END}]", "is `return` missing?"),
)
MAP = "return np.memmap(path, dtype=np.uint16, mode='r')"
REFUSE = "if ids.min() < 0 or ids.max() > 65535:\n    raise ValueError('too large')\n"
WRITE = "ids.astype(np.uint16).tofile(path)\n"
STORED = function(
    "store(ids, path)",
    (REFUSE + "ids.tofile(path)\n" + MAP, "eight bytes"),
    (REFUSE + "ids.astype(np.int32).tofile(path)\n" + MAP, "four bytes"),
    (REFUSE + "ids.astype(np.uint8).tofile(path)\n" + MAP, "one byte"),
    (REFUSE + "with path.open('wb') as file:\n    np.save(file, ids.astype(np.uint16))\n" + MAP, "header"),
    (REFUSE + "np.savetxt(path, ids, fmt='%d')\n" + MAP, "digits as text"),
    (REFUSE + "ids.astype(np.uint16).tofile(path, sep=' ')\n" + MAP, "digits as text"),
    (REFUSE + WRITE + "return np.fromfile(path, dtype=np.uint16)", "lies in memory"),
    (REFUSE + WRITE + "return ids.astype(np.uint16)", "lies in memory"),
    (REFUSE + WRITE + "return np.memmap(path, mode='r')", "single bytes"),
    (REFUSE + WRITE + "return np.memmap(path, dtype=np.uint16)", "overwrite"),
    (REFUSE + WRITE + "return np.memmap(path, dtype=np.int16, mode='r')", "negative"),
    (REFUSE + WRITE + "return np.memmap(path, dtype=np.int64, mode='r')", "what was written"),
    (REFUSE + WRITE + "return path", "not the path"),
    (REFUSE + WRITE, "is `return` missing?"),
    (WRITE + MAP, "does not fit in two bytes"),
    (WRITE + REFUSE + MAP, "after the file was written"),
    (REFUSE.replace("65535", "65536") + WRITE + MAP, "does not fit in two bytes"),
    (REFUSE.replace("> 65535", ">= 65535") + WRITE + MAP, "both fit"),
    (REFUSE.replace("< 0", "<= 0") + WRITE + MAP, "both fit"),
    ("assert 0 < ids.min() and ids.max() < 65535\n" + WRITE + MAP, "both fit"),
    (REFUSE.replace("ValueError", "Exception") + WRITE + MAP, "with a ValueError"),
    (
        REFUSE + "with open(path, 'ab') as file:\n    ids.astype(np.uint16).tofile(file)\n" + MAP,
        "behind those",
    ),
    (
        REFUSE + "with open(path, 'xb') as file:\n    ids.astype(np.uint16).tofile(file)\n" + MAP,
        "not refused",
    ),
    (
        REFUSE + "with open(path, 'r+b' if path.exists() else 'wb') as file:\n"
        "    file.write(ids.astype(np.uint16).tobytes())\n" + MAP,
        "something of it is left",
    ),
    ("if ids.max() > 65535:\n    return 'too large'\n" + WRITE + MAP, "does not fit in two bytes"),
    (
        "if ids.max() > 65535:\n    raise ValueError('too large')\n" + WRITE + MAP,
        "-1 does not fit",
    ),
    ("assert 0 <= ids.min() and ids.max() < 65536\n" + WRITE + MAP, "with a ValueError"),
    (REFUSE + "ids.astype('>u2').tofile(path)\n" + MAP, "turned over"),
    (REFUSE + "return np.memmap(path, dtype=np.uint16, mode='r')", "write it first"),
    (
        REFUSE + "m = np.memmap(path, dtype=np.uint16, mode='w+', shape=ids.shape)\nm[:] = ids\nm.flush()\n"
        "return m",
        "overwrite",
    ),
)
ROWS = (
    "rows = torch.stack([torch.from_numpy(ids[i : i + context_length + 1].astype(np.int64)) for i in at])\n"
)
AT = "at = torch.randint(len(ids) - context_length, (batch_size,), generator=generator).tolist()\n"
BACK = "return rows[:, :-1], rows[:, 1:]"
BATCHES = function(
    "random_batch(ids, batch_size, context_length, generator)",
    (AT.replace("context_length", "context_length + 1") + ROWS + BACK, "runs over the end"),
    (AT.replace(" - context_length", "") + ROWS + BACK, "runs over the end"),
    (AT.replace("context_length", "context_length - 1") + ROWS + BACK, "last possible row"),
    (AT.replace("randint(len", "randint(1, len") + ROWS + BACK, None),
    (AT + ROWS + "return rows[:, :-1], rows[:, :-1]", "the tokens themselves"),
    (AT + ROWS + "return rows[:, 1:], rows[:, :-1]", "tokens come first"),
    (AT + ROWS + "return rows, rows.roll(-1, 1)", "a row has"),
    (AT + ROWS + "return rows[:, :-1].T, rows[:, 1:].T", "turned"),
    (AT + ROWS + "return rows[:, :-1]", "two things"),
    (AT + ROWS.replace(".astype(np.int64)", "") + BACK, None),
    (AT + ROWS.replace("int64", "int32") + BACK, "wants int64"),
    (AT.replace(", generator=generator", "") + ROWS + BACK, "does not use its argument `generator`"),
    (
        "at = [int(torch.randint(len(ids) - context_length, (), generator=generator))] * batch_size\n"
        + ROWS
        + BACK,
        "all rows of a batch",
    ),
    ("at = range(batch_size)\ngenerator.initial_seed()\n" + ROWS + BACK, None),
    (
        "n = (len(ids) - 1) // context_length\n"
        "at = (context_length * torch.randint(n, (batch_size,), generator=generator)).tolist()\n"
        + ROWS
        + BACK,
        None,
    ),
    (
        AT + "x = np.stack([ids[i : i + context_length + 1] for i in at]).astype(np.int64)\n"
        "return x[:, :-1], x[:, 1:]",
        "are tensors",
    ),
    (
        "at = torch.randint(len(ids) - context_length - 1, (batch_size,), generator=generator).tolist()\n"
        + ROWS.replace("i : i", "i + 1 : i + 1")
        + BACK,
        "first id is never",
    ),
    (AT + ROWS, "is `return` missing?"),
    (
        AT + ROWS.replace(" + 1]", " + 2]").replace("i + 2", "i + 2") + "return rows[:, :-2], rows[:, 2:]",
        None,
    ),
    ("generator.manual_seed(0)\n" + AT + ROWS + BACK, "every batch is the same"),
    (
        "own = torch.Generator().manual_seed(generator.initial_seed())\n"
        + AT.replace("generator=generator", "generator=own")
        + ROWS
        + BACK,
        "the first again",
    ),
    *[
        (
            AT + f"ids = {whole}\nrows = torch.stack([ids[i : i + context_length + 1] for i in at])\n" + BACK,
            "whole file",
        )
        for whole in (
            "torch.from_numpy(ids.astype(np.int64))",
            "torch.from_numpy(np.array(ids, dtype=np.int64))",
            "torch.tensor(ids.tolist())",
            "torch.tensor([int(i) for i in ids])",
        )
    ],
    (
        "at = torch.randperm(len(ids) - context_length, generator=generator)[:batch_size].tolist()\n"
        + ROWS
        + BACK,
        "each place once at most",
    ),
)
READ = "iterations * rows * context_length"
MOVED = function(
    "updates(iterations, rows, context_length, accumulated)",
    (f"return iterations, {READ} + 0 * accumulated", "once for `accumulated` iterations"),
    (f"return {READ}, iterations // accumulated", "order"),
    (f"return iterations // accumulated, {READ} * accumulated", "already counted"),
    (f"return iterations, {READ} * accumulated", "counted twice"),
    (f"return iterations // accumulated, {READ} // accumulated", "last micro-batches"),
    ("return iterations // accumulated, rows * context_length * accumulated", "one update"),
    ("return iterations // accumulated, rows * context_length", "one iteration"),
    ("return iterations // accumulated, iterations * rows + 0 * context_length", "context_length tokens"),
    ("return iterations // accumulated, iterations * context_length + 0 * rows", "several rows"),
    (f"return iterations * accumulated, {READ}", "multiplies"),
    (f"return iterations / accumulated, {READ}", "whole number"),
    ("return 1250, 327680000", "published recipe"),
    (f"return {READ} + 0 * accumulated", None),
    (f"return math.ceil(iterations / accumulated), {READ}", "rounds down"),
    (f"return round(iterations / accumulated), {READ}", "rounds down"),
    (
        "moved = iterations // accumulated\nreturn moved, moved * accumulated * rows * context_length",
        "are read, too",
    ),
    ("return iterations // accumulated, iterations * 32 * context_length", "argument `rows`"),
    (f"return iterations // rows, {READ} + 0 * accumulated", None),
    (f"iterations // accumulated, {READ}", "is `return` missing?"),
)
CHANCES = "chances = torch.softmax(model(torch.tensor([row]))[0, -1], dim=0)\n"
DRAW = "drawn = torch.multinomial(chances, 1, generator=generator).item()\n"


def telling(body, begin="row = [end]\n", after="return row[1:]", loop="for _ in range(limit):\n"):
    inside = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{begin}{loop}{inside}{after}"


STOP = "if drawn == end:\n    break\n"
ADD = "row.append(drawn)\n"
BODY = CHANCES + DRAW + STOP + ADD
TOLD = function(
    "tell(model, end, limit, generator)",
    (telling(BODY, after="return row"), "only begins the row"),
    (telling(CHANCES + DRAW + ADD + STOP), "the end itself"),
    (telling(CHANCES + DRAW + ADD + STOP, after="return row"), "neither"),
    (telling(CHANCES + DRAW + ADD) + "\n", "goes on after its end"),
    (telling(BODY, loop="for _ in range(limit + 1):\n"), "one id too many"),
    (telling(BODY, loop="for _ in range(limit - 1):\n"), None),
    (telling(BODY, loop="while True:\n"), "does not use its argument `limit`"),
    (telling(CHANCES + "drawn = chances.argmax().item()\n" + STOP + ADD), "does not use its argument"),
    (
        telling(
            CHANCES + "drawn = chances.argmax().item()\n" + STOP + ADD, begin="generator.seed\nrow = [end]\n"
        ),
        "always the same story",
    ),
    (telling(BODY, begin="row = [0]\n"), "begins with `end`"),
    (telling(BODY, begin="row = []\n"), None),
    (telling(BODY.replace("torch.softmax(", "(").replace(", dim=0", "")), "wants probabilities"),
    (telling(BODY.replace("[0, -1]", "[0, 0]")), "this is the first"),
    (telling(BODY.replace(", generator=generator", "")), "does not use its argument `generator`"),
    (telling(BODY.replace("torch.tensor([row])", "torch.tensor(row)")), "a tensor (1, T)"),
    (telling(BODY.replace("torch.tensor([row])", "[row]")), "a tensor (1, T)"),
    (telling(BODY, after="    return row[1:]"), "only the first id"),
    (telling(BODY, after=""), "is `return` missing?"),
    (telling(BODY.replace("[row]", "[row[-1:]]")), "the whole row so far"),
    (telling(BODY.replace("[row]", "[[end, row[-1]]]")), None),
    (telling(BODY.replace("[row]", "[[end, row[-1]][: len(row)]]")), "the whole row so far"),
    (telling(BODY.replace(".item()", "")), "makes a number of it"),
    (telling(BODY.replace(".item()", "[0]")), "makes a number of it"),
    (telling(BODY.replace(DRAW, "chances[end] = 0\n" + DRAW)), "without it no story stops"),
    (telling(CHANCES + DRAW + ADD, after="return [i for i in row if i != end]"), "stop at the first end"),
    (telling(CHANCES + DRAW + "if drawn != end:\n    " + ADD), None),
    (
        telling(
            BODY, begin="generator = torch.Generator().manual_seed(generator.initial_seed())\nrow = [end]\n"
        ),
        "from the given one",
    ),
    (telling(BODY, begin="generator.manual_seed(0)\nrow = [end]\n"), "seeds the generator"),
    (telling(BODY.replace("[0, -1]", "[0, -1] / 4")), "do not follow the model"),
    (telling(BODY, after="return row[2:]"), "first id of the story"),
    (telling(BODY, after="return row[1:-1]"), "last id"),
    (telling(BODY.replace("drawn == end", "drawn == 0")), "goes on after its end"),
)
TOTAL = "total = 0.0\nfor story in stories:\n"
COST = "    row = torch.tensor([end, *story, end])\n"
CE = "    total += F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction='sum').item()\n"
NATS = function(
    "nats_per_story(model, stories, end)",
    (TOTAL + COST + CE.replace(", reduction='sum'", "") + "return total / len(stories)", "nats per token"),
    (TOTAL + COST + CE.replace(", reduction='sum'", "") + "return total", "means within"),
    (TOTAL + COST + CE + "return total", "divide by their number"),
    (
        TOTAL + COST + CE + "return total / sum(len(story) + 1 for story in stories)",
        "not per token",
    ),
    (TOTAL + COST.replace(", end])", "])") + CE + "return total / len(stories)", "end of the story"),
    (
        TOTAL + "    row = torch.tensor([*story, end])\n" + CE + "return total / len(stories)",
        "first id has a cost",
    ),
    (
        TOTAL + "    row = torch.tensor(story)\n" + CE + "return total / len(stories)",
        "a row is [end, *story, end]",
    ),
    (
        "row = torch.tensor([i for story in stories for i in [*story, end]])\n"
        "total = F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction='sum').item()\n"
        "return total / len(stories)",
        "row of its own",
    ),
    (TOTAL + COST + CE.replace("+= F", "-= F") + "return total / len(stories)", "sign"),
    (
        TOTAL + COST + "    p = model(row[None, :-1])[0].softmax(-1)\n"
        "    total += p.gather(1, row[1:, None]).sum().item()\nreturn total / len(stories)",
        "these are probabilities",
    ),
    (TOTAL + COST + CE + "return total / len(stories) / math.log(2)", "bits"),
    (TOTAL + COST + CE.replace("total +=", "total =") + "return total", "only the last story"),
    (TOTAL + COST + CE.replace("total +=", "total =") + "return total / len(stories)", "only the last story"),
    (
        TOTAL.replace("0.0", "[]") + COST + CE.replace("total += ", "total.append(")[:-1] + ")\nreturn total",
        "one number",
    ),
    (
        TOTAL + COST + CE.replace(")[0], row", ")[0].softmax(-1), row") + "return total / len(stories)",
        "no softmax",
    ),
    (
        TOTAL + COST + CE.replace("row[1:]", "row[:-1]") + "return total / len(stories)",
        "the ids that were read",
    ),
    (
        TOTAL
        + "    story.append(end)\n    row = torch.tensor([end, *story])\n"
        + CE
        + "return total / len(stories)",
        "changes the stories",
    ),
    (TOTAL + COST + CE, "is `return` missing?"),
    (TOTAL + COST + CE.replace("[None, :-1])[0]", "[:-1])") + "return total", "a tensor (B, T)"),
    (
        "row = [end]\nfor story in stories:\n    row += [*story, end]\nrow = torch.tensor(row)\n"
        "total = F.cross_entropy(model(row[None, :-1])[0], row[1:], reduction='sum').item()\n"
        "return total / len(stories)",
        "row of its own",
    ),
    (TOTAL + COST + CE.replace(".item()", "") + "return total / len(stories)", "makes one of it"),
    *[
        (
            TOTAL + COST + "    p = model(row[None, :-1])[0].softmax(-1).gather(1, row[1:, None])\n"
            f"    total -= {log}\nreturn total / len(stories)",
            "a product of so many",
        )
        for log in ("p.prod().log().item()", "math.log(p.prod())")
    ],
    (TOTAL + COST + CE + "    return total", "return after the loop"),
    (TOTAL + COST + CE + "    return total / len(stories)", "return after the loop"),
    (TOTAL + COST.replace(", end])", ", end, end])") + CE + "return total / len(stories)", "here are two"),
    (
        TOTAL.replace("0.0", "[]") + COST + CE.replace("total += ", "total.append(")[:-1] + ")\n"
        "return sorted(total)[len(total) // 2]",
        "not the median",
    ),
)
GRADES = "grades = [grade(story) for story in stories]\nn = len(grades)\n"
G = "g = sum(x.grammatical for x in grades) / n\n"
FAITH = "f = sum(x.faithful for x in grades) / n\n"


def graded(g="g", f="f", error="math.sqrt(p * (1 - p) / n)", middle=G + FAITH):
    return (
        GRADES + middle + f"error = lambda p: {error}\n"
        f"return {{'grammatical': ({g}, error(g)), 'faithful': ({f}, error(f))}}"
    )


SHARES = function(
    "shares(stories, grade)",
    (graded(error="p * (1 - p) / n"), "missing its root"),
    (graded(error="math.sqrt(p * (1 - p))"), "falls with the number"),
    (graded(error="math.sqrt(p * (1 - p)) / n"), "n stands inside"),
    (graded(error="math.sqrt(p / n)"), "not p alone"),
    (graded(error="1 / math.sqrt(n)"), "belongs to it"),
    (graded(error="math.sqrt(p * (1 - p) / (n - 1))"), "not by n − 1"),
    (graded(g="100 * g", f="100 * f", error="100 * math.sqrt(p * (1 - p) / n)"), "per cent"),
    (graded(g="100 * g", f="100 * f"), "per cent"),
    (graded(middle=(G + FAITH).replace("= ", "= 100 * ")), "no per cent"),
    (graded(middle=(G + FAITH).replace("/ n", "// n")), "rounds a share down"),
    (graded(error="1.96 * math.sqrt(p * (1 - p) / n)"), "without the 1.96"),
    (graded(error="2 * math.sqrt(p * (1 - p) / n)"), "without the factor 2"),
    (graded(g="n * g", f="n * f"), "divide the numbers"),
    (
        graded(middle=G + "f = sum(x.faithful for x in grades) / sum(x.grammatical for x in grades)\n"),
        "not of the grammatical",
    ),
    (graded(middle="g = f = sum(bool(x) for x in grades) / n\n"), "every grade counts"),
    (graded(middle="g = f = sum(x.grammatical for x in grades) / n\n"), None),
    (
        graded(g="f", f="g")
        .replace("error(g)", "e")
        .replace("error(f)", "error(g)")
        .replace("e)", "error(f))", 1),
        None,
    ),
    (graded(g="1 - g", f="1 - f"), "that are wrong"),
    (GRADES + G + FAITH + "return {'grammatical': g, 'faithful': f}", "is missing"),
    (GRADES + G + FAITH + "return g, f", "a dictionary"),
    (
        GRADES
        + G
        + FAITH
        + "e = math.sqrt(g * (1 - g) / n)\nreturn {'grammatical': (g, e), 'faithful': (f, e)}",
        "its own error",
    ),
    (
        graded().replace("(g, error(g))", "(error(g), g)").replace("(f, error(f))", "(error(f), f)"),
        "in this order",
    ),
    (GRADES + G + FAITH + "print({'grammatical': g, 'faithful': f})", "is `return` missing?"),
    (GRADES + "x = sum(grades) / n", None),
)
SO_FAR = "same = targets[:, :, None] == tokens[:, None, :]\n"
OWN = "n = (tokens == end).cumsum(-1)\nown = n[:, :, None] == n[:, None, :]\n"
LOOP = "found = torch.zeros(targets.shape, dtype=torch.bool)\nfor b in range(len(tokens)):\n    seen = {}\n"
RECALLED = function(
    "recalled(tokens, targets, rare, end)",
    (SO_FAR + OWN + "return (same & own).tril().any(-1)", "& rare[targets]"),
    (SO_FAR + OWN + "return (same & own).tril().any(-1) & rare[tokens]", "asked of the target"),
    (SO_FAR + OWN + "return (same & own).tril().any(-1) & ~rare[targets]", "turned over"),
    (SO_FAR + "return same.tril().any(-1) & rare[targets]", "another child's"),
    (SO_FAR + OWN + "return (same & own).tril(-1).any(-1) & rare[targets]", "own place counts too"),
    (SO_FAR + OWN + "return (same & own).any(-1) & rare[targets]", "looks ahead"),
    (SO_FAR + "return same.any(-1) & rare[targets]", "looks ahead"),
    (SO_FAR + OWN + "return (same & own).triu().any(-1) & rare[targets]", None),
    ("return torch.isin(targets, tokens) & rare[targets]", "looks ahead"),
    ("return rare[targets]", "looks ahead"),
    (SO_FAR + OWN + "return rare[targets] & ~(same & own).tril().any(-1)", "which are new"),
    (SO_FAR + OWN + "return ~((same & own).tril().any(-1) & rare[targets])", "must be False"),
    (SO_FAR + OWN + "return ((same & own).tril().any(-1) & rare[targets]).float()", "torch.bool"),
    (SO_FAR + OWN + "return ((same & own).tril().sum(-1) * rare[targets])", "torch.bool"),
    (SO_FAR + OWN + "return ((same & own).tril().any(-1) & rare[targets]).tolist()", "a tensor"),
    (SO_FAR + OWN + "print((same & own).tril().any(-1) & rare[targets])", "is `return` missing?"),
    (
        SO_FAR + "n = torch.nn.functional.pad((tokens == end).cumsum(-1)[:, :-1], (1, 0))\n"
        "return (same & (n[:, :, None] == n[:, None, :])).tril().any(-1) & rare[targets]",
        "that it begins",
    ),
    (SO_FAR + OWN + "tokens += 1\nreturn (same & own).tril().any(-1) & rare[targets]", "that it was given"),
    ("return (targets == tokens) & rare[targets]", None),
    (
        SO_FAR + OWN.replace("tokens", "targets", 1) + "return (same & own).tril().any(-1) & rare[targets]",
        "by the tokens",
    ),
    (
        OWN + "same = targets[:, :, None] == targets[:, None, :]\n"
        "return (same & own).tril(-1).any(-1) & rare[targets]",
        "among the tokens",
    ),
    (SO_FAR + OWN + "return ((same & own).tril().any(-1) & rare[targets]).any(-1)", None),
)
ANSWERS = {
    "to_ids": FILES,
    "store": STORED,
    "random_batch": BATCHES,
    "updates": MOVED,
    "tell": TOLD,
    "nats_per_story": NATS,
    "shares": SHARES,
    "recalled": RECALLED,
}
RIGHT = {  # other ways that are as good as the solution's
    "to_ids": [
        "rows = [tokenizer.encode(p.strip()) for p in text.split(separator) if p.strip()]\n"
        f"return np.array([i for row in rows for i in [*row, {END}]])",
        DOCUMENTS + f"        ids.extend(tokenizer.encode(piece))\n        ids.append({END})\nreturn ids",
    ],
    "store": [
        "if not all(0 <= i < 2**16 for i in ids):\n    raise ValueError\n"
        "path.write_bytes(ids.astype('<u2').tobytes())\n" + MAP,
        "if (ids != ids.astype(np.uint16)).any():\n    raise ValueError('no')\n"
        "m = np.memmap(path, dtype=np.uint16, mode='w+', shape=ids.shape)\nm[:] = ids\nm.flush()\n" + MAP,
    ],
    "random_batch": [
        "at = torch.randint(0, len(ids) - context_length, (batch_size, 1), generator=generator)\n"
        "at = (at + torch.arange(context_length)).numpy()\n"
        "return torch.from_numpy(ids[at].astype(np.int64)), torch.from_numpy(ids[at + 1].astype(np.int64))",
        AT + ROWS + "return [rows[:, :-1], rows[:, 1:]]",
    ],
    "updates": [
        f"return int(iterations / accumulated), {READ}",
        f"return [divmod(iterations, accumulated)[0], {READ}]",
    ],
    "tell": [
        "tokens = torch.tensor([[end]])\nwhile tokens.size(1) <= limit:\n"
        "    p = model(tokens)[:, -1].softmax(-1)\n"
        "    new = torch.multinomial(p, 1, generator=generator)\n"
        "    if int(new) == end:\n        break\n"
        "    tokens = torch.cat([tokens, new], dim=1)\n"
        "return tokens[0, 1:].tolist()",
    ],
    "nats_per_story": [
        "each = []\nfor s in stories:\n    log_p = model(torch.tensor([[end, *s]]))[0].log_softmax(-1)\n"
        "    each.append(-log_p[range(len(s) + 1), [*s, end]].sum())\nreturn torch.stack(each).mean().item()",
        TOTAL + COST + CE.replace("row[None, :-1])[0]", "row[None])[0, :-1]") + "return total / len(stories)",
    ],
    "shares": [
        "grades = [grade(s) for s in stories]\nout = {}\nfor k in ('faithful', 'grammatical'):\n"
        "    x = torch.tensor([float(getattr(g, k)) for g in grades])\n"
        "    out[k] = [x.mean().item(), (x.var(correction=0) / len(x)).sqrt().item()]\nreturn out"
    ],
    "recalled": [
        LOOP + "    for t in range(tokens.size(1)):\n        i, j = int(tokens[b, t]), int(targets[b, t])\n"
        "        if i == end:\n            seen = {}\n        seen[i] = True\n"
        "        found[b, t] = j in seen and bool(rare[j])\nreturn found",
        "found = torch.zeros(targets.shape, dtype=torch.bool)\nstory = (tokens == end).cumsum(-1)\n"
        "for t in range(tokens.size(1)):\n    now = targets[:, t, None]\n"
        "    same = (tokens[:, : t + 1] == now) & (story[:, : t + 1] == story[:, t, None])\n"
        "    found[:, t] = same.any(-1)\nreturn found & rare[targets]",
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb08, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb08, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)
