"""Tests of tinylm.inference.generate."""

import pytest
import torch
from torch import nn

from tinylm.inference.generate import GenerateError, generate, generate_text, stream_text
from tinylm.inference.sampling import probabilities
from tinylm.model.config import ModelConfig
from tinylm.model.gpt import GPT
from tinylm.text.tokenizers import CharTokenizer, UnknownCharacter

T = 11


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tiny(position: str = "learned", dropout: float = 0.0) -> GPT:
    config = ModelConfig(
        vocab_size=13, context_length=T, n_layer=2, n_head=3, n_embd=18, position=position, dropout=dropout
    )
    model = GPT(config, generator=seeded(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # far from uniform, so that a wrong window shows in the tokens
    return model.eval()


class Recorder(nn.Module):
    """Predicts the id after the last one it sees, and remembers every input."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.seen: list[list[int]] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.seen.append(tokens[0].tolist())
        return 50.0 * nn.functional.one_hot((tokens + 1) % self.vocab_size, self.vocab_size).float()


def test_each_token_is_drawn_from_the_prediction_after_the_tokens_so_far():
    model, source = tiny(), seeded(3)
    tokens = [4, 7, 1]
    expected = []
    for _ in range(29):  # well past the context length
        with torch.no_grad():
            weights = probabilities(model(torch.tensor([tokens[-T:]]))[:, -1], 2.5)
        tokens.append(int(torch.multinomial(weights, 1, generator=source)))
        expected.append(tokens[-1])
    new = generate(model, torch.tensor([4, 7, 1]), max_new_tokens=29, temperature=2.5, generator=seeded(3))
    assert list(new) == expected


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_generation_goes_on_when_the_window_is_full(position):
    stream = generate(tiny(position), torch.arange(T), max_new_tokens=3 * T, generator=seeded())
    assert len(list(stream)) == 3 * T


def test_the_window_slides_by_one_token_and_never_exceeds_the_context():
    model = Recorder(19)
    new = generate(
        model,
        torch.tensor([0, 1, 2]),
        max_new_tokens=5,
        temperature=0.0,
        generator=seeded(),
        context_length=5,
    )
    assert list(new) == [3, 4, 5, 6, 7]
    assert model.seen == [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6]]


def test_a_prompt_longer_than_the_context_is_read_from_its_end():
    long = torch.randint(13, (37,), generator=seeded(9))
    model = tiny()
    from_long = list(generate(model, long, max_new_tokens=7, generator=seeded(2)))
    assert from_long == list(generate(model, long[-T:], max_new_tokens=7, generator=seeded(2)))


def test_tokens_come_one_at_a_time():
    model = Recorder(5)
    stream = generate(
        model, torch.tensor([0]), max_new_tokens=4, temperature=0.0, generator=seeded(), context_length=3
    )
    assert next(stream) == 1
    assert len(model.seen) == 1


def test_the_model_is_read_without_dropout_and_left_in_the_mode_it_was_in():
    model = tiny(dropout=0.5)
    prompt = torch.tensor([3])
    calm = list(generate(model, prompt, max_new_tokens=17, generator=seeded(1)))
    model.train()
    stream = generate(model, prompt, max_new_tokens=17, generator=seeded(1))
    training_between_tokens = []
    tokens = []
    for token in stream:
        tokens.append(token)
        training_between_tokens.append(model.training)
    assert tokens == calm
    assert all(training_between_tokens)


def test_a_seed_repeats_the_text_and_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    model, prompt = tiny(), torch.tensor([2, 5])
    texts = [list(generate(model, prompt, max_new_tokens=31, generator=seeded(s))) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_prompt_is_not_changed_and_zero_new_tokens_are_allowed():
    prompt = torch.tensor([1, 2, 3])
    assert list(generate(tiny(), prompt, max_new_tokens=0, generator=seeded())) == []
    list(generate(tiny(), prompt, max_new_tokens=2, generator=seeded()))
    assert prompt.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "prompt, new, words",
    [
        (torch.tensor([], dtype=torch.int64), 3, "0 tokens and needs at least 1"),
        (torch.tensor([[1, 2]]), 3, "2 dimensions and needs 1"),
        (torch.tensor([1]), -1, "max_new_tokens -1 is below 0"),
    ],
)
def test_what_cannot_be_continued_is_refused_at_the_call(prompt, new, words):
    with pytest.raises(GenerateError, match=words):
        generate(tiny(), prompt, max_new_tokens=new, generator=seeded())


def test_streamed_pieces_join_to_the_generated_text_without_the_prompt():
    tokenizer = CharTokenizer("abcdefghijklm")
    options = {"max_new_tokens": 23, "temperature": 0.7}
    pieces = list(stream_text(tiny(), tokenizer, "cab", **options, generator=seeded(6)))
    text = generate_text(tiny(), tokenizer, "cab", **options, generator=seeded(6))
    ids = list(generate(tiny(), torch.tensor([2, 0, 1]), **options, generator=seeded(6)))
    assert "".join(pieces) == text == "".join("abcdefghijklm"[i] for i in ids)
    assert len(pieces) == 23


def test_a_prompt_with_an_unknown_character_is_refused_at_the_call():
    with pytest.raises(UnknownCharacter):
        stream_text(tiny(), CharTokenizer("abcdefghijklm"), "cat", max_new_tokens=3, generator=seeded())
