"""What can befall a call to the modelled LNbits, as data. Times in seconds of the simulation."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Spoilt(StrEnum):
    """An answer that something in between put in the place of LNbits' own; LNbits did what was asked."""

    GATEWAY_TIMEOUT_JSON = "504 with a detail in JSON"
    BAD_GATEWAY_HTML = "502 as a web page"
    OK_HTML = "200 as a web page"
    TRUNCATED = "half of the JSON"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `client` is the label of the transport it came through."""

    client: str
    method: str
    path: str
    key: str
    params: tuple[tuple[str, str], ...]
    content: bytes

    @property
    def pays(self) -> bool:
        return self.method == "POST" and b'"out": true' in self.content

    @property
    def creates(self) -> bool:
        return self.method == "POST" and b'"out": false' in self.content


@dataclass(frozen=True, slots=True)
class Fault:
    """What befalls one call. The default is nothing at all."""

    #: The request never reaches LNbits.
    lose_request: bool = False
    #: So long on the way there: with more than the client's patience, what was given up happens later.
    delay_s: float = 0
    #: LNbits does everything; the client's connection breaks instead of an answer.
    lose_answer: bool = False
    #: The answer is under way so long.
    answer_after_s: float = 0
    #: The client gets this in the place of the answer.
    spoilt: Spoilt | None = None
    #: A gateway answers 504 with a JSON detail after so long; LNbits goes on.
    gateway_timeout_s: float | None = None
    #: LNbits is killed when this call comes to the step of this name ("debit.committed", ..).
    kill_at: str | None = None
    #: So long is waited at the step of this name, with whatever locks are held there.
    wait_at: tuple[str, float] | None = None


NO_FAULT = Fault()

Matcher = Callable[[Call], bool]


def any_call(_call: Call) -> bool:
    return True


@dataclass(slots=True)
class Faults:
    """Which call meets which fault. `once` comes before `rates`; change both at any time.

    `once`: the first call that matches takes the fault and removes it. `rates`: (probability, which calls, fault),
    drawn in turn; the first that hits is taken.
    """

    once: deque[tuple[Matcher, Fault]] = field(default_factory=deque)
    rates: list[tuple[float, Matcher, Fault]] = field(default_factory=list)

    def next(self, fault: Fault, matcher: Matcher = any_call) -> None:
        """The next call that matches meets this fault."""
        self.once.append((matcher, fault))

    def draw(self, call: Call, chance: random.Random) -> Fault:
        for planned in self.once:
            if planned[0](call):
                self.once.remove(planned)
                return planned[1]
        for probability, matcher, fault in self.rates:
            if matcher(call) and chance.random() < probability:
                return fault
        return NO_FAULT
