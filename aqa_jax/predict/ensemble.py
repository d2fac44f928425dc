"""The runs of a cross-validation, together, on new videos."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aqa_jax import config as config_lib
from aqa_jax.bundle import is_bundle, open_bundle
from aqa_jax.config import Config
from aqa_jax.errors import CheckpointError
from aqa_jax.models.scores import ScoreDistribution, combined
from aqa_jax.predict.input_format import InputFormat
from aqa_jax.predict.scorer import RunScorer
from aqa_jax.predict.trust import Reported
from aqa_jax.train.finished import finished_runs, is_crossval


class EnsembleScorer:
    """Scores batches of clips with all finished runs, as :class:`RunScorer` does with one."""

    def __init__(self, config: Config, workdir: Path):
        """Restores every run; ``config`` may have other ``evaluate`` and ``predict`` keys than they.

        Raises:
          CheckpointError: no run is finished; and what :class:`RunScorer` raises.
        """
        folders = finished_runs(workdir)
        if not folders:
            raise CheckpointError(f"{workdir} has no finished run: go on with --mode crossval first.")
        self.config = config
        self.folders = [str(folder.relative_to(workdir)) for folder in folders]
        self.members = []
        for folder in folders:
            kept = config_lib.resolve(config_lib.read_json(folder / "config.json"))
            changed = dataclasses.replace(kept, evaluate=config.evaluate, predict=config.predict)
            self.members.append(RunScorer(changed, folder))

    @property
    def batch_size(self) -> int:
        """How many videos to score at once, where nobody says."""
        return self.members[0].batch_size

    @property
    def needs_difficulty(self) -> bool:
        """Whether the head multiplies by a given difficulty."""
        return self.members[0].needs_difficulty

    @property
    def known_difficulties(self) -> tuple[float, ...] | None:
        """The difficulties that every run can score; None: any."""
        known = [member.known_difficulties for member in self.members]
        sets = [set(some) for some in known if some is not None]
        return tuple(sorted(set.intersection(*sets))) if sets else None

    @property
    def input_format(self) -> InputFormat:
        """What :meth:`score` takes, for the decoder."""
        return self.members[0].input_format

    @property
    def trained_on(self) -> dict[str, Any]:
        """The first run's, with the range of all their scores, and as many of these as one run has on average."""
        ranges = np.array([member.trained_on["score_range"] for member in self.members])
        scores = [known for member in self.members if (known := member.trained_on.get("scores"))]
        # Most videos are in several runs: taken all together, they would be counted several times.
        all_know = len(scores) == len(self.members)
        thinned = np.sort(np.concatenate(scores))[:: len(scores)].tolist() if all_know else None
        span = [float(ranges.min()), float(ranges.max())]
        return {**self.members[0].trained_on, "score_range": span, "scores": thinned}

    def describe(self) -> dict[str, Any]:
        """What identifies the model in a result file."""
        single = [member.describe() for member in self.members]
        return {
            "config_hash": config_lib.fingerprint(self.config),
            "head": self.config.head.name,
            "intervals": f"normal, of an even mixture of {len(single)} runs; each one's sigma is "
            + "; ".join(dict.fromkeys(str(one["intervals"]) for one in single)),
            "familiarity": "unfamiliar to at least half of the runs",
            "ensemble": dict(zip(self.folders, single, strict=True)),
        }

    def prepare(self, batch_size: int) -> None:
        """Compiles what :meth:`score` runs, for that many videos at once."""
        for member in self.members:
            member.prepare(batch_size)

    def score(self, video: np.ndarray, difficulty: np.ndarray | None = None, *, plain: bool = False) -> Reported:
        """Scores of clips: an even mixture of the runs' distributions.

        Args:
          video: uint8 RGB [B, S, T, H, W, 3], as :attr:`input_format` says.
          difficulty: float32 [B], where :attr:`needs_difficulty`.
          plain: by each run's model as it was trained, in float32, for a check.

        Raises:
          ConfigError: the difficulty is missing.
        """
        told = [member.score(video, difficulty, plain=plain) for member in self.members]
        mean, sigma, point = (jnp.stack([getattr(one, name) for one in told]) for name in ("mean", "sigma", "point"))
        both = jax.tree.map(np.asarray, combined(ScoreDistribution(mean, sigma, point)))
        judged = [one.unfamiliar for one in told if one.unfamiliar is not None]
        unfamiliar = np.mean(judged, 0) >= 0.5 if judged else None
        return Reported(both.most_likely, both.mean, both.sigma, both, unfamiliar=unfamiliar)


def make_scorer(config: Config, workdir: Path) -> RunScorer | EnsembleScorer:
    """The scorer of a run's workdir, of a cross-validation's, or of a bundle."""
    if is_bundle(workdir):
        return open_bundle(workdir, config)
    return (EnsembleScorer if is_crossval(workdir) else RunScorer)(config, workdir)
