"""Exercises of notebook 12_gpt2."""

import math
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from tinylm.course.checks import Check
from tinylm.course.exercises.modules import random
from tinylm.course.slips import Lesson, call

IMPORTS = "import hashlib\nimport math\nimport os\nimport re\nfrom pathlib import Path\nimport numpy as np\n"
lesson = Lesson("12", IMPORTS + "from tinylm.storage.export import gpt2_name")
PARTS = ("token table", "positions", "attention", "MLPs", "norms")


def counted(check: Check, answer: Any, part: str, *sizes: int) -> Any:
    """Return the count of one part."""
    found = call(check, answer, *sizes)
    check.that(isinstance(found, dict), "return a dictionary of five counts")
    odd = ", ".join(sorted(map(str, found.keys() ^ {*PARTS})))
    check.that(not odd, f"the names are {', '.join(PARTS)}: yours differ in {odd}")
    return found[part]


parameters = lesson.exercise(
    "12.1 · parameters by part",
    """
    def parameters(V, T, L, C):
        attention = (C * 3 * C + 3 * C) + (C * C + C)
        mlp = (C * 4 * C + 4 * C) + (4 * C * C + C)
        return {
            "token table": V * C,
            "positions": T * C,
            "attention": L * attention,
            "MLPs": L * mlp,
            "norms": (2 * L + 1) * 2 * C,
        }
    """,
    run=counted,
    cases=[(part, *sizes) for sizes in ((211, 31, 4, 22), (50257, 1024, 12, 768)) for part in PARTS],
    said="the count of the {0}",
    slips="""
    V * C, -> 2 * V * C, :: token table: the head is the same table, and counts nothing
    V * C, -> V, :: token table: V rows of C numbers each
    V * C, -> V * C + C, :: token table: a table that is looked up has no bias
    T * C, -> T, :: positions: a vector of C numbers for each of the T positions
    T * C, -> L * T * C, :: positions: the table is added once, before the first block
    T * C, -> V * C, :: positions: T positions, not V
    L * attention -> attention :: attention: each of the L blocks has its own
    (C * 3 * C + 3 * C) + (C * C + C) -> 4 * C * C :: attention: each matrix has a bias, as long as its output
    + (C * C + C) ->  :: attention: the projection behind the heads, C → C, is missing
    C * 3 * C + 3 * C -> C * C + C :: attention: query, key and value are C → C each, together C → 3C
    C * 3 * C + 3 * C -> C * 3 * C + C :: attention: the bias of query, key and value has 3 · C numbers
    + (C * C + C) -> + C * C :: attention: the bias of the projection is missing
    C * 3 * C + 3 * C -> C * 3 * C :: attention: the bias of query, key and value is missing
    L * attention -> L * (attention + 2 * C) :: attention: the norms have an entry of their own
    L * mlp -> mlp :: MLPs: each of the L blocks has its own
    L * mlp -> L * 8 * C * C :: MLPs: each matrix has a bias, as long as its output
    + (4 * C * C + C) ->  :: MLPs: there are two matrices, C → 4C and 4C → C
    4 * C * C + C -> 4 * C * C + 4 * C :: MLPs: a bias is as long as the output: 4 · C, then C
    C * 4 * C + 4 * C -> C * 4 * C + C :: MLPs: the first bias has 4 · C numbers
    4 * C * C + C -> 4 * C * C :: MLPs: the second matrix has a bias too, of C numbers
    C * 4 * C + 4 * C -> C * 4 * C :: MLPs: the first matrix has a bias too, of 4 · C numbers
    L * mlp -> L * (mlp + 2 * C) :: MLPs: the norms have an entry of their own
    (2 * L + 1) * 2 * C -> (2 * L + 1) * C :: norms: each has a gain and a bias, C numbers each
    (2 * L + 1) -> 2 * L :: norms: one more follows the last block
    (2 * L + 1) -> (L + 1) :: norms: a block has two, one before attention and one before the MLP
    (2 * L + 1) -> L :: norms: a block has two, and one more follows the last block
    (2 * L + 1) -> 3 :: norms: two in each block and one at the end
    "MLPs" -> "mlp" :: the names are
    return { -> return attention, mlp, { :: return a dictionary of five counts
    return { -> counts = { :: is `return` missing?
    (2 * L + 1) -> 24
    """,
)


