"""The report of several runs side by side: their figures, and how they differ from the first."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aqa_jax import config as config_lib
from aqa_jax.errors import ConfigError
from aqa_jax.evaluate import compare as comparison
from aqa_jax.evaluate.compare import FIGURES, PAIRED, Row
from aqa_jax.report import charts, page
from aqa_jax.report.figures import NAMES
from aqa_jax.report.page import number, signed
from aqa_jax.report.run import TELLING


def comparison_report(
    runs: Sequence[str | os.PathLike[str]], *, allow_different_protocols: bool = False, names: bool = True
) -> str:
    """The report of finished runs side by side as the text of one HTML file; the first is the reference.

    Args:
      runs: workdirs of runs or cross-validations, or evaluation folders.
      allow_different_protocols: compare, and say what differs, instead of refusing.
      names: whether values that may name people or folders may be in it; the runs' own folders always are.

    Raises:
      ConfigError: fewer than two runs, or protocols that differ.
      DataError: a run has no results, or they are damaged.
    """
    rows = comparison.compare(runs, allow_different_protocols=allow_different_protocols)
    called = short_names([row.name for row in rows])
    shown = [_shown(row, name, names) for row, name in zip(rows, called, strict=True)]
    differences = [(one["name"], row.differences) for one, row in zip(shown, rows, strict=True) if row.differences]
    return page.render(
        "comparison.html",
        rows=shown,
        heads=[(key, NAMES[key][0]) for key in FIGURES],
        paired=[(key, NAMES[key][0]) for key in PAIRED],
        resamples=comparison.RESAMPLES,
        rho=charts.intervals(
            [(one["name"], row.figures["rho"], row.interval) for one, row in zip(shown, rows, strict=True)],
            "Spearman’s ρ",
        ),
        changes=[
            (NAMES[key][0], key in ("mae", "crps"), charts.intervals(
                [(name, found[key]["difference"], found[key]["interval"]) for name, found in differences],
                f"{NAMES[key][0]}, less that of {called[0]}", zero=True,
            ))
            for key in PAIRED
        ] if differences else [],
        settings=[one for one in _settings(rows) if names or one[0].removeprefix("config.") not in TELLING],
    )  # fmt: skip


def short_names(paths: Sequence[str]) -> list[str]:
    """The paths without the folders that all share."""
    whole = [Path(path).absolute() for path in paths]
    shared = os.path.commonpath([one.parent for one in whole])
    return [str(one.relative_to(shared)) for one in whole]


def _shown(row: Row, name: str, names: bool) -> dict[str, Any]:
    figures = {key: number(row.figures[key], NAMES[key][1]) for key in FIGURES}
    changes = {}
    for key, change in row.differences.items():
        digits, interval = NAMES[key][1], change["interval"]
        text = signed(change["difference"], digits)
        if interval is not None:
            text += f" [{signed(interval[0], digits)}, {signed(interval[1], digits)}]"
        changes[key] = {"text": text, "sure": interval is not None and (interval[0] > 0 or interval[1] < 0)}
    rho = f" [{number(row.interval[0], 3)}, {number(row.interval[1], 3)}]" if row.interval else ""
    return {
        "name": name, "head": row.head, "rule": row.rule.replace("_", " "), "num_examples": row.num_examples,
        "figures": figures, "rho": figures["rho"] + rho, "changes": changes, "unpaired": row.unpaired,
        "differs": [part if names or not part.startswith("excluded:") else "excluded: others" for part in row.differs],
        "protocol": row.fingerprint["id"],
    }  # fmt: skip


def _settings(rows: Sequence[Row]) -> list[tuple[str, list[Any]]]:
    """The keys on which the runs' configs differ, with each one's value; a dash where a run kept none."""
    found: list[dict[str, Any]] = []
    for row in rows:
        try:
            config = config_lib.resolve(config_lib.read_json(Path(row.name) / "config.json"))
        except ConfigError:
            found.append({})
            continue
        found.append({key: item for key, item, _ in config_lib.walk(config)})
    known = [one for one in found if one]
    return [
        (f"config.{key}", [one.get(key) for one in found])
        for key in (known[0] if known else ())
        if config_lib.changes_the_result(key) and any(one[key] != known[0][key] for one in known)
    ]
