"""Patterns for what a committed file must not contain: absolute paths, the user's name, the host's name."""

import getpass
import re
import socket

# A home or a scratch folder, in any file of the repository.
MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:home|work|tmp|root|Users|mnt|var)/\w|\b[A-Z]:\\+\w+\\")
# Any path, in what a record says: /a/b but not nats/token nor https://a/b, C:\a, ~/a and ~ada/a, \\server\a
PATH = re.compile(r"(?<![\w.~/:-])/[\w.-]+/[\w.-]|\b[A-Za-z]:[\\/]|(?<!\w)~[\w-]*[\\/]|\\\\\w+\\")
EVERYBODYS = {"localhost", "root", "user", "runner", "jovyan", "ubuntu", "admin", "tinylm"}


def own_names() -> dict[str, re.Pattern[str]]:
    """Return patterns for the names of this "user" and this "host", unless the names are common ones."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have none
        user = ""
    names = {"user": user, "host": socket.gethostname()}
    own = {of: name for of, name in names.items() if len(name) > 2 and name.lower() not in EVERYBODYS}
    return {of: re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])", re.I) for of, name in own.items()}