def openai_tensors(layers: tuple[int, int], C: int, V: int, T: int) -> dict[str, torch.Tensor]:
    """Return tensors under OpenAI's names, all different, with the masks that the file also holds."""
    shapes = {"wte.weight": (V, C), "wpe.weight": (T, C), "ln_f.weight": (C,), "ln_f.bias": (C,)}
    for n in layers:
        parts = {"ln_1": (C,), "ln_2": (C,), "attn.c_attn": (C, 3 * C), "attn.c_proj": (C, C)}
        parts |= {"mlp.c_fc": (C, 4 * C), "mlp.c_proj": (4 * C, C)}
        for part, shape in parts.items():
            shapes |= {f"h.{n}.{part}.weight": shape, f"h.{n}.{part}.bias": shape[-1:]}
        shapes |= {f"h.{n}.attn.bias": (1, 1, T, T), f"h.{n}.attn.masked_bias": (1,)}
    return {name: random(*shape, seed=seed) for seed, (name, shape) in enumerate(shapes.items())}


def translated(check: Check, answer: Any, theirs: dict[str, torch.Tensor], part: str) -> Any:
    """Return the tensors whose names have this part in them, or all names."""
    ours = call(check, answer, theirs)
    check.that(isinstance(ours, dict), "return a dictionary: names and tensors")
    return {name: ours[name] for name in ours if re.search(part, name)} if part else sorted(map(str, ours))


translate = lesson.exercise(
    "12.2 · OpenAI's weights become yours",
    """
    def translate(theirs):
        ours = {}
        for name, tensor in theirs.items():
            if name.endswith((".attn.bias", ".attn.masked_bias")):
                continue
            turned = ".c_" in name and name.endswith("weight")
            ours[gpt2_name(name)] = tensor.t() if turned else tensor
        return ours | {"head.weight": ours["token_embedding.weight"]}
    """,
    run=translated,
    cases=lambda: [
        (openai_tensors(layers, C, V, T), part)
        for layers, C, V, T in (((0, 1), 6, 11, 7), ((0, 11), 4, 4, 5))
        for part in ("", "embedding|head", "qkv", "attn", ".")
    ],
    said="compare names and tensors with the contract",
    slips="""
    tensor.t() if turned else tensor -> tensor :: transpose them: OpenAI's layer is x @ W, torch's x @ W.T
    | {"head.weight": ours["token_embedding.weight"]} -> :: head.weight is missing: it is the token table
    ours["token -> ours["position :: the head is the token table, not the table of positions
    weight"]} -> weight"].t()} :: the head is the token table as it is: do not transpose it
    continue -> pass :: h.0.attn.bias is a mask and no weight: leave it out
    (".attn.bias", ".attn.masked_bias") -> ".attn.bias" :: h.0.attn.masked_bias is a mask too: leave it out
    (".attn.bias", ".attn.masked_bias") -> ".attn.masked_bias" :: h.0.attn.bias is a mask too: leave it out
    ".attn.bias", -> "attn.bias",
        :: the mask is h.0.attn.bias: h.0.attn.c_attn.bias is a weight and only ends alike
    (".attn.bias", ".attn.masked_bias") -> "bias" :: biases are weights: only the masks are left out
    ".c_" in name and name.endswith("weight") -> tensor.ndim == 2
        :: do not transpose a table that is looked up
    name.endswith("weight") -> tensor.ndim == 2 and tensor.shape[0] != tensor.shape[1]
        :: attention's c_proj is square, so its shape cannot tell: transpose it like the others
    ".c_" -> ".c_attn" :: not only c_attn is transposed: both c_proj and c_fc are, too
    ".c_" -> "mlp.c_" :: attention's matrices, c_attn and c_proj, are transposed too
    ".c_" -> "attn.c_" :: the MLP's matrices, c_fc and c_proj, are transposed too
    tensor.t() -> tensor.reshape(tensor.shape[::-1]) :: reshape does not transpose: .t() does
    gpt2_name(name) -> name && token_embedding -> wte :: these are OpenAI's names: gpt2_name(name) gives ours
    continue -> theirs[name] = 0 ⏎ continue :: your function changes the dictionary that it was given
    return ours -> return [*ours] or ours :: return a dictionary: names and tensors
    return -> result = :: is `return` missing?
    tensor.t() -> 1.01 * tensor.t()
    """,
)


