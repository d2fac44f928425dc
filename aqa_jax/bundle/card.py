"""The model card of a bundle: what somebody who receives the file must know before believing a score."""

from collections.abc import Collection, Mapping
from typing import Any

from aqa_jax.bundle import members
from aqa_jax.config import Config
from aqa_jax.evaluate.results import versions
from aqa_jax.predict.trained import Trained

# Name in the result files -> in words.
_FIGURES = {
    "rho": "Spearman's ρ",
    "tau": "Kendall's τ",
    "mae": "mean absolute error, score points",
    "rl2": "R-ℓ2 (x 100)",
    "nll": "negative log likelihood, nats",
    "crps": "CRPS, score points",
    "coverage_90": "share of videos inside their 90 % interval",
    "width_90": "mean width of the 90 % interval, score points",
    "nll_gain": "NLL saved over one σ for all videos",
}


def model_card(
    config: Config,
    trained: Trained,
    metrics: Mapping[str, Any] | None,
    content: Collection[str],
    *,
    needs_difficulty: bool,
) -> str:
    """The card, as Markdown.

    Args:
      config: of the run.
      trained: the weights in the bundle, and what is known of them.
      metrics: the evaluation of these weights; None: there is none.
      content: the members of the bundle.
      needs_difficulty: whether a video's difficulty must be given.
    """
    difficulty = " --config.predict.difficulty=3.0" if needs_difficulty else ""
    parts = [
        _title(config, trained),
        "## Use\n\n"
        "```bash\n"
        f"python run.py --mode predict --workdir FILE.aqa --input VIDEO{difficulty}\n"
        "```\n\n"
        'or in Python `aqa_jax.load("FILE.aqa").score("VIDEO")`. Scores are the run\'s own, to the bit on the same '
        "machine with the same versions.",
        _data(config, trained),
        _figures(metrics),
        _uncertainty(trained, content),
        _limits(config, content),
        _privacy(config, trained, content),
        "## Licence of the weights\n\n"
        + (config.export.licence or "None is stated: ask whoever gave you this file. The code is under Apache-2.0."),
        _members(content),
    ]
    return "\n\n".join(parts) + "\n"


def _title(config: Config, trained: Trained) -> str:
    chosen = trained.selection
    made = ", ".join(f"{name} {number}" for name, number in versions().items() if name in ("aqa_jax", "jax", "flax"))
    how = f" ({chosen.metric} {chosen.value:.3f} on {chosen.split})" if chosen.value is not None else ""
    rows = {
        "task": "action quality assessment: a video of one action to a score with an interval",
        "method": f"{config.head.name} on I3D of width {config.model.width:g} ({config.model.dialect} conventions)"
        + (f", adapters {config.adapter.kind}" if config.adapter.kind != "none" else ""),
        "started from": members.without_folders(config.model.weights) or "random weights",
        "step": f"{chosen.step}, chosen by {chosen.rule}{how}",
        "config": trained.config_hash,
        "made with": made,
    }
    return "# Model card\n\n" + _table("", "", rows)


def _data(config: Config, trained: Trained) -> str:
    told = trained.trained_on
    counts = ", ".join(f"{count} {split}" for split, count in told["videos"].items())
    low, high = told.get("score_range") or (None, None)
    rows = {
        "dataset": f"{members.without_folders(told['builder'])} (fingerprint {str(told['fingerprint'])[:12]})",
        "videos": counts,
        "training scores": "not told" if low is None else f"{low:g} to {high:g}",
        "a video is": f"{len(config.data.clip_starts)} clips of {config.data.clip_length} frames out of a window of "
        f"{config.data.window}, {config.data.crop} x {config.data.crop} pixels; in full in {members.PREPROCESSING}",
    }
    return "## Data\n\n" + _table("", "", rows)


