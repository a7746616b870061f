"""The benchmark of a big fleet, with a small one: it shows its figures, and no beacon is lost. No time is asserted."""

from __future__ import annotations

from bench import fleet
from bench.report import Figure, Section


def figures_of(sections: list[Section], start_of_title: str) -> dict[str, Figure]:
    [section] = [section for section in sections if section.title.startswith(start_of_title)]
    return {figure.name.strip(): figure for figure in section.figures}


def test_a_small_fleet_starts_idles_and_has_all_its_beacons_stored() -> None:
    said: list[str] = []
    sections = fleet.run(True, said.append)
    beacons = figures_of(sections, "Beacons")
    assert beacons["sent"].value == "200"
    assert beacons["stored"].value == "200"
    assert beacons["machines with a state"].value == "100"
    assert figures_of(sections, "Memory")["memory added"].value.endswith(" MiB")
    assert "first start, empty database" in figures_of(sections, "Start with 100 machines")
    assert "processor for a sweep of one wallet" in figures_of(sections, "Idling with 100 machines")
    assert said
