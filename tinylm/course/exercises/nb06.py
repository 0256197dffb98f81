"""Exercises of notebook 06_custom_losses."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tinylm.batch import Batch
from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call
from tinylm.text.addition import write_sum as written

lesson = Lesson("06", "import math\nimport torch\nimport torch.nn.functional as F")
EQUALS = lesson.names["EQUALS"] = 12  # in the alphabet of the sums, "\n+0123456789="

write_sum = lesson.exercise(
    "6.1 · a sum as a line",
    r"""
    def write_sum(a, b):
        return f"{a:03d}+{b:03d}={a + b:04d}\n"
    """,
    cases=[(7, 45), (120, 3), (999, 999), (0, 0), (500, 499)],
    said="for {0} and {1}",
    slips=r"""
    \n -> :: the newline at the end is missing
    a:03d -> a && b:03d -> b && b:04d -> b :: put zeros in front: f'{a:03d}' does it
    b:04d -> b :: the result needs zeros in front, too, up to four digits
    b:04d -> b:03d :: the result has four digits
    :03d -> :04d :: a and b have three digits
    :0 -> : :: fill up with zeros, not with spaces: f'{a:03d}'
    }+{ -> } + { && }={ -> } = { :: no spaces around + and =
    {a + b:04d}\n" -> " + f"{a + b:04d}"[::-1] + "\n" :: write the result with its first digit first
    a:03d -> a:<03d && b:03d -> b:<03d && b:04d -> b:<04d :: put the zeros in front, not behind
    {a + b:04d} -> {a}{b} :: these are the texts of a and b, joined: add the numbers
    {a + b:04d} -> {a * b:04d} :: add a and b: yours multiplies them
    \n -> \\n :: the newline is \n, which is one character: yours is a backslash and an n
    {a:03d}+{b:03d} -> {b:03d}+{a:03d} :: a comes first
    = return "007+045=0052\n" :: your function does not use its argument `a`
    return -> print( && \n" -> \n") :: is `return` missing?
    """,
)


def pair_of_tensors(check: Check, answer: Any, ids: Tensor, length: int) -> Any:
    """Return tokens and targets."""
    found = call(check, answer, ids, length)
    check.that(isinstance(found, tuple | list) and len(found) == 2, "return two things: tokens, targets")
    check.that(all(isinstance(part, Tensor) for part in found), "tokens and targets are tensors")
    return tuple(found)


to_rows = lesson.exercise(
    "6.2 · rows",
    """
    def to_rows(ids, length):
        rows = ids.view(-1, length)
        return rows[:, :-1], rows[:, 1:]
    """,
    run=pair_of_tensors,
    cases=[
        (torch.randperm(n * length, generator=torch.Generator().manual_seed(n)), length)
        for n, length in ((6, 4), (3, 13))
    ],
    said="tokens are the rows without their last id, targets the rows without their first",
    slips="""
    rows[:, :-1], rows[:, 1:] -> rows[:, 1:], rows[:, :-1] :: tokens come first, targets second
    1:] -> :-1] :: targets are the same rows one place later
    :-1] -> 1:] :: tokens leave out the last id of a row, not the first
    (-1, length) -> (length, -1) :: view(-1, length): a row is a line, not a column
    view(-1, length) -> view(length, -1).T :: view(-1, length): a row is a line, not every n-th id
    view(-1, length) -> unfold(0, length, 1) :: a row begins where the last one ended: rows do not overlap
    rows[:, :-1], rows[:, 1:] -> rows, ids.roll(-1).view(-1, length)
        :: the last target would be of the next line: leave out each row's last token
    [:, :-1], rows[:, 1:] -> [:-1], rows[1:] :: leave out the last or first id of each row, not a whole row
    :-1], rows[:, 1: -> :-2], rows[:, 2: :: targets leave out the first id of a row, tokens the last: one each
    :-1], rows[:, 1:] -> :-1].T, rows[:, 1:].T :: (B, T): your rows are transposed
    [:, :-1], rows[:, 1:] -> , rows :: these are whole rows: tokens leave out the last id, targets the first
    .view(-1, length) -> [None] :: this is one long row: view(-1, length) cuts it
    (-1, length) -> (-1, 4) :: your function does not use its argument `length`
    , rows[:, 1:] -> :: return two things
    rows[:, :-1], rows[:, 1:] -> rows[:, :-1].tolist(), rows[:, 1:].tolist() :: tokens and targets are tensors
    rows[:, 1:] -> rows[:, -1:] :: the targets are all of a row but its first id: [:, 1:], not [:, -1:]
    return -> pair = :: is `return` missing?
    """,
)

least_loss = lesson.exercise(
    "6.3 · what no model can know",
    """
    def least_loss(digits):
        unknown, targets = 2 * digits - 1, 3 * digits + 3
        return unknown * math.log(10) / targets
    """,
    cases=[(3,), (1,), (5,)],
    said="for digits = {0}",
    slips="""
    digits - 1 -> digits :: the first digit of a row is never a target
    digits - 1 -> digits - 2 :: only the first digit of a row is no target: the first of b is one
    log(10) -> log(9) :: a digit has 10 equally likely values, so it costs ln 10 nats
    log(10) -> log2(10) :: in nats: use math.log, not log2
    log(10) -> log10(10) :: in nats: use math.log, not log10
    log(10) -> log(13) :: only the ten digits are possible, not all 13 characters: ln 10
    log(10) -> log(2) :: a digit has 10 equally likely values, so it costs ln 10 nats, not ln 2
    / targets -> / (targets / targets) :: divide by the number of targets
    + 3 -> + 4 :: a row has 3d + 3 targets: it is one shorter than its line
    + 3 -> + 2 :: a row has 3d + 3 targets: count the newline, too
    digits - 1 -> digits + 1 :: the + and the = are known: only digits cost anything
    2 * digits - 1 -> 3 * digits :: the result follows from the question, so it costs nothing
    / targets -> / unknown
        :: ln 10 is the loss of one unknown digit: add up the unknown ones, and divide by all targets
    2 * digits - 1, 3 * digits + 3 -> 5, 12 :: yours is the loss of three digits: use `digits`
    log(10) -> log(0.1) :: a loss is positive: −ln(1/10) = ln 10
    unknown * math.log(10) -> math.log(10) ** unknown
    unknown * math.log(10) -> math.log(unknown * 10)
    = return math.log(10)
        :: ln 10 is the loss of one unknown digit: add up the unknown ones, and divide by all targets
    return -> loss = :: is `return` missing?
    """,
)


def marks() -> list[tuple[Tensor, int]]:
    """Make rows with an = at five places: one row has none, and one has a second one."""
    tokens = torch.randint(12, (6, 9), generator=torch.Generator().manual_seed(2))
    tokens[torch.arange(5), torch.tensor([4, 6, 0, 8, 4])] = EQUALS
    tokens[0, 7] = EQUALS
    return [(tokens, EQUALS), ((tokens + 5) % 13, (EQUALS + 5) % 13)]


is_result = lesson.exercise(
    "6.4 · where the result is",
    """
    def is_result(tokens, equals):
        return (tokens == equals).cumsum(dim=1) > 0
    """,
    cases=marks,
    said="True from the = to the end of its row",
    slips="""
    .cumsum(dim=1) > 0 -> :: it is True also after the =: cumsum goes on counting
    > 0 -> == 1 :: a second = changes nothing: > 0, not == 1
    > 0 -> > 1 :: it begins at the first =: > 0, not > 1
    dim=1) > 0 -> dim=1).cumsum(dim=1) > 1 :: the target of the = is the result's first digit: True there, too
    return (tokens == equals).cumsum(dim=1) > 0
        -> return ((tokens == equals).cumsum(dim=1) > 0) & (tokens != equals)
        :: the target of the = is the result's first digit: it is True at the =, too
    > 0 -> == 0 :: True and False are exchanged
    .cumsum(dim=1) -> .flip(1).cumsum(dim=1).flip(1) :: the result comes after the =, not before it
    dim=1 -> dim=0 :: cumsum runs along a row, dim=1
    > 0 -> :: booleans are asked for: compare with 0
    return (tokens == equals).cumsum(dim=1) > 0 -> return ((tokens == equals).cumsum(dim=1) > 0).roll(-1, 1)
        :: one place too early: it begins at the = itself
    return (tokens == equals).cumsum(dim=1) > 0
        -> return F.pad((tokens == equals).cumsum(dim=1)[:, 1:], (0, 1)) > 0
        :: one place too early: it begins at the = itself, not before
    = place = (tokens == equals).int().argmax(1) ⏎ return torch.arange(tokens.shape[1]) >= place[:, None]
        :: a row without an = has no result: argmax says 0 for it
    = place = (tokens[0] == equals).int().argmax()
        ⏎ return (torch.arange(tokens.shape[1]) >= place).expand(tokens.shape)
        :: the = need not be at place 4, where the first row has it: each row has its own
    == equals) -> == equals).any(0).expand(tokens.shape) :: each row has its own =: look along the rows, dim=1
    = return (torch.arange(tokens.shape[1]) >= 7).expand(tokens.shape) | (tokens < 0) & (tokens == equals)
        :: the = need not be at place 7: look for it
    tokens == equals -> tokens >= equals :: == finds the =, and >= also what has a larger id
    tokens == equals -> tokens != equals :: it begins at the =, so tokens == equals
    == equals -> == EQUALS :: your function does not use its argument `equals`
    return -> marks = :: is `return` missing?
    = m = tokens == equals ⏎ m[:, 1:] = m[:, 1:] | m[:, :-1] ⏎ return m
    """,
)


def nats(check: Check, answer: Any, tokens: Tensor, targets: Tensor, logits: Tensor, *weight: float) -> Any:
    """Return the nats, which need a gradient, for a model that gives these logits for these tokens."""
    leaf = logits.clone().requires_grad_()

    def model(read: Tensor) -> Tensor:
        told = "the model reads the whole line: give it `tokens`; only the targets change"
        check.that(torch.equal(read, tokens), told)
        return leaf * 1  # computed now: under no_grad there is no gradient

    found = check.run(answer, model, Batch(tokens.clone(), targets.clone()), *weight)
    pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], dict)
    check.that(pair, "return two things, as in `return nats, {}`")
    learns = isinstance(found[0], Tensor) and found[0].requires_grad
    check.that(learns, "nothing can be learnt through it: no .item(), .detach() or no_grad")
    check.that(leaf.grad is None, "leave out backward(): it belongs to the loop")
    return found[0]


def lines(*pairs: tuple[int, int], digits: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """Return tokens and targets of these sums, (B, T) each, and logits, (B, T, V)."""
    text = "".join(written(a, b, digits=digits) for a, b in pairs)
    rows = torch.tensor(["\n+0123456789=".index(c) for c in text]).view(len(pairs), -1)
    return rows[:, :-1], rows[:, 1:], random(len(pairs), rows.shape[1] - 1, 13, seed=seed)


result_loss = lesson.exercise(
    "6.5 · the loss of the result",
    """
    def result_loss(model, batch):
        wanted = batch.targets.masked_fill(~is_result(batch.tokens, EQUALS), -100)
        return F.cross_entropy(model(batch.tokens).mT, wanted, reduction="none"), {}
    """,
    run=nats,
    cases=[lines((7, 45), (999, 1), (120, 3), seed=3), lines((3, 4), (61, 7), digits=2, seed=2)],
    said="−ln p(target) where is_result is True, 0 elsewhere",
    slips="""
    "none" -> "sum" :: one number for each target, (B, T): this is their sum
    "none" -> "mean" :: one number for each target, (B, T): this is their mean
    "none"), -> "none").mean(), :: one number for each target, (B, T): this is their mean, with all the zeros
    wanted, red -> batch.targets, red :: only the result counts: this is the whole line
    wanted, reduction="none" -> batch.targets, reduction="sum"
        :: one number for each target, (B, T): this is the sum of the whole line
    wanted, reduction="none" -> batch.targets, reduction="mean"
        :: one number for each target, (B, T): this is the mean of the whole line
    "none"), -> "none").sum(1), :: one number for each target, not one for each row
    "none"), -> "none")[is_result(batch.tokens, EQUALS)],
        :: (B, T), with 0 where nothing counts: a mask as an index drops those places
    ~ -> :: this is the question's loss: invert the mask
    model(batch.tokens) -> (model(batch.tokens) * is_result(batch.tokens, EQUALS)[..., None]) && wanted, red
        -> batch.targets, red :: masking logits does not help, each still costs ln V: mask the targets
    "none"), -> "none") / wanted.numel(), :: leave out the division by the number of targets: the loop divides
    return F -> return -F :: nats are −ln p: yours has the wrong sign
    return F -> p = torch.exp(-F && "none"), -> "none")) ⏎ return p * (wanted >= 0), :: nats are −ln p, not p
    is_result(batch.tokens -> is_result(batch.targets
        :: look for the = in tokens: in targets it is one place earlier
    .mT -> .softmax(-1).mT :: cross_entropy wants logits: no softmax before it
    .mT -> .log_softmax(-1).exp().mT :: cross_entropy wants logits: no softmax before it
    -100 -> 0 :: −100 leaves a target out; 0 is a character
    ).mT -> ).reshape(len(wanted), 13, -1) :: .mT exchanges the last two dimensions, view and reshape do not
    .mT -> :: cross_entropy wants (B, V, T): exchange the last two dimensions, .mT
    -100) -> -100).masked_fill(batch.targets == 0, -100) :: the newline at the line's end counts, too
    -100) -> -100).masked_fill(batch.tokens == EQUALS, -100) :: the target of the = counts, too
    ~is_result(batch.tokens, EQUALS) -> torch.arange(batch.tokens.shape[1]) < 7
        :: the = need not be at place 7: use is_result
    model(batch.tokens) -> model(wanted.clamp(0)) :: the model reads the whole line
    "none"), -> "none").detach(), :: nothing can be learnt through it
    return F -> with torch.no_grad():
        ⏎     wanted = F.cross_entropy(model(batch.tokens).mT, wanted, reduction="none") ⏎ return wanted, {}
        ⏎ return F :: nothing can be learnt through it
    return F -> F.cross_entropy(model(batch.tokens).mT, wanted).backward() ⏎ return F
        :: leave out backward(): it belongs to the loop
    , {} -> :: return two things
    {} -> None :: return two things
    return -> found = :: is `return` missing?
    """,
)


def guesses() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Make logits, targets and what is scored, with rows that are right or wrong on purpose."""
    generator, made = torch.Generator().manual_seed(4), []
    for B, T, V in ((8, 5, 3), (5, 8, 5), (61, 7, 3)):
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
        made.append((logits, targets, scored))
    return made


