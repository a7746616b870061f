"""The telemetry benchmark in small."""

from __future__ import annotations

from bench import telemetry


def test_every_line_has_its_figure() -> None:
    (section,) = telemetry.run(True, lambda _: None)
    assert len(section.figures) == 8
    assert all(figure.value for figure in section.figures)