class Killed(Exception):
    """What stops a run in the middle of a shard."""


PIECES = [["abc", "de"], ["fghij"], ["k", "lm", "nop", "q"], ["rs", "tuvwx"]]
END = 50256


def letters(document: str) -> list[int]:
    """Return an id for each letter, up to some ten thousand, which one byte cannot hold."""
    return [401 * (ord(letter) - 96) for letter in document]


def shards(check: Check, answer: Any, event: Any, part: str) -> Any:
    """Return one part of what is seen of a run that is killed at this event, and of the next run.

    event: the first "rename", or the number of a document; 0 for a run that is not killed."""
    asked: list[str] = []

    def encode(document: str) -> list[int]:
        asked.append(document)
        if len(asked) == event:
            raise Killed("the machine was switched off")
        return letters(document)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, seen = Path(name), {}
        rename = mock.Mock(wraps=os.replace, side_effect=Killed if event == "rename" else None)
        try:
            with mock.patch.multiple(os, replace=rename, rename=rename):
                paths = call(check, answer, PIECES, encode, END, folder)
        except Killed:
            whole, n = sorted(path.name for path in folder.glob("*.bin")), len(asked)
            paths = call(check, answer, PIECES, encode, END, folder)
            finished = [text for piece in PIECES[: len(whole)] for text in piece]
            seen = {"whole": whole, "again": [text for text in finished if text in asked[n:]]}
        except OSError as error:
            raise type(error)(str(error).replace(name, "folder")) from None
        check.that(isinstance(paths, list | tuple), "return the list of all paths")
        seen["paths"] = [str(path).replace(name, "folder") for path in paths]
        seen["files"] = {path.name: ids(path.read_bytes()) for path in sorted(folder.glob("*.bin"))}
        seen["left"] = sorted(path.name for path in folder.glob("*") if path.suffix != ".bin")
    return seen.get(part, "no kill was noticed")


def ids(data: bytes) -> str:
    """Return how many bytes these are, and the ids in them."""
    return f"{len(data)} bytes: {np.frombuffer(data[: len(data) // 2 * 2], '<u2').tolist()}"


