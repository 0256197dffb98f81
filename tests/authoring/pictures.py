"""README's pictures, copied from the outputs of the committed notebooks.

    python -m tests.authoring.pictures

writes data/pictures/ again. tests.authoring.execute does so after each notebook that it writes.
"""

import base64
from pathlib import Path

import nbformat

from tinylm.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {  # name of the file: the notebook, and a string that only the source of the picture's cell has
    "ladder": ("00_start_here", "diagrams.ladder("),
    "attention": ("02_attention", 'title="Who looks at whom"'),
    "architecture": ("03_transformer", "diagrams.architecture("),
    "my_first_gpt": ("03_transformer", 'title="Your own GPT"'),
}


def pictures(notebooks: Path = ROOT / "notebooks") -> dict[str, bytes]:
    """Return the PNGs by the names of their files. Raises DataError if a cell does not show exactly one."""
    found = {}
    for picture, (name, source) in PICTURES.items():
        cells = nbformat.read(notebooks / f"{name}.ipynb", as_version=4).cells
        outputs = [output for cell in cells if source in cell.source for output in cell.get("outputs", [])]
        shown = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        if len(shown) != 1:
            raise DataError(f"{name} shows {len(shown)} pictures where a cell says {source}, not one")
        found[f"{picture}.png"] = base64.b64decode(shown[0])
    return found


def write(notebooks: Path = ROOT / "notebooks", folder: Path = ROOT / "data" / "pictures") -> None:
    """Write the pictures, and remove every other PNG."""
    new = pictures(notebooks)
    for old in folder.glob("*.png"):
        if old.name not in new:
            old.unlink()
    for name, picture in new.items():
        (folder / name).write_bytes(picture)


if __name__ == "__main__":
    write()
