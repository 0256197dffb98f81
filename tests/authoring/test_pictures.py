"""README's pictures are those of the notebooks, and it shows every one of them, told in words."""

import re

from tests.authoring.pictures import ROOT, pictures


def test_pictures_on_disk_are_those_of_the_notebooks_and_readme_shows_each_and_tells_it():
    on_disk = {path.name: path.read_bytes() for path in (ROOT / "data/pictures").iterdir()}
    assert on_disk == pictures(), "run: python -m tests.authoring.pictures"
    shown = re.findall(r"!\[([^]]*)\]\(data/pictures/([^)]*)\)", (ROOT / "README.md").read_text("utf-8"))
    assert {name for _, name in shown} == {*on_disk}
    assert all(len(told.split()) >= 8 for told, _ in shown)
