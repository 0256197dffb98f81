"""`drawn`: the figures that a course function would show, and their alternative texts."""

import matplotlib
import pytest

from tinylm.course import style

matplotlib.use("agg")


class Drawn(list):
    """(figure, alt) pairs in the order in which they were shown."""

    figure = property(lambda self: self[-1][0])
    axes = property(lambda self: self.figure.axes[0])
    alt = property(lambda self: self[-1][1])

    def texts(self):
        """Every text of the last figure that is seen, as matplotlib draws it."""
        self.figure.draw_without_rendering()
        found = self.figure.findobj(matplotlib.text.Text)
        return [text for text in found if text.get_text().strip() and text.get_visible()]

    def words(self):
        return [text.get_text() for text in self.texts()]


@pytest.fixture
def drawn(monkeypatch):
    seen = Drawn()
    monkeypatch.setattr(style, "show", lambda figure, alt: seen.append((figure, alt)))
    return seen
