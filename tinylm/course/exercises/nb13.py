"""Exercises of notebook 13_evaluation."""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tinylm.course.checks import Check
from tinylm.course.differences import difference
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Case, Lesson, call

lesson = Lesson("13", "import math\nimport re\nimport numpy as np\nimport torch")


def two(first: str, second: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Return settings of an exercise that asks for two numbers; the first is compared in all cases first."""

    def run(check: Check, answer: Any, part: str, *case: Any) -> Any:
        found = call(check, answer, *case)
        pair = isinstance(found, tuple | list | np.ndarray) and len(found) == 2
        check.that(pair, f"return two numbers: the {first} and the {second}")
        return found[part == second and 1]

    return {"run": run, "cases": [(part, *case) for part in (first, second) for case in cases]}


def documents(k: int) -> Case:
    """Return the nats and the token counts of k documents of unequal length."""
    draw = np.random.default_rng(k)
    counts = draw.integers(1, 200, size=k)
    return counts * draw.uniform(1, 4, size=k), counts


loss_and_error = lesson.exercise(
    "13.1 · a loss and its error",
    """
    def loss_and_error(nats, counts):
        k, loss = len(nats), nats.sum() / counts.sum()
        squares = ((nats - loss * counts) ** 2).sum()
        return loss, np.sqrt(k / (k - 1) * squares) / counts.sum()
    """,
    **two("loss", "error", [documents(3), documents(7), documents(40)]),
    said="compare the {0} with the formula",
    slips="""
    nats.sum() / counts.sum() -> (nats / counts).mean() :: here a short document weighs as much as a long one
    nats.sum() / counts.sum() -> nats.mean() :: that is nats per document: divide by all tokens, counts.sum()
    nats.sum() / counts.sum() -> nats.sum() :: these are all nats: divide by all tokens, counts.sum()
    nats.sum() / counts.sum() -> nats / counts :: that is one loss per document: divide all nats by all tokens
    nats.sum() / counts.sum() -> counts.sum() / nats.sum() :: nats over tokens, not tokens over nats
    return loss, -> return loss, (nats / counts).std(ddof=1) / np.sqrt(k)  #
        :: here all documents weigh the same
    return loss, -> return loss, (nats / counts).std() / np.sqrt(k)  # :: here all documents weigh the same
    return loss, -> return loss, (nats / counts).std(ddof=1)  # :: that is how far one document lies off
    return loss, -> return loss, (nats / counts).std()  # :: that is how far one document lies off
    k / (k - 1) * squares -> squares :: k / (k - 1) is missing: the same documents gave the loss
    k / (k - 1) -> (k - 1) / k :: k / (k - 1), not (k - 1) / k: with fewer documents the error is larger
    k / (k - 1) -> 1 / (k - 1) :: k / (k - 1), not 1 / (k - 1): these are sums, not means
    np.sqrt(k / (k - 1) * squares) -> k / (k - 1) * squares :: the root is missing
    np.sqrt(k / (k - 1) * squares) -> k / (k - 1) * np.sqrt(squares) :: k / (k - 1) belongs inside the root
    squares) / counts.sum() -> squares) :: the division by all tokens, counts.sum(), is missing
    squares) / counts.sum() -> squares) / k :: divide by all tokens, counts.sum(), not by the documents
    squares) / counts.sum() -> squares / counts.sum()) :: divide by counts.sum() outside the root
    loss * counts -> loss :: L is per token: a document of n tokens should have L · n nats
    loss * counts -> nats.mean() :: L is per token: a document of n tokens should have L · n nats
    ** 2).sum() -> ).sum() ** 2 :: square each distance before you add: otherwise those above and below cancel
    ((nats -> (abs(nats && ** 2).sum() -> ).sum() ** 2 :: square each distance, then add them up
    ((nats -> (abs(nats && ** 2) -> ) :: square the distances: yours are absolute values
    return loss, -> return np.sqrt(k / (k - 1) * squares) / counts.sum(), loss  # :: the loss comes first
    return loss, -> return loss  # :: return two numbers
    return loss, -> out = loss, :: is `return` missing?
    squares = (( -> nats -= loss * counts ⏎ squares = (( && (nats - loss * counts) -> nats
        :: changes the array
    return loss, -> return loss, loss / np.sqrt(k)  #
    """,
)

PIECE, VOCABULARY = re.compile(r" \S{1,5}|\S{1,2}|\s"), 97


def encode(text: str) -> np.ndarray:
    """Return ids of pieces of words, (T,): after a space pieces are longer, so without it there are more."""
    return np.array(
        [zlib.crc32(piece.encode()) % VOCABULARY for piece in PIECE.findall(text)], dtype=np.int64
    )


def causal(tokens: torch.Tensor) -> torch.Tensor:
    """Return logits (B, T, V), each computed from the tokens up to its own position."""
    if not isinstance(tokens, torch.Tensor):
        raise TypeError("the model reads tensors: torch.as_tensor(ids)")
    if tokens.ndim != 2:
        raise ValueError(f"the model reads a batch of sequences, (B, T), and yours is {tuple(tokens.shape)}")
    table = (3 * random(101, VOCABULARY, seed=13)).requires_grad_()  # as weights do
    return table[(tokens * (1 + torch.arange(tokens.size(1)) % 5)).cumsum(-1) % 101]


def scored(check: Check, answer: Any, context: str, ending: str) -> Any:
    """Return the score of the ending, which must be a float where it is right."""
    found = call(check, answer, causal, encode, context, ending)
    if isinstance(found, torch.Tensor):
        right = difference(found, check.given(causal, encode, context, ending), rtol=1e-5) is None
        check.that(not right, "one float is asked for, and this is a tensor: .item()")
    return found


score = lesson.exercise(
    "13.2 · the score of an ending",
    """
    def score(model, encode, context, ending):
        begin = len(encode(context))
        ids = torch.as_tensor(encode(f"{context} {ending}"))  # (T,)
        with torch.no_grad():
            logs = model(ids[None])[0].log_softmax(-1)  # (T, V)
        return float(logs[range(begin - 1, len(ids) - 1), ids[begin:]].sum())
    """,
    run=scored,
    cases=[
        ("One day at 5 he", "carried the kite to the library, as on every other day."),
        ("Luke had a kite.\nHe took it", "to the library every day."),
        ("At last they came home", "and slept"),
        (" One day the drum was gone.\n", "Luke was sad."),
        ("A", "b"),
        ("So he told of it", "day after day, " * 30 + "until all of them knew it by heart."),  # e^-745 is 0
    ],
    rtol=1e-5,
    said="add up the log-probabilities of the ending's tokens",
    slips="""
    begin - 1, len(ids) - 1 -> begin, len(ids)
        :: row t predicts the token at t + 1: rows begin - 1 to len(ids) - 2
    begin - 1, -> begin, && ids[begin:] -> ids[begin + 1 :] :: the ending's first token is missing
    len(encode(context)) -> 1 :: this scores the context too: only the ending's tokens count
    len(encode(context)) -> max(1, len(encode(context)) - 1) :: one token of the context is scored too
    len(ids) - 1), ids[begin:] -> len(ids) - 2), ids[begin:-1] :: the ending's last token is missing
    .sum()) -> .mean()) :: that is the mean over the tokens: add them up
    return float -> return -float :: that is a loss: a log-probability has the other sign
    return float -> return -float && .sum()) -> .mean()) :: that is a mean loss: add up, and change the sign
    return float -> return -float && len(encode(context)) -> 1 :: that is a loss, and the context's too
    .log_softmax(-1) ->  :: these are logits: log_softmax(-1) makes log-probabilities of them
    log_softmax -> softmax :: probabilities are multiplied, so their logarithms are added: log_softmax
    .sum()) -> .sum().exp()) :: that is the probability: its logarithm is asked for
    log_softmax(-1) -> log_softmax(0) :: softmax runs over the vocabulary, the last dimension
    len(encode(context)) -> len(context) :: len(context) counts letters: len(encode(context)) counts tokens
    {context} {ending} -> {context}{ending} :: the space between context and ending is missing
    encode(f"{context} {ending}") -> [*encode(context), *encode(ending)]
        :: the space is missing: encode one text
    encode(f"{context} {ending}") -> encode(context) + encode(ending)
        :: `+` adds arrays number by number: encode one text, f"{context} {ending}"
    {context} {ending} -> {ending} && len(encode(context)) -> 1 :: the model must read the context first
    len(encode(context)) -> len(encode(f"{context} {ending}")) - len(encode(ending))
        :: without its space the ending has other tokens: count len(encode(context)) from the front
    float(logs -> (logs && .sum() ->  :: one number is asked for: add up
    .sum()) -> .sum()) / math.log(2) :: these are bits: the natural logarithm gives nats
    ids[begin:] -> logs[begin - 1 : -1].argmax(-1)
        :: these are the likeliest tokens: take the ending's own ids
    range(begin - 1, len(ids) - 1) -> begin - 1 : -1
        :: a slice and a list take every id from every row: pair them, range(begin - 1, len(ids) - 1)
    log_softmax -> softmax && .sum() -> .prod().log()
        :: a product of so many probabilities is 0 in floating point: add their logarithms
    log_softmax -> softmax && float( -> math.log(math.prod( && .sum() -> .tolist())
        :: a product of so many probabilities is 0 in floating point: add their logarithms
    float(logs -> (logs :: one float is asked for
    torch.as_tensor(encode(f"{context} {ending}")) -> encode(f"{context} {ending}") :: torch.as_tensor(ids)
    ids[None] -> ids :: the model reads a batch of sequences: ids[None]
    return -> total = :: is `return` missing?
    """,
)


def items(N: int, E: int) -> Case:
    """Return scores and labels of N items with E endings, and the lengths of the endings."""
    draw = np.random.default_rng(N)
    lengths, labels = draw.integers(3, 60, size=(N, E)), draw.integers(E, size=N)
    return -(lengths**0.5) * draw.uniform(2, 9, size=(N, E)), labels, lengths


TIED = np.array([[-4.0, -4.0, -4.0, -4.0], [-3.0, -3.0, -5.0, -6.0], [-2.0, -1.0, -1.0, -3.0]])

accuracy = lesson.exercise(
    "13.3 · accuracy",
    """
    def accuracy(nats, labels, lengths=None):
        each = nats if lengths is None else nats / lengths  # (N, 4)
        return (each.argmax(axis=1) == labels).mean()
    """,
    cases=[
        *(items(N, E)[:n] for N, E in ((60, 4), (35, 3), (1, 5)) for n in (2, 3)),
        (TIED, np.array([3, 1, 1])),
    ],
    said="the share of items whose largest score is at the label's place",
    slips="""
    .mean() -> .sum() :: this counts items: a share is asked for, so divide by their number
    .mean() ->  :: that is one answer for each item: their mean is the share
    .mean() -> .mean() * 100 :: these are percent: leave the share between 0 and 1
    argmax -> argmin :: the largest score is the likeliest: argmax
    nats / lengths -> lengths / nats :: score over length, not length over score
    == labels -> != labels :: that is the share of wrong ones
    else nats / lengths -> else nats
        :: the lengths change nothing here: divide each score by its ending's length
    / lengths -> / lengths.mean(axis=1, keepdims=True)
        :: the lengths change nothing here: divide each score by its ending's length
    / lengths -> * lengths :: divide by the lengths: a long ending has more tokens to add up
    / lengths -> - lengths :: divide by the length: a score minus its length is no score per character
    / lengths -> // lengths :: `//` rounds down: divide by `/`
    each = -> if lengths is not None: ⏎     nats /= lengths ⏎ each = nats  # :: changes the array
    lengths is None -> not lengths :: an array is neither true nor false: `if lengths is not None`
    argmax(axis=1) -> argmax(axis=0) :: an item is a row: argmax(axis=1)
    argmax(axis=1) -> argmax() :: an item is a row: argmax(axis=1)
    (each.argmax(axis=1) == labels) -> each[np.arange(len(labels)), labels]
        :: that is the mean score of the right endings: count how often it is the largest
    each.argmax(axis=1) == labels -> each[np.arange(len(labels)), labels] == each.max(axis=1)
        :: of equal scores the first counts: a model that finds all endings alike knows nothing
    each.argmax(axis=1) -> each.shape[1] - 1 - each[:, ::-1].argmax(axis=1)
        :: of equal scores the first counts, not the last
    return -> print :: is `return` missing?
    (each.argmax(axis=1) == labels) -> each.max(axis=1)
    """,
)

interval = lesson.exercise(
    "13.4 · an interval",
    """
    def interval(correct, n, z=1.96):
        middle = correct + z * z / 2
        width = z * math.sqrt(correct * (n - correct) / n + z * z / 4)
        return (middle - width) / (n + z * z), (middle + width) / (n + z * z)
    """,
    **two("lower end", "upper end", [(7, 10), (29, 30), (0, 5), (6, 6), (2911, 10042, 1.0), (11, 40, 2.5)]),
    said="the {0} for {1} right of {2}",
    slips="""
    + z * z / 2 ->  && + z * z / 4 ->  && + z * z ->
        :: that is p ± z errors: it has no width where all are right
    + z * z / 2 ->  && + z * z / 4 ->  && + z * z ->  && (middle - width) -> max(0, middle - width)
        && (middle + width) -> min(n, middle + width)
        :: that is p ± z errors: it has no width where all are right
    + z * z / 2 ->  && + z * z / 4 ->  && + z * z ->  && z * math -> math
        :: that is p ± 1 error, and z is missing
    + z * z / 4 ->  :: z²/4 inside the root is missing
    n + z * z / 4) -> n) + z * z / 4 :: z²/4 belongs inside the root
    math.sqrt( -> (math.sqrt( && n + z * z / 4) -> n) + z * z / 4) :: z²/4 belongs inside the root
    + z * z / 2 ->  :: z²/2 belongs to the middle
    z * z / 2 -> z / 2 :: z²/2, not z/2, belongs to the middle
    z * z / 4 -> z / 4 :: z²/4, not z/4, belongs inside the root
    (n + z * z) -> (n + z) :: divide by n + z², not by n + z
    z * z -> z :: z is not squared: z²/2, z²/4 and n + z²
    (n + z * z) -> n :: divide by n + z², not by n
    / (n + z * z) ->  :: the division by n + z² is missing
    (n + z * z) -> n + z * z :: n + z² divides both: put it in parentheses
    (middle -> middle && width) -> width
        :: n + z² divides the middle too: put parentheses around middle - width
    middle - width -> middle && middle + width -> width :: return the two ends, not the middle and the width
    z * math -> math :: z in front of the root is missing
    z * math -> z * z * math :: z, not z², goes in front of the root
    math.sqrt( -> ( :: the root is missing
    (n - correct) / n -> (1 - correct / n) / n / n :: inside the root goes correct · (n - correct) / n
    (n - correct) / n -> (1 - correct / n) / n :: inside the root goes correct · (n - correct) / n
    = middle = (correct + z * z / 2) / (n + z * z)
        ⏎ width = z * math.sqrt(middle * (1 - middle) / (n + z * z)) ⏎ return middle - width, middle + width
        :: the middle is right, and the width is another interval's (Agresti and Coull): take the formula
    width = z -> width = -z :: the lower end comes first
    (middle -> 100 * (middle :: these are percent: stay between 0 and 1
    middle = correct -> z = 1.96 ⏎ middle = correct :: z is an argument: yours is always 1.96
    correct * (n -> correct (n :: `a · b` is `a * b` in Python: correct * (n - correct)
    , (middle + width) / (n + z * z) ->  :: return two numbers
    return -> ends = :: is `return` missing?
    = return correct / n - 1 / math.sqrt(n), correct / n + 1 / math.sqrt(n)
    """,
)


def answered(N: int) -> list[Case]:
    """Return what two models made of the same N items: right or wrong, and their losses."""
    draw = np.random.default_rng(N)
    easy = draw.random(N)
    a, b = easy < 0.8, (easy < 0.7) ^ (draw.random(N) < 0.1)
    a[0], b[0], a[1], b[1] = True, False, False, True
    return [(a, b), (easy * 3 + draw.random(N), easy * 3)]


paired = lesson.exercise(
    "13.5 · a paired difference",
    """
    def paired(a, b):
        apart = a.astype(float) - b.astype(float)
        return apart.mean(), apart.std(ddof=1) / np.sqrt(len(apart))
    """,
    **two("mean", "error", [case for N in (10, 41, 300) for case in answered(N)]),
    said="the {0} of a - b",
    slips="""
    apart.std(ddof=1) -> np.sqrt(a.var(ddof=1) + b.var(ddof=1))
        :: that is for items of their own: take the spread of a - b
    apart.std(ddof=1) -> np.sqrt(a.var() + b.var())
        :: that is for items of their own: take the spread of a - b
    apart.std(ddof=1) -> (a.std(ddof=1) + b.std(ddof=1)) :: two errors are added: take that of a - b
    apart.std(ddof=1) -> (a.std(ddof=1) - b.std(ddof=1)) :: two errors are subtracted: take that of a - b
    ddof=1 ->  :: ddof=1 is missing: the mean was computed from these same items
    / np.sqrt(len(apart)) -> :: that is how far one item lies off: divide by √N for the mean of N items
    np.sqrt(len(apart)) -> len(apart) :: divide by √N, not by N
    np.sqrt(len(apart)) -> np.sqrt(len(apart) - 1) :: divide by √N: the N - 1 is already in ddof=1
    std(ddof=1) / np.sqrt(len(apart)) -> var(ddof=1) / len(apart)
        :: the root is missing: that is the variance of the mean
    a.astype(float) - b -> b.astype(float) - a :: the first minus the second
    return -> apart = apart[apart != 0] ⏎ return :: all items count, also those where both are alike
    return apart.mean(), -> mean, apart = apart.mean(), apart[apart != 0] ⏎ return mean,
        :: all items count, also those where both are alike
    return -> apart = np.abs(apart) ⏎ return :: differences have a sign
    apart.std -> np.abs(apart).std :: take the standard deviation of a - b, not of |a - b|
    return -> apart = 100 * apart ⏎ return :: these are percentage points: stay between -1 and 1
    apart.mean() -> apart.sum() :: that is a sum: the mean is asked for
    a.astype(float) - b.astype(float) -> a - b :: numpy does not subtract True and False: a.astype(float)
    float -> int :: losses have decimals: .astype(float)
    , apart.std(ddof=1) / np.sqrt(len(apart)) ->  :: return two numbers
    return -> out = :: is `return` missing?
    return apart.mean(), -> return apart.std(ddof=1) / np.sqrt(len(apart)), apart.mean()  #
        :: the mean comes first
    apart.std(ddof=1) -> 1
    """,
)

STORE = [
    "The cat sat on the mat. Then the dog, which was old, sat on the mat too!",
    "Nobody saw the bird that flew over the old mill",
    "in the evening they all went home and slept.",
    "Now here comes a cat that sat on the mat, and flew over nothing.",
]
TEXTS = (
    (
        "On the mat, on the mat, on the mat, on the mat the old mill as in every old spring flew over the "
        "Old Mill in the evening they all went all went home: and slept, and slept in the evening.",
        3,
    ),  # every usual mistake gives another number here
    ("THE CAT sat on: the mat, then nobody saw the moon.", 3),
    ("On the mat, on the mat, on the mat the cat sat", 3),
    ("Over the old mill in the evening they went", 4),
    ("the bird that flew over the old mill in May", 5),
    ("A quite other story of a king", 2),
    ("the cats sat on the mattress", 3),
    ("The mat on the dog was not old, which sat on", 3),
    ("There was no where to go", 2),
    ("Nobody saw the bird that flew over the old mill", 8),
)


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation."""
    return re.findall(r"[^\W_]+", text.lower())


def share(check: Check, answer: Any, text: str, n: int) -> Any:
    """Return the share of the rows, which must not be True or False."""
    found = call(check, answer, text, STORE, n)
    told = "a share is asked for, not whether there is any overlap"
    check.that(not isinstance(found, bool | np.bool_), told)
    return found


lesson.names["words"] = words
overlap = lesson.exercise(
    "13.6 · overlap",
    """
    def overlap(text, training, n):
        def rows(text):
            found = words(text)
            return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]

        known = {row for document in training for row in rows(document)}
        mine = rows(text)
        return sum(row in known for row in mine) / len(mine)
    """,
    run=share,
    cases=TEXTS,
    said="the share for {0!r} and n = {1}",
    slips="""
    / len(mine) ->  :: this counts rows: a share is asked for, so divide by their number
    / len(mine) -> / len(words(text)) :: divide by the rows of the text: they are n - 1 fewer than its words
    / len(mine) -> / len(known) :: divide by the text's rows, not by those of the training text
    known for row in mine -> mine for row in known && len(mine) -> len(known)
        :: the share of the text's rows is asked for, not of the training text's
    return sum -> return 1 - sum :: that is the share of the rows that are not in the training text
    sum( -> any( && / len(mine) ->  :: not whether there is any overlap
    mine = rows(text) -> mine = set(rows(text))
        :: a row that stands twice counts twice: no set of the text's rows
    document in training -> document in [" ".join(training)] :: no row runs from one document into the next
    document in training -> document in training[-1:] :: only the last document was searched
    document in training -> document in training[:1] :: only the first document was searched
    in known -> in rows(d) && mine) / -> mine for d in training) / :: a row found in two documents counts once
    sum(row in known for row in mine) -> max(sum(row in rows(d) for row in mine) for d in training)
        :: the documents count together: a row may be in any of them
    words(text) -> text.split() :: `words` makes lower case and drops punctuation: split() does neither
    words(text) -> text.lower().split() :: `words` drops punctuation: lower().split() keeps it
    words(text) -> re.findall(r"[^\\W_]+", text) :: `words` makes lower case: `The` and `the` are one word
    words(text) -> text.lower() :: these are rows of letters: take rows of words
    words(text) -> sorted(words(text)) :: the order of the words counts: leave them as they are in the text
    tuple(found[i : i + n]) -> found[i] && - n + 1 ->  :: these are single words: a row has n of them
    row in known for -> " ".join(row) in " ".join(" ".join(words(d)) for d in training) for
        :: a row is found inside longer words too, as 'art' in 'cart': compare whole words
    row in known for -> any(" ".join(row) in " ".join(words(d)) for d in training) for
        :: a row is found inside longer words too, as 'art' in 'cart': compare whole words
    tuple( -> "".join( :: joined words may be alike, as `now here` and `no where`: take a tuple
    tuple( -> frozenset( :: the order of the words counts
    tuple(found[i : i + n]) -> tuple(sorted(found[i : i + n])) :: the order of the words counts
    - n + 1 -> - n :: the last row is missing: there are len(words) - n + 1 of them
    mine = rows(text) -> mine = rows(text)[:-1] or [()]
        :: the last row is missing: there are len(words) - n + 1
    row in mine) / -> row in mine[:-1]) / :: the last row is missing: there are len(words) - n + 1
    - n + 1 ->  :: the last n - 1 of these rows are too short: there are len(words) - n + 1
    known = -> training.sort() ⏎ known = :: your function changes the list that it was given
    return sum -> _ = sum :: is `return` missing?
    tuple(found[i : i + n]) -> found[i : i + n] :: a list cannot be a key or a member of a set
    """,
)
