"""Checks of notebook 06_custom_losses, and what it goes on with where a part is blank."""

import math

import torch
import torch.nn.functional as F

from tinylm.batch import IGNORE_INDEX, Batch
from tinylm.course.checks import Check as exercise
from tinylm.course.checks import marked
from tinylm.course.differences import difference
from tinylm.course.exercises.nb02 import random
from tinylm.model.losses import token_losses
from tinylm.text import addition

EQUALS = 12  # in the alphabet of the sums, "\n+0123456789="


def given_to_rows(ids, length):
    """Rows of `length` ids each: all of a row but its last, and all but its first."""
    rows = ids.view(-1, length)
    return rows[:, :-1], rows[:, 1:]


def given_least_loss(digits):
    """Nats per target of the best possible model: the digits of the question but the first are unknown."""
    return (2 * digits - 1) * math.log(10) / (3 * digits + 3)


def given_is_result(tokens, equals):
    """True from the = on."""
    return (tokens == equals).cumsum(dim=1) > 0


def given_result_loss(model, batch):
    """The nats of the result's targets, 0 for all others, and no metrics."""
    kept = given_is_result(batch.tokens, EQUALS)
    return token_losses(model(batch.tokens), batch.targets.masked_fill(~kept, IGNORE_INDEX)), {}


def given_exact_match(logits, targets, scored):
    """In what share of the rows all scored targets are the first choice."""
    return ((logits.argmax(dim=-1) == targets) | ~scored).all(dim=1).float().mean()


def given_waits(a, b):
    """Whether the tens digits add up to 9, so that the hundreds depend on the units."""
    return a // 10 % 10 + b // 10 % 10 == 9


