"""Answers that people give to 09_precision: none that is wrong passes, and most are told why."""

import pytest

from tests.course.exercises.marking import assert_right, assert_wrong, function, verdict_on_given
from tinylm.course.exercises import nb09

NOTEBOOK = {"unscale": nb09.given_unscale, "round_to": nb09.given_round_to}

B = "b = 2 ** (exponent_bits - 1) - 1\n"
LIMITS = function(
    "limits(exponent_bits, mantissa_bits)",
    (
        B + "return (2 - 2.0**-mantissa_bits) * 2.0 ** (b + 1), 2.0 ** (1 - b), 2.0**-mantissa_bits",
        "infinity",
    ),
    (B + "return 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits", "all are 1"),
    (B + "return 2.0 ** (b + 1), 2.0 ** (1 - b), 2.0**-mantissa_bits", "a little below"),
    (B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0**-b, 2.0**-mantissa_bits", "zeros only"),
    (
        B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b - mantissa_bits), 2.0**-mantissa_bits",
        "with a leading 1",
    ),
    (
        B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0 ** -(mantissa_bits + 1)",
        "half of it",
    ),
    (B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0 ** (1 - mantissa_bits)", "twice"),
    (B + "return 2.0 ** (1 - b), (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0**-mantissa_bits", "the order"),
    (B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), -mantissa_bits", "its exponent"),
    (B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b)", "three numbers"),
    ("return 65504.0, 2.0**-14, 2.0**-10", "does not use its argument"),
    (
        "m = (2 - 2.0**-mantissa_bits) * 2.0 ** (2 ** (exponent_bits - 1) - 1)\n"
        "return m, -m, 2.0**-mantissa_bits",
        "positive number",
    ),
    (
        B + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 1 + 2.0**-mantissa_bits",
        "a distance",
    ),
    (
        B.replace(" - 1\n", "\n")
        + "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits",
        "larger by 1",
    ),
    (
        "b = (2 ^ (exponent_bits - 1)) - 1\n"
        "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits",
        "not",
    ),
    (
        B + "return 2.0**mantissa_bits * 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits",
        "divided by",
    ),
    (
        "b = 2**exponent_bits - 1\n"
        "return (2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits",
        None,
    ),
    (B + "print((2 - 2.0**-mantissa_bits) * 2.0**b, 2.0 ** (1 - b), 2.0**-mantissa_bits)", "`return`"),
)
FR = "m, e = torch.frexp(x)\n"
ROUNDED = function(
    "round_to(x, bits)",
    (FR + "return torch.ldexp(torch.trunc(m * 2**bits), e - bits)", "cuts the digits off"),
    (FR + "return torch.ldexp(torch.floor(m * 2**bits), e - bits)", "rounds downwards"),
    (FR + "return torch.ldexp(torch.floor(m * 2**bits + 0.5), e - bits)", "even neighbour"),
    (
        FR + "return torch.ldexp(m.sign() * torch.floor(m.abs() * 2**bits + 0.5), e - bits)",
        "not away from 0",
    ),
    (FR + "return torch.ldexp(torch.round(m * 2 ** (bits + 1)), e - bits - 1)", "one more"),
    (FR + "return torch.ldexp(torch.round(m * 2 ** (bits - 1)), e - bits + 1)", "one less"),
    (FR + "return torch.ldexp(torch.round(m * 2**bits), e)", "take it off again"),
    (FR + "return torch.round(m * 2**bits) / 2**bits", "exponent is missing"),
    (FR + "return torch.round(m * 2**bits)", "whole numbers"),
    ("return torch.round(x * 2**bits) / 2**bits", "not digits after the point"),
    ("return torch.round(x, decimals=bits)", "decimals"),
    ("return x.bfloat16().float()", "does not use its argument"),
    ("return x.bfloat16() if bits == 8 else x.half()", "float32, with fewer"),
    ("return x.bfloat16().float() if bits == 8 else x.half().float()", None),
    (FR + "return torch.ldexp(m, e)", "all digits"),
    (FR + "return torch.ldexp(torch.round(m, decimals=bits), e)", "counts decimal digits"),
    (FR + "return torch.round(m * 2**bits) * 2 ** (e - bits)", "has no fractions"),
    (
        "e = torch.floor(torch.log2(x.abs()))\nn = 2.0 ** (bits - 1)\n"
        "return torch.round(x / 2.0**e * n) / n * 2.0**e",
        "log2 of 0",
    ),
)
CAST = "a, b = x.to(dtype).float(), weight.to(dtype).float()\n"
MIXED = function(
    "mixed_linear(x, weight, dtype)",
    (CAST + "return a @ b.T", "result is rounded"),
    ("return (x.to(dtype).float() @ weight.T).to(dtype).float()", "weight has to be rounded as well"),
    ("return (x @ weight.to(dtype).float().T).to(dtype).float()", "x has to be rounded as well"),
    ("return (x @ weight.T).to(dtype).float()", "before the product"),
    ("return x.to(dtype).float() @ weight.T", None),
    (CAST + "return (a[..., None, :] * b).to(dtype).float().sum(-1)", "rounds every product"),
    (
        CAST + "total = 0\nfor i in range(x.shape[-1]):\n"
        "    total = (total + (a[..., i, None] * b[:, i]).to(dtype).float()).to(dtype).float()\nreturn total",
        "after every addition",
    ),
    (CAST + "return (a @ b.T).to(dtype)", "as float32"),
    ("return x.to(dtype) @ weight.to(dtype).T", "as float32"),
    (CAST + "return (a @ b.T).detach().to(dtype).float()", "nothing can be learnt"),
    (CAST + "return (a @ b.detach().T).to(dtype).float()", "no .detach()"),
    (CAST + "return (a.detach() @ b.T).to(dtype).float()", "no .detach()"),
    (
        "n = 8 if dtype is torch.bfloat16 else 11\n"
        "return round_to(round_to(x, n) @ round_to(weight, n).T, n)",
        "torch.round has the gradient 0",
    ),
    (CAST + "y = a @ b.T\nreturn y + (y.to(dtype).float() - y).detach()", "on its way back"),
    (
        "a, b = (t + (t.to(dtype).float() - t).detach() for t in (x, weight))\n"
        "return (a @ b.T).to(dtype).float()",
        "on its way back",
    ),
    (
        "a, b = x.bfloat16(), weight.bfloat16()\nreturn (a.float() @ b.float().T).bfloat16().float()",
        "does not use",
    ),
    (CAST + "return (a @ b).to(dtype).float()", "raised RuntimeError"),
    (CAST + "(a @ b.T).to(dtype).float()", "`return`"),
    (CAST + "return ((a[..., None, :] * b).to(dtype).float().sum(-1)).to(dtype).float()", None),
)
UNSCALED = function(
    "unscale(parameters, scale)",
    (
        "for p in parameters:\n    p.grad *= scale\nreturn all(p.grad.isfinite().all() for p in parameters)",
        "divide by it",
    ),
    (
        "for p in parameters:\n    p.grad / scale\nreturn all(p.grad.isfinite().all() for p in parameters)",
        "stayed as they were",
    ),
    (
        "for p in parameters:\n    p.data /= scale\nreturn all(p.grad.isfinite().all() for p in parameters)",
        None,
    ),
    (
        "for p in parameters:\n    p.grad /= scale\n"
        "return not all(p.grad.isfinite().all() for p in parameters)",
        "the opposite",
    ),
    ("for p in parameters:\n    p.grad /= scale\nreturn bool(p.grad.isfinite().all())", "first parameter"),
    (
        "for p in parameters:\n    p.grad /= scale\nreturn bool(parameters[0].grad.isfinite().all())",
        "last parameter",
    ),
    (
        "for p in parameters:\n    p.grad /= scale\nreturn not any(p.grad.isnan().any() for p in parameters)",
        "infinity in the first",
    ),
    (
        "for p in parameters:\n    p.grad /= scale\nreturn not any(p.grad.isinf().any() for p in parameters)",
        "a nan is not finite",
    ),
    ("for p in parameters:\n    p.grad /= scale", "`return`"),
    ("for p in parameters:\n    p.grad /= scale\nreturn [p.grad for p in parameters]", "True or False"),
    (
        "for p in parameters:\n    p.grad /= scale\nreturn all(p.grad.isfinite().any() for p in parameters)",
        "not finite",
    ),
    (
        "for p in parameters:\n    p.grad /= scale\n"
        "return all((p.grad < float('inf')).all() for p in parameters)",
        "negative infinity",
    ),
    (
        "for p in parameters:\n    p.grad /= scale\n    if p.grad.isfinite().all():\n        return True\n"
        "return False",
        "stayed as they were",
    ),
    (
        "finite = all(p.grad.isfinite().all() for p in parameters)\nfor p in parameters:\n    p.grad = None\n"
        "return finite, scale",
        None,
    ),
    (
        "for p in parameters:\n    p.grad /= scale\nreturn all(p.isfinite().all() for p in parameters)",
        "not finite",
    ),
)
SCALES = function(
    "next_scale(scale, good, finite, every)",
    (
        "if not finite:\n    return scale * 2, 0\n"
        "return (scale / 2, 0) if good + 1 == every else (scale, good + 1)",
        "grows",
    ),
    (
        "if not finite:\n    return scale / 2, good\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "begins again",
    ),
    (
        "if not finite:\n    return scale / 2, 0\n"
        "return (scale * 2, good + 1) if good + 1 == every else (scale, good + 1)",
        "begins again",
    ),
    (
        "if not finite:\n    return scale / 2, 0\n"
        "return (scale * 2, 0) if good == every else (scale, good + 1)",
        "good one, too",
    ),
    ("return (scale / 2, 0) if not finite else (scale * 2, good + 1 + 0 * every)", "not after each"),
    ("return (scale / 2, 0) if not finite else (scale, good + 1 + 0 * every)", "good one, too"),
    (
        "if not finite:\n    return scale / 2, 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good)",
        "a good step counts",
    ),
    (
        "if finite:\n    return scale / 2, 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        None,
    ),
    (
        "if not finite:\n    return scale / 2\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "two things",
    ),
    (
        "if good + 1 == every:\n    return scale * 2, 0\n"
        "return (scale / 2, 0) if not finite else (scale, good + 1)",
        "make",
    ),
    (
        "if not finite:\n    return scale / 4, 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "half is enough",
    ),
    (
        "if not finite:\n    return scale, 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "halve the scale",
    ),
    (
        "if not finite:\n    return scale / 2, 0\n"
        "return (scale * 2, 0) if good + 1 == 3 else (scale, good + 1)",
        "good one, too",
    ),
    (
        "if not finite:\n    return scale // 2, 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "since // drops",
    ),
    (
        "if not finite:\n    return max(scale / 2, 1), 0\n"
        "return (scale * 2, 0) if good + 1 == every else (scale, good + 1)",
        "whatever it is",
    ),
    (
        "if not finite:\n    scale, good = scale / 2, 0\nelif good + 1 == every:\n"
        "    return scale * 2, 0\nreturn scale, good + 1",
        "the count is 0",
    ),
    (
        "if not finite:\n    return scale / 2, 0\n"
        "return (scale**2, 0) if good + 1 == every else (scale, good + 1)",
        "not squared",
    ),
)
RAW = "optimizer.zero_grad()\n(loss * scale).backward()\n"
END = "return finite"
CLIP = "torch.nn.utils.clip_grad_norm_(parameters, limit)\n"
IF = "if finite:\n    optimizer.step()\n"
STEPS = function(
    "scaled_step(loss, optimizer, parameters, scale, limit)",
    (RAW + CLIP + "finite = unscale(parameters, scale)\n" + IF + END, "before clipping"),
    (RAW + "finite = True\n" + CLIP + IF + "return finite", "never came off"),
    (
        "optimizer.zero_grad()\nloss.backward()\nfinite = unscale(parameters, scale)\n" + CLIP + IF + END,
        "multiplied by the scale",
    ),
    (RAW[22:] + "finite = unscale(parameters, scale)\n" + CLIP + IF + END, "step before"),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + END, "did not move"),
    (RAW + "finite = unscale(parameters, scale)\n" + IF + END, "clip to the limit"),
    (RAW + "finite = unscale(parameters, scale)\n" + IF + CLIP + END, "before the step"),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + "optimizer.step()\n" + END, "weights stay"),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF, "`return`"),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + "return not finite", "return True"),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + "return loss.item()", None),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + "return True", "left out"),
    (
        RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + "optimizer.zero_grad()\nreturn loss",
        None,
    ),
    (
        "(loss * scale).backward()\noptimizer.zero_grad()\nfinite = unscale(parameters, scale)\n"
        + CLIP
        + IF
        + END,
        "comes before backward",
    ),
    (RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + IF + END, "steps once"),
    (
        RAW + "finite = unscale(parameters, scale)\n" + CLIP.replace("norm_", "value_") + IF + END,
        "not each number",
    ),
    (RAW + "finite = loss.isfinite()\nunscale(parameters, scale)\n" + CLIP + IF + END, "weights stay"),
)
LOOP = """
bad, hooks = [], []
for name, module in model.named_modules():
    def look(module, inputs, output, name=name):
        if not output.isfinite().all():
            bad.append(name)
    if name:
        hooks.append(module.register_forward_hook(look))
model(tokens)
for hook in hooks:
    hook.remove()
return bad
"""
PARTS = function(
    "bad_parts(model, tokens)",
    (LOOP.replace(", name=name):", "):"), "bind it"),
    (LOOP.replace("    if name:\n    ", "    if True:\n    "), "leave it out"),
    (LOOP.replace("not output.isfinite().all()", "output.isnan().any()"), "infinity is not finite"),
    (LOOP.replace("not output.isfinite().all()", "output.isinf().any()"), "nan is not finite"),
    (LOOP.replace("not output.isfinite().all()", "not output.isfinite().any()"), "one bad number"),
    (LOOP.replace("    hook.remove()", "    pass"), "still there"),
    (LOOP.replace("return bad", "return bad[0] if bad else ''"), "a list of names"),
    (LOOP.replace("return bad", "return bad[:1]"), "where it began"),
    (
        LOOP.replace("return bad", "return [n for n, _ in model.named_modules() if n in bad]"),
        "the hook itself",
    ),
    (LOOP.replace("if name:", "if name and not [*module.children()]:"), "innermost"),
    (LOOP.replace("not output.isfinite", "output.isfinite"), "that are finite"),
    ("return [n[:-7] for n, w in model.named_parameters() if not w.isfinite().all()]", "does not use"),
    (
        "model(tokens)\nreturn [n[:-7] for n, w in model.named_parameters() if not w.isfinite().all()]",
        "where it began",
    ),
    (LOOP.replace("return bad", ""), "`return`"),
    (LOOP.replace("model(tokens)", "tokens"), "has to run"),
    (LOOP.replace("model(tokens)\n", "").replace("return", "model(tokens)\nreturn"), "hooks stay until"),
    (LOOP.replace("append(name)", "append(name.rpartition('.')[2])"), "whole name"),
    (LOOP.replace("append(name)", "append(module)"), "not modules"),
    (LOOP.replace("not output.isfinite().all()", "not inputs[0].isfinite().all()"), "not the input"),
    (LOOP.replace("        if not output.isfinite().all():\n    ", ""), "what they give"),
)
U = "u = torch.rand(x.shape, generator=generator)\n"
CHANCE = function(
    "stochastic_round(x, bits, generator)",
    ("return round_to(x, bits)", "does not use its argument `generator`"),
    (FR + U + "return torch.ldexp(torch.round(m * 2**bits + u), e - bits)", "adds another half"),
    (FR + U + "return torch.ldexp(torch.floor(m * 2**bits + u.round()), e - bits)", "equally likely"),
    (FR + U + "return torch.ldexp(torch.ceil(m * 2**bits), e - bits) + 0 * u", "every number goes the same"),
    (FR + U + "return torch.ldexp(torch.floor(m * 2**bits), e - bits) + 0 * u", None),
    (
        FR + U + "n = m * 2**bits\nreturn torch.ldexp(n.floor() + (u > n - n.floor()), e - bits)",
        "turned over",
    ),
    (
        FR + "u = torch.rand(x.shape)\n" + "return torch.ldexp(torch.floor(m * 2**bits + u), e - bits)",
        "does not use",
    ),
    (
        FR + "generator.manual_seed(0)\nu = torch.rand(x.shape, generator=generator)\n"
        "return torch.ldexp(torch.floor(m * 2**bits + u), e - bits)",
        "handed in",
    ),
    (
        FR + "u = torch.rand(1, generator=generator)\n"
        "return torch.ldexp(torch.floor(m * 2**bits + u), e - bits)",
        "one random number for each",
    ),
    (FR + U + "return torch.ldexp(m * 2**bits + u, e - bits)", "two neighbours"),
    (U + "return round_to(x + u, bits)", "two neighbours"),
    (U + "return round_to(x, bits) + 0 * u", "where is chance"),
    (U + "return x + 0 * u + 0 * bits", "nothing is rounded"),
    (FR + U + "torch.ldexp(torch.floor(m * 2**bits + u), e - bits)", "`return`"),
    (FR + U + "return torch.ldexp(torch.trunc(m * 2**bits + u), e - bits)", "goes upwards"),
    (
        "u = torch.randn(x.shape, generator=generator)\n"
        + FR
        + "return torch.ldexp(torch.floor(m * 2**bits + u), e - bits)",
        "two neighbours",
    ),
)
ANSWERS = {
    "limits": LIMITS,
    "round_to": ROUNDED,
    "mixed_linear": MIXED,
    "unscale": UNSCALED,
    "next_scale": SCALES,
    "scaled_step": STEPS,
    "bad_parts": PARTS,
    "stochastic_round": CHANCE,
}
RIGHT = {  # other ways that are as good as the solution's
    "limits": [
        B + "gap = 1 / 2**mantissa_bits\nreturn [2.0 ** (b + 1) - 2.0**b * gap, 2.0 ** -(b - 1), gap]",
    ],
    "round_to": [
        FR + "return torch.ldexp(torch.round(m * 2**bits) / 2**bits, e)",
        "shift = 24 - bits\ni = x.view(torch.int32)\n"
        "i = (i + (1 << (shift - 1)) - 1 + ((i >> shift) & 1)) >> shift << shift\n"
        "return torch.where(x.isfinite(), i.view(torch.float32), x)",
    ],
    "mixed_linear": [
        "return (x.to(dtype) @ weight.to(dtype).T).float()",
        "return torch.nn.functional.linear(x.to(dtype), weight.to(dtype)).float()",
        CAST + "return (a[..., None, :] * b).sum(-1).to(dtype).float()",
    ],
    "unscale": [
        "for p in parameters:\n    p.grad = p.grad / scale\n"
        "return torch.stack([p.grad.isfinite().all() for p in parameters]).all()",
        "fine = all([p.grad.isfinite().all() for p in parameters])\nfor p in parameters:\n"
        "    p.grad.mul_(1 / scale)\nreturn fine",
    ],
    "next_scale": [
        "good = (good + 1) * finite\nscale = scale if finite else scale * 0.5\n"
        "return (scale * 2, 0) if finite and good >= every else (scale, good)",
    ],
    "scaled_step": [
        RAW + "if finite := unscale(parameters, scale):\n    " + CLIP + "    optimizer.step()\n" + END,
        RAW
        + "if not unscale(parameters, scale):\n    return False\n"
        + CLIP
        + "optimizer.step()\nreturn True",
        RAW + "finite = unscale(parameters, scale)\n" + CLIP + IF + END,
    ],
    "bad_parts": [
        LOOP.replace("not output.isfinite().all()", "output.isnan().any() or output.isinf().any()"),
    ],
    "stochastic_round": [
        FR + U + "n = m * 2**bits\nlow = n.floor()\nreturn torch.ldexp(low + (u < n - low), e - bits)",
        FR + U + "return torch.ldexp(torch.round(m * 2**bits + u - 0.5), e - bits)",
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_wrong_answers_are_refused_and_most_are_told_why(name, capsys):
    assert_wrong(nb09, name, ANSWERS[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_taken_in_other_words_too(name, capsys):
    assert_right(nb09, name, ANSWERS[name], RIGHT[name], capsys, **NOTEBOOK)


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_given_is_correct(name):
    assert verdict_on_given(nb09, name) == "correct"
