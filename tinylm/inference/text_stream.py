"""Text stream: token ids in, text out, piece by piece and only when it is certain.

A piece waits while a character lacks some of its bytes, and while it may begin a stop sequence.
Taught in notebook 05_sampling."""

import codecs
from collections.abc import Sequence
from typing import Any


class TextStream:
    """The text of one row of tokens as it arrives, until a stop sequence or the tokenizer's end_of_text.

    The text ends before the stop sequence that is complete first (if several end at the same character, the
    longest). Everything before it is emitted, and nothing of it or after it, however the text is cut into
    tokens."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self.tokenizer = tokenizer
        self.stop = tuple(stop)
        self.stopped = False
        # The decoder keeps bytes that may still become a character. Others become U+FFFD at once.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._beginnings = {text[:n] for text in self.stop for n in range(1, len(text))}
        self._held = ""  # the longest end of the text so far that a stop sequence may begin with

    def add(self, token: int) -> str:
        """Take the next token id. Return the text that is certain now, often "" or that of several tokens."""
        if self.stopped:
            return ""
        if token == self.tokenizer.end_of_text:
            rest = self.end()
            self.stopped = True
            return rest
        return self._emit(self._utf8.decode(self.tokenizer.token_bytes(token)))

    def end(self) -> str:
        """Return the text that was still waiting, "" after a stop. To be called when no more tokens come."""
        if self.stopped:
            return ""
        emitted = self._emit(self._utf8.decode(b"", final=True)) + self._held
        self._held = ""
        return emitted

    def _emit(self, text: str) -> str:
        text = self._held + text
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)[1]]
        self._held = max((b for b in self._beginnings if text.endswith(b)), key=len, default="")
        return text.removesuffix(self._held)