def sums(*pairs: tuple[int, int], digits: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and targets of these sums, (B, T) each."""
    alphabet = "\n+0123456789="
    lines = "".join(addition.write_sum(a, b, digits=digits) for a, b in pairs)
    return given_to_rows(torch.tensor([alphabet.index(c) for c in lines]), 3 * digits + 4)


def model_of(logits: torch.Tensor, tokens: torch.Tensor, check: exercise | None = None):
    """A model that gives these logits, (B, T, V), for these tokens; for others the check says so."""

    scale = torch.ones(1, requires_grad=True)

    def model(read):
        if check is not None:
            same = torch.equal(read, tokens)
            check.that(same, "the model reads the whole line: give it `tokens`; only the targets change")
        return logits * scale  # computed now: under no_grad there is no gradient

    return model


@marked("6.1 · a sum as a line", given=addition.write_sum)
def write_sum(check: exercise, mine) -> None:
    """a and b with three digits, the result with four, a line's end."""
    for a, b in ((7, 45), (120, 3), (999, 999), (0, 0), (500, 499)):
        line, c = check.run(mine, a, b), a + b
        usual = {
            "the line's end is missing": f"{a:03d}+{b:03d}={c:04d}",
            "zeros go in front: f'{a:03d}' does it": f"{a}+{b}={c}\n",
            "the result needs zeros in front too, up to four digits": f"{a:03d}+{b:03d}={c}\n",
            "the result has four digits": f"{a:03d}+{b:03d}={c:03d}\n",
            "a and b have three digits": f"{a:04d}+{b:04d}={c:04d}\n",
            "a text of zeros, not of spaces": f"{a:3d}+{b:3d}={c:4d}\n",
            "no spaces around + and =": f"{a:03d} + {b:03d} = {c:04d}\n",
            "the result comes with its first digit first": f"{a:03d}+{b:03d}={f'{c:04d}'[::-1]}\n",
            "the zeros go in front, not behind": f"{a}".ljust(3, "0") + f"+{b:<03d}={c:<04d}\n",
            "the texts of a and b were joined: add the numbers": f"{a:03d}+{b:03d}={a}{b}\n",
            "the line ends with \\n, which is one character": f"{a:03d}+{b:03d}={c:04d}\\n",
            "a comes first": f"{b:03d}+{a:03d}={c:04d}\n",
        }
        check.close(line, addition.write_sum(a, b), f"for {a} and {b}", usual=usual)


@marked("6.2 · rows", given=given_to_rows)
def to_rows(check: exercise, mine) -> None:
    """A row for each line, as tokens and as targets."""
    for n, length in ((6, 4), (3, 13)):
        ids = torch.randperm(n * length, generator=torch.Generator().manual_seed(n))
        rows, across = ids.view(n, length), ids.view(length, n)
        tokens, targets = given_to_rows(ids, length)
        moved, windows = ids.roll(-1).view(n, length), ids.unfold(0, length, 1)
        usual = {
            "tokens come first, targets second": (targets, tokens),
            "targets are the same rows one place later": (tokens, tokens),
            "view(-1, length): a row is a line, not a column": (across[:, :-1], across[:, 1:]),
            "a row begins where the last one ended: rows do not overlap": (windows[:, :-1], windows[:, 1:]),
            "the last target would be of the next line: leave out each row's last token": (rows, moved),
            "of each row, not of the whole text, the first or the last is left out": (rows[:-1], rows[1:]),
            "targets leave out the first of a row, tokens the last": (rows[:, :-2], rows[:, 2:]),
            "(B, T): are the rows turned?": (tokens.mT, targets.mT),
            "all of a row but its last, and all but its first: these are whole rows": (rows, rows),
        }
        answer = check.run(mine, ids, length)
        pair = isinstance(answer, tuple | list) and len(answer) == 2
        check.that(pair, "return two things: tokens, targets")
        check.that(all(isinstance(part, torch.Tensor) for part in answer), "tokens and targets are tensors")
        answer, right = tuple(answer), (tokens, targets)
        named = any(difference(answer, slip) is None for slip in usual.values())
        for part, wanted in [(answer, right)] if named else zip(answer, right, strict=True):
            said = "rows without their last, rows without their first"
            check.close(part, wanted, said, usual=usual if named else None)


@marked("6.3 · what no model can know", given=given_least_loss)
def least_loss(check: exercise, mine) -> None:
    """(2 d - 1) ln 10 over 3 d + 3 targets."""
    for d in (3, 1, 5):
        unknown, targets, ln = 2 * d - 1, 3 * d + 3, math.log(10)
        usual = {
            "the first digit of a row is never a target": 2 * d * ln / targets,
            "a digit has 10 equally likely values, so it costs ln 10 nats": unknown * math.log(9) / targets,
            "in nats: use math.log, not log2": unknown * math.log2(10) / targets,
            "in nats: use math.log, not log10": unknown / targets,
            "divide by the number of targets": unknown * ln,
            "a row has 3d + 3 targets: it is one shorter than its line": unknown * ln / (targets + 1),
            "the + and the = are known: only digits cost anything": (unknown + 2) * ln / targets,
            "the result follows from the question, so it costs nothing": 3 * d * ln / targets,
            "your number is that of three digits: use `digits`": 5 * ln / 12,
            "a loss is positive: −ln(1/10) = ln 10": -unknown * ln / targets,
        }
        check.close(check.run(mine, d), given_least_loss(d), f"for digits = {d}", usual=usual)


@marked("6.4 · where the result is", given=given_is_result)
def is_result(check: exercise, mine) -> None:
    """True at the = and after it, because the target there is the result's first digit."""
    tokens = torch.randint(12, (6, 9), generator=torch.Generator().manual_seed(2))
    places = torch.tensor([4, 6, 0, 8, 4])
    tokens[torch.arange(5), places] = EQUALS  # the last row has none
    tokens[0, 7] = EQUALS  # and the first a second one
    for ids, equals in ((tokens, EQUALS), ((tokens + 5) % 13, (EQUALS + 5) % 13)):
        mark = ids == equals
        right = given_is_result(ids, equals)
        n = torch.arange(9)
        fixed = {f"the = need not be at place {p}: look for it": (n >= p).expand(6, 9) for p in range(2, 9)}
        usual = {
            "also after the =: cumsum goes on counting": mark,
            "a second = changes nothing: > 0, not == 1": mark.cumsum(1) == 1,
            "the target of the = is the result's first digit: True there too": right & ~mark,
            "True and False are turned over": ~right,
            "the result comes after the =, not before it": mark.flip(1).cumsum(1).flip(1) > 0,
            "cumsum runs along a row, dim=1": mark.cumsum(0) > 0,
            "booleans are asked for: compare with 0": mark.cumsum(1),
            "one place too early": torch.cat([right[:, 1:], torch.zeros(6, 1, dtype=torch.bool)], 1),
            "a row without an = has no result": torch.cat([right[:5], torch.ones(1, 9, dtype=torch.bool)]),
            "each row has its own =, see argmax over dim=1": mark.any(0).cumsum(0).expand(6, 9) > 0,
        } | fixed
        answer = check.run(mine, ids, equals)
        check.close(answer, right, "True from the = to the end of its row", usual=usual)


@marked("6.5 · the loss of the result", given=given_result_loss)
def result_loss(check: exercise, mine) -> None:
    """The nats of what is_result keeps, 0 elsewhere, with a gradient, and a dictionary."""
    for pairs, digits in ((((7, 45), (999, 1), (120, 3)), 3), (((3, 4), (61, 7)), 2)):
        tokens, targets = sums(*pairs, digits=digits)
        logits = random(*tokens.shape, 13, seed=digits).requires_grad_()
        kept = given_is_result(tokens, EQUALS)
        each = F.cross_entropy(logits.mT, targets, reduction="none").detach()  # (B, T)
        right = given_result_loss(model_of(logits, tokens), Batch(tokens, targets))[0]
        empty = F.cross_entropy((logits * kept[..., None]).mT, targets, reduction="none").detach()
        chance = torch.softmax(logits, -1).gather(-1, targets[..., None])[..., 0].detach()
        mean = F.cross_entropy(torch.softmax(logits, -1).mT, targets, reduction="none").detach()
        zeros = F.cross_entropy(logits.mT, targets.masked_fill(~kept, 0), reduction="none").detach()
        cut = F.cross_entropy(logits.reshape(len(tokens), 13, -1), targets, reduction="none").detach()
        places = torch.arange(tokens.shape[1]) >= 7
        usual = {
            "one number for each target, (B, T): this is their sum": (each * kept).sum(),
            "one number for each target, (B, T): this is their mean": each[kept].mean(),
            "one number for each target, (B, T): this is the sum of the whole line": each.sum(),
            "one number for each target, (B, T): this is the mean of the whole line": each.mean(),
            "(B, T), with 0 where nothing counts: a mask as an index drops those places": each[kept],
            "only the result counts, this is the whole line": each,
            "this is the question's loss: turn the mask over": each * ~kept,
            "masking logits does not help, each still costs ln V: mask the targets": empty,
            "divided by the number of targets: dividing is the loop's": each * kept / targets.numel(),
            "nats are −ln p: the sign is wrong": -each * kept,
            "nats are −ln p, not p": chance * kept,
            "look for the = in tokens: in targets it stands one place earlier": each
            * given_is_result(targets, EQUALS),
            "cross_entropy wants logits: no softmax before it": mean * kept,
            "−100 leaves a target out; 0 is a character": zeros,
            ".mT exchanges the last two dimensions, view does not": cut * kept,
            "the line's end counts too": each * kept * (torch.arange(tokens.shape[1]) < tokens.shape[1] - 1),
            "the = need not stand at place 7: use is_result": each * places if digits < 3 else each * 0,
            "one number for each target, not one for each row": (each * kept).sum(1),
            "the target of the = counts too": each * kept * (tokens != EQUALS),
        }
        answer = check.run(mine, model_of(logits, tokens, check), Batch(tokens, targets))
        pair = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)
        check.that(pair, "return two things, as in `return nats, {}`")
        check.close(answer[0], right, "−ln p(target) where is_result is True, 0 elsewhere", usual=usual)
        check.that(logits.grad is None, "the loss only counts: backward() belongs to the loop")
        learns = isinstance(answer[0], torch.Tensor) and answer[0].requires_grad
        check.that(learns, "nothing can be learnt through it: no .item(), .detach() or no_grad")


