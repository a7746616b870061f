"""The benchmark of the pages in small: every page has its figure, and viewers see news."""

from __future__ import annotations

import pytest

from bench import pages, settlements


def test_every_page_has_its_figure() -> None:
    section = pages.measure_pages(pages.SMALL, rounds=2, apart_s=0.0, say=lambda _: None)
    assert len(section.figures) == 19
    assert all("kB" in figure.value for figure in section.figures)


@pytest.mark.slow
def test_the_daemon_pays_while_people_look() -> None:
    section = pages.measure_viewers(5, settlements.Size(1, 1), rounds=1, say=lambda _: None)
    assert float(section.figures[2].value) > 0, "nobody has loaded a page"
