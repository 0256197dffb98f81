"""The command line: python -m tinylm. It runs one command and returns its exit code.

The exit code is 0 for success, 1 for a fault of the program, 2 for a refusal and 130 for Ctrl-C. Everything
is imported inside main, so that Ctrl-C during the first imports ends it quietly too."""

import os
import sys

PYTHON = r".venv\Scripts\python" if os.name == "nt" else ".venv/bin/python"
ON_WINDOWS = r"py -3 -m venv .venv; .venv\Scripts\pip install -r requirements.txt"
INSTALL = ON_WINDOWS if os.name == "nt" else "make lab"


def main(arguments: list[str] | None = None) -> int:
    """Run the command that was typed. An error is one sentence on stderr; --traceback also shows where.

    An option that does not exist or has no such value is a box of a few lines, which tyro draws."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in typed if word != "--traceback"]
    try:
        for name in ("stdout", "stderr"):  # a stream that is closed goes nowhere
            stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
            setattr(sys, name, stream)
            if hasattr(stream, "reconfigure"):  # a Windows pipe cannot write → or ±: it gets a ?
                stream.reconfigure(errors="replace")
        from tinylm.cli.options import parse

        options = parse(words)
        from tinylm.cli.commands import perform  # after the help: importing torch takes a second

        return perform(options, words)
    except SystemExit as shown:  # the help, or a box that says what is wrong
        return shown.code
    except KeyboardInterrupt:
        print()
        return 130
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--traceback" in typed:
            sys.excepthook(type(error), error, error.__traceback__)
        code, sentence = _described(error, words)
        # A name that was typed may hold a line break or a terminal's control codes.
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in sentence)
        print(f"tinylm: {line}", file=sys.stderr, flush=True)
        return code


def _described(error: Exception, words: list[str]) -> tuple[int, str]:
    """Return the exit code of an error and the sentence for the person who typed the words."""
    from tinylm.errors import TinyLMError

    if isinstance(error, TinyLMError):
        return 2, str(error)
    if isinstance(error, OSError):  # a full disk, a read-only folder, a file where a folder should be
        return 2, f"{os.path.basename(error.filename or 'a file')}: {error.strerror or error}"
    if isinstance(error, ImportError) and not (error.name or "tinylm").startswith("tinylm"):
        way_out = f"type {PYTHON} -m tinylm …, or `{INSTALL}` first"
        return 2, f"tinylm is not installed in this Python ({error}): {way_out}"
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    return 1, f"{[*words, 'tinylm'][0]} met a fault of the program ({what}): --traceback shows more"


if __name__ == "__main__":
    # In the working folder may be a learner's own json.py: the standard library's must be imported.
    if sys.path[0] == os.getcwd():
        sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.exit(main())