@marked("6.6 · exact match", given=given_exact_match)
def exact_match(check: exercise, mine) -> None:
    """The share of rows without a wrong scored target."""
    generator = torch.Generator().manual_seed(4)
    for B, T, V in ((8, 5, 3), (5, 8, 5)):
        targets = torch.randint(V, (B, T), generator=generator)
        logits = random(B, T, V, seed=B) + 2.5 * F.one_hot(targets, V)
        scored = torch.rand(B, T, generator=generator) < 0.6
        scored[:, -1] = scored[2] = True
        logits[0] = F.one_hot((targets[0] + (~scored[0]).long()) % V, V)  # wrong where nobody looks
        logits[1] = F.one_hot((targets[1] + scored[1].long()) % V, V)
        logits[2] = F.one_hot(targets[2], V)
        if T > 5:  # more right ones outside `scored` than wrong ones inside, and a row that asks nothing
            scored[3] = torch.arange(T) >= T - 2
            logits[3] = F.one_hot(targets[3], V).roll(1, 1) * 1.0
            logits[3, : T - 2] = F.one_hot(targets[3, : T - 2], V) * 1.0
            scored[4] = False
        hit = logits.argmax(-1) == targets
        right = given_exact_match(logits, targets, scored)
        both, single = hit & scored, hit[scored]
        made_up = (hit.sum(1) >= scored.sum(1)).float().mean()
        strict = (hit | ~scored).all(1)[scored.any(1)].float().mean()
        usual = {
            "all scored targets of a row together: this counts single ones": single.float().mean(),
            "a row with nothing scored counts as right": strict,
            "what is not scored may be wrong": hit.all(1).float().mean(),
            "what is not scored spoils nothing: this asks for all to be scored": both.all(1).float().mean(),
            "the share, not the number: divide by the rows": ((hit | ~scored).all(1)).sum(),
            "all of a row, not any of it": (hit & scored).any(1).float().mean(),
            "one row after the other, dim=1: this asks for the whole batch": (hit | ~scored).all().float(),
            "all along a row is dim=1": (hit | ~scored).all(0).float().mean(),
            "this is the share that is wrong": 1 - right,
            "this is the share of all targets": hit.float().mean(),
            "True and False of `scored` are turned over": (hit | scored).all(1).float().mean(),
            "a right guess outside `scored` makes up for nothing": made_up,
            "one number is asked for, not one for each row": (hit | ~scored).all(1).float(),
        }
        answer = check.run(mine, logits, targets, scored)
        check.close(answer, right, "the share of rows whose scored targets are all right", usual=usual)


