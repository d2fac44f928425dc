"""What a check found, and how findings are shown."""

import dataclasses
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

FINE, NOTE, BROKEN = "fine", "note", "broken"
_MARKS = {FINE: "✓", NOTE: "!", BROKEN: "✗"}
_ASCII = {FINE: "ok", NOTE: "! ", BROKEN: "XX"}
_COLOURS = {FINE: "32", NOTE: "33", BROKEN: "31;1"}
_WIDTH = 100


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the result.

    Attributes:
      topic: the part that it stands under.
      name: what was looked at.
      value: what was found.
      state: FINE, NOTE (something is missing that not everybody needs) or BROKEN (runs will fail).
      fix: what to do; empty where nothing is to be done.
    """

    topic: str
    name: str
    value: str
    state: str = FINE
    fix: str = ""


Check = Callable[[], Iterable[Finding]]


def gathered(topic: str, check: Check) -> Iterator[Finding]:
    """The findings of a check. A check that fails itself is a finding: a doctor does not fall ill."""
    try:
        yield from check()
    except Exception as error:
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        yield Finding(topic, "this check failed", what, BROKEN, "see the error; is the installation whole?")


class Printer:
    """Prints findings as they come: a heading a topic, aligned names, a mark, and below it what to do."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Marks and colours are those that `stream` (stdout) can show; NO_COLOR switches colours off."""
        out = stream or sys.stdout
        encoding = getattr(out, "encoding", None) or "ascii"
        self._out, self._topic = out, ""
        try:
            "✓✗→".encode(encoding)
            self._marks, self._arrow = _MARKS, "→"
        except UnicodeEncodeError:
            self._marks, self._arrow = _ASCII, "->"
        self._colour = bool(getattr(out, "isatty", lambda: False)()) and "NO_COLOR" not in os.environ

    def show(self, finding: Finding) -> None:
        """Prints one finding."""
        if finding.topic != self._topic:
            self._topic = finding.topic
            self._line(f"\n{self._coloured(finding.topic, '1')}")
        mark = self._coloured(self._marks[finding.state], _COLOURS[finding.state])
        indent = " " * (len(self._marks[finding.state]) + 21)
        lines = textwrap.wrap(finding.value, _WIDTH - 22, break_long_words=False, break_on_hyphens=False) or [""]
        self._line(f"  {mark} {finding.name:<17} {lines[0]}")
        for line in lines[1:]:
            self._line(f"{indent}{line}")
        if finding.fix:
            fix = textwrap.wrap(finding.fix, _WIDTH - 24, break_long_words=False, break_on_hyphens=False)
            for k, line in enumerate(fix):
                self._line(f"{indent}{self._arrow if k == 0 else ' ' * len(self._arrow)} {line}")

    def close(self, findings: Sequence[Finding]) -> None:
        """Prints the last line: how many are broken, how many to note."""
        counts = {state: sum(f.state == state for f in findings) for state in _MARKS}
        broken, notes = counts[BROKEN], counts[NOTE]
        if broken:
            said = f"{broken} thing{'s are' if broken > 1 else ' is'} broken; {notes} to note, {counts[FINE]} fine"
        else:
            said = "Everything that a run needs is here" + (f"; {notes} to note." if notes else ".")
        self._line(f"\n{self._coloured(said, _COLOURS[BROKEN if broken else FINE])}")

    def _coloured(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colour else text

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def size(count: float) -> str:
    """Bytes in words: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
