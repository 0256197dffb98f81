"""Each token is drawn from what the model predicts after its window, with a cache or without, alone or beside
others; and texts end before their stop sequences."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.settings import lively
from tests.support.tiny import LETTERS, tiny_gpt
from tinylm.errors import DataError, InputError
from tinylm.inference import generate as generation
from tinylm.inference.config import DEFAULT, GenerationConfig
from tinylm.inference.generate import generate, generate_text, generate_texts, row_generators, stream_text
from tinylm.inference.sampling import probabilities
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer

T = 11
ROWS = [[4, 7, 1], [2], [5, 5, 9, 0, 12, 3, 8], [1, 6, 2]]
with_and_without_cache = pytest.mark.parametrize("use_cache", [True, False])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(**choice) -> GPT:
    sizes = {"context_length": T, "n_layer": 2, "n_head": 3, "n_embd": 18}
    return lively(tiny_gpt(**sizes, **choice), 0.6).eval()  # a wrong window shows in the tokens


class Recorder(nn.Module):
    """Predicts the id after the last one it sees, and remembers every input."""

    def __init__(self, vocab_size: int, context_length: int = 5) -> None:
        super().__init__()
        self.config = SimpleNamespace(context_length=context_length)
        self.vocab_size = vocab_size
        self.seen: list[list[int]] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.seen.append(tokens[0].tolist())
        return 50.0 * nn.functional.one_hot((tokens + 1) % self.vocab_size, self.vocab_size).float()


def asked(n: int, **settings) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=n, **settings)


def written(model, prompt, config, source: torch.Generator | None = None) -> list[int]:
    """What follows a single prompt."""
    return [token for (token,) in generate(model, [prompt], config, generator=source or seeded())]


def windows_of(text: list[int], n_prompt: int) -> list[list[int]]:
    """What the model is to see before each token that follows the prompt: the law, written out."""
    seen, size = [], min(n_prompt, T)
    for end in range(n_prompt, len(text)):
        seen.append(text[end - size : end])
        size = size + 1 if size < T else T // 2
    return seen


# What is drawn, from what the model sees


@with_and_without_cache
@pytest.mark.parametrize("prompt", [[4, 7, 1], [5] * T + [12, 0]], ids=["short", "longer than the context"])
def test_each_token_is_drawn_from_the_prediction_after_its_window(prompt, use_cache):
    model, source = tiny(), seeded(3)
    config = asked(29, temperature=2.5, use_cache=use_cache)  # well past the context length
    new = written(model, torch.tensor(prompt), config, seeded(3))
    for expected, seen in zip(new, windows_of(prompt + new, len(prompt)), strict=True):
        with torch.no_grad():
            weights = probabilities(model(torch.tensor([seen]))[:, -1], config)
        assert int(torch.multinomial(weights, 1, generator=source)) == expected


def test_cache_reads_each_token_once_and_alone_and_half_the_context_when_it_is_full(monkeypatch):
    model, read = tiny(), []
    real = model.embed
    monkeypatch.setattr(model, "embed", lambda ids, *at: read.append(ids[0].tolist()) or real(ids, *at))
    text = [4, 7, 1, *written(model, [4, 7, 1], asked(17))]
    alone = [[token] for token in text]
    assert read == [text[:3], *alone[3:11], text[7:12], *alone[12:18], text[14:19]]


def test_penalty_counts_the_prompt_and_what_was_written_also_when_it_left_the_window():
    class Ranked(Recorder):
        """Prefers 0 to 1 to 2 and so on, whatever stands before."""

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.arange(self.vocab_size, 0, -1.0).expand(*tokens.shape, -1)

    plain = asked(15, temperature=0.0, use_cache=False)
    strong = replace(plain, repetition_penalty=60.0)  # a seen token is less probable than any other
    for prompt in ([18, 7], [1, 0, 3, 3, 3, 3, 3]):  # the context is 5
        unseen = [token for token in range(19) if token not in prompt]
        assert written(Ranked(19), prompt, strong) == unseen[:15]
    assert written(Ranked(19), [18, 7], plain) == [0] * 15


def test_seed_repeats_the_text_rows_draw_each_for_itself_and_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    texts = [written(tiny(), [2, 5], asked(31), seeded(s)) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    for generators in (seeded(), row_generators(seeded(), 5)):
        together = generate(tiny(), [[3]] * 5, asked(17), generator=generators)
        assert len(set(zip(*together, strict=True))) == 5
    assert torch.equal(torch.get_rng_state(), before)


# Several rows


@with_and_without_cache
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_batch_row_equals_generate_with_its_own_generator_whatever_stands_beside_it(position, use_cache):
    model, prompts = tiny(position=position), [*ROWS, list(range(13)) * 2]  # one is longer than the context
    config = asked(2 * T, repetition_penalty=2.0, use_cache=use_cache)
    alone = [
        tuple(written(model, prompt, config, source))
        for prompt, source in zip(prompts, row_generators(seeded(4), 5), strict=True)
    ]
    assert len(set(alone)) == 5
    for beside in (prompts, [prompts[0], [3], prompts[2]], prompts[:1]):
        sources = row_generators(seeded(4), len(beside))
        rows = list(zip(*generate(model, beside, config, generator=sources), strict=True))
        assert [row == text for row, text in zip(rows, alone, strict=False)] == [
            row == prompt for row, prompt in zip(beside, prompts, strict=False)
        ]


# The model is somebody else's too


@with_and_without_cache
def test_model_is_read_without_dropout_and_each_part_is_left_as_it_was_between_two_tokens_too(use_cache):
    def state():
        return [m.training for m in model.modules()], [(p.stride(), p.data_ptr()) for p in model.parameters()]

    model, config = tiny(dropout=0.5), asked(17, use_cache=use_cache)
    calm = written(model, [3], config, seeded(1))
    model.train()
    model.blocks[1].eval()  # a part that somebody froze
    before = state()
    long = generate(model, [[3]], config, generator=seeded(1))
    first = next(long)
    assert state() == before
    assert written(model, [3], replace(config, max_new_tokens=2), seeded(1)) == calm[:2]
    assert first + [token for (token,) in long] == calm and state() == before
    with pytest.raises(InputError):
        next(generate(model, [[13]], config, generator=seeded()))
    assert state() == before
    left = generate(model, [[3]], config, generator=seeded(1))
    next(left)
    model.eval()
    left.close()  # a reader who has had enough
    assert not model.training


# What is handed in


def test_prompt_of_any_kind_is_left_as_it_was():
    read_only = np.array([2, 0, 1], dtype="<u2")
    read_only.setflags(write=False)  # a view of a file, as shards.open_tokens gives it
    prompts = (read_only, torch.tensor([2, 0, 1]), [2, 0, 1])
    assert len({tuple(written(tiny(), prompt, asked(5), seeded(1))) for prompt in prompts}) == 1
    assert all(list(prompt) == [2, 0, 1] for prompt in prompts)


STOP = GenerationConfig(stop=("a",))
REFUSED = [
    (generate, ([[1], torch.tensor([], dtype=torch.int64)],), "the prompt has 0 tokens and needs at least 1"),
    (generate, ([1, 2],), r"the prompts \[1, 2\] must be rows of ids"),
    (generate, (["abc"],), "'abc'.* must be rows of ids"),
    (generate, ([],), r"the prompts \[\] must be rows of ids"),
    (generate, ([[1]], STOP), "stop sequences are text and these are ids"),
    (generate_texts, (LETTERS, "abc"), "are one text and must be a list"),
    (generate_texts, (LETTERS, ["cab", "cat"]), "'t'"),
    (generate_text, (LETTERS, ""), "the prompt has 0 tokens and needs at least 1"),
]


@pytest.mark.parametrize("call, given, words", REFUSED)
def test_prompt_that_cannot_be_continued_is_refused_at_the_call(call, given, words):
    with pytest.raises((InputError, DataError), match=words):
        call(tiny(), *given, generator=seeded())


# Text


@with_and_without_cache
def test_batch_texts_equal_those_of_each_prompt_alone_and_stop_each_for_itself(use_cache):
    model, prompts = tiny(), ["cab", "m", "fade", "kid"]
    config = asked(60, temperature=0.0, repetition_penalty=20.0, use_cache=use_cache)
    whole = [generate_text(model, LETTERS, prompt, config, generator=seeded()) for prompt in prompts]
    assert whole[0] == LETTERS.decode(written(model, [2, 0, 1], config))
    stopped = replace(config, stop=(whole[0][7:9], whole[1][30:33]))
    alone = [generate_text(model, LETTERS, prompt, stopped, generator=seeded()) for prompt in prompts]
    assert generate_texts(model, LETTERS, prompts, config, generator=seeded()) == whole
    assert generate_texts(model, LETTERS, prompts, stopped, generator=seeded()) == alone
    assert len({len(text) for text in alone}) > 1


def test_column_major_storage_changes_no_number_and_no_greedy_text():
    model, by_columns = tiny(), tiny()
    generation.to_column_major(by_columns)
    stored = [p for p in by_columns.parameters() if p.dim() == 2 and p.size(0) >= p.size(1)]
    assert stored and all(p.t().is_contiguous() for p in stored)
    for p, q in zip(model.parameters(), by_columns.parameters(), strict=True):
        assert torch.equal(p, q)
    greedy = replace(DEFAULT, temperature=0.0, max_new_tokens=29)
    assert written(model, [3, 1], greedy) == written(by_columns, [3, 1], greedy)


# Documents


class Documents(CharTokenizer):
    """Letters, and # as the id that ends each document, which no text is ever encoded to."""

    end_of_text = 0

    def encode(self, text):
        return super().encode(text.replace("#", ""))


