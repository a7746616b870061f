"""The ingest benchmark in small: every client stores every event, and each line has its figure."""

from __future__ import annotations

from bench import ingest


def test_every_client_stores_every_event() -> None:
    section, where = ingest.run(True, lambda _: None)
    lines = {figure.name: figure for figure in section.figures}
    assert {"bare verify loop", "satmachine, one relay", "satmachine, three relays"} <= lines.keys()
    assert {"pynostr RelayManager, one relay", "nostr-sdk client, one relay"} <= lines.keys()
    assert {"satmachine, sales landed as settlements", "satmachine, beacons merged into states"} <= lines.keys()
    assert not [figure.value for figure in section.figures if "lost" in figure.value]
    assert all(figure.value or figure.ratio for figure in section.figures)
    assert "verify the signature (coincurve)" in {figure.name for figure in where.figures}
