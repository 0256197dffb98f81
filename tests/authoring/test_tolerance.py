"""The tolerance of nbval's comparison: noise passes, a changed result does not."""

import base64
import io

import pytest
from PIL import Image, ImageOps

from tests.authoring.pictures import ROOT
from tests.authoring.tolerance import Tolerant

NOISE = 6e-4


@pytest.mark.parametrize("value", [4.1744, -2.5, 6.02e23, 1.6e-19])
def test_noise_passes_and_three_times_as_much_does_not(value):
    stored = f"loss {value!r} nats"
    for sign in (-1, 1):
        assert Tolerant(f"loss {value * (1 + sign * NOISE)!r} nats") == stored
        assert Tolerant(f"loss {value * (1 + sign * 3 * NOISE)!r} nats") != stored


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1000.0", "1001.1"),  # the tolerance is one in a thousand
        ("there are 5001.", "there are 5002."),  # the point ends a sentence
        ("loss 0.5", "lass 0.5"),
        ("0.000", "0.0004"),
        ("-inf", "inf"),
        ("2.13.0", "2.13.1"),
        ("  0.5", "0.5"),
    ],
)
def test_what_differs_differs_in_both_directions(one, other):
    assert Tolerant(one) != other and Tolerant(other) != one


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nan -inf 2.13.0 65", "nan -inf 2.13.0 65"),
        ("0.0000", "-0.0000"),
        ("| -0.0000 |", "|  0.0000 |"),
        ("tensor([0.2500, 1.0001e-05])", "tensor([0.2501, 1.0002e-05])"),
    ],
)
def test_what_is_the_same_is_the_same_in_both_directions(one, other):
    assert Tolerant(one) == other and Tolerant(other) == one


def test_picture_agrees_with_itself_in_other_bytes_and_not_with_one_that_shows_something_else():
    def stored(picture):
        picture.save(written := io.BytesIO(), format="png")
        return base64.b64encode(written.getvalue()).decode()

    one = Image.open(ROOT / "data/pictures/attention.png")
    same, mirrored, cut = (
        one.convert("RGB"),
        ImageOps.mirror(one),
        one.crop((0, 0, one.width // 2, one.height)),
    )
    assert stored(one) != stored(same) and Tolerant(stored(one)) == stored(same)
    assert all(Tolerant(stored(one)) != stored(other) for other in (mirrored, cut))