DOCUMENTS = Documents("#abcdefghijkl")


def test_prompt_begins_a_document_and_the_text_ends_where_the_model_ends_the_document():
    model = Recorder(DOCUMENTS.vocab_size)
    whole = "abcdefghijkl"  # each id after the one before, from end_of_text to end_of_text
    for prompt in ("", "c", "hij"):
        text = generate_text(model, DOCUMENTS, prompt, asked(99), generator=seeded())
        assert prompt + text == whole[whole.index(prompt) :]
    assert model.seen[0] == [0] and model.seen[12] == [8, 9, 10, 11, 12]  # nothing is computed after the end
    assert [0, 3] in model.seen and [0, 8, 9, 10] in model.seen
    model.seen.clear()
    assert generate_text(model, DOCUMENTS, "a", asked(99, stop=("ef", "fe")), generator=seeded()) == "bcd"
    assert len(model.seen) == len("bcdef")  # nor after a stop sequence
    texts = generate_texts(model, DOCUMENTS, ["k", "", "l#"], asked(5), generator=seeded())
    assert texts == ["l", "abcde", ""]
    assert list(stream_text(model, DOCUMENTS, "", asked(3), generator=seeded())) == ["a", "b", "c"]


def test_end_of_text_that_began_the_document_is_not_penalised():
    flat = Recorder(DOCUMENTS.vocab_size)
    flat.forward = lambda tokens: torch.tensor([2.0, 1.0] + 11 * [-9.0]).expand(*tokens.shape, 13)
    greedy = asked(3, temperature=0.0, repetition_penalty=3.0)
    assert generate_text(flat, DOCUMENTS, "cd", greedy, generator=seeded()) == ""


def test_opening_is_nothing_where_a_document_begins_by_itself():
    for tokenizer, expected in ((DOCUMENTS, ""), (CharTokenizer("\nab"), "\n"), (CharTokenizer("xab"), "x")):
        assert generation.opening(tokenizer) == expected
