"""Geometry of the two SVG charts of the overview. The style sheet sets the colours."""

from typing import Any, NamedTuple

WIDTH = 720
LABEL_WIDTH = 130
COUNT_WIDTH = 70
BAR_HEIGHT = 18
BAR_STEP = 26
COLUMNS_HEIGHT = 160
AXIS_HEIGHT = 20


class Bar(NamedTuple):
    """A bar divided into parts, each a name, which is also its CSS class, and a number."""

    label: str
    parts: list[tuple[str, int]]

    @property
    def total(self) -> int:
        """Return the sum of the parts of the bar."""
        return sum(number for _, number in self.parts)


def stacked_bars(bars: list[Bar]) -> dict[str, Any]:
    """Lay out horizontal bars below each other, with their labels on the left."""
    longest = max((bar.total for bar in bars), default=0) or 1
    scale = (WIDTH - LABEL_WIDTH - COUNT_WIDTH) / longest
    drawn = []
    for row, bar in enumerate(bars):
        x: float = LABEL_WIDTH
        rectangles = []
        for name, number in bar.parts:
            rectangles.append(rectangle(name, number, x=x, width=number * scale))
            x += number * scale
        drawn.append(
            {
                "label": bar.label,
                "total": bar.total,
                "y": row * BAR_STEP,
                "text_y": row * BAR_STEP + BAR_HEIGHT - 4,
                "end": round(x + 6, 1),
                "rectangles": [part for part in rectangles if part["number"]],
            }
        )
    return {
        "width": WIDTH,
        "height": max(len(bars) * BAR_STEP, BAR_STEP),
        "label_x": LABEL_WIDTH - 8,
        "bar_height": BAR_HEIGHT,
        "bars": drawn,
    }


def columns(bars: list[Bar]) -> dict[str, Any]:
    """Lay out vertical bars side by side, with their labels below."""
    highest = max((bar.total for bar in bars), default=0)
    scale = (COLUMNS_HEIGHT - AXIS_HEIGHT) / (highest or 1)
    step = WIDTH / max(len(bars), 1)
    drawn = []
    for position, bar in enumerate(bars):
        y: float = COLUMNS_HEIGHT - AXIS_HEIGHT
        rectangles = []
        for name, number in bar.parts:
            y -= number * scale
            rectangles.append(rectangle(name, number, y=y, height=number * scale))
        drawn.append(
            {
                "label": bar.label,
                "x": round(position * step + 2, 1),
                "text_x": round((position + 0.5) * step, 1),
                "rectangles": [part for part in rectangles if part["number"]],
            }
        )
    return {
        "width": WIDTH,
        "height": COLUMNS_HEIGHT,
        "column_width": round(step - 4, 1),
        "axis_y": COLUMNS_HEIGHT - AXIS_HEIGHT,
        "text_y": COLUMNS_HEIGHT - 4,
        "highest": highest,
        "bars": drawn,
    }


def rectangle(name: str, number: int, **geometry: float) -> dict[str, Any]:
    """Return one part of a bar, its geometry rounded to a tenth of a pixel."""
    rounded = {key: round(value, 1) for key, value in geometry.items()}
    return {"name": name, "number": number, **rounded}
