"""Curves and bars as SVG. Pure: numbers in, text out.

They contain no style, only classes: the page's style sheet has the colours.
Every chart has a name for those who cannot see it; the page has the same figures as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 6, 26, 26


def bars(values: Sequence[int], labels: Sequence[str], title: str, top: str) -> str:
    """A bar for each value (0 or more), labelled below if there is room; `top` is the highest value in words."""
    highest = max(values, default=0) or 1
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(values), 1)
    room = _HEIGHT - _TOP - _BOTTOM
    every = max(1, -(-len(values) // 12))
    body = []
    for index, (value, label) in enumerate(zip(values, labels, strict=True)):
        x, height = _LEFT + index * step, room * value / highest
        body.append(
            f'<rect class="bar" x="{x + step * 0.12:.1f}" y="{_TOP + room - height:.1f}" width="{step * 0.76:.1f}" '
            f'height="{height:.1f}"><title>{escape(label)}</title></rect>'
        )
        if index % every == 0:
            body.append(f'<text class="tick" x="{x + step / 2:.1f}" y="{_HEIGHT - 6}">{escape(label)}</text>')
    return _svg(title, top, body)


def steps(
    points: Sequence[tuple[int, int]],
    since: int,
    until: int,
    title: str,
    top: str,
    ticks: Sequence[str],
    *,
    now: int | None = None,
) -> str:
    """A value that stays the same from each point (time, value) to the next, as steps; `ticks` are spread evenly
    below. Nothing is drawn after `now`, which may be before `until`."""
    span, room = max(until - since, 1), _HEIGHT - _TOP - _BOTTOM
    highest = max((value for _, value in points), default=0) or 1

    def at(when: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (min(max(when, since), until) - since) / span

    path = ""
    for when, value in points:
        y = _TOP + room * (1 - max(value, 0) / highest)
        path += f"M{at(when):.1f},{y:.1f}" if not path else f"H{at(when):.1f}V{y:.1f}"
    body = []
    if path:
        path += f"H{at(until if now is None else now):.1f}"
        first = at(points[0][0])
        body.append(f'<path class="area" d="{path}V{_TOP + room:.1f}H{first:.1f}Z"/><path class="line" d="{path}"/>')
    for index, tick in enumerate(ticks):
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (index + 0.5) / len(ticks)
        body.append(f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 6}">{escape(tick)}</text>')
    return _svg(title, top, body)


def meter(percent: int | None, label: str) -> str:
    """How full something is; the text says it too."""
    if percent is None:
        return ""
    kind = "low" if percent < 20 else "scarce" if percent < 40 else "good"
    return (
        f'<svg class="meter" viewBox="0 0 100 10" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>"
        f'<rect class="trough" width="100" height="10" rx="2"/>'
        f'<rect class="fill {kind}" width="{min(max(percent, 0), 100)}" height="10" rx="2"/></svg>'
    )


def _svg(title: str, top: str, body: Sequence[str]) -> str:
    base = _HEIGHT - _BOTTOM
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
        f'<line class="axis" x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}"/>'
        f'<line class="grid" x1="{_LEFT}" y1="{_TOP}" x2="{_WIDTH - _RIGHT}" y2="{_TOP}"/>'
        f'<text class="top" x="{_LEFT}" y="{_TOP - 7}">{escape(top)}</text>{"".join(body)}</svg>'
    )
