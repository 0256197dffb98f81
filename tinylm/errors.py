"""The one error that is meant for the person at the keyboard.

Every floor raises subclasses of it for what a reader can mend: a wrong number, a missing file.
It refuses to know anything else. The command line turns it into one sentence and exit code 2.
"""


class TinyLMError(ValueError):
    """Something a person can put right. The message is one sentence: both numbers and the way out."""
