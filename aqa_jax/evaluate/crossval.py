"""The table of a cross-validation: every fold, seed and selection rule, and their means, out of the runs' own files."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import DataError
from aqa_jax.evaluate import plots, results
from aqa_jax.evaluate.metrics import fold_means, score_metrics
from aqa_jax.evaluate.protocol import digest
from aqa_jax.evaluate.selection import ALL_RULES
from aqa_jax.files import read_json, write_csv, write_json

SCHEMA = "aqa_jax.crossval/1"
RESULT = "crossval.json"
ERROR = "error.txt"
ENSEMBLE = "ensemble"
# Parts of a run's fingerprint that its fold decides.
_OF_A_FOLD = ("test", "training")
_SHOWN = ("rl2", "mae", "nll", "crps", "coverage_90", "uncertainty_tau")


@dataclass(frozen=True)
class Member:
    """One run of a cross-validation: its fold's value, its folder below the workdir, and what it will be."""

    fold: str
    seed: int
    folder: str
    config: Config
    num_examples: int
    protocol: str
    fingerprint: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """All runs; ``column`` is the one whose values are the folds, empty for the dataset's own test split."""

    protocol: str
    column: str
    left_out: int  # videos that are in no fold
    monitor: str
    members: tuple[Member, ...]
    config: Config

    @property
    def folds(self) -> tuple[str, ...]:
        """In order."""
        return tuple(dict.fromkeys(member.fold for member in self.members))

    @property
    def words(self) -> str:
        """The protocol in words that all runs share: neither a fold's test videos nor a seed's draw."""
        words = re.sub(r", seed \d+", "", self.members[0].protocol)
        return re.sub(r": test on [^;]+", f": tested by {self.column}", words) if self.column else words

    @property
    def seeds(self) -> tuple[int, ...]:
        """In order."""
        return tuple(dict.fromkeys(member.seed for member in self.members))


def write(planned: Plan, workdir: Path) -> dict[str, Any]:
    """Writes ``crossval.json``, ``crossval.csv`` and ``crossval.png`` into ``workdir``; the first one's content.

    The same runs give the same files to the byte, however often they were interrupted.

    Raises:
      DataError: a result file of a run is damaged.
    """
    runs = [_entry(member, workdir) for member in planned.members]
    headline = planned.config.evaluate.selection
    content = {
        "schema": SCHEMA,
        "protocol": {
            "name": planned.protocol,
            "column": planned.column,
            "folds": {member.fold: member.num_examples for member in planned.members},
            "in_no_fold": planned.left_out,
            "words": planned.words,
        },
        "protocol_fingerprint": combined_fingerprint(planned),
        "config_hash": config_lib.fingerprint(planned.config),
        "head": planned.config.head.name,
        "selection": headline,
        "monitor": planned.monitor,
        "seeds": list(planned.seeds),
        "runs": runs,
        "ensemble": _ensembles(planned, workdir, runs) if len(planned.seeds) > 1 else {},
    }
    content["means"] = _means(content)
    content["failed"] = {run["workdir"]: run["error"] for run in runs if "error" in run}
    content["versions"] = results.versions()
    write_csv(workdir / "crossval.csv", _tidy(content))
    _picture(workdir / "crossval.png", content)
    # Last: where it is, everything is.
    write_json(workdir / RESULT, content)
    return content


def read(workdir: Path) -> dict[str, Any]:
    """The content of ``crossval.json``.

    Raises:
      DataError: it is missing, damaged, or of another version.
    """
    return read_json(workdir / RESULT, SCHEMA)


def combined_fingerprint(planned: Plan) -> dict[str, Any]:
    """What the runs' fingerprints share, and of each fold its test and training videos; of seeds alone, the runs'."""
    if not planned.column:
        return dict(planned.members[0].fingerprint)
    first = planned.members[0].fingerprint["parts"]
    parts = {name: part for name, part in first.items() if name not in _OF_A_FOLD}
    parts["folds_by"] = planned.column
    parts["folds"] = {
        member.fold: {name: member.fingerprint["parts"][name] for name in _OF_A_FOLD} for member in planned.members
    }
    return {"id": digest(parts), "parts": parts}


