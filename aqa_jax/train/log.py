"""What a run says while it runs: a JSON line and TensorBoard scalars per logged step, and a progress bar."""

import json
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar
from tqdm import tqdm

from aqa_jax.files import replacing, storage_errors


class TrainLog:
    """Writes ``train.jsonl`` and TensorBoard files into a directory, and shows a bar with ETA.

    A run that goes on from a checkpoint drops the lines after it, so that the file reads as one run.
    """

    def __init__(self, directory: Path, start_step: int, total_steps: int, enabled: bool = True):
        """Opens the files for a run that has made ``start_step`` of ``total_steps`` steps."""
        self.enabled = enabled
        self._path = directory / "train.jsonl"
        if not enabled:
            return
        kept = [line for line in read_log(directory) if line["step"] <= start_step]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        with storage_errors(directory):
            self._file = self._path.open("a", buffering=1)
            self._board = _Board(directory / "tensorboard", start_step + 1)
        self._bar = tqdm(total=total_steps, initial=start_step, desc="train", unit="step", smoothing=0.05)

    def advance(self, step: int) -> None:
        """Moves the bar to ``step``."""
        if self.enabled:
            self._bar.update(step - self._bar.n)

    def write(self, step: int, figures: dict[str, Any], prefix: str = "train") -> None:
        """Logs ``figures`` of ``step``."""
        if not self.enabled:
            return
        line = {"step": step, "kind": prefix, **figures}
        with storage_errors(self._path):
            self._file.write(json.dumps(line) + "\n")
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._board.write(f"{prefix}/{name}", value, step)
        if "loss" in figures:
            self._bar.set_postfix(loss=f"{figures['loss']:.3g}", wait=f"{100 * figures.get('data_wait', 0):.0f}%")

    def compiled(self, step: int, seconds: float, from_cache: bool) -> None:
        """Logs how long compiling, or reading from the cache on disk, took; leaves it out of the bar's estimate."""
        if self.enabled:
            self.write(step, {"compile_seconds": seconds, "from_cache": int(from_cache)}, "compile")
            self._bar.unpause()
            self.say(f"{'read from the compilation cache' if from_cache else 'compiled'} in {seconds:.0f} s")

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self.enabled:
            self._bar.write(text)

    def close(self) -> None:
        """Closes files and bar."""
        if self.enabled:
            self._bar.close()
            with storage_errors(self._path):
                try:
                    self._board.close()
                finally:
                    self._file.close()


class _Board:
    """A TensorBoard file, written at once.

    tensorboardX's own SummaryWriter writes in a thread, which a full disk ends; whoever logs then waits for ever.
    """

    def __init__(self, directory: Path, first_step: int):
        """Opens a new file in ``directory``; TensorBoard forgets what others there say of ``first_step`` and later."""
        directory.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(directory / "events"))
        start = Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START))
        self._events.write_event(start)

    def write(self, name: str, value: float, step: int) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def close(self) -> None:
        self._events.close()


def read_log(directory: Path) -> list[dict[str, Any]]:
    """The lines of ``train.jsonl`` in ``directory``; damaged ones, as the last that a kill cut short, are left out."""
    path = directory / "train.jsonl"
    lines: list[dict[str, Any]] = []
    if path.exists():
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


class Stopwatch:
    """Seconds of steps between two readings, and how many of them the devices waited for data (added by the loop)."""

    def __init__(self):
        """Starts at zero."""
        self.waited = 0.0
        self._since = time.perf_counter()

    def read(self, steps: int) -> dict[str, float]:
        """Seconds a step and the share of them spent waiting for data, since the last reading."""
        elapsed = time.perf_counter() - self._since
        figures = {
            "step_seconds": elapsed / max(steps, 1),
            "data_wait": self.waited / elapsed if elapsed else 0.0,
        }
        self.restart()
        return figures

    def restart(self) -> None:
        """Starts again at zero."""
        self.waited, self._since = 0.0, time.perf_counter()
