"""Sigma and intervals corrected by what the validation split says of them.

Two corrections of a predicted distribution N(mean, sigma^2), learnt on n videos that the model was not trained on:

- temperature: sigma is multiplied by the T that minimises the mean Gaussian NLL there: T^2 is the mean of
  ((y - mean) / sigma)^2;
- split-conformal intervals: centre +- q sigma, where q is the ceil((n + 1) level)-th smallest of the normalised
  residuals |y - centre| / sigma. If validation and new videos are exchangeable, such an interval covers a share of at
  least `level` of the new ones, whatever their distribution (Lei et al. 2018, "Distribution-free predictive inference
  for regression", sections 2.2 and 5.2: locally weighted residuals; Romano et al. 2019 for the aim of local width).

A level that n is too small for ((n + 1) level > n: 95 % needs 19 videos) takes the normal distribution's interval of
the temperature instead, and is named so.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from aqa_jax.errors import DataError
from aqa_jax.evaluate.calibration import LEVELS
from aqa_jax.files import read_json, write_json

SCHEMA = "aqa_jax.recalibration/1"

MIN_VIDEOS = 5
"""Of fewer videos nothing is learnt. With n of them the expected NLL rises by (n / (n - 2) - 1 + E log(chi2_n / n)) / 2
nats for the noise in T: .23 at 5 (as much as a sigma 1.5 times too small), .81 at 3, without bound at 2."""


@dataclasses.dataclass(frozen=True)
class Recalibration:
    """What was learnt.

    Attributes:
      videos: n, that it was learnt on.
      temperature: T, the factor of sigma.
      constant_sigma: root mean squared residual of the means, in score points: the best single sigma for all videos.
      factors: half width of the central interval at each of `calibration.LEVELS`, in units of the raw sigma.
      methods: for each level "conformal" or, where n is too small, "temperature".
      centre: what the intervals lie around: "mean" or "point".
    """

    videos: int
    temperature: float
    constant_sigma: float
    factors: tuple[float, ...]
    methods: tuple[str, ...]
    centre: str = "mean"

    def intervals(self, centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Low and high [N, L, 2] at `calibration.LEVELS` from ``centre`` and the raw ``sigma`` [N]."""
        half = sigma[:, None] * np.array(self.factors)[None]
        return np.stack([centre[:, None] - half, centre[:, None] + half], -1)

    def apply(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """``outputs`` with ``sigma`` [N] and ``intervals`` [N, L, 2] corrected, the raw ones beside them.

        ``constant_sigma`` [N] is what `metrics.score_metrics` compares the individual sigmas with. The mean stays.
        """
        sigma = np.asarray(outputs["sigma"])
        return {
            **outputs,
            "sigma": self.temperature * sigma,
            "intervals": self.intervals(np.asarray(outputs[self.centre]), sigma),
            "constant_sigma": np.full(sigma.shape, self.constant_sigma),
            "raw_sigma": sigma,
            "raw_intervals": outputs["intervals"],
        }

    @property
    def words(self) -> str:
        """In one line, for people."""
        fallback = [f"{level} %" for level, method in zip(LEVELS, self.methods, strict=True) if method != "conformal"]
        kind = "conformal" if len(fallback) < len(LEVELS) else "by temperature"
        besides = f" (by temperature at {', '.join(fallback)})" if 0 < len(fallback) < len(LEVELS) else ""
        return f"{kind}{besides}, learnt on {self.videos} validation videos"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        levels = {
            str(level): {"factor": factor, "method": method}
            for level, factor, method in zip(LEVELS, self.factors, self.methods, strict=True)
        }
        kept = {name: getattr(self, name) for name in ("videos", "temperature", "constant_sigma", "centre")}
        return {**kept, "levels": levels}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Recalibration":
        """What :meth:`to_dict` made; further entries are passed over.

        Raises:
          DataError: an entry is missing or impossible.
        """
        try:
            levels = [content["levels"][str(level)] for level in LEVELS]
            found = cls(
                int(content["videos"]),
                float(content["temperature"]),
                float(content["constant_sigma"]),
                tuple(float(level["factor"]) for level in levels),
                tuple(str(level["method"]) for level in levels),
                str(content["centre"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"no recalibration: {error!r} is missing or of the wrong type") from error
        if not (np.isfinite(found.factors).all() and 0 < found.temperature < np.inf and found.constant_sigma > 0):
            raise DataError("no recalibration: a factor is not a positive number")
        if found.centre not in ("mean", "point"):
            raise DataError(f"no recalibration: intervals around {found.centre!r}")
        return found


def learn(y: np.ndarray, outputs: Mapping[str, Any], *, centre: str = "mean") -> Recalibration:
    """The corrections that videos outside the training set ask for.

    Args:
      y: float [N], their labels in score points.
      outputs: ``mean`` and ``sigma`` [N], and ``point`` [N] if that is the centre.
      centre: which of them the intervals lie around, "mean" or "point".

    Raises:
      DataError: too few videos, equal labels, or no error at all: nothing can be learnt, and the message says why.
    """
    y, mean, sigma = (np.asarray(values, np.float64) for values in (y, outputs["mean"], outputs["sigma"]))
    n = y.size
    if n < MIN_VIDEOS:
        raise DataError(f"{n} validation videos: at least {MIN_VIDEOS} are needed")
    if np.ptp(y) == 0:
        raise DataError("all validation labels are equal")
    scores = np.sort(np.abs(y - np.asarray(outputs[centre], np.float64)) / sigma)
    spread = float(np.sqrt(np.mean(scores**2)))
    temperature = float(np.sqrt(np.mean(((y - mean) / sigma) ** 2)))
    if not (0 < temperature < np.inf and 0 < spread < np.inf):
        raise DataError("every validation label is predicted exactly, or its sigma is 0: there is nothing to scale by")
    factors, methods = [], []
    for level in LEVELS:
        rank = -(-(n + 1) * level // 100)  # in whole numbers: (n + 1) * 0.95 may round up past n
        methods.append("conformal" if rank <= n else "temperature")
        factors.append(float(scores[rank - 1]) if rank <= n else float(scipy.special.ndtri(0.5 + level / 200)) * spread)
    # A level by temperature may be narrower than the conformal one below it.
    factors = np.maximum.accumulate(factors).tolist()
    constant = float(np.sqrt(np.mean((y - mean) ** 2)))
    return Recalibration(n, temperature, constant, tuple(factors), tuple(methods), centre)


def write(path: str | os.PathLike[str], recalibration: Recalibration, owner: Mapping[str, Any]) -> None:
    """Writes it as JSON, with the ``owner`` that it holds for: rule, checkpoint step, config hash."""
    write_json(path, {"schema": SCHEMA, "owner": dict(owner), **recalibration.to_dict()})


def read(path: str | os.PathLike[str]) -> tuple[Recalibration, dict[str, Any]]:
    """The recalibration of a file, and its owner.

    Raises:
      DataError: the file is missing, damaged or of another schema.
    """
    content = read_json(path, SCHEMA)
    try:
        return Recalibration.from_dict(content), dict(content.get("owner") or {})
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
