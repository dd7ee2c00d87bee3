"""Pictures of a plan: what serves each region, stacked; in the terminal, or as a file."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

from kernels.balance import Dispatch, Network
from kernels.balance.columns import F64
from schemas.errors import ConfigError
from streams.cli.console import note, out

_LINES = 8  # of a region's picture in the terminal
_FORMATS = (".png", ".svg")
_INCHES_WIDE, _INCHES_A_REGION, _DOTS_PER_INCH = 9.0, 2.4, 110


class _Source(NamedTuple):
    """What serves a region: its letter and colours in the terminal and in the file."""

    name: str
    letter: str
    terminal: str
    colour: str


_SOURCES = (  # what stands on what
    _Source("wind and sun", "R", "green", "#2a9d5c"),
    _Source("supply", "S", "yellow", "#e0a92e"),
    _Source("storage", "D", "cyan", "#38b6c8"),
    _Source("links", "L", "blue", "#3f6fd1"),
    _Source("imports", "I", "magenta", "#a45bb8"),
    _Source("not served", "X", "bold red", "#d62828"),
)


def _stacks(net: Network, plan: Dispatch) -> F64:
    """[source, R, T] MW that serve each region."""
    arriving = np.zeros_like(net.load_mw)
    np.add.at(arriving, net.link_to, plan.flow_mw * (1 - net.link_loss)[:, None])
    return np.stack(
        [
            plan.ren_used_mw,
            plan.supply_mw.sum(axis=1),
            plan.discharge_mw.sum(axis=1),
            arriving,
            plan.import_mw,
            plan.shed_mw,
        ]
    )


def print_picture(net: Network, plan: Dispatch) -> None:
    """A column of letters a step, or the mean of several steps."""
    parts, console, steps = _stacks(net, plan), out(), net.shape[1]
    wide = max(1, -(-steps // max(20, min(console.width, 160) - 12)))  # steps a column
    for r, region in enumerate(net.regions):
        stack = np.stack([parts[:, r, t : t + wide].mean(axis=1) for t in range(0, steps, wide)])
        top = float(stack.sum(axis=1).max())
        if top <= 0:
            note(f"{region}: nothing to show")
            continue
        edges = np.rint(np.cumsum(stack, axis=1) / top * _LINES)
        console.print(Text(f"{region}, MW that serve it", style="bold"))
        for level in range(_LINES, 0, -1):
            line = Text(f"{top * level / _LINES:9.2f} ")
            for column in edges:
                k = int(np.searchsorted(column, level))
                if k < len(_SOURCES):
                    line.append(_SOURCES[k].letter, style=_SOURCES[k].terminal)
                else:
                    line.append(" ")
            console.print(line)
    legend = Text("          ")
    for source in _SOURCES:
        legend.append(f"{source.letter} {source.name}  ", style=source.terminal)
    console.print(legend)


def require_plot(path: Path) -> None:
    """Raises ConfigError, before anything is solved, where a picture cannot be drawn there."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path} is no {' or '.join(_FORMATS)}", "name the picture plan.png")
    if not path.resolve().parent.is_dir():
        raise ConfigError(f"{path.parent} is no folder", "make it, or name another")
    if find_spec("matplotlib") is None:
        next_step = "pip install 'gridloom[plot]', or leave --plot out: the terminal has a picture"
        raise ConfigError("matplotlib, which draws --plot, is not installed", next_step)


def draw(net: Network, plan: Dispatch, path: Path) -> None:
    """Stacked bars of what serves each region; lines: what it takes, and its price."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    parts, rows = _stacks(net, plan), len(net.regions)
    size = (_INCHES_WIDE, _INCHES_A_REGION * rows + 0.8)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
    for r, axes in enumerate(figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0]):
        _region(axes, net, plan, parts[:, r], r)
    figure.axes[rows - 1].set_xlabel("hours")
    title = f"cost {plan.objective:,.2f}, gap {plan.gap_rel:.1e} ({plan.method})"
    figure.suptitle(title, fontsize="medium")
    handles = [*figure.axes[0].get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"{path} is not written: {error.strerror}", "name another") from None


def _region(axes: Any, net: Network, plan: Dispatch, stack: F64, r: int) -> None:
    edges = np.arange(net.shape[1] + 1) * net.dt_h
    below = np.zeros(net.shape[1])
    for source, mw in zip(_SOURCES, stack, strict=True):
        axes.bar(
            edges[:-1], mw, net.dt_h, below, align="edge", color=source.colour, label=source.name
        )
        below = below + mw
    firm = net.load_mw[r]
    with_storage = firm + plan.flex_mw[r] + plan.charge_mw[r].sum(axis=0)
    axes.stairs(firm, edges, color="black", linewidth=1.4, label="load", baseline=None)
    axes.stairs(
        with_storage, edges, color="black", linestyle=":", baseline=None,
        label="with deferrable load and charging",
    )  # fmt: skip
    axes.set_title(net.regions[r], loc="left", fontsize="medium")
    axes.set_ylabel("MW")
    axes.margins(x=0)
    price = axes.twinx()
    price.stairs(plan.bus_price[r], edges, color="#777777", baseline=None)
    price.set_ylabel("price per MWh", color="#777777")
