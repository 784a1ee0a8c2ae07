"""Memory over a day as an SVG: lines, their names, and the events below. It follows the reader's colour scheme."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 64, 104
_PLOT_W, _PLOT_H = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_EVENTS_H = 44
_VIEW = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 11px; fill: #59636e }
.title { font-weight: 600; font-size: 14px } .grid { stroke: #d1d9e0 } .events { fill: #afb8c1 }
path.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.s0 { stroke: #0969da; stroke-width: 2.6 } .s1 { stroke: #bc4c00 } .s2 { stroke: #8250df }
.s3 { stroke: #bc4c00; stroke-dasharray: 2 3 } .s4 { stroke: #59636e; stroke-dasharray: 6 4 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d } .events { fill: #484f58 }
  .s0 { stroke: #4493f8 } .s1, .s3 { stroke: #f0883e } .s2 { stroke: #ab7df8 } .s4 { stroke: #9198a1 }
}
"""


class Line(NamedTuple):
    """A name, and MiB at hours of the day, in order."""

    name: str
    points: Sequence[tuple[float, float]]


def drawing(title: str, lines: Sequence[Line], events: Sequence[int], note: str) -> str:
    """Return the SVG. `events`: how many there were in each of equal parts of the day."""
    step = _step(max((mib for line in lines for _, mib in line.points), default=1.0))
    top = step * 5
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" {_VIEW} role="img">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_LEFT}" y="22">{title}</text>',
        *_names(lines),
        *(_grid(step * number, top) for number in range(6)),
        *(_hour(hour) for hour in range(0, 25, 4)),
        *(_path(line, number, top) for number, line in enumerate(lines)),
        *_bars(events),
        f'<text class="small" x="{_LEFT}" y="{HEIGHT - 8}">{note}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _step(most: float) -> float:
    """Return a fifth of the axis: 1, 2, or 5 times a power of ten."""
    size = 1.0
    while True:
        for step in (size, 2 * size, 5 * size):
            if step * 5 >= most:
                return step
        size *= 10


def _x(hour: float) -> float:
    return round(_LEFT + _PLOT_W * hour / 24, 1)


def _y(mib: float, top: float) -> float:
    return round(_TOP + _PLOT_H * (1 - mib / top), 1)


def _names(lines: Sequence[Line]) -> list[str]:
    found, x = [], _LEFT
    for number, line in enumerate(lines):
        found.append(f'<path class="line s{number}" d="M{x} 42h22"/><text x="{x + 28}" y="46">{line.name}</text>')
        x += 28 + 7 * len(line.name) + 24
    return found


def _grid(mib: float, top: float) -> str:
    y = _y(mib, top)
    line = f'<path class="grid" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>'
    return f'{line}<text class="small" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{mib:g} MiB</text>'


def _hour(hour: int) -> str:
    y = HEIGHT - _BOTTOM + _EVENTS_H + 24
    return f'<text class="small" x="{_x(hour)}" y="{y}" text-anchor="middle">{hour}:00</text>'


def _path(line: Line, number: int, top: float) -> str:
    steps = " ".join(f"{_x(hour)} {_y(mib, top)}" for hour, mib in line.points)
    return f'<path class="line s{number}" d="M{steps}"/>'


def _bars(events: Sequence[int]) -> list[str]:
    width, most, foot = 24 / len(events), max(events), HEIGHT - _BOTTOM + _EVENTS_H + 8
    steps = []
    for number, count in enumerate(events):
        y = round(foot - _EVENTS_H * count / most, 1)
        steps.append(f"L{_x(number * width)} {y}L{_x((number + 1) * width)} {y}")
    area = f'<path class="events" d="M{_LEFT} {foot}{"".join(steps)}V{foot}Z"/>'
    return [area, f'<text class="small" x="{_LEFT - 8}" y="{foot - _EVENTS_H / 2}" text-anchor="end">events</text>']
