"""Text stream: token ids in, text out, piece by piece and only when it is certain.

A piece waits while a character lacks some of its tokens, and while it may begin a stop sequence.
Taught in notebook 05_sampling."""

from collections.abc import Sequence
from typing import Any

INCOMPLETE_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # what decoders write for bytes that are no character yet


class TextStream:
    """The text of one row of tokens as it comes, ended by the first of the stop sequences to be complete, or
    by the tokenizer's end_of_text, of which nothing is emitted either.

    However it is cut into tokens, all is emitted that stands before the stop sequence that is complete first
    (of several that end there, the longest), and nothing of that one."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop = tuple(stop)
        self.stopped = False
        self._ids: list[int] = []  # tokens that make no complete character so far
        self._beginnings = {text[:n] for text in self.stop for n in range(1, len(text))}
        self._held = ""  # the longest end of the text so far that may be the beginning of a stop sequence

    def add(self, token: int) -> str:
        """Hand in the next token. Returns the text that is certain now, often "" or more than one token's."""
        if self.stopped:
            return ""
        if token == getattr(self.tokenizer, "end_of_text", None):
            rest, self.stopped = self.end(), True
            return rest
        self._ids.append(token)
        text = self.tokenizer.decode(self._ids)
        if text.endswith(INCOMPLETE_CHARACTER):
            return ""
        self._ids.clear()
        return self._emit(text)

    def end(self) -> str:
        """There are no more tokens: the text that was still waiting."""
        emitted = self._emit(self.tokenizer.decode(self._ids)) + self._held
        self._ids, self._held = [], ""
        return emitted

    def _emit(self, text: str) -> str:
        text = self._held + text
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        self._held = max((b for b in self._beginnings if text.endswith(b)), key=len, default="")
        return text.removesuffix(self._held)