@marked("6.7 · the sums that wait", given=given_waits)
def waits(check: exercise, mine) -> None:
    """The tens digits add up to 9."""
    a, b = torch.randint(1000, (2, 4000), generator=torch.Generator().manual_seed(5))
    tens = a // 10 % 10 + b // 10 % 10
    usual = {
        "exactly 9: with more there is a carry whatever the units are": tens >= 9,
        "more than 9 always makes a carry, and 9 waits for the units": tens > 9,
        "9, not 10": tens == 10,
        "the tens digit is a // 10 % 10: this looks at the units": a % 10 + b % 10 == 9,
        "the tens digit is a // 10 % 10: this looks at the hundreds": a // 100 + b // 100 == 9,
        "a // 10 still has the hundreds in it: % 10 takes them off": a // 10 + b // 10 == 9,
        "this is the tens digit of the result": (a + b) // 10 % 10 == 9,
        "True and False are turned over": tens != 9,
        "it waits whether or not the units make a carry": (tens == 9) & (a % 10 + b % 10 > 9),
        "the digits are added, not compared": a // 10 % 10 == b // 10 % 10,
        "booleans are asked for": (tens == 9).long(),
    }
    check.close(check.run(mine, a, b), tens == 9, "True where the two tens digits add up to 9", usual=usual)
    one = check.run(mine, 145, 254)
    check.that(bool(one), "145 + 254 waits, because 4 + 5 = 9: a number is as good as a tensor")


