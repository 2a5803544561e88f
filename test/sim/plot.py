#!/usr/bin/env python3
"""Draws what scenarios have sampled: one SVG for each <name>.csv.

usage: test/sim/plot.py FROM TO

A file begins with marks ("# seconds text"), then columns "panel: name"; each panel is a chart of
its own under the same time axis. Colours are readable on a light and on a dark page.
"""
import csv
import math
import sys
from html import escape
from pathlib import Path

WIDTH, PANEL, LEFT, RIGHT, TOP, GAP, BOTTOM = 860, 120, 60, 150, 30, 26, 34
POINTS = 240  # along the time axis; more are averaged
COLOURS = ("#3b82f6", "#16a34a", "#ef4444", "#d97706", "#a855f7")
GREY = "#808893"


def read(path):
    marks, rows = [], []
    with open(path, encoding="utf-8", newline="") as f:
        lines = list(f)
    for line in lines:
        if line.startswith("# "):
            at, text = line[2:].strip().split(" ", 1)
            marks.append((float(at), text))
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    values = [[float(x) for x in row] for row in rows[1:]]
    times = [row[0] for row in values]
    panels = {}
    for i, name in enumerate(rows[0][1:], 1):
        panel, line = name.split(": ", 1)
        panels.setdefault(panel, []).append((line, [row[i] for row in values]))
    return marks, times, panels


def thin(values):
    step = max(1, math.ceil(len(values) / POINTS))
    return [sum(values[i : i + step]) / len(values[i : i + step]) for i in range(0, len(values), step)]


def nice(most):
    """A round number that is a little more."""
    if most <= 0:
        return 1
    unit = 10 ** math.floor(math.log10(most))
    return next(m * unit for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * unit >= most * 0.999)


def label(value):
    return f"{value / 1000:g}k" if value >= 10000 else f"{value:g}"


class Chart:
    def __init__(self, end, height):
        self.end, self.out = end, []
        self.size = (WIDTH, height)

    def x(self, t):
        return LEFT + (WIDTH - LEFT - RIGHT) * t / self.end

    def text(self, x, y, what, anchor="start", fill=GREY):
        self.out.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}">'
                        f"{escape(what)}</text>")  # fmt: skip

    def line(self, x1, y1, x2, y2, extra=""):
        self.out.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{GREY}"'
                        f' stroke-width=".7" opacity=".6" {extra}/>')  # fmt: skip

    def panel(self, top, title, lines, times):
        most = nice(max(max(thin(v)) for _, v in lines))
        self.text(LEFT, top - 6, title)
        for part in (0, 0.5, 1):
            y = top + PANEL * (1 - part)
            self.line(LEFT, y, WIDTH - RIGHT, y, "" if part == 0 else 'stroke-dasharray="2 4"')
            self.text(LEFT - 6, y + 4, label(most * part), "end")
        at = thin(times)
        for i, (name, values) in enumerate(lines):
            colour = COLOURS[i % len(COLOURS)]
            points = " ".join(f"{self.x(t):.1f},{top + PANEL * (1 - v / most):.1f}"
                              for t, v in zip(at, thin(values)))  # fmt: skip
            self.out.append(f'<polyline points="{points}" fill="none" stroke="{colour}"'
                            ' stroke-width="1.6" stroke-linejoin="round"/>')  # fmt: skip
            self.text(WIDTH - RIGHT + 10, top + 14 + 18 * i, name, fill=colour)

    def mark(self, t, text, bottom, level):
        self.line(self.x(t), TOP - 8, self.x(t), bottom, 'stroke-dasharray="5 3"')
        self.text(self.x(t) + 3, TOP - 18 + 9 * level, text)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.size[0]} {self.size[1]}"'
                    ' font-family="sans-serif" font-size="12">\n')  # fmt: skip
            f.write("\n".join(self.out) + "\n</svg>\n")


def draw(source, target):
    marks, times, panels = read(source)
    top = TOP + 22
    height = top + len(panels) * (PANEL + GAP) + BOTTOM - GAP
    chart = Chart(times[-1], height)
    bottom = height - BOTTOM
    for i, (t, text) in enumerate(marks):
        chart.mark(t, text, bottom, i % 2)
    for i, (title, lines) in enumerate(panels.items()):
        chart.panel(top + i * (PANEL + GAP), title, lines, times)
    step = nice(times[-1] / 8)
    for i in range(int(times[-1] / step) + 1):
        chart.text(chart.x(i * step), bottom + 16, label(i * step), "middle")
    chart.text(WIDTH - RIGHT + 24, bottom + 16, "seconds")
    chart.write(target)


def main():
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    files = sorted(source.glob("*.csv"))
    for file in files:
        draw(file, target / f"{file.stem}.svg")
    print(f"{len(files)} pictures in {target}")
    return 0 if files else 1


if __name__ == "__main__":
    sys.exit(main())
