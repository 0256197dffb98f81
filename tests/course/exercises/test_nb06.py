"""Answers that people give to 06_custom_losses: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_right, assert_wrong, function
from tinylm.course.exercises import nb06

NOTEBOOK = {"EQUALS": nb06.EQUALS, "is_result": nb06.given_is_result}

LINE = "f'{a:03d}+{b:03d}={a + b:04d}\\n'"
SUMS = function(
    "write_sum(a, b)",
    ("return f'{a:03d}+{b:03d}={a + b:04d}'", "line's end"),
    ("return f'{a}+{b}={a + b}\\n'", "zeros go in front"),
    ("return f'{a:03d}+{b:03d}={a + b}\\n'", "result needs zeros"),
    ("return f'{a:03d}+{b:03d}={a + b:03d}\\n'", "four digits"),
    ("return f'{a:04d}+{b:04d}={a + b:04d}\\n'", "three digits"),
    ("return f'{a:3d}+{b:3d}={a + b:4d}\\n'", "not of spaces"),
    ("return f'{a:03d} + {b:03d} = {a + b:04d}\\n'", "no spaces"),
    ("return f'{a:03d}+{b:03d}=' + f'{a + b:04d}'[::-1] + '\\n'", "first digit first"),
    (f"print({LINE})", "is `return` missing?"),
    ("return f'{a:03d}+{b:03d}={str(a) + str(b)}\\n'", "add the numbers"),
    ("return f'{a:03d}+{b:03d}={a + b:04d}\\\\n'", "one character"),
    ("return '007+045=0052\\n'", "does not use its argument"),
    ("return f'{b:03d}+{a:03d}={a + b:04d}\\n'", "a comes first"),
)
ROWS = function(
    "to_rows(ids, length)",
    ("rows = ids.view(-1, length)\nreturn rows[:, 1:], rows[:, :-1]", "tokens come first"),
    ("rows = ids.view(-1, length)\nreturn rows[:, :-1], rows[:, :-1]", "one place later"),
    ("rows = ids.view(length, -1)\nreturn rows[:, :-1], rows[:, 1:]", None),
    ("rows = ids.unfold(0, length, 1)\nreturn rows[:, :-1], rows[:, 1:]", "do not overlap"),
    ("rows = ids.view(-1, length)\nreturn rows, ids.roll(-1).view(-1, length)", "each row's last token"),
    ("rows = ids.view(-1, length)\nreturn rows[:-1], rows[1:]", "not of the whole text"),
    ("rows = ids.view(-1, 4)\nreturn rows[:, :-1], rows[:, 1:]", None),
    ("rows = ids.view(-1, length)\nreturn rows[:, :-1]", "two things"),
    ("rows = ids.view(-1, length)\nreturn rows, rows", "whole rows"),
    ("rows = ids.view(-1, length)\nreturn rows[:, :-1], rows[:, -1:]", "your shape is"),
    ("rows = ids.view(-1, length)\nreturn rows[:, :-1].tolist(), rows[:, 1:].tolist()", "are tensors"),
    ("rows = ids.view(-1, length)\nreturn rows[:, :-1].T, rows[:, 1:].T", "turned"),
    ("rows = ids.view(-1, length)\nrows[:, :-1], rows[:, 1:]", "is `return` missing?"),
    ("rows = ids[None]\nreturn rows[:, :-1], rows[:, 1:]", None),
)
LEAST = function(
    "least_loss(digits)",
    ("return 2 * digits * math.log(10) / (3 * digits + 3)", "never a target"),
    ("return (2 * digits - 1) * math.log(9) / (3 * digits + 3)", "ln 10"),
    ("return (2 * digits - 1) * math.log2(10) / (3 * digits + 3)", "not log2"),
    ("return (2 * digits - 1) * math.log10(10) / (3 * digits + 3)", "not log10"),
    ("return (2 * digits - 1) * math.log(10)", "number of targets"),
    ("return (2 * digits - 1) * math.log(10) / (3 * digits + 4)", "one shorter"),
    ("return (2 * digits + 1) * math.log(10) / (3 * digits + 3)", "+ and the = are known"),
    ("return 3 * digits * math.log(10) / (3 * digits + 3)", "follows from the question"),
    ("return 5 * math.log(10) / 12", "of three digits"),
    ("return (2 * digits - 1) * math.log(0.1) / (3 * digits + 3)", "positive"),
    ("return math.log(10)", "does not use its argument"),
    ("(2 * digits - 1) * math.log(10) / (3 * digits + 3)", "is `return` missing?"),
)
MASKS = function(
    "is_result(tokens, equals)",
    ("return tokens == equals", "also after the ="),
    ("mark = tokens == equals\nreturn (mark.cumsum(1) > 0) & ~mark", "True there too"),
    ("return (tokens == equals).cumsum(1) == 0", "turned over"),
    ("return (tokens == equals).flip(1).cumsum(1).flip(1) > 0", "not before it"),
    ("return (tokens == equals).cumsum(0) > 0", "dim=1"),
    ("return (tokens == equals).cumsum(1)", "booleans"),
    ("return (torch.arange(tokens.shape[1]) >= 7).expand(tokens.shape)", None),
    ("return (tokens == EQUALS).cumsum(1) > 0", "does not use its argument `equals`"),
    ("place = (tokens == equals).int().argmax(1)\nreturn torch.arange(9) >= place[:, None]", "without an ="),
    ("return tokens >= equals", None),
    ("return (tokens == equals).cumsum(1) == 1", "a second ="),
    (
        "place = (tokens[0] == equals).int().argmax()\nreturn (torch.arange(9) >= place).expand(6, 9)",
        "place 4",
    ),
    ("m = tokens == equals\nm[:, 1:] = m[:, 1:] | m[:, :-1]\nreturn m", None),
    ("return ((tokens == equals).cumsum(1) > 0).roll(-1, 1)", None),
)
READ = "tokens, targets = batch.tokens, batch.targets\n"
LOG_P = "p = model(tokens).log_softmax(-1).gather(-1, targets[..., None])[..., 0]\n"
KEPT = READ + "keep = is_result(tokens, EQUALS)\n"
CUT = KEPT + "targets = targets.masked_fill(~keep, -100)\n"
EACH = KEPT + "each = F.cross_entropy(model(tokens).mT, targets, reduction='none')\n"
NATS = "return F.cross_entropy(model(tokens).mT, targets, reduction='none'), {}"
LOSSES = function(
    "result_loss(model, batch)",
    (CUT + "return F.cross_entropy(model(tokens).mT, targets), {}", "this is their mean"),
    (CUT + "return F.cross_entropy(model(tokens).mT, targets, reduction='sum'), {}", "this is their sum"),
    (READ + NATS, "whole line"),
    (READ + "return F.cross_entropy(model(tokens).mT, targets), {}", "mean of the whole line"),
    (READ + NATS.replace("none", "sum"), "sum of the whole line"),
    (EACH + "return each[keep], {}", "a mask as an index"),
    (CUT.replace("~", "") + NATS, "turn the mask over"),
    (
        KEPT
        + "x = model(tokens) * keep[..., None]\nreturn F.cross_entropy(x.mT, targets, reduction='none'), {}",
        "masking logits",
    ),
    (CUT + "return F.cross_entropy(model(tokens).mT, targets, reduction='none')", "two things"),
    (EACH + "return (each * keep).detach(), {}", "nothing can be learnt"),
    (EACH + "return each * keep / targets.numel(), {}", "dividing is the loop's"),
    (KEPT + LOG_P + "return p * keep, {}", "sign is wrong"),
    (KEPT + LOG_P + "return p.exp() * keep, {}", "not p"),
    (EACH + "return (each * keep).sum(1), {}", "not one for each row"),
    (CUT + "F.cross_entropy(model(tokens).mT, targets, reduction='none')", "is `return` missing?"),
    (
        CUT + "with torch.no_grad():\n    x = model(tokens)\n"
        "return F.cross_entropy(x.mT, targets, reduction='none'), {}",
        "nothing can be learnt",
    ),
    (CUT + "tokens = targets.clamp(0)\n" + NATS, "the model reads"),
    (CUT + "tokens = tokens * ~keep\n" + NATS, "the model reads"),
    (EACH + "(each * keep).sum().backward()\nreturn each * keep, {}", "the loop"),
    (
        READ + "keep = is_result(targets, EQUALS)\ntargets = targets.masked_fill(~keep, -100)\n" + NATS,
        "in targets it stands",
    ),
    (
        CUT + "return F.cross_entropy(model(tokens).softmax(-1).mT, targets, reduction='none'), {}",
        "no softmax",
    ),
    (CUT.replace("-100", "0") + NATS, "0 is a character"),
    (
        CUT + "x = model(tokens)\nx = x.reshape(len(x), 13, -1)\n"
        "return F.cross_entropy(x, targets, reduction='none'), {}",
        ".mT",
    ),
    (CUT + NATS.replace("{}", "None"), "two things"),
    (
        KEPT + "keep = keep & (tokens != EQUALS)\ntargets = targets.masked_fill(~keep, -100)\n" + NATS,
        "target of the = counts",
    ),
)
HIT = "hit = logits.argmax(-1) == targets\n"
MATCHES = function(
    "exact_match(logits, targets, scored)",
    (HIT + "return hit[scored].float().mean()", "counts single ones"),
    (HIT + "return hit.all(1).float().mean()", "may be wrong"),
    (HIT + "return (hit & scored).all(1).float().mean()", "spoils nothing"),
    (HIT + "return (hit | ~scored).all(1).sum()", "divide by the rows"),
    (HIT + "return (hit & scored).any(1).float().mean()", "not any of it"),
    (HIT + "return (hit | ~scored).all().float()", "whole batch"),
    (HIT + "return (hit | ~scored).all(0).float().mean()", "dim=1"),
    (HIT + "return 1 - (hit | ~scored).all(1).float().mean()", "share that is wrong"),
    (HIT + "return hit.float().mean()", "share of all targets"),
    (HIT + "return (hit | scored).all(1).float().mean()", "turned over"),
    (HIT + "return (hit | ~scored).all(1).float()", None),
    (HIT + "return (hit.sum(1) >= scored.sum(1)).float().mean()", None),
    (HIT + "return (hit | ~scored).all(1)[scored.any(1)].float().mean()", "nothing scored"),
    ("hit = logits.argmax(1) == targets\nreturn (hit | ~scored).all(1).float().mean()", None),
    (HIT + "print((hit | ~scored).all(1).float().mean())", "is `return` missing?"),
)
WAITING = function(
    "waits(a, b)",
    ("return a // 10 % 10 + b // 10 % 10 >= 9", "exactly 9"),
    ("return a // 10 % 10 + b // 10 % 10 > 9", "waits for the units"),
    ("return a // 10 % 10 + b // 10 % 10 == 10", "9, not 10"),
    ("return a % 10 + b % 10 == 9", "looks at the units"),
    ("return a // 100 + b // 100 == 9", "looks at the hundreds"),
    ("return a // 10 + b // 10 == 9", "takes them off"),
    ("return (a + b) // 10 % 10 == 9", "digit of the result"),
    ("return a // 10 % 10 + b // 10 % 10 != 9", "turned over"),
    ("return (a // 10 % 10 + b // 10 % 10 == 9) & (a % 10 + b % 10 > 9)", "whether or not"),
    ("return a // 10 % 10 == b // 10 % 10", "added"),
    ("return int(str(a)[-2]) + int(str(b)[-2]) == 9", None),
    ("a // 10 % 10 + b // 10 % 10 == 9", "is `return` missing?"),
)
SORTED = function(
    "sort_line(digits)",
    ("return f\"{digits}={''.join(sorted(digits))}\"", "line's end"),
    ("return f'{digits}={sorted(digits)}\\n'", "a list is no text"),
    ("return digits + '=' + ''.join(sorted(digits, reverse=True)) + '\\n'", "smallest digit"),
    ("return digits + '=' + ''.join(sorted(set(digits))) + '\\n'", "stays twice"),
    ("return ''.join(sorted(digits)) + '=' + digits + '\\n'", "question comes first"),
    ("return f\"{digits}={int(''.join(sorted(digits)))}\\n\"", "zeros in front"),
    ("return f\"{digits}={int(''.join(sorted(digits))):04d}\\n\"", None),
    ("return ''.join(sorted(digits)) + '\\n'", "only the answer"),
    ("return f'{digits}={digits}\\n'", "not sorted"),
    ("return digits + '=' + ' '.join(sorted(digits)) + '\\n'", "nothing stands between"),
    ("return digits + '=' + digits[::-1] + '\\n'", "backwards"),
    ("return digits + ' = ' + ''.join(sorted(digits)) + '\\n'", "no spaces"),
    ("print(digits + '=' + ''.join(sorted(digits)))", "is `return` missing?"),
)
R, Q = "each * keep", "each * ~keep"
WEIGHTED = function(
    "weighted_loss(model, batch, weight)",
    (EACH + f"return weight * {R} + {Q}, {{}}", "result counts in full"),
    (EACH + f"return {R}, {{}}", "question is missing"),
    (EACH + f"return {R} + {Q}, {{}}", "this is 1 for it"),
    (EACH + f"return weight * ({R} + {Q}), {{}}", "both are weighted"),
    (EACH + f"return ({R} + weight * {Q}).sum(), {{}}", "this is their sum"),
    (EACH + f"return ({R} + weight * {Q}).mean(), {{}}", "this is their mean"),
    (EACH + f"return ({R} + weight * {Q}) / targets.numel(), {{}}", "dividing is the loop's"),
    (EACH + f"return (1 - weight) * {R} + weight * {Q}, {{}}", "1 − weight"),
    (EACH + f"return weight * {Q}, {{}}", "result is missing"),
    (EACH + f"return {R} - weight * {Q}, {{}}", "a minus"),
    (EACH + f"return {R} + weight * {Q}", "two things"),
    (EACH + f"return ({R} + weight * {Q}).detach(), {{}}", "nothing can be learnt"),
    (EACH + f"return {R} + 0.25 * {Q}, {{}}", "does not use its argument `weight`"),
)
ANSWERS = {
    "write_sum": SUMS,
    "to_rows": ROWS,
    "least_loss": LEAST,
    "is_result": MASKS,
    "result_loss": LOSSES,
    "exact_match": MATCHES,
    "waits": WAITING,
    "sort_line": SORTED,
    "weighted_loss": WEIGHTED,
}
RIGHT = {  # other ways that are as good as the solution's
    "write_sum": ["return str(a).zfill(3) + '+' + str(b).zfill(3) + '=' + str(a + b).zfill(4) + '\\n'"],
    "to_rows": ["rows = ids.reshape(-1, length)\nreturn [rows[:, :-1], rows[:, 1:]]"],
    "least_loss": ["return -(digits + digits - 1) * math.log(0.1) / (3 * (digits + 1))"],
    "is_result": ["return (tokens == equals).float().cummax(1).values.bool()"],
    "result_loss": [
        EACH + "return each * keep, {}",
        EACH + "return torch.where(keep, each, 0.0), {'scored': keep.sum()}",
    ],
    "exact_match": [
        HIT + "return 1 - (~hit & scored).any(1).float().mean()",
        "rows = zip(logits.argmax(-1), targets, scored)\n"
        "return sum(bool((x[s] == y[s]).all()) for x, y, s in rows) / len(targets)",
    ],
    "waits": ["return (a % 100 // 10) + (b % 100 // 10) == 9"],
    "sort_line": ["return f\"{digits}={''.join(sorted(list(digits)))}\\n\""],
    "weighted_loss": [EACH + "w = torch.where(keep, 1.0, weight)\nreturn w * each, {}"],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb06, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb06, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)