def ensemble_of(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An even mixture of several runs' predictions on the same videos, by its first two moments.

    Lakshminarayanan et al. 2017, section 2.4: the mean of the means; the variance is the mean variance and the variance
    of the means. The predicted score, where it is not the mean, is the mean of the runs' scores.

    Args:
      predictions: columns of each run's ``predictions.csv``.

    Returns:
      ``id`` [N], and ``score``, ``mean``, ``sigma``, ``point`` float [N], in the order of the first run.

    Raises:
      DataError: the runs predicted different videos.
    """
    first = list(predictions[0]["id"])
    orders = []
    for columns in predictions:
        place = {name: row for row, name in enumerate(columns["id"])}
        if place.keys() != set(first):
            raise DataError("the runs of an ensemble predicted different videos: were their datasets the same?")
        orders.append([place[name] for name in first])

    def stacked(name: str) -> np.ndarray:
        return np.stack(
            [
                np.asarray(columns.get(name, columns["mean"]), float)[order]
                for columns, order in zip(predictions, orders, strict=True)
            ]
        )

    means, sigmas = stacked("mean"), stacked("sigma")
    return {
        "id": first,
        "score": stacked("score")[0],
        "mean": means.mean(0),
        "sigma": np.sqrt(np.mean(sigmas**2, 0) + np.var(means, 0)),
        "point": stacked("point").mean(0),
    }


def _entry(member: Member, workdir: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "fold": member.fold,
        "seed": member.seed,
        "workdir": member.folder,
        "num_examples": member.num_examples,
        "protocol": member.protocol,
        "protocol_fingerprint": dict(member.fingerprint),
        "config_hash": config_lib.fingerprint(member.config),
    }
    path = workdir / member.folder / "evaluation" / "metrics.json"
    content = results.read_metrics(path) if path.exists() else {}
    if content.get("config_hash") != entry["config_hash"]:
        error = workdir / member.folder / ERROR
        return entry | {"error": error.read_text(encoding="utf-8").strip() if error.exists() else "not finished"}
    rules: dict[str, Any] = {}
    for rule, chosen in content["all_selections"].items():
        kept = {name: chosen[name] for name in ("step", "steps", "undefined") if name in chosen}
        rules[rule] = kept | ({"test": _figures(chosen["test"])} if "test" in chosen else {})
    return entry | {"rules": rules}


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a run's metrics, and why some are missing."""
    undefined = metrics.get("undefined", {})
    numbers = {
        name: value
        for name, value in metrics.items()
        if name != "num_examples" and (isinstance(value, int | float) or (value is None and name in undefined))
    }
    return numbers | {"undefined": {name: reason for name, reason in undefined.items() if name in numbers}}


def _ensembles(planned: Plan, workdir: Path, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By fold: the figures of all seeds' predictions combined, or why there are none."""
    if planned.config.task != "score":
        return {}
    found: dict[str, Any] = {}
    for fold in planned.folds:
        own = [run for run in runs if run["fold"] == fold]
        if any("error" in run for run in own):
            found[fold] = {"undefined": "a run is missing"}
            continue
        files = [workdir / run["workdir"] / "evaluation" / "predictions.csv" for run in own]
        both = ensemble_of([results.read_predictions(path) for path in files])
        metrics = score_metrics(
            both["score"], both["mean"], both["sigma"], point=both["point"], ids=both["id"], bootstrap=0
        )
        found[fold] = {"test": _figures(metrics)}
    return found


def _means(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of every rule and figure: the mean over folds, by seed; of these the mean and spread over seeds."""
    runs, folds = content["runs"], list(content["protocol"]["folds"])
    found = {
        rule: _means_of(
            {
                str(seed): {run["fold"]: run.get("rules", {}).get(rule, {}) for run in runs if run["seed"] == seed}
                for seed in content["seeds"]
            },
            folds,
        )
        for rule in ALL_RULES
    }
    if content["ensemble"]:
        found[ENSEMBLE] = _means_of({ENSEMBLE: content["ensemble"]}, folds)
    return found


def _means_of(entries: Mapping[str, Mapping[str, Any]], folds: Sequence[str]) -> dict[str, Any]:
    names = {name for by_fold in entries.values() for entry in by_fold.values() for name in entry.get("test", {})} - {
        "undefined"
    }
    found: dict[str, Any] = {}
    for name in sorted(names):
        kinds = ("arithmetic", "fisher_z") if name == "rho" else ("arithmetic",)
        by_seed = {
            seed: fold_means({fold: by_fold[fold].get("test", {}).get(name) for fold in folds})
            for seed, by_fold in entries.items()
        }
        found[name] = {kind: _over_seeds({seed: mean[kind] for seed, mean in by_seed.items()}) for kind in kinds}
        reasons = {f"{kind}, seed {seed}": mean["undefined"][kind] for seed, mean in by_seed.items() for kind in kinds
                   if kind in mean["undefined"]}  # fmt: skip
        if reasons:
            found[name]["undefined"] = {k: reason.replace("rho", name) for k, reason in reasons.items()}
    return found


def _over_seeds(values: Mapping[str, float | None]) -> dict[str, Any]:
    """Mean and standard deviation (of the sample) over seeds; None where a seed's value is."""
    known = [value for value in values.values() if value is not None]
    whole = len(known) == len(values)
    return {
        "mean": float(np.mean(known)) if whole else None,
        "spread": float(np.std(known, ddof=1)) if whole and len(known) > 1 else None,
        "by_seed": dict(values),
    }


def _tidy(content: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A row for each run (or fold's ensemble), rule and figure."""
    sources = [(run["fold"], run["seed"], run.get("rules", {}), run.get("error", "")) for run in content["runs"]]
    sources += [(fold, None, {ENSEMBLE: entry}, "") for fold, entry in content["ensemble"].items()]
    rows: list[list[Any]] = []
    for fold, seed, rules, error in sources:
        number = content["protocol"]["folds"][fold]
        if error:
            rows.append([fold, seed, number, None, None, None, None, error.splitlines()[-1]])
        for rule, entry in rules.items():
            if "test" not in entry:
                rows.append([fold, seed, number, rule, None, None, None, entry["undefined"]])
                continue
            reasons = entry["test"]["undefined"]
            for name, value in entry["test"].items():
                if name != "undefined":
                    rows.append([fold, seed, number, rule, entry.get("step"), name, value, reasons.get(name)])
    names = ("fold", "seed", "num_examples", "rule", "step", "metric", "value", "undefined")
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def table(content: Mapping[str, Any]) -> str:
    """The figures for the terminal, in Markdown."""
    monitor, headline, seeds = content["monitor"], content["selection"], content["seeds"]
    rules = [rule for rule in content["means"] if content["means"][rule]]
    protocol = content["protocol"]
    lines = [
        f"{protocol['name'] or 'own test split'}, {len(protocol['folds'])} fold(s) by {protocol['column'] or 'split'}, "
        f"seeds {', '.join(map(str, seeds))}; {protocol['words']}",
        f"protocol fingerprint {content['protocol_fingerprint']['id']}; headline rule: {headline}"
        + (f"; {protocol['in_no_fold']} videos are in no fold: never tested" if protocol["in_no_fold"] else ""),
        "",
        _line(["fold", "n", *(f"{monitor}, {rule}" for rule in rules)]),
        _line(["---"] * (len(rules) + 2)),
    ]
    for fold, number in protocol["folds"].items():
        lines.append(_line([fold, str(number), *(_cell_of_fold(content, fold, rule) for rule in rules)]))
    for kind, words in (("arithmetic", "arithmetic mean"), ("fisher_z", "mean of Fisher's z")):
        means = [content["means"][rule].get(monitor, {}).get(kind) for rule in rules]
        if any(means):
            lines.append(_line([f"**{words}**", "", *(_shown(mean) for mean in means)]))
    for rule, reason in _without_figures(content).items():
        lines += ["", reason if reason.startswith(rule) else f"{rule}: {reason}"]
    shown = [name for name in _SHOWN if any(name in content["means"][rule] for rule in rules)]
    if shown:
        lines += ["", _line(["mean over folds", *shown]), _line(["---"] * (len(shown) + 1))]
        for rule in rules:
            means = [content["means"][rule].get(name, {}).get("arithmetic") for name in shown]
            lines.append(_line([rule, *(_shown(mean) for mean in means)]))
    if len(seeds) > 1:
        lines += ["", "± is the standard deviation over seeds; the ensemble combines the seeds' predictions by the "
                  f"rule {headline}."]  # fmt: skip
    for folder, error in content["failed"].items():
        lines += ["", f"FAILED {folder}: {error.splitlines()[-1]}"]
    return "\n".join(lines)


def _without_figures(content: Mapping[str, Any]) -> dict[str, str]:
    """The rules that no run has figures of, and why the first one has none."""
    found = {}
    for run in content["runs"]:
        for rule, entry in run.get("rules", {}).items():
            if not content["means"][rule] and rule not in found:
                found[rule] = entry["undefined"]
    return found


def _cell_of_fold(content: Mapping[str, Any], fold: str, rule: str) -> str:
    name = content["monitor"]
    if rule == ENSEMBLE:
        values = [content["ensemble"][fold].get("test", {}).get(name)]
    else:
        own = [run for run in content["runs"] if run["fold"] == fold]
        if failed := sum("error" in run for run in own):
            return "failed" if failed == len(own) else f"{failed} of {len(own)} failed"
        values = [run["rules"][rule].get("test", {}).get(name) for run in own]
    return _shown(_over_seeds({str(i): value for i, value in enumerate(values)}))


def _shown(mean: Mapping[str, Any] | None) -> str:
    if mean is None or mean["mean"] is None:
        return "undefined"
    return f"{mean['mean']:.3f}" + (f" ± {mean['spread']:.3f}" if mean["spread"] is not None else "")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _picture(path: Path, content: Mapping[str, Any]) -> None:
    """By fold: the headline rule's figure of each seed as a point, their mean as a line, and the ensemble's."""
    headline, monitor, folds = content["selection"], content["monitor"], list(content["protocol"]["folds"])
    figure, axes = plots.new_figure(max(4.5, 1.6 + 0.7 * len(folds)), 4.2)
    for place, fold in enumerate(folds):
        entries = [run["rules"][headline] for run in content["runs"] if run["fold"] == fold and "rules" in run]
        values = [entry["test"][monitor] for entry in entries if entry.get("test", {}).get(monitor) is not None]
        axes.plot([place] * len(values), values, "o", color=plots.BLUE, markersize=5, alpha=0.7, markeredgewidth=0)
        if len(values) > 1:
            axes.plot([place - 0.2, place + 0.2], [np.mean(values)] * 2, color=plots.BLUE, linewidth=1.5)
        both = content["ensemble"].get(fold, {}).get("test", {}).get(monitor)
        if both is not None:
            axes.plot(place + 0.28, both, "D", color=plots.ORANGE, markersize=4, markeredgewidth=0)
    means = content["means"][headline].get(monitor, {})
    below = "points: seeds" + ("; orange: their ensemble" if content["ensemble"] else "")
    if (mean := means.get("arithmetic", {}).get("mean")) is not None:
        axes.axhline(mean, color=plots.GREY, linewidth=1, linestyle="--")
        below += f"; dashed: arithmetic mean {mean:.3f}"
    axes.set_xticks(range(len(folds)), folds)
    axes.set_xlim(-0.6, len(folds) - 0.4)
    axes.set(
        xlabel=f"fold ({content['protocol']['column'] or 'split'})", ylabel=plots.METRIC_NAMES.get(monitor, monitor)
    )
    plots.set_titles(axes, f"{content['protocol']['name'] or 'own test split'}, {headline}", below)
    plots.save(figure, path)
