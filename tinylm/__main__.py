"""The command line: python -m tinylm. It runs one command and returns its exit code.

The exit code is 0 for done, 1 for an unforeseen fault, 2 for a refusal and 130 for Ctrl-C. Everything is
imported inside main, so that Ctrl-C during the first imports is quiet too."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command that was typed. Whatever goes wrong is one sentence; --traceback shows where."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        import os

        from tinylm.errors import TinyLMError

        for name in ("stdout", "stderr"):  # one that is closed goes nowhere
            stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8", newline="\n")  # noqa: SIM115
            setattr(sys, name, stream)
            if hasattr(stream, "reconfigure"):  # a Windows pipe cannot write → or ±: it gets a ?
                stream.reconfigure(errors="replace")
        from tinylm.cli.options import parse

        words = [word for word in typed if word != "--traceback"]
        if (options := parse(words)) is None:
            return 0
        from tinylm.cli.commands import perform

        return perform(options, words)
    except KeyboardInterrupt:
        print()
        return 130
    except BrokenPipeError:  # the reader, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        code, sentence = 2, str(error)
        if isinstance(error, OSError):  # a full disk, a read-only folder, a file where a folder should be
            sentence = f"{os.path.basename(error.filename or 'a file')}: {error.strerror or error}"
        elif not isinstance(error, TinyLMError):
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            code, sentence = 1, f"{typed[0]} met a fault of the program ({what}): --traceback shows more"
        if "--traceback" in typed:
            sys.excepthook(type(error), error, error.__traceback__)
        print(f"tinylm: {sentence}", file=sys.stderr, flush=True)
        return code


if __name__ == "__main__":
    sys.exit(main())