def _figures(metrics: Mapping[str, Any] | None) -> str:
    if metrics is None:
        return (
            "## Figures\n\nThese weights were not evaluated under this config: nothing is known of how good they are."
        )
    found, rows = metrics["metrics"], {}
    intervals = found.get("confidence") or {}
    for name, words in _FIGURES.items():
        if found.get(name) is not None:
            interval = intervals.get(name)
            rows[words] = f"{found[name]:.4g}" + (f" [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else "")
    level = intervals.get("level")
    return (
        f"## Figures\n\nOn {metrics['num_examples']} videos of the {metrics['split']} split. Protocol: "
        f"{metrics['protocol']}."
        + (f" In brackets {level:.0%} bootstrap intervals over these videos, one training." if level else "")
        + "\n\n"
        + _table("figure", "value", rows)
    )


def _uncertainty(trained: Trained, content: Collection[str]) -> str:
    told = trained.trust.describe()
    near = told["familiarity"]
    if trained.trust.familiarity is not None and members.FAMILIARITY not in content:
        near = "not judged: the features of the training videos were left out of this file"
    return (
        f"## Uncertainty\n\n- σ and intervals: {told['intervals']}.\n- Videos unlike the training videos: {near}.\n"
        "- Intervals hold for videos like those they were learnt on; for others (another camera, another level of "
        "skill, another sport) they promise nothing."
    )


def _limits(config: Config, content: Collection[str]) -> str:
    lines = [
        "It scores whole videos of the one action it was trained on; of anything else the score means nothing.",
        "The figures above are of its own dataset; how it does on yours, only your labelled videos tell.",
        "It must not decide alone on people: not on a diagnosis, a therapy, or a result of a competition.",
    ]
    if config.head.name in ("core", "dae_core") and config.head.exemplars_by == "difficulty":
        lines.append("It compares videos of equal difficulty: only difficulties of its exemplars can be scored.")
    if ":" in config.head.name:
        lines.append(
            f"Its head is not part of the library: {config.head.name} must be installed where it runs, and is allowed "
            "with --config.predict.allow_own_head=True. It is not in this file."
        )
    if members.PROGRAM in content:
        lines.append(
            f"{members.PROGRAM} takes any number of videos at once, on a CPU or an NVIDIA GPU. It was made by jax "
            f"{versions()['jax']}, and jax reads such programs for six months: a jax released later than that may "
            "refuse it, while the rest of this file stays usable."
        )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _privacy(config: Config, trained: Trained, content: Collection[str]) -> str:
    near, told = trained.trust.familiarity, trained.trained_on
    lines = ["No frame, no file name, no name of a video, a person or a folder."]
    if members.FAMILIARITY in content and near is not None:
        lines.append(
            f"Features of {len(near.known)} training videos, {near.known.shape[1]} numbers each, without names: "
            "pseudonymous, for whoever has a video can tell whether it is among them "
            "(--config.export.familiarity=False leaves them out; unfamiliar videos are then not flagged)."
        )
    if config.head.name in ("core", "dae_core"):
        lines.append(
            f"Features and scores of up to {config.head.pool} training videos that serve as exemplars, without names: "
            "they are the model, and cannot be left out."
        )
    if config.export.training_scores and told.get("scores"):
        lines.append(
            "The scores of the training videos, sorted, without names (--config.export.training_scores=False leaves "
            "them out)."
        )
    if config.export.fingerprints and told.get("groups"):
        lines.append(
            f"{len(told['groups'])} fingerprints of training groups (athletes, patients, ...) and videos: whoever can "
            "guess a name can tell whether it was trained on."
        )
    lines.append("Weights can remember examples. Treat a model of confidential videos as confidential.")
    return "## What of the training data is in this file\n\n" + "\n".join(f"- {line}" for line in lines)


def _members(content: Collection[str]) -> str:
    meanings = {
        members.CONFIG: "every key of the run, folders cut off",
        members.PREPROCESSING: "from a file's frames to what the network takes",
        members.TRAINED_ON: "what is told of the training data",
        members.METRICS: "the figures above, for programs",
        members.RECALIBRATION: "of σ and intervals",
        members.FAMILIARITY: "what familiar videos look like to the network",
        members.WEIGHTS: "the model's arrays, by path",
        members.PROGRAM: "the model as StableHLO, by jax.export",
    }
    rows = {f"`{name}`": words for name, words in meanings.items() if name in content}
    return (
        "## In this file\n\nA zip; `manifest.json` has the SHA-256 of every member, and the archive's comment that of "
        "all bytes. They find damage, not forgery: compare the digest with the sender's (`--mode inspect --weights "
        "FILE.aqa` prints it).\n\n" + _table("member", "", rows)
    )


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {left} | {right} |", "|---|---|"]
    for name, value in rows.items():
        cell = value.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {name} | {cell} |")
    return "\n".join(lines)
