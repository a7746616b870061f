"""Where every sat of a sale went, as a picture: what was paid on the left, where it went on the right. Pure.

The heights are the sats. Each thing on the right drinks from the part of the sale to which it belongs (the commission,
what goes to the LPs, what was not handed out) and, if that is empty, from the next: so the bands add up on both sides,
whatever was corrected since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from satmachine.models import LegStatus, LegType
from satmachine.models.leg_types import OF_THE_SALE
from satmachine.settlements.explain import counted_sats

Record = Mapping[str, Any]

NET, COMMISSION, UNDISPENSED, TOPPED_UP = "net", "commission", "undispensed", "topped_up"
#: The parts of a sale, as they are drawn.
_PARTS = (NET, COMMISSION, UNDISPENSED, TOPPED_UP)

#: From which part of the sale something drinks first.
_DRINKS_FROM = {
    LegType.SUPER_FEE: (COMMISSION, NET, UNDISPENSED, TOPPED_UP),
    LegType.OPERATOR_SPLIT: (COMMISSION, NET, UNDISPENSED, TOPPED_UP),
    LegType.DCA: (NET, COMMISSION, UNDISPENSED, TOPPED_UP),
    LegType.REFUND: (TOPPED_UP, UNDISPENSED, NET, COMMISSION),
}

_WIDTH, _HEIGHT = 760, 340
_GAP, _NODE = 14, 14
_LEFT, _MIDDLE, _RIGHT = 6, 200, 520
#: Nothing is drawn thinner than this, however few sats it is.
_MIN = 1.5


@dataclass(frozen=True, slots=True)
class FlowNode:
    """Something that sats go to: `kind` is the class that it is drawn with."""

    name: str
    amount_sats: int
    kind: str
    drinks_from: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """`parts` of the sale and the `places` its sats go to, with the bands (part, place, sats) between. `gross_sats` are
    the customer's, `came_in_sats` also what was topped up."""

    gross_sats: int
    came_in_sats: int
    parts: tuple[tuple[str, int], ...]
    places: tuple[FlowNode, ...]
    bands: tuple[tuple[int, int, int], ...]


def flow_of(settlement: Record, legs: Sequence[Record], retained: Sequence[Record], names: Mapping[int, str]) -> Flow:
    """Where the sats of a sale go, or are planned to. `names` are the LPs' by their id; amounts in sats."""
    places = [_leg_place(leg, names) for leg in legs if leg["leg_type"] in OF_THE_SALE and counted_sats(leg)]
    kept: dict[str, int] = {}
    for row in retained:
        part = _part_of(row)
        kept[part] = kept.get(part, 0) + row["amount_sats"]
    places += [_kept_place(part, amount) for part, amount in kept.items() if amount > 0]
    parts = [(part, settlement[column]) for part in _PARTS for column in [f"{part}_sats"] if settlement[column]]
    came_in_sats = settlement["gross_sats"] + settlement["topped_up_sats"]
    missing = came_in_sats - sum(place.amount_sats for place in places)
    if missing > 0:
        places.append(FlowNode("", missing, "open", _PARTS))
    places.sort(key=lambda place: _PARTS.index(place.drinks_from[0]))  # stable: so few bands cross
    return Flow(settlement["gross_sats"], came_in_sats, tuple(parts), tuple(places), tuple(_bands(parts, places)))


def _leg_place(leg: Record, names: Mapping[int, str]) -> FlowNode:
    name = names.get(leg["client_id"]) or leg["label"] or leg["leg_type"]
    kind = "paid" if leg["status"] == LegStatus.COMPLETED else "waits"
    if leg["status"] in (LegStatus.HELD, LegStatus.FAILED):
        kind = "trouble"
    return FlowNode(name, counted_sats(leg), f"{kind} {leg['leg_type']}", _DRINKS_FROM[LegType(leg["leg_type"])])


def _kept_place(part: str, amount_sats: int) -> FlowNode:
    others = tuple(other for other in _PARTS if other != part)
    return FlowNode("retained", amount_sats, "retained", (part, *others))


def _part_of(row: Record) -> str:
    """Which part of the sale a retained amount was meant for."""
    leg, reason = str(row["leg"]), str(row["reason"])
    if reason == "shortfall":
        return TOPPED_UP
    if reason == "undispensed" or leg.startswith("refund"):
        return UNDISPENSED
    if leg == "super" or leg.startswith("split:") or reason in ("no_super_payee", "no_ruleset"):
        return COMMISSION
    return NET


