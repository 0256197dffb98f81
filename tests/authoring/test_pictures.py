"""README's pictures are those of the notebooks, and it shows every one of them, told in words."""

import base64
import re

import nbformat
import pytest
from nbformat.v4 import new_notebook, new_output

from tests.authoring.notebook_sample import code
from tests.authoring.pictures import PICTURES, ROOT, pictures, write
from tinylm.errors import DataError


def test_pictures_on_disk_are_those_of_the_notebooks_and_readme_shows_each_and_tells_it():
    on_disk = {path.name: path.read_bytes() for path in (ROOT / "data/pictures").iterdir()}
    assert on_disk == pictures(), "run: python -m tests.authoring.pictures"
    shown = re.findall(r"!\[([^]]*)\]\(data/pictures/([^)]*)\)", (ROOT / "README.md").read_text("utf-8"))
    assert {name for _, name in shown} == {*on_disk}
    assert all(len(told.split()) >= 8 for told, _ in shown)


@pytest.fixture
def notebooks(tmp_path):
    """A folder with notebooks whose cells show their own source as a picture."""
    for name in {name for name, _ in PICTURES.values()}:
        cells = []
        for source in [source for other, source in PICTURES.values() if other == name]:
            data = {"image/png": base64.b64encode(source.encode()).decode()}
            cells.append(code(f"f({source}", shows=new_output("display_data", data)))
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    return tmp_path


def test_each_picture_is_taken_from_its_cell_and_what_is_none_is_removed(notebooks):
    folder = notebooks / "pictures"
    folder.mkdir()
    (folder / "of_last_year.png").write_bytes(b"")
    write(notebooks, folder)
    on_disk = {path.stem: path.read_text() for path in folder.iterdir()}
    assert on_disk == {name: source for name, (_, source) in PICTURES.items()}


@pytest.mark.parametrize("n", [0, 2])
def test_a_picture_that_is_not_there_or_there_twice_is_refused(notebooks, n):
    path = notebooks / "02_attention.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].outputs *= n
    nbformat.write(notebook, path)
    with pytest.raises(DataError, match=f"02_attention shows {n} pictures where a cell says"):
        pictures(notebooks)