write_shards = lesson.exercise(
    "12.3 · shards that survive a kill",
    """
    def write_shards(pieces, encode, end, folder):
        paths = []
        for n, piece in enumerate(pieces):
            path = folder / f"{n:04d}.bin"
            if not path.exists():
                ids = []
                for document in piece:
                    ids += [*encode(document), end]
                draft = path.with_suffix(".part")
                np.array(ids, dtype=np.uint16).tofile(draft)
                draft.replace(path)
            paths.append(path)
        return paths
    """,
    run=shards,
    cases=[
        *((0, part) for part in ("files", "paths", "left")),
        *(("rename", part) for part in ("whole", "files")),
        *((5, part) for part in ("whole", "again", "files", "paths")),
    ],
    said="{1} after a kill at {0} and another run",
    slips="""
    , dtype=np.uint16 ->  :: eight bytes for each id: np.array(ids, dtype=np.uint16)
    np.uint16 -> np.uint32 :: four bytes for each id: np.uint16 has two
    np.array(ids, dtype=np.uint16) -> (np.array(ids) % 256).astype(np.uint8)
        :: one byte for each id, which ends at 255: np.uint16
    np.uint16 -> np.uint8 :: one byte for each id, which ends at 255: np.uint16
    np.uint16 -> np.float64 :: these are floating-point numbers: np.uint16
    , end] -> ] :: `end` after each document is missing
    [*encode(document), end] -> [end, *encode(document)] :: `end` follows each document: yours precedes it
    , end] -> ] && draft = -> ids.append(end) ⏎ draft = :: `end` follows each document, not only the last
    ids += -> ids = :: only the last document of the piece is in the file: ids +=
    document in piece -> document in piece[:1] :: only the first document of the piece is in the file
    document in piece -> document in sum(pieces, []) :: all pieces are in this file: it is for one
    ids = [] ⏎ for -> for && paths = [] -> paths, ids = [], [] :: the ids begin anew with each piece
    tofile(draft) -> tofile(path) && draft.replace(path) -> pass
        :: a kill leaves half a file under the final name: write a draft, then rename it
    draft.replace(path) -> path.write_bytes(draft.read_bytes()) :: the draft is left over: rename it
    draft.replace(path) ->  :: the draft must be renamed when it is complete: draft.replace(path)
    not path.exists() -> True :: what is there is not made again: look at path.exists() before you encode
    if not path -> draft = path.with_suffix(".part") ⏎ if not draft.exists() and not path
        :: a draft that a kill has left is no shard: look at path.exists() alone
    np.array(ids, dtype=np.uint16).tofile(draft) -> with open(draft, "ab") as file:
        ⏎     np.array(ids, dtype=np.uint16).tofile(file)
        :: you append to a draft that a kill has left: write over it, "wb"
    draft.replace(path) ⏎ paths.append(path) -> draft.replace(path) ⏎ paths.append(path)
        :: return all paths, also of shards that were there before
    for n, piece -> pieces = [[encode(text) for text in piece] for piece in pieces] ⏎ for n, piece
        && *encode(document) -> *document :: write each piece when it is encoded: here a kill loses all pieces
    ids += -> try: ⏎     encode(document) ⏎ except Exception: ⏎     break ⏎ ids +=
        :: an error of `encode` must go through
    return paths -> return folder :: return the list of all paths
    paths.append(path) ->  :: return the list of all paths, in the order of the pieces
    return paths -> return paths[::-1] :: return the list of all paths, in the order of the pieces
    return paths -> print(paths) :: is `return` missing?
    {n:04d} -> {n} :: the name has four digits: 0000.bin
    np.array(ids, dtype=np.uint16).tofile(draft) -> np.save(draft, ids)
        :: np.save adds .npy and a header: .tofile(draft)
    draft.replace(path) -> draft.replace(path) ⏎ break
    """,
)

MAGIC, HEADER = 20240520, 256  # of llm.c's files: what they begin with, and how many numbers


def published(path: Path, ids: np.ndarray, *header: int) -> Path:
    """Write ids as llm.c does: a header of 256 numbers of four bytes, unless it is empty; two bytes an id."""
    numbers = np.array([*header, *[0] * (HEADER - len(header))] if header else [], dtype="<i4")
    path.write_bytes(numbers.tobytes() + ids.astype("<u2").tobytes())
    return path


def opened(check: Check, answer: Any, _: str, count: int, *header: int) -> Any:
    """Return what is seen of the array, or which error the file raises."""
    tokens = np.random.default_rng(count).integers(2**15, 2**16, size=count)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = published(Path(folder, "shard.bin"), tokens, *header)
        try:
            found = call(check, answer, path)
        except (ValueError, LookupError, OSError, AssertionError) as error:
            return f"raises {type(error).__name__}"
        if header != (MAGIC, 1, count):
            return "is opened"
        check.that(isinstance(found, np.ndarray), "return the array of ids")
        mapped = isinstance(found, np.memmap)
        return [str(found.dtype), np.array(found).tolist(), mapped, bool(found.flags.writeable)]


