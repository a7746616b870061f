"""A line of steps as SVG, for pages without scripts. Pure; exact numbers in, whole pixels out."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from html import escape

#: Of the drawing, in its own units; the page scales it.
_WIDTH, _HEIGHT = 720, 180
_LEFT, _TOP, _BOTTOM = 8, 22, 24
#: Nobody can distinguish more steps than this.
_MOST_POINTS = 360


def step_chart(points: Sequence[tuple[int, Decimal]], end: int, told: str, days: tuple[str, str], highest: str) -> str:
    """An amount over time: each of (Unix seconds, amount) holds until the next, the last until `end`.

    `told` is what the picture says, for those who cannot see it; `days` are at its corners, `highest` is at its top.
    """
    begin = points[0][0]
    most = max([amount for _, amount in points] + [Decimal(1)])
    span = max(end - begin, 1)
    shown = _thinned(points)
    path = []
    for number, (at, amount) in enumerate(shown):
        x, y = _x(at - begin, span), _y(amount, most)
        path.append(f"M{x} {y}" if number == 0 else f"H{x}V{y}")
    path.append(f"H{_WIDTH - _LEFT}")
    floor = _HEIGHT - _BOTTOM
    text = 'font-size="12" fill="var(--quiet)"'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(told)}">'
        f'<path d="M{_LEFT} {floor}H{_WIDTH - _LEFT}M{_LEFT} {_TOP}H{_WIDTH - _LEFT}" stroke="var(--line)"/>'
        f'<path d="{"".join(path)}" fill="none" stroke="var(--accent)" stroke-width="2" stroke-linejoin="round"/>'
        f'<text x="{_LEFT}" y="{_TOP - 7}" {text}>{escape(highest)}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 7}" {text}>{escape(days[0])}</text>'
        f'<text x="{_WIDTH - _LEFT}" y="{_HEIGHT - 7}" text-anchor="end" {text}>{escape(days[1])}</text></svg>'
    )


def _thinned(points: Sequence[tuple[int, Decimal]]) -> list[tuple[int, Decimal]]:
    """At most this many, including the first and the last."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    places = {number * (len(points) - 1) // (_MOST_POINTS - 1) for number in range(_MOST_POINTS)}
    return [points[place] for place in sorted(places)]


def _x(after: int, span: int) -> int:
    return _LEFT + (_WIDTH - 2 * _LEFT) * min(max(after, 0), span) // span


def _y(amount: Decimal, most: Decimal) -> int:
    room = _HEIGHT - _TOP - _BOTTOM
    high = (max(amount, Decimal(0)) * room / most).to_integral_value(ROUND_HALF_EVEN)
    return _HEIGHT - _BOTTOM - int(high)
