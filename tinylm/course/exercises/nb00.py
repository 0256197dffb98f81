"""Checks of notebook 00_start_here."""

import math

from tinylm.course.checks import exercise, marked


@marked("0.1 · from tokens to days")
def days(check: exercise, mine) -> None:
    """Tokens over tokens per second are seconds; a day has 86,400."""
    for tokens, speed in ((2e9, 5_000), (3_000_000, 70)):
        seconds = tokens / speed
        usual = {
            "these are seconds: how many make a day?": seconds,
            "these are hours: how many make a day?": seconds / 3600,
            "these are minutes: how many make a day?": seconds / 60,
            "seconds, not hours, were divided by 24": seconds / 24,
            "seconds, not minutes, were divided by 60 · 24": seconds / 60 / 24,
            "an hour has 3,600 seconds": seconds / 3600 / 60,
            "seconds become days by division, not by multiplication": seconds * 86400,
            "tokens / tokens_per_second are seconds, not their product": tokens * speed / 86400,
        }
        usual |= {"turned over: tokens divided by tokens per second are seconds": 1 / seconds / 86400}
        usual |= {"turned over, and not in days: tokens / tokens per second are seconds": 1 / seconds}
        usual |= {"a number of days may have decimals: / divides, // cuts them off": seconds // 86400}
        usual |= {"a day has 24 hours, not 12": seconds / 43200, "one day, not one week": seconds / 604800}
        answer = check.run(mine, tokens, speed)
        check.close(answer, seconds / 86400, "tokens / tokens per second are seconds", usual=usual)


@marked("0.2 · the model for your weekend")
def affordable(check: exercise, mine) -> None:
    """FLOPs = 6 · N · 20 · N, solved for N."""
    for hours, speed in ((48, 1e11), (5, 3e13)):
        flops = hours * 3600 * speed
        right = math.sqrt(flops / 120)
        usual = {
            "hours are not seconds yet": math.sqrt(hours * speed / 120),
            "hours are not seconds yet: an hour has 3,600": math.sqrt(hours * 60 * speed / 120),
            "N stands in the formula twice: take the root": flops / 120,
            "take the root, not the half": flops / 240,
            "the tokens depend on N too: 20 for each parameter": math.sqrt(flops / 6),
            "N stands in the formula twice, and 20 tokens go with each": flops / 6,
            "the 6 is missing: FLOPs = 6 · N · tokens": math.sqrt(flops / 20),
            "6 · 20 are divided by, not multiplied with": math.sqrt(flops * 120),
            "the root is of all of it: 6 · 20 too": math.sqrt(flops) / 120,
            "that is how many tokens: how many parameters?": 20 * right,
            "N squared, not N cubed": (flops / 120) ** (1 / 3),
        }
        check.close(check.run(mine, hours, speed), right, "solve FLOPs = 6 · N · 20 · N for N", usual=usual)
