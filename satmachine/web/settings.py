"""The settings of the pages, given at their start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from satmachine.attention.items import Thresholds
from satmachine.config.model import Web, WebPerson


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pages need: the books, their own database, who may look, and the address that browsers see."""

    books: Path
    passes: Path
    web: Web
    limits: Thresholds
    busy_timeout_s: int = 30

    @property
    def people(self) -> Mapping[str, WebPerson]:
        return {person.id: person for person in self.web.people}

    @property
    def origin(self) -> str:
        """How browsers reach the pages; without `public_url` only from this computer."""
        return self.web.public_url or f"http://{self.web.listen}"

    @property
    def is_secure(self) -> bool:
        return self.origin.startswith("https://")
