"""Progress: a bar with losses, speed and remaining time; plain lines where there is no terminal."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 10  # plain lines per run


class Bar:
    """Shows how far a run is; shows nothing where `show` is False."""

    def __init__(self, title: str, total: int, start: int = 0, show: bool = True) -> None:
        self.console = Console(stderr=True)
        self._title, self._total, self._start, self._show = title, total, start, show
        self._since = time.monotonic()
        self._line, self._lines = max(total // LINES, 1), start // max(total // LINES, 1)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._live = Progress(
            *columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console
        )
        self._task = self._live.add_task(title, total=total, completed=start, note="")

    def __enter__(self) -> "Bar":
        if self._show and self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._show and self.console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self._show:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def update(self, done: int, note: str) -> None:
        """Move the bar to `done` and show `note` behind it."""
        if not self._show:
            return
        if self.console.is_terminal:
            self._live.update(self._task, completed=done, note=note)
        elif done // self._line > self._lines or done == self._total:
            self._lines = done // self._line
            spent = time.monotonic() - self._since
            left = spent / max(done - self._start, 1) * (self._total - done)
            self.say(f"{self._title} {done}/{self._total}, {left:.0f} s left  {note}")