exact_match = lesson.exercise(
    "6.6 · exact match",
    """
    def exact_match(logits, targets, scored):
        right = logits.argmax(dim=-1) == targets  # (B, T)
        return (right | ~scored).all(dim=1).float().mean()
    """,
    cases=guesses,
    said="the share of rows whose scored targets are all right",
    slips="""
    (right | ~scored).all(dim=1) -> right[scored]
        :: all scored targets of a row together: this counts single ones
    all(dim=1).float -> float :: all scored targets of a row together: this counts single ones, of all targets
    .all(dim=1).float() -> .all(dim=1)[scored.any(1)].float() :: a row with nothing scored counts as right
    | ~scored -> :: what is not scored may be wrong
    | ~scored -> & scored :: what is not scored spoils nothing: this asks for all to be scored
    .float().mean() -> .sum() :: the share, not the number: divide by the rows
    (right | ~scored).all -> (right & scored).any :: all of a row, not any of it
    .all(dim=1) -> .all() :: one row after the other, dim=1: this asks for the whole batch
    .all(dim=1) -> .all(dim=0) :: all along a row is dim=1
    return (right -> return 1 - (right :: this is the share of rows that are wrong
    (right | ~scored).all(dim=1) -> right :: this is the share of all targets
    ~ -> :: True and False of `scored` are exchanged
    (right | ~scored).all(dim=1) -> (right.sum(1) >= scored.sum(1))
        :: a right guess outside `scored` makes up for nothing
    .mean() -> :: one number is asked for, not one for each row: .mean()
    .float().mean() -> :: one number is asked for, not True or False for each row: .float().mean()
    == targets -> != targets :: right means equal, ==
    argmax -> argmin :: the first choice has the largest logit: argmax
    argmax(dim=-1) -> argmax(dim=1) :: the characters are the last dimension of logits: argmax(dim=-1)
    .float() -> :: .float() makes numbers of True and False, which .mean() needs
    return -> share = :: is `return` missing?
    """,
)

