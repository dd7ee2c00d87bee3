"""Time against size: the fitted exponent, and the picture beside the kernel's README."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 320, 220, 60, 30, 80


def exponent(ms_of: Mapping[int, float]) -> float:
    """b of ms = a n^b, by least squares on logarithms."""
    slope, _ = np.polyfit(np.log(list(ms_of)), np.log(list(ms_of.values())), 1)
    return float(slope)


def draw(path: Path, over_steps: Mapping[int, float], over_regions: Mapping[int, float]) -> None:
    """Both curves on logarithmic axes, as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (_LEFT + _WIDTH) + _GAP}" '
        f'height="{_HEIGHT + 2 * _TOP + 20}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        *_panel(_LEFT, "steps T, 8 regions", over_steps),
        *_panel(_LEFT + _WIDTH + _GAP, "regions R, 24 steps", over_regions),
        "</svg>",
    ]
    path.write_text("\n".join(parts) + "\n")


def _panel(left: int, title: str, ms_of: Mapping[int, float]) -> list[str]:
    sizes, times = np.array(list(ms_of), float), np.array(list(ms_of.values()))
    low, high = 10.0 ** np.floor(np.log10(times.min())), 10.0 ** np.ceil(np.log10(times.max()))

    def x(n: float) -> float:
        return float(left + _WIDTH * np.log(n / sizes[0]) / np.log(sizes[-1] / sizes[0]))

    def y(ms: float) -> float:
        return float(_TOP + _HEIGHT * (1 - np.log(ms / low) / np.log(high / low)))

    parts = [
        f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" '
        'stroke="#888"/>',
        f'<text x="{left}" y="{_TOP - 10}">ms a solve against {title}: '
        f"exponent {exponent(ms_of):.2f}</text>",
    ]
    ms = low
    while ms <= high * 1.01:
        parts.append(f'<text x="{left - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g}</text>')
        parts.append(
            f'<line x1="{left}" x2="{left + _WIDTH}" y1="{y(ms):.1f}" y2="{y(ms):.1f}" '
            'stroke="#ddd"/>'
        )
        ms *= 10
    points = [(x(n), y(t)) for n, t in zip(sizes, times, strict=True)]
    parts.append(
        '<polyline fill="none" stroke="#06c" stroke-width="2" points="'
        + " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        + '"/>'
    )
    for n, (a, b) in zip(sizes, points, strict=True):
        parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="#06c"/>')
        parts.append(
            f'<text x="{a:.1f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{n:g}</text>'
        )
    return parts
