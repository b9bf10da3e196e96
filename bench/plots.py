"""Plots and table of docs/performance.md from the figures of `bench/growth.py`: plain SVG, no library.

python bench/plots.py build/bench/growth.json docs
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- growth: written by bench/plots.py -->", "<!-- end of growth -->"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 300, 70, 110, 36, 46
COLOURS = ("#1f6f8b", "#c8553d")

Point = dict[str, Any]


def seconds(point: Point) -> float:
    return float(point["seconds"])


def microseconds_a_token(point: Point) -> float:
    return 1e6 * seconds(point) / float(point["tokens"])


def documents(point: Point) -> float:
    return float(point["documents"])


def length(point: Point) -> float:
    return float(point["tokens"]) / documents(point)


def processors(point: Point) -> float:
    return float(point["cores"])


def memory(point: Point) -> float:
    return float(point["worker_mebibytes"])


def rate(point: Point) -> float:
    return float(point["bytes"]) / 1e6 / seconds(point)


# File, title, what grows, what is shown against what, and the names of both.
PLOTS: tuple[tuple[str, str, str, Callable[[Point], float], Callable[[Point], float], str, str], ...] = (
    ("time", "Time by number of documents", "documents", documents, seconds, "documents", "seconds"),
    ("memory", "Memory by number of documents", "documents", documents, memory, "documents", "peak MiB a worker"),
    ("length", "Cost of a token by length", "length", length, microseconds_a_token, "tokens a document", "µs a token"),
    ("cores", "Speed by cores", "cores", processors, rate, "cores", "MB/s"),
)


def write_docs(figures: Path, docs: Path) -> None:
    """Draw the plots into `plots` under the docs, and put them and the table between the marks of performance.md."""
    found = json.loads(figures.read_text(encoding="utf-8"))
    folder = docs / "plots"
    folder.mkdir(exist_ok=True)
    shown = []
    for name, title, grows, x, y, x_name, y_name in PLOTS:
        of_it = [point for point in found["figures"] if point["grows"] == grows]
        series = {
            stage: [(x(point), y(point)) for point in of_it if point["stage"] == stage]
            for stage in ("EXECUTE", "WRITE")
        }
        (folder / f"growth-{name}.svg").write_text(plot(title, series, x_name, y_name), encoding="utf-8")
        shown.append(f"![{title}](plots/growth-{name}.svg)")
    page = docs / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n\n".join([BEGIN, *shown, table(found), END])
    page.write_text(before + text + after, encoding="utf-8")


def table(found: dict[str, Any]) -> str:
    """The figures as a table in Markdown, with the versions under it."""
    rows = ["| stage | grows | documents | MB | cores | seconds | µs a token | peak MiB a worker |"]
    rows.append("|---|---|" + "---:|" * 6)
    for point in found["figures"]:
        values = (
            documents(point),
            point["bytes"] / 1e6,
            processors(point),
            seconds(point),
            microseconds_a_token(point),
        )
        numbers = " | ".join(number(value) for value in (*values, memory(point)))
        rows.append(f"| {point['stage']} | {point['grows']} | {numbers} |")
    versions = ", ".join(f"{name} {version}" for name, version in found["environment"].items())
    return "\n".join(rows) + f"\n\n{versions}"


def plot(title: str, series: dict[str, list[tuple[float, float]]], x_name: str, y_name: str) -> str:
    """Lines over two logarithmic axes, as SVG."""
    points = [point for line in series.values() for point in line]
    xs, ys = axis([x for x, _ in points]), axis([y for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        right = LEFT + share(x, xs) * (WIDTH - LEFT - RIGHT)
        return round(right, 1), round(HEIGHT - BOTTOM - share(y, ys) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12">',
        "<style>text { font-family: sans-serif }</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>',
    ]
    for value in ys:
        _, y = place(xs[0], value)
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{number(value)}</text>')
    for value in xs:
        x, _ = place(value, ys[0])
        parts.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number(value)}</text>')
    for colour, (name, line) in zip(COLOURS, series.items(), strict=True):
        if not line:
            continue
        placed = [place(x, y) for x, y in sorted(line)]
        path = " ".join(f"{x},{y}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in placed]
        parts.append(f'<text x="{placed[-1][0] + 8}" y="{placed[-1][1] + 4}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def axis(values: list[float]) -> list[float]:
    """Marks of a logarithmic axis that reach around the values: powers of ten, or of two where they lie close."""
    low, high = min(values), max(values)
    base = 10.0 if high / low > 20 else 2.0
    first, last = (math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9))
    return [base**power for power in range(first, max(last, first + 1) + 1)]


def share(value: float, marks: list[float]) -> float:
    """How far along an axis a value lies, 0 to 1."""
    return math.log(value / marks[0]) / math.log(marks[-1] / marks[0])


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    write_docs(Path(sys.argv[1]), Path(sys.argv[2]))