waits = lesson.exercise(
    "6.7 · the sums that wait",
    """
    def waits(a, b):
        return a // 10 % 10 + b // 10 % 10 == 9
    """,
    cases=[(*torch.randint(1000, (2, 4000), generator=torch.Generator().manual_seed(5)),), (145, 254)],
    said="True where the two tens digits add up to 9",
    slips="""
    == 9 -> >= 9 :: exactly 9: with more there is a carry whatever the units are
    == 9 -> > 9 :: more than 9 always makes a carry, and 9 waits for the units
    == 9 -> == 10 :: 9, not 10
    // 10 % 10 -> % 10 :: the tens digit is a // 10 % 10: this looks at the units
    // 10 % 10 -> // 100 :: the tens digit is a // 10 % 10: this looks at the hundreds
    // 10 % 10 -> // 10 :: a // 10 still has the hundreds in it: % 10 takes them off
    // 10 % 10 -> % 100 :: a % 100 still has the units in it: the tens digit is a // 10 % 10
    // 10 % 10 -> / 10 % 10 :: a // 10 drops the units, a / 10 does not
    a // 10 % 10 + b // 10 % 10 -> (a + b) // 10 % 10 :: this is the tens digit of the result
    == -> != :: True and False are exchanged
    return a // 10 % 10 + b // 10 % 10 == 9
        -> return (a // 10 % 10 + b // 10 % 10 == 9) & (a % 10 + b % 10 > 9)
        :: it waits whether or not the units make a carry
    + b // 10 % 10 == 9 -> == b // 10 % 10 :: add the digits, do not compare them
    + b // 10 % 10 == 9 -> == 9 or b // 10 % 10 == 9 :: add the two digits first, then compare with 9
    % 10 + b // 10 % 10 == 9 -> % 10 + b // 10 % 10 :: True or False is asked for: compare the sum with 9
    a // 10 % 10 + b // 10 % 10 == 9 -> (a // 10 % 10 + b // 10 % 10 == 9) * 1 :: booleans are asked for
    a // 10 % 10 + b // 10 % 10 == 9 -> (a // 10 % 10 + b // 10 % 10).eq(9)
        :: a and b may be plain numbers, too: == compares both kinds
    = return (a // 10 % 10 + b // 10 % 10 == 9).any() :: one answer for each pair
    a // 10 % 10 + b // 10 % 10 -> int(str(a)[-2]) + int(str(b)[-2])
        :: a and b may be tensors: get the digits with // and %, not from their text
    return -> found = :: is `return` missing?
    """,
)

