"""Checks of notebook 00_start_here."""

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
