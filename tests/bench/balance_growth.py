"""Time against size: the fitted exponent, and the pictures beside a README."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 320, 220, 60, 30, 20
_COLOURS = ("#06c", "#c60")  # ours first
_APART = 34  # pixels between two sizes that are both named


def exponent(ms_of: Mapping[int, float]) -> float:
    """b of ms = a n^b, by least squares on logarithms."""
    slope, _ = np.polyfit(np.log(list(ms_of)), np.log(list(ms_of.values())), 1)
    return float(slope)


def draw(
    path: Path,
    panels: Mapping[str, Mapping[str, Mapping[int, float]]],
    heading: str = "ms a solve against",
    *,
    fitted: bool = True,
) -> None:
    """Panels of curves on logarithmic axes, as SVG: title -> name -> size -> ms.

    fitted: the curves are powers, and their exponents are told.
    """
    width = len(panels) * (_LEFT + _WIDTH) + (len(panels) - 1) * _GAP + _LEFT // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" '
        f'height="{_HEIGHT + 2 * _TOP + 20}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, (title, curves) in enumerate(panels.items()):
        parts += _panel(
            _LEFT + place * (_LEFT + _WIDTH + _GAP), f"{heading} {title}", curves, fitted
        )
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _panel(
    left: int, title: str, curves: Mapping[str, Mapping[int, float]], fitted: bool
) -> list[str]:
    every = np.array([ms for curve in curves.values() for ms in curve.values()])
    low, high = 10.0 ** np.floor(np.log10(every.min())), 10.0 ** np.ceil(np.log10(every.max()))
    sizes = list(next(iter(curves.values())))

    def x(n: float) -> float:
        return float(left + _WIDTH * np.log(n / sizes[0]) / np.log(sizes[-1] / sizes[0]))

    def y(ms: float) -> float:
        return float(_TOP + _HEIGHT * (1 - np.log(ms / low) / np.log(high / low)))

    parts = [
        f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke="#888"/>',
        f'<text x="{left}" y="{_TOP - 10}">{title}</text>',
    ]
    for ms in 10.0 ** np.arange(np.log10(low), np.log10(high) + 0.5):
        parts.append(f'<text x="{left - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(ms):.1f}" y2="{y(ms):.1f}" '
            'stroke="#ddd"/>'
        )
    named = sizes[-1:]
    for n in sizes[-2::-1]:
        if x(named[0]) - x(n) >= _APART:
            named.insert(0, n)
    parts += [
        f'<text x="{x(n):.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{n:g}</text>'
        for n in named
    ]
    for place, ((name, curve), colour) in enumerate(zip(curves.items(), _COLOURS, strict=False)):
        points = [(x(n), y(ms)) for n, ms in curve.items()]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
            + " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            + '"/>'
        )
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in points]
        told = f"{name}: exponent {exponent(curve):.2f}" if fitted else name
        parts.append(
            f'<text x="{left + 8}" y="{_TOP + 16 + 15 * place}" fill="{colour}">{told}</text>'
        )
    return parts
