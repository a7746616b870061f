"""The ladder that every event climbs before it is believed."""

from __future__ import annotations

from dataclasses import replace

from satmachine.nostr.event import Event, Fault
from satmachine.nostr.intake import Dropped, Intake, Lane
from satmachine.nostr.limits import Limits
from testkit.relays import NOW, Collector, Machine

MACHINE, STRANGER = Machine(), Machine()
AUTHORS = frozenset({MACHINE.pubkey})
URL = "ws://test"


class Setting:
    def __init__(self, **limits: int) -> None:
        self.limits = replace(Limits(), **limits)
        self.settlements = self._lane(self.limits.settlement_queue)
        self.telemetry = self._lane(self.limits.telemetry_queue)
        self.now = float(NOW)
        self.intake = Intake(self.settlements, self.telemetry, self.limits, lambda: self.now)

    def _lane(self, capacity: int) -> Lane:
        return Lane("test", Collector(), self.limits, capacity=capacity, attempts=None, on_lost=lambda _: None)

    def take(self, event: Event, authors: frozenset[str] = AUTHORS) -> Event | Dropped | Fault:
        # As decoded JSON has it.
        raw = {**event.to_dict(), "tags": [list(tag) for tag in event.tags]}
        return self.intake.take(raw, authors, URL)


def test_settlements_and_telemetry_go_to_lanes_of_their_own() -> None:
    setting = Setting()
    for kind in (21000, 30078, 30079):
        event = MACHINE.event(kind=kind)
        assert setting.take(event) == event
    assert (len(setting.settlements), len(setting.telemetry)) == (1, 2)


def test_the_second_copy_is_a_duplicate() -> None:
    setting = Setting()
    event = MACHINE.event()
    assert setting.take(event) == event
    assert setting.take(event) is Dropped.DUPLICATE
    assert setting.intake.is_duplicate(f'["EVENT","s",{event.to_json()}]'.encode())


def test_strangers_and_other_kinds_go_no_further() -> None:
    setting = Setting()
    assert setting.take(STRANGER.event()) is Fault.UNKNOWN_AUTHOR
    assert setting.take(MACHINE.event(kind=1)) is Fault.WRONG_KIND
    assert setting.intake.take([], AUTHORS, URL) is Fault.BAD_SHAPE


def test_a_forgery_does_not_keep_the_true_event_out() -> None:
    setting = Setting()
    event = MACHINE.event('{"net_sats": 5}')
    assert setting.take(event._replace(content='{"net_sats": 6}')) is Fault.FALSE_ID
    assert setting.take(event._replace(sig="00" * 64)) is Fault.BAD_SIGNATURE
    assert not setting.intake.is_duplicate(f'["EVENT","s",{event.to_json()}]'.encode())
    assert setting.take(event) == event


def test_a_full_telemetry_queue_sheds_telemetry_only_and_takes_it_later() -> None:
    setting = Setting(telemetry_queue=1)
    first, second = MACHINE.event("1", kind=30078), MACHINE.event("2", kind=30078)
    assert setting.take(first) == first
    assert setting.take(second) is Dropped.SHED
    settlement = MACHINE.event()
    assert setting.take(settlement) == settlement
    assert not setting.intake.must_wait


def test_a_full_settlement_queue_makes_the_sockets_wait_and_sheds_nothing() -> None:
    setting = Setting(settlement_queue=1)
    events = [MACHINE.event(str(n)) for n in range(2)]
    assert setting.take(events[0]) == events[0]
    assert setting.intake.must_wait
    assert setting.take(events[1]) == events[1]


def test_a_flooding_machine_uses_up_its_own_budget_only() -> None:
    setting = Setting(telemetry_burst=2, telemetry_per_s=1)
    flood = [MACHINE.event(str(n), kind=30078) for n in range(4)]
    assert [setting.take(event) is Dropped.SHED for event in flood] == [False, False, True, True]
    other = STRANGER.event(kind=30078)
    assert setting.take(other, frozenset({STRANGER.pubkey})) == other
    settlements = [MACHINE.event(str(n)) for n in range(100)]
    assert [setting.take(event) for event in settlements] == settlements
    setting.now += 1
    assert setting.take(flood[2]) == flood[2]


def test_a_stolen_key_that_floods_with_settlements_meets_its_own_budget() -> None:
    setting = Setting(settlement_burst=3, settlements_per_s=1)
    flood = [MACHINE.event(str(n)) for n in range(5)]
    assert [setting.take(event) is Dropped.SHED for event in flood] == [False, False, False, True, True]
    other = STRANGER.event()
    assert setting.take(other, frozenset({STRANGER.pubkey})) == other
    setting.now += 1
    assert setting.take(flood[4]) == flood[4], "what was shed is not seen: it is taken when it comes again"


def test_forgeries_are_not_charged_to_the_machine_they_name() -> None:
    setting = Setting(telemetry_burst=1, telemetry_per_s=1)
    event = MACHINE.event("true", kind=30078)
    for _ in range(5):
        assert setting.take(event._replace(sig="00" * 64)) is Fault.BAD_SIGNATURE
    assert setting.take(event) == event