sort_line = lesson.exercise(
    "6.8 · sort the digits",
    r"""
    def sort_line(digits):
        return f"{digits}={''.join(sorted(digits))}\n"
    """,
    cases=[("3142",), ("9009",), ("0000",), ("10",), ("00321",), ("7654321",)],
    said="for {0!r}",
    slips=r"""
    \n -> :: the newline at the end is missing
    ''.join(sorted(digits)) -> sorted(digits) :: a list is no text: ''.join(...) makes one
    sorted(digits) -> sorted(digits)[::-1] :: the smallest digit comes first
    sorted(digits) -> sorted(set(digits)) :: a digit that is there twice stays twice
    {digits}={''.join(sorted(digits))} -> {''.join(sorted(digits))}={digits}
        :: the question comes first, then its answer
    ''.join(sorted(digits)) -> int(''.join(sorted(digits))) :: zeros in front stay: do not make a number of it
    ''.join(sorted(digits)) -> int(''.join(sorted(digits))):04d
        :: a line may have any number of digits: do not make a number of it
    {digits}={ -> { :: only the answer is there: write the question and = before it
    ''.join(sorted(digits)) -> digits :: the digits are not sorted
    ''.join -> ' '.join :: put nothing between the digits
    ''.join -> ','.join :: put nothing between the digits, no comma
    sorted(digits) -> reversed(digits) :: backwards is not sorted
    }={ -> } = { :: no spaces around =
    sorted(digits) -> sorted(digits, key=int, reverse=True) :: the smallest digit comes first
    \n -> \\n :: the newline is \n, which is one character: yours is a backslash and an n
    }={ -> }{ :: the = between question and answer is missing
    ''.join(sorted(digits)) -> digits.sort() :: a text has no .sort(): sorted(digits) gives a list
    = return "3142=1234\n" :: your function does not use its argument `digits`
    return -> line = :: is `return` missing?
    """,
)