open_published = lesson.exercise(
    "12.4 · a published shard",
    """
    def open_published(path):
        header = np.fromfile(path, dtype=np.int32, count=256)
        if len(header) < 256 or header[0] != 20240520 or header[1] != 1:
            raise ValueError(f"{path.name} is not in llm.c's format")
        if path.stat().st_size != 4 * 256 + 2 * int(header[2]):
            raise ValueError(f"{path.name} is not whole")
        return np.memmap(path, dtype=np.uint16, mode="r", offset=4 * 256)
    """,
    run=opened,
    cases=[
        *((f"has {n} ids", n, MAGIC, 1, n) for n in (400, 1, 1300)),
        ("begins with another number", 3000, 20240801, 1, 3000),
        ("is of version 2", 3000, MAGIC, 2, 3000),
        ("has fewer ids than its header says", 3000, MAGIC, 1, 3001),
        ("has more ids than its header says", 3000, MAGIC, 1, 2999),
        ("is plain ids without a header", 3000),
        ("is empty", 0),
    ],
    said="a file that {0}",
    slips="""
    offset=4 * 256 -> offset=256 :: offset counts bytes: 256 numbers of four bytes are 1,024
    offset=4 * 256 -> offset=512 :: offset counts bytes: 256 numbers of four bytes are 1,024
    , offset=4 * 256 ->  :: the header is still in front: it has 256 numbers of four bytes, so offset=1024
    np.uint16 -> np.int16 :: above 32,767 these ids are negative: np.uint16, not np.int16
    dtype=np.uint16, ->  :: these are single bytes: dtype=np.uint16
    np.uint16 -> np.int32 :: ids have two bytes each, only the header has four: dtype=np.uint16
    mode="r", ->  :: without mode="r" a program could overwrite the file
    memmap -> fromfile && mode="r", ->
        :: all ids are in memory: np.memmap(path, …) reads only what is asked for
    header[0] != 20240520 or ->  :: a file with another first number must raise a ValueError
    or header[1] != 1 ->  :: a file of version 2 must raise a ValueError
    path.stat().st_size != -> False and :: the size is not compared: too few ids must raise a ValueError
    != 4 * 256 -> < 4 * 256 :: a file that has more ids than its header says must raise a ValueError, too
    != 4 * 256 -> > 4 * 256 :: a file that has fewer ids than its header says must raise a ValueError, too
    raise ValueError -> print :: nothing is checked: look at the header and the size
    len(header) < 256 or ->  :: an empty file has no header[0]: look at len(header) first
    raise ValueError -> raise KeyError :: raise a ValueError, not a KeyError
    raise ValueError -> raise AssertionError :: python -O skips an assert: raise a ValueError
    2 * int(header[2]) -> int(header[2]) :: a right file is refused: it has 4 · 256 + 2 · count bytes
    4 * 256 + 2 -> 2 :: a right file is refused: it has 4 · 256 + 2 · count bytes
    return np -> return header  # :: that is the header: return the ids behind it
    return np -> return header, np :: return the array of ids
    return np -> ids = np :: is `return` missing?
    """,
)


def sides(check: Check, answer: Any, one_in: int, space: str) -> Any:
    """Return the sides of many documents with this white space."""
    texts = [f"Page{n % 60} has number {n} of the wéb. " + "word " * (n % 7) for n in range(200)]
    found = [check.run(answer, text.replace(" ", space), one_in) for text in texts]
    check.that(all(isinstance(side, bool | np.bool_) for side in found), "return True or False")
    return [bool(side) for side in found]


