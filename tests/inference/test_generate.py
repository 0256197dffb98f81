"""Tests of tinylm.inference.generate."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tinylm.errors import DataError, InputError
from tinylm.inference.config import PLAIN, GenerationConfig
from tinylm.inference.generate import (
    generate,
    generate_batch,
    generate_text,
    generate_texts,
    next_logits,
    stream_text,
)
from tinylm.inference.sampling import probabilities
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer

T = 11
LETTERS = CharTokenizer("abcdefghijklm")
ROWS = [[4, 7, 1], [2], [5, 5, 9, 0, 12, 3, 8], [1, 6, 2]]
CHOICES = {
    "position": ("learned", "rotary"),
    "norm": ("layernorm", "rmsnorm"),
    "token_shift": (False, True),
    "qk_norm": (False, True),
    "tied_head": (True, False),
}
EVERY_CHOICE = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
every_choice = pytest.mark.parametrize("choice", EVERY_CHOICE, ids=str)
with_and_without_cache = pytest.mark.parametrize("use_cache", [True, False])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(dropout: float = 0.0, **choice) -> GPT:
    config = ModelConfig(
        vocab_size=13, context_length=T, n_layer=2, n_head=3, n_embd=18, dropout=dropout, **choice
    )
    model = GPT(config, generator=seeded(1))
    source = seeded(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(
                0.0, 0.6, generator=source
            )  # far from uniform: a wrong window shows in the tokens
    return model.eval()


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


@with_and_without_cache
def test_each_token_is_drawn_from_the_prediction_after_the_tokens_so_far(use_cache):
    model, source = tiny(), seeded(3)
    config = asked(29, temperature=2.5, use_cache=use_cache)  # 29 is well past the context length
    tokens = [4, 7, 1]
    expected = []
    for _ in range(29):
        with torch.no_grad():
            weights = probabilities(model(torch.tensor([tokens[-T:]]))[:, -1], config)
        tokens.append(int(torch.multinomial(weights, 1, generator=source)))
        expected.append(tokens[-1])
    assert list(generate(model, torch.tensor([4, 7, 1]), config, generator=seeded(3))) == expected


@every_choice
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_cache_changes_no_token_before_and_after_the_window_is_full(choice, temperature):
    model = tiny(**choice)
    # The strong penalty keeps a small model from saying one token for ever, which any window would do.
    config = asked(2 * T, temperature=temperature, repetition_penalty=20.0, top_k=9, top_p=0.95, min_p=0.01)
    texts = [
        list(generate(model, [4, 7, 1], replace(config, use_cache=cached), generator=seeded(5)))
        for cached in (True, False)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 2


@every_choice
def test_the_logits_with_and_without_the_cache_agree_at_every_length(choice):
    model = tiny(**choice).double()
    rows = [list(row) for row in ROWS]
    cache = model.new_cache(torch.tensor([4, 6, 0, 4]))
    for token in torch.randint(13, (2 * T,), generator=seeded(2)).tolist():
        expected = next_logits(model, rows)
        assert_close(next_logits(model, rows, cache), expected, rtol=1e-9, atol=1e-10)
        assert_close(next_logits(model, [rows[2]])[0], expected[2], rtol=1e-9, atol=1e-10)
        for row in rows:
            row.append(token)


def test_with_the_cache_each_new_token_is_read_once_and_alone_until_the_context_is_full():
    model, read = tiny(), []
    real = model.embed
    model.embed = lambda tokens, positions=None: read.append(tokens.tolist()) or real(tokens, positions)
    new = list(generate(model, [4, 7, 1], asked(11), generator=seeded()))
    text = [4, 7, 1, *new]
    assert read[0] == [[4, 7, 1]]
    assert read[1:9] == [[[token]] for token in new[:8]]
    assert read[9:] == [[text[1:12]], [text[2:13]]]


@with_and_without_cache
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_prompts_of_different_lengths_are_continued_as_each_alone(position, use_cache):
    model = tiny(position=position)
    config = asked(2 * T, temperature=0.0, repetition_penalty=20.0, use_cache=use_cache)
    prompts = [*ROWS, list(range(13)) * 2]  # the last one is longer than the context
    together = list(zip(*generate_batch(model, prompts, config, generator=seeded()), strict=True))
    alone = [tuple(generate(model, prompt, config, generator=seeded())) for prompt in prompts]
    assert together == alone
    assert len(set(alone)) == len(alone)


def test_rows_of_a_batch_draw_each_for_itself():
    together = list(generate_batch(tiny(), [[3]] * 5, asked(17), generator=seeded()))
    assert len(set(zip(*together, strict=True))) == 5


def test_the_penalty_counts_the_prompt_and_what_slid_out_of_the_window():
    model = Recorder(19)
    with_it = asked(19, temperature=0.0, repetition_penalty=60.0, use_cache=False)
    new = list(generate(model, [18, 7], with_it, generator=seeded()))
    assert new[:10] == [8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    assert new[10] == 18  # its logit of 50 became 50 / 60, the zeros of the others stay below
    without = list(generate(model, [18, 7], replace(with_it, repetition_penalty=1.0), generator=seeded()))
    assert without[:13] == [*range(8, 19), 0, 1]


@with_and_without_cache
@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_generation_goes_on_when_the_window_is_full(position, use_cache):
    stream = generate(
        tiny(position=position), torch.arange(T), asked(3 * T, use_cache=use_cache), generator=seeded()
    )
    assert len(list(stream)) == 3 * T


def test_the_window_slides_by_one_token_and_never_exceeds_the_context():
    model = Recorder(19)
    config = asked(5, temperature=0.0, use_cache=False)
    assert list(generate(model, torch.tensor([0, 1, 2]), config, generator=seeded())) == [3, 4, 5, 6, 7]
    assert model.seen == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]


@with_and_without_cache
def test_a_prompt_longer_than_the_context_is_read_from_its_end(use_cache):
    long = torch.randint(13, (37,), generator=seeded(9))
    config, model = asked(7, use_cache=use_cache), tiny()
    from_long = list(generate(model, long, config, generator=seeded(2)))
    assert from_long == list(generate(model, long[-T:], config, generator=seeded(2)))


def test_tokens_come_one_at_a_time():
    model = Recorder(5)
    stream = generate(model, [0], asked(4, temperature=0.0, use_cache=False), generator=seeded())
    assert model.seen == []
    assert next(stream) == 1
    assert len(model.seen) == 1


@with_and_without_cache
def test_the_model_is_read_without_dropout_and_each_part_is_left_in_the_mode_it_was_in(use_cache):
    model, config = tiny(dropout=0.5), asked(17, use_cache=use_cache)
    calm = list(generate(model, [3], config, generator=seeded(1)))
    model.train()
    model.blocks[1].eval()  # a part that somebody froze
    modes = [module.training for module in model.modules()]
    assert list(generate(model, [3], config, generator=seeded(1))) == calm
    assert [module.training for module in model.modules()] == modes
    stream = generate(model, [3], config, generator=seeded(1))
    next(stream)
    stream.close()  # a reader who has had enough
    assert [module.training for module in model.modules()] == modes


def test_streams_side_by_side_disturb_neither_each_other_nor_who_trains_or_measures_in_between():
    model = tiny(dropout=0.5)
    calm = list(generate(model, [3], asked(17), generator=seeded(1)))
    model.train()
    short, long = (generate(model, [3], asked(n), generator=seeded(1)) for n in (2, 17))
    first = [next(long)]
    assert list(short) == calm[:2]
    assert model.training  # between two tokens too
    assert first + list(long) == calm
    left = generate(model, [3], asked(17), generator=seeded(1))
    next(left)
    model.eval()
    left.close()
    assert not model.training


def test_a_prediction_that_fails_leaves_each_part_in_the_mode_it_was_in():
    model = tiny(dropout=0.5).train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    with pytest.raises(InputError):
        next(generate(model, [13], asked(1), generator=seeded()))
    assert [module.training for module in model.modules()] == modes


def test_the_modules_are_looked_up_once_and_not_for_every_token():
    model, calls = tiny(), []
    real = model.modules
    model.modules = lambda: calls.append(1) or real()
    list(generate(model, [3], asked(7), generator=seeded()))
    assert len(calls) == 1


@pytest.mark.parametrize(
    "padding, rows, made, needed",
    [(None, [[1], [1, 2, 3]], [0, 0], [2, 0]), ([2, 0], [[1, 2], [1, 2, 3]], [2, 0], [1, 0])],
)
def test_a_cache_padded_for_other_rows_is_refused(padding, rows, made, needed):
    model = tiny()
    cache = model.new_cache(None if padding is None else torch.tensor(padding))
    with pytest.raises(InputError) as refusal:
        next_logits(model, rows, cache)
    assert str(refusal.value) == (
        f"the cache is for rows padded by {made} and these need {needed}: give new_cache that padding"
    )


def test_a_prompt_may_be_a_view_of_a_file_that_cannot_be_written():
    prompt = np.array([2, 0, 1], dtype="<u2")
    prompt.setflags(write=False)  # as shards.open_tokens gives it
    assert list(generate(tiny(), prompt, asked(5), generator=seeded(1))) == list(
        generate(tiny(), [2, 0, 1], asked(5), generator=seeded(1))
    )


def test_a_seed_repeats_the_text_and_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    texts = [list(generate(tiny(), [2, 5], asked(31), generator=seeded(s))) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_prompt_is_not_changed_and_zero_new_tokens_are_allowed():
    for prompt in (torch.tensor([1, 2, 3]), [1, 2, 3]):
        assert list(generate(tiny(), prompt, asked(0), generator=seeded())) == []
        list(generate(tiny(), prompt, asked(2), generator=seeded()))
        assert list(prompt) == [1, 2, 3]


def test_no_gradient_is_kept():
    assert not next_logits(tiny(), [[1, 2]]).requires_grad


@pytest.mark.parametrize(
    "prompt, config, words",
    [
        (torch.tensor([], dtype=torch.int64), PLAIN, "0 tokens and needs at least 1"),
        (torch.tensor([[1, 2]]), PLAIN, "2 dimensions and needs 1"),
        (torch.tensor([1]), GenerationConfig(stop=("a",)), "stop sequences are text and these are ids"),
    ],
)
def test_what_cannot_be_continued_is_refused_at_the_call(prompt, config, words):
    with pytest.raises(InputError, match=words):
        generate(tiny(), prompt, config, generator=seeded())


def test_no_prompts_and_a_model_without_a_cache_are_refused_at_the_call():
    with pytest.raises(InputError, match="0 prompts: give at least 1"):
        generate_batch(tiny(), [], generator=seeded())
    with pytest.raises(InputError, match=r"Recorder has no new_cache\(\): set use_cache=False"):
        generate(Recorder(5), [0], generator=seeded())


def test_streamed_pieces_join_to_the_generated_text_without_the_prompt():
    config = asked(23, temperature=0.7)
    pieces = list(stream_text(tiny(), LETTERS, "cab", config, generator=seeded(6)))
    text = generate_text(tiny(), LETTERS, "cab", config, generator=seeded(6))
    ids = list(generate(tiny(), torch.tensor([2, 0, 1]), config, generator=seeded(6)))
    assert "".join(pieces) == text == LETTERS.decode(ids)
    assert len(pieces) == 23


def test_a_stop_sequence_ends_the_text_where_the_same_text_without_it_has_it():
    config = asked(200)
    whole = generate_text(tiny(), LETTERS, "cab", config, generator=seeded(6))
    stop = (whole[40:43], whole[90:92])
    model, read = tiny(), []
    real = model.forward
    model.forward = lambda *given: read.append(given) or real(*given)
    text = generate_text(model, LETTERS, "cab", replace(config, stop=stop), generator=seeded(6))
    end = min(whole.find(s) + len(s) for s in stop)
    assert 0 < end <= 43
    assert whole[:end] in [text + s for s in stop]
    assert len(read) == end  # nothing is computed beyond it


def test_a_text_that_ends_before_a_stop_sequence_is_complete_is_said_to_its_end():
    model = Recorder(13)
    for n, text in ((3, "def"), (6, "defghi"), (7, "defg"), (40, "defg")):
        config = asked(n, temperature=0.0, stop=("hij",), use_cache=False)
        assert generate_text(model, LETTERS, "abc", config, generator=seeded()) == text


@with_and_without_cache
def test_texts_of_a_batch_are_those_of_each_prompt_alone_and_stop_each_for_itself(use_cache):
    model, prompts = tiny(), ["cab", "m", "fade", "kid"]
    config = asked(60, temperature=0.0, repetition_penalty=20.0, use_cache=use_cache)
    whole = [generate_text(model, LETTERS, prompt, config, generator=seeded()) for prompt in prompts]
    stopped = replace(config, stop=(whole[0][7:9], whole[1][30:33]))
    alone = [generate_text(model, LETTERS, prompt, stopped, generator=seeded()) for prompt in prompts]
    assert generate_texts(model, LETTERS, prompts, config, generator=seeded()) == whole
    assert generate_texts(model, LETTERS, prompts, stopped, generator=seeded()) == alone
    assert len({len(text) for text in alone}) > 1


def test_a_batch_ends_when_its_last_text_has_ended():
    model = Recorder(13)
    config = asked(50, temperature=0.0, stop=("h",), use_cache=False)
    assert generate_texts(model, LETTERS, ["e", "a", "c"], config, generator=seeded()) == [
        "fg",
        "bcdefg",
        "defg",
    ]
    assert len(model.seen) == 7
    almost = asked(3, temperature=0.0, stop=("hij",), use_cache=False)
    assert generate_texts(model, LETTERS, ["e", "a"], almost, generator=seeded()) == ["fgh", "bcd"]


def test_a_prompt_with_an_unknown_character_is_refused_at_the_call():
    with pytest.raises(DataError):
        stream_text(tiny(), LETTERS, "cat", generator=seeded())
    with pytest.raises(DataError):
        generate_texts(tiny(), LETTERS, ["cab", "cat"], generator=seeded())


@pytest.mark.parametrize(
    "prompt, said",
    [("abc", "is text and must be token ids"), ([1.0], "holds torch.float32"), ([True], "holds torch.bool")],
)
def test_a_prompt_that_is_not_made_of_ids_is_refused_at_the_call(prompt, said):
    with pytest.raises(InputError, match=said):
        generate(tiny(), prompt, generator=seeded())


def test_one_text_in_place_of_several_is_refused():
    with pytest.raises(InputError, match="are one text and must be a list"):
        generate_texts(tiny(), LETTERS, "abc", generator=seeded())
