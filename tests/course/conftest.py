"""`drawn`: the figures that a course function would show, and their alternative texts."""

import matplotlib
import pytest

from tinylm.course import charts, diagrams, heatmaps, style

matplotlib.use("agg")


class Drawn(list):
    """(figure, alt) pairs in the order in which they were shown."""

    @property
    def axes(self):
        return self[-1][0].axes[0]

    @property
    def alt(self):
        return self[-1][1]

    def texts(self):
        """Every text of the last figure that is seen, as matplotlib draws it."""
        figure = self[-1][0]
        figure.draw_without_rendering()
        found = figure.findobj(matplotlib.text.Text)
        return [text for text in found if text.get_text().strip() and text.get_visible()]


@pytest.fixture
def drawn(monkeypatch):
    seen = Drawn()
    for room in (charts, heatmaps, diagrams):
        monkeypatch.setattr(room, "show", lambda figure, alt: seen.append((figure, alt)))
    return seen


@pytest.fixture
def fits():
    """A check that a figure's PNG is small enough for a notebook of some ten figures."""

    def check(figure):
        assert len(style.png(figure)) < 45_000

    return check
