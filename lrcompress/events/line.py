"""What a verb is doing in one line, and a program's own way to show it."""

from __future__ import annotations

import sys
import time

from lrcompress.errors import printable

# Before so long, what is left of a task is a guess.
GUESS_SECONDS = 3.0
# More columns than these say nothing more.
WIDEST = 120
# Between two looks at the line, and between two lines where nothing can be drawn over.
DRAW_SECONDS, LOG_SECONDS = 0.25, 10.0


class State:
    """What a command is doing: its step, the tasks within each other, and since when."""

    def __init__(self, name: str, now: float) -> None:
        self._name, self._begun = name, now
        self._step = ""
        # Tasks that are not done, each within the one before: name, steps done, steps in all, since when.
        self._tasks: list[tuple[str, int, int, float]] = []
        self._figures: dict[str, float] = {}

    def step(self, name: str, number: int, total: int) -> str:
        """Begin a step of the job, and return what it is called."""
        self._tasks, self._figures = [], {}
        self._name, self._step = name, f"[{number}/{total}] "
        return f"{self._step}{name}"

    def tell(self, task: str, done: int, total: int, figures: dict[str, float], now: float) -> None:
        """Take in how far a task is; one that begins before another is done is within it."""
        name = task.split(",")[0]
        known = [known.split(",")[0] for known, *_ in self._tasks]
        place = known.index(name) if name in known else None
        since = now if place is None else self._tasks[place][3]
        outer = self._tasks[:place] if place is not None else self._tasks
        # What has a single step never says that it is done.
        self._tasks = [one for one in outer if one[2] > 1 and one[1] < one[2]][-2:]
        self._tasks.append((task, done, total, since))
        self._figures = figures

    def line(self, now: float, width: int = WIDEST) -> str:
        """Return where it stands, in so many columns: step, task, share, elapsed, and what is left of the task."""
        times = f"{_clock(now - self._begun)} elapsed"
        parts = [printable(task) for task, *_ in self._tasks]
        if self._tasks:
            _, done, total, since = self._tasks[0]
            if total > 1:
                parts[0] += f" {100 * done // total} %"
            spent = now - since
            if 0 < done < total and spent >= GUESS_SECONDS:
                times += f", {_clock(spent * (total - done) / done)} left"
        told = "".join(f", {key} {value:.4f}" for key, value in self._figures.items())
        parts[-1:] = [part + told for part in parts[-1:]]
        if not (parts and parts[0].startswith(self._name)):
            parts.insert(0, self._name)
        text = self._step + ": ".join(parts)
        room = max(width - len(times) - 2, 10)
        if len(text) > room:
            text = f"{text[: room - 1]}…"
        return f"{text.ljust(room) if width < WIDEST else text}  {times}"


def _clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, or hours."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Line:
    """Shows progress on stderr: one line that is drawn over in a notebook or terminal, else one every ten seconds."""

    def __init__(self, name: str) -> None:
        self._begun = self._last = time.monotonic()
        self._state, self._drawn = State(name, self._begun), 0
        self._live = sys.stderr.isatty() or "ipykernel" in sys.modules

    def __call__(self, task: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Show `done` of `total` steps of `task`."""
        now = time.monotonic()
        self._state.tell(task, done, total, figures, now)
        if now - self._last < (DRAW_SECONDS if self._live else LOG_SECONDS):
            return
        self._last = now
        if not self._live:
            print(self._state.line(now), file=sys.stderr)  # noqa: T201  # asked for
            return
        line = self._state.line(now)
        self._draw(line.ljust(self._drawn))
        self._drawn = len(line)

    def step(self, name: str, number: int, total: int) -> None:
        """Begin a step of a job."""
        self._state.step(name, number, total)

    def close(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._draw(" " * self._drawn + "\r")
            self._drawn = 0

    def _draw(self, text: str) -> None:
        sys.stderr.write(f"\r{text}")
        sys.stderr.flush()