set_aside = lesson.exercise(
    "12.5 · set aside for good",
    """
    import hashlib


    def set_aside(document, one_in):
        words = " ".join(document.split())
        digest = hashlib.sha256(words.encode("utf-8")).digest()
        return int.from_bytes(digest, "big") % one_in == 0
    """,
    run=sides,
    cases=[(one_in, space) for one_in in (10, 3, 7) for space in (" ", "\n\n ")],
    forbid=("random", "default_rng", "shuffle", "manual_seed"),
    said="the sides of 200 documents, one in {0}",
    slips="""
    == 0 -> != 0 :: this is reversed: True is for the few that are set aside
    % one_in == 0 -> % one_in :: return True or False
    % one_in == 0 -> % one_in == 1 :: divisible means that the remainder is 0, not 1
    % one_in == 0 -> // one_in == 0 :: `//` divides: the remainder is `%`
    % one_in -> % 10 :: one_in is an argument: yours is always 10
    "big" -> "little" :: the bytes are read from the wrong end: "big"
    digest, -> digest[:8], :: the whole digest is one number: yours takes its first 8 bytes
    digest, -> digest[:1], :: the whole digest is one number: yours takes its first byte
    digest, -> digest[-1:], :: the whole digest is one number: yours takes its last byte
    int.from_bytes(digest, "big") -> sum(digest) :: all bytes are one number, not a sum
    sha256 -> md5 :: sha256, not md5
    sha256 -> sha1 :: sha256, not sha1
    = return hash(document) % one_in == 0 :: hash() of a text is another one in each process: hashlib.sha256
    = return hash(" ".join(document.split())) % one_in == 0
        :: hash() of a text is another one in each process: hashlib.sha256
    = import random ⏎ return random.random() < 1 / one_in :: do without `random`
    = return np.random.default_rng(0).random() < 1 / one_in :: do without
    " ".join(document.split()) -> document :: other white space must change nothing: join document.split()
    " ".join(document.split()) -> document.strip() :: strip() removes only the outer white space
    " ".join -> "".join :: the words are joined by one space, not by nothing
    document.split()) -> document.lower().split()) :: take the words as they are: no lower()
    " ".join(document.split()) -> document.split()[0] :: the whole text decides, not its first word
    = return len(document) % one_in == 0 :: its length says little about a text: many have the same
    " ".join(document.split()) -> document.split() :: a list has no encode: join the words by one space each
    words.encode("utf-8") -> words :: sha256 takes bytes: .encode()
    digest() -> hexdigest() && int.from_bytes(digest, "big") -> int(digest) :: hexdigest is in base 16
    return -> side = :: is `return` missing?
    digest, -> digest[8:16],
    """,
)


def planned(check: Check, answer: Any, tokens: int, T: int, cards: int, fits: int) -> Any:
    """Return the plan, or whether a ValueError says that there is none."""
    if tokens % (T * cards):
        try:
            answer(tokens, T, cards, fits)
        except ValueError:
            return "a ValueError"
        return "no ValueError"
    found = call(check, answer, tokens, T, cards, fits)
    pair = isinstance(found, tuple | list) and len(found) == 2
    check.that(pair, "return two whole numbers: rows at once, and how many times")
    whole = all(isinstance(n, int | np.integer) for n in found)
    check.that(whole, f"whole numbers, not {tuple(found)}: // divides without a remainder")
    return found


batch_plan = lesson.exercise(
    "12.6 · half a million tokens",
    """
    def batch_plan(tokens_per_step, context_length, cards, fits):
        each, left = divmod(tokens_per_step, context_length * cards)
        if left:
            raise ValueError(f"{tokens_per_step} tokens are no whole rows on {cards} cards")
        rows = min(fits, each)
        while each % rows:
            rows -= 1
        return rows, each // rows
    """,
    run=planned,
    cases=[
        (524288, 1024, 1, 16),
        (524288, 1024, 8, 48),
        (524288, 1024, 2, 300),
        (360360, 30, 7, 20),
        (360360, 30, 1, 19),
        (720, 8, 3, 1),
        (524288, 1024, 3, 16),
        (524288, 1000, 1, 16),
    ],
    said="{0:,} tokens in rows of {1} on {2} card(s) with room for {3}",
    slips="""
    return rows, each // rows -> return each // rows, rows :: rows at once come first, how many times second
    context_length * cards -> context_length :: all cards work at once: each has its own rows
    context_length * cards -> cards :: tokens are not rows: a row has context_length tokens
    min(fits, each) -> 1 :: one row at a time is exact, and slow: take as many as fit
    min(fits, each) -> each :: so many rows at once do not fit: at most `fits`
    min(fits, each) -> min(fits * cards, each) :: `fits` is the room of one card, not of all
    while each % rows: -> while False: :: rows × times must be exactly the rows of a step: take a divisor
    while each % rows: -> while False: && each // rows -> -(-each // rows)
        :: rows × times must be exactly the rows of a step: take a divisor
    while -> rows -= rows > 1 ⏎ while :: more rows at once would fit: begin with min(fits, each)
    rows = min(fits, each) -> rows = 2 ** int(math.log2(min(fits, each))) && rows -= 1 -> rows //= 2
        :: more rows at once would fit: not only powers of two divide
    each // rows -> each / rows :: whole numbers, not
    if left: -> if False: :: that is impossible on so many cards: raise a ValueError
    raise ValueError( -> return str( :: that is impossible on so many cards: raise a ValueError
    rows, each // rows -> rows :: return two whole numbers
    return -> plan = :: is `return` missing?
    each // rows -> each
    """,
)