weighted_loss = lesson.exercise(
    "6.9 · a question that counts a little",
    """
    def weighted_loss(model, batch, weight):
        nats = F.cross_entropy(model(batch.tokens).mT, batch.targets, reduction="none")  # (B, T)
        return nats * torch.where(is_result(batch.tokens, EQUALS), 1.0, weight), {}
    """,
    run=nats,
    cases=[
        (*lines((7, 45), (999, 1), (120, 30 + seed), seed=seed), weight)
        for seed, weight in enumerate((0.25, 0.0, 1.0, 3.0))
    ],
    said="the result's nats, plus weight times the question's",
    slips="""
    1.0, weight -> weight, 1.0 :: the question is weighted, the result counts in full
    1.0, weight -> 1.0, 0.0 * weight :: the question is missing
    1.0, weight -> 1.0, weight**0 :: the question has the weight: this is 1 for it
    1.0, weight -> weight, weight :: both are weighted, the result should count in full
    1.0, weight -> 1.0, weight**2 :: multiply by the weight once
    1.0, weight -> 1 - weight, weight :: the result counts in full, without 1 − weight
    1.0, weight -> 1.0, 1 - weight :: the question has the weight, not 1 − weight
    1.0, weight -> 0.0, weight :: the result is missing
    1.0, weight -> 1.0, -weight :: add the question's part, do not subtract it
    1.0, weight -> 1.0, 1 / max(weight, 1e-3) :: multiply by the weight, do not divide by it
    1.0, weight -> 1 + weight, weight :: the weight is for the question alone: the result counts once
    return nats * torch.where(is_result(batch.tokens, EQUALS), 1.0, weight), {}
        -> nats = nats * torch.where(is_result(batch.tokens, EQUALS), 1.0, weight) ⏎ return nats.sum(), {}
        :: one number for each target, (B, T): this is their sum
    return nats * torch.where(is_result(batch.tokens, EQUALS), 1.0, weight), {}
        -> nats = nats * torch.where(is_result(batch.tokens, EQUALS), 1.0, weight) ⏎ return nats.mean(), {}
        :: one number for each target, (B, T): this is their mean
    return nats -> return nats / nats.numel()
        :: leave out the division by the number of targets: the loop divides
    return nats -> return nats.detach() :: nothing can be learnt through it
    return -> nats.sum().backward(retain_graph=True) ⏎ return :: leave out backward(): it belongs to the loop
    is_result(batch.tokens -> is_result(batch.targets
        :: look for the = in tokens: in targets it is one place earlier
    .mT -> .softmax(-1).mT :: cross_entropy wants logits: no softmax before it
    .mT -> :: cross_entropy wants (B, V, T): exchange the last two dimensions, .mT
    , {} -> :: return two things
    1.0, weight -> 1.0, 0.25 :: your function does not use its argument `weight`
    return -> found = :: is `return` missing?
    """,
)