@marked("6.8 · sort the digits")
def sort_line(check: exercise, mine) -> None:
    """The digits, =, and the same digits in order."""
    for digits in ("3142", "9009", "0000", "10", "00321", "7654321"):
        ordered = sorted(digits)
        usual = {
            "the line's end is missing": f"{digits}={''.join(ordered)}",
            "a list is no text: ''.join(...) makes one": f"{digits}={ordered}\n",
            "the smallest digit comes first": f"{digits}={''.join(ordered[::-1])}\n",
            "a digit that is there twice stays twice": f"{digits}={''.join(sorted(set(digits)))}\n",
            "the question comes first, then its answer": f"{''.join(ordered)}={digits}\n",
            "zeros in front stay: do not make a number of it": f"{digits}={int(''.join(ordered))}\n",
            "only the answer is there: the question and = come before it": f"{''.join(ordered)}\n",
            "the digits are not sorted": f"{digits}={digits}\n",
            "nothing stands between the digits": f"{digits}={' '.join(ordered)}\n",
            "backwards is not sorted": f"{digits}={digits[::-1]}\n",
            "no spaces around =": f"{digits} = {''.join(ordered)}\n",
        }
        right = f"{digits}={''.join(ordered)}\n"
        check.close(check.run(mine, digits), right, f"for {digits!r}", usual=usual)


@marked("6.9 · a question that counts a little")
def weighted_loss(check: exercise, mine) -> None:
    """The result's nats plus `weight` times the question's."""
    for weight, seed in ((0.25, 0), (0.0, 1), (1.0, 2), (3.0, 3)):
        tokens, targets = sums((7, 45), (999, 1), (120, 30 + seed))
        logits = random(*tokens.shape, 13, seed=seed).requires_grad_()
        kept = given_is_result(tokens, EQUALS)
        each = F.cross_entropy(logits.mT, targets, reduction="none")  # (B, T)
        result, question = each * kept, each * ~kept  # (B, T)
        right = result + weight * question
        usual = {
            "the question is weighted, the result counts in full": weight * result + question,
            "the question is missing": result,
            "the question has the weight, this is 1 for it": result + question,
            "both are weighted, the result should count in full": weight * (result + question),
            "one number for each target, (B, T): this is their sum": right.sum(),
            "one number for each target, (B, T): this is their mean": right.mean(),
            "divided by the number of targets: dividing is the loop's": right / targets.numel(),
            "the weight is multiplied, once": result + weight**2 * question,
            "1 − weight is not asked for": (1 - weight) * result + weight * question,
            "the result is missing": weight * question,
            "a minus in place of a plus": result - weight * question,
        }
        usual = {said: value.detach() for said, value in usual.items() if weight == 0.25}
        answer = check.run(mine, model_of(logits, tokens, check), Batch(tokens, targets), weight)
        pair = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)
        check.that(pair, "return two things, as in `return nats, {}`")
        check.close(answer[0], right, "the result's nats, plus weight times the question's", usual=usual)
        check.that(logits.grad is None, "the loss only counts: backward() belongs to the loop")
        learns = isinstance(answer[0], torch.Tensor) and answer[0].requires_grad
        check.that(learns, "nothing can be learnt through it: no .item(), .detach() or no_grad")