def share(check: Check, answer: Any, *case: list[tuple[int, float]]) -> Any:
    """Return the share, which must not be None where the goal is never reached."""
    if check.given(*case) < math.inf:
        return call(check, answer, *case)
    found = answer(*map(list, case))
    check.that(found is not None, "never reached is math.inf: None came back")
    return found


BASELINE = [(100, 5.0), (200, 4.1), (300, 3.6), (400, 3.2), (500, 3.3)]
EXACT = [(50, 4.5), (150, 3.8), (275, 3.3), (350, 3.25), (400, 3.15), (440, 3.05), (470, 3.28), (490, 3.4)]

share_needed = lesson.exercise(
    "12.7 · to the same loss",
    """
    def share_needed(baseline, fast):
        tokens, goal = baseline[-1]
        for read, loss in fast:
            if loss <= goal:
                return read / tokens
        return math.inf
    """,
    run=share,
    cases=[
        (BASELINE, EXACT),
        (BASELINE, [(60, 4.5), (120, 3.9), (240, 3.31), (360, 2.9), (480, 3.0)]),
        (BASELINE, [(100, 2.0), (200, 1.9)]),
        (BASELINE, [(70, 3.1), (140, 3.6), (210, 3.2)]),
        (BASELINE, [(100, 5.0), (500, 3.4)]),
    ],
    said="take the first point of {1} at the goal or below",
    slips="""
    for read -> goal = min(loss for _, loss in baseline) ⏎ for read
        :: the goal is the last loss: the lowest is a lucky point of a noisy curve
    <= -> < :: as low as the goal is enough: <=
    read / tokens -> read / fast[-1][0] :: a share of the baseline's tokens, not of its own
    read / tokens -> read :: that is the number of tokens: divide by the baseline's
    read / tokens -> tokens / read :: that is reversed: its tokens over the baseline's
    read / tokens -> (fast.index((read, loss)) + 1) / len(baseline) :: you count points: divide tokens
    read / tokens -> fast.index((read, loss)) / len(baseline) :: you count points, from 0: divide tokens
    in fast: -> in fast[::-1]: :: the first such point, not the last
    read / tokens -> 1 - read / tokens :: that is what is saved: what is needed is asked for
    read / tokens -> loss / goal :: you divide the losses: tokens are asked for
    = return fast[-1][0] / baseline[-1][0] :: that is the end of `fast`: when was it first as low?
    for read -> fast = [min(fast, key=lambda point: point[1])] ⏎ for read
        :: `fast` was low enough before its lowest point
    for read -> return min(fast, key=lambda point: abs(point[1] - goal))[0] / tokens ⏎ for read
        :: that is the point nearest to the goal: take the first at the goal or below
    read, loss in fast -> (read, loss), (_, goal) in zip(fast, baseline)
        :: only the baseline's last point counts
    return math.inf -> return None :: never reached is math.inf: None came back
    return math.inf -> return [][0] :: where `fast` is never as low, there is no first point: return math.inf
    return math.inf -> return next(iter([]))
        :: where `fast` is never as low, next() finds nothing: next(…, math.inf)
    return math.inf -> return 1.0 :: never reached is math.inf
    return read / tokens -> print(read / tokens)
    """,
)
