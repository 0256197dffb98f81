"""Answers that people give to 04_training: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_wrong, function
from tinylm.course.exercises import nb04
from tinylm.model.losses import cross_entropy

CLIP = "nn.utils.clip_grad_norm_(model.parameters(), limit)"


def loop(
    test="loss < lowest", reset="0", end="return len(losses) - 1", stop="waited == patience", back="place"
):
    return (
        "lowest, waited = math.inf, 0\n"
        "for place, loss in enumerate(losses):\n"
        f"    lowest, waited = (loss, {reset}) if {test} else (lowest, waited + 1)\n"
        f"    if {stop}:\n        return {back}\n{end}"
    )


def wsd(
    start="round(0.8 * (steps - 1))",
    warm="peak * (step + 1) / (warmup_steps + 1)",
    p="(step - start) / (steps - 1 - start)",
    fall="peak + (minimum - peak) * p",
):
    return (
        f"start = {start}\nif step < warmup_steps:\n    return {warm}\n"
        f"if step <= start:\n    return peak\np = {p}\nreturn {fall}"
    )


def step(
    before="optimizer.zero_grad()",
    inside="",
    divide=" / len(pieces)",
    clip=CLIP,
    move="optimizer.step()",
    back="return total",
    total="loss.item()",
):
    return (
        f"{before}\ntotal = 0.0\nfor x, y in pieces:\n    {inside or 'pass'}\n"
        f"    loss = cross_entropy(model(x), y){divide}\n    loss.backward()\n    total += {total}\n"
        f"{clip}\n{move}\n{back}"
    )


WRONG = {
    "stop_at": function(
        "stop_at(losses, patience)",
        ("return losses.index(min(losses))", "nobody knows it is the best"),
        (loop(back="place - patience"), "the best evaluation before the stop"),
        (
            "waited = 0\nfor place in range(1, len(losses)):\n"
            "    waited = 0 if losses[place] < losses[place - 1] else waited + 1\n"
            "    if waited == patience:\n        return place\nreturn len(losses) - 1",
            "not with the one before",
        ),
        (loop(stop="waited > patience"), "one too late"),
        (loop(reset="waited"), "starts the count afresh"),
        (loop(back="place + 1"), "places count from 0"),
        (loop(back="loss"), "its place in the list is asked"),
        (loop(back="lowest"), "the place where it stops is asked"),
        (loop(end=""), "then the last place"),
        (loop(test="loss <= lowest"), "not a new lowest"),
        (loop(back="waited"), "but where it stops"),
        (loop(end="return len(losses)"), "then the last place"),
        (loop().replace("return place", "print(place)"), None),
    ),
    "my_wsd": function(
        "my_wsd(step, *, peak, minimum, warmup_steps, steps)",
        (wsd(warm="peak"), "where is the warm-up?"),
        (wsd(warm="peak * step / warmup_steps"), "step 0 already learns"),
        (wsd(warm="peak * (step + 1) / warmup_steps"), "(step + 1) / (warmup_steps + 1)"),
        (wsd(start="warmup_steps"), "hold the peak first"),
        (wsd(fall="peak * (1 - p)"), "not to the minimum"),
        (wsd(p="(step - start) / (steps - start)"), "one step late"),
        (wsd(fall="minimum + (peak - minimum) * (1 + math.cos(math.pi * p)) / 2"), "not a cosine"),
        (wsd(fall="minimum + (peak - minimum) * p"), "turned over"),
        (wsd(fall="minimum"), "a straight line is asked"),
        (wsd(fall="peak - minimum * p"), "not what it loses"),
        (wsd(fall="peak"), "the fall is missing"),
        (wsd(fall="0 * minimum").replace("return 0", "0"), "returned None"),
        (wsd(start="round(0.8 * steps)"), None),
        (wsd(start="int(0.8 * (steps - 1))"), None),
    ),
    "mended_step": function(
        "mended_step(model, optimizer, pieces, limit)",
        (step(before="", inside="optimizer.zero_grad()"), "only the last piece is left"),
        (step(divide=""), "divide each loss"),
        (step(before=""), "the slopes of the step before"),
        (step(move=""), "nothing moved"),
        (step(divide=" / 4"), "not always 4"),
        (step(clip="", move="optimizer.step()\nnn.utils.clip_grad_norm_(model.parameters(), limit)"), "clip"),
        (step(clip=""), "it is not clipped"),
        (step(total="loss", back="return total"), "return a float"),
        (step(total="loss.item() * len(pieces)"), "is their mean"),
        (step(back="return loss.item()"), "the last piece's loss, divided"),
        (step(back="print(total)"), "is `return` missing?"),
        (step(before="", inside="optimizer.zero_grad()", divide=""), "as if it were all"),
        (
            "x = torch.cat([x for x, _ in pieces])\ny = torch.cat([y for _, y in pieces])\n"
            "optimizer.zero_grad()\nloss = cross_entropy(model(x), y)\nloss.backward()\n"
            "optimizer.step()\nnn.utils.clip_grad_norm_(model.parameters(), limit)\nreturn loss.item()",
            "between the last backward and the step",
        ),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_are_refused_and_two_thirds_are_named(name, capsys):
    assert_wrong(nb04, name, WRONG[name], capsys, cross_entropy=cross_entropy)