def _bands(parts: Sequence[tuple[str, int]], places: Sequence[FlowNode]) -> list[tuple[int, int, int]]:
    left = dict(parts)
    order = [part for part, _ in parts]
    bands: list[tuple[int, int, int]] = []
    for choice in range(len(_PARTS)):
        for index, place in enumerate(places):
            had = sum(sats for _, other, sats in bands if other == index)
            part = place.drinks_from[choice]
            sats = min(left.get(part, 0), place.amount_sats - had)
            if sats > 0:
                left[part] -= sats
                bands.append((order.index(part), index, sats))
    return bands


# --- drawing


@dataclass(slots=True)
class _Node:
    x: float
    y: float
    height: float
    used: float = 0.0


def draw(flow: Flow, say: Mapping[str, str], amount: Mapping[int, str] | None = None) -> str:
    """The picture as SVG, without any style of its own: classes only. `say` has the words, `amount` texts of sats."""
    told = {} if amount is None else amount
    parts = [(say.get(part, part), sats) for part, sats in flow.parts]
    scale = _scale(flow)
    whole = _Node(_LEFT, 20, flow.gross_sats * scale)
    middle = _column(_MIDDLE, [sats for _, sats in parts], scale)
    right = _column(_RIGHT, [place.amount_sats for place in flow.places], scale)
    height = max(node.y + node.height for node in (whole, *middle, *right)) + 24
    # What was topped up did not come from the customer.
    body = [
        _band(whole, node, sats * scale, part)
        for (part, sats), node in zip(flow.parts, middle, strict=True)
        if part != TOPPED_UP
    ]
    for node in middle:
        node.used = 0.0
    for part_index, index, sats in sorted(flow.bands):
        body.append(_band(middle[part_index], right[index], sats * scale, flow.places[index].kind))
    body.append(_box(whole, "gross") + _label(whole, say.get("gross", "gross"), told.get(flow.gross_sats, ""), up=True))
    for (name, sats), node, (part, _) in zip(parts, middle, flow.parts, strict=True):
        body.append(_box(node, part) + _label(node, name, told.get(sats, str(sats))))
    for place, node in zip(flow.places, right, strict=True):
        name = say.get(place.name, place.name)
        body.append(_box(node, place.kind) + _label(node, name, told.get(place.amount_sats, str(place.amount_sats))))
    title = escape(say.get("title", "Where the sats went"))
    return (
        f'<svg class="flow" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(body)}</svg>"
    )


def _scale(flow: Flow) -> float:
    rows = max(len(flow.places), len(flow.parts), 1)
    room = max(_HEIGHT, rows * 26) - 20 - _GAP * (rows - 1)
    return max(room, 60) / max(flow.came_in_sats, 1)


def _column(x: float, amounts: Sequence[int], scale: float) -> list[_Node]:
    """Nodes one below the other, each with room for its label."""
    nodes, y = [], 20.0
    for sats in amounts:
        node = _Node(x, y, max(_MIN, sats * scale))
        nodes.append(node)
        y += max(node.height + _GAP, 26)
    return nodes


def _band(source: _Node, target: _Node, height: float, kind: str) -> str:
    height = max(_MIN, height)
    x0, x1 = source.x + _NODE, target.x
    y0, y1 = source.y + source.used, target.y + target.used
    source.used += height
    target.used += height
    half = (x0 + x1) / 2
    return (
        f'<path class="band {escape(kind)}" d="M{x0:.1f},{y0:.1f} C{half:.1f},{y0:.1f} {half:.1f},{y1:.1f} '
        f"{x1:.1f},{y1:.1f} L{x1:.1f},{y1 + height:.1f} C{half:.1f},{y1 + height:.1f} {half:.1f},{y0 + height:.1f} "
        f'{x0:.1f},{y0 + height:.1f} Z"/>'
    )


def _box(node: _Node, kind: str) -> str:
    return (
        f'<rect class="node {escape(kind)}" x="{node.x:.1f}" y="{node.y:.1f}" width="{_NODE}" '
        f'height="{node.height:.1f}" rx="2"/>'
    )


def _label(node: _Node, name: str, amount: str, *, up: bool = False) -> str:
    x, y = (node.x, 14.0) if up else (node.x + _NODE + 6, node.y + min(node.height / 2, 12) + 4)
    return f'<text x="{x:.1f}" y="{y:.1f}">{escape(name)} <tspan class="amount">{escape(amount)}</tspan></text>'
