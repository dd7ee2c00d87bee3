"""What a long command shows while it runs: steps, a bar of rows, how far each agent is.

On a terminal a picture that renews itself; elsewhere (a pipe, CI) a line now and then.
"""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from streams.lag import Lag

_LINE_S = 5.0  # between two lines where there is no terminal
_BAR_WIDTH = 40


class Board:
    """Shows on standard error; used as a context."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._began_s = self._step_s = time.monotonic()
        self._done: list[str] = []
        self._step = self._detail = ""
        self._rows = self._total = 0
        self._lags: dict[str, Lag] = {}
        self._line_s = 0.0
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._picture,
                refresh_per_second=8,
                redirect_stdout=False,
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._close_step()
        self._step = self._step if error else ""
        if self._live:
            self._live.stop()

    def step(self, text: str) -> None:
        """End the step that runs and begin the next."""
        self._close_step()
        self._step, self._detail, self._step_s = text, "", time.monotonic()
        if not self._live:
            self._say(f"[{self._elapsed_s():5.1f} s] {text}")

    def say(self, detail: str) -> None:
        """What the step is at."""
        self._detail = detail
        if not self._live:
            self._say(f"[{self._elapsed_s():5.1f} s]   {detail}")

    def expect(self, rows: int) -> None:
        """How many rows there are to send."""
        self._total = rows

    def rows(self, rows: int) -> None:
        """Rows sent so far."""
        self._rows = rows
        self._line()

    def lags(self, lags: "dict[str, Lag]") -> None:
        """How far each agent is."""
        self._lags = lags
        self._line()

    def _close_step(self) -> None:
        if self._step:
            took_s = time.monotonic() - self._step_s
            self._done.append(f"{self._step} ({took_s:.1f} s)")

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    def _line(self) -> None:
        if self._live or time.monotonic() - self._line_s < _LINE_S:
            return
        self._line_s = time.monotonic()
        behind = ", ".join(f"{agent} {lag.behind}" for agent, lag in self._lags.items())
        self._say(
            f"[{self._elapsed_s():5.1f} s]   {self._rows:,} of {self._total:,} rows sent"
            + (f"; messages behind: {behind}" if behind else "")
        )

    def _picture(self) -> Group:
        lines: list[Text | Spinner | Table] = [Text(f"✓ {d}", style="green") for d in self._done]
        if self._step:
            took_s = time.monotonic() - self._step_s
            text = f"{self._step} ({took_s:.1f} s)" + (f"  {self._detail}" if self._detail else "")
            self._spinner.update(text=Text(text, overflow="ellipsis", no_wrap=True))
            lines.append(self._spinner)
        if self._total:
            lines.append(self._bar())
        if self._lags:
            lines.append(self._agents())
        return Group(*lines)

    def _bar(self) -> Table:
        bar = Table.grid(padding=(0, 2))
        share = ProgressBar(total=self._total, completed=self._rows, width=_BAR_WIDTH)
        bar.add_row("  rows sent", share, f"{self._rows:,} of {self._total:,}")
        return bar

    def _agents(self) -> Table:
        table = Table(box=None, padding=(0, 2))
        table.add_column("agent")
        table.add_column("messages read and saved", justify="right")
        table.add_column("behind", justify="right")
        for agent, lag in self._lags.items():
            table.add_row(agent, f"{lag.done:,}", f"{lag.behind:,}" if lag.behind else "-")
        return table
