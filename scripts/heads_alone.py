"""Heads without a backbone, on features whose mean and noise law are known exactly.

    python scripts/heads_alone.py [--output benchmarks/results/heads_alone.json]

1024-d features carry six hidden numbers; two of them say how good a performance is, another one how far its judges lie
apart. Each head is trained on 8,000 of them, recalibrated on 2,000 and tested on 2,000 fresh ones; all have the same
difficulty for the heads that are not told it. Prints, and writes if asked to, for every head and loss: Spearman's rho
of sigma and true sigma, coverage of the 90 % interval raw and recalibrated, RICA²'s tau, and the mean sigma beside the
true one: the released losses' is nearly 0; that of USDL's and MUSDL's softmax is the soft label's. Takes a few minutes.
"""

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aqa_jax.config_keys import HeadConfig
from aqa_jax.evaluate import calibration
from aqa_jax.files import write_json
from aqa_jax.models.heads import HEADS
from aqa_jax.models.heads.base import Head
from aqa_jax.models.heads.panel import MIDDLE_THREE_VARIANCE

FEATURES, HIDDEN = 1024, 6
SIZES = {"train": 8000, "validation": 2000, "test": 2000}
STEPS, BATCH = 1500, 256
OURS = HeadConfig(alpha=0.5, beta=0.5, warmup_fraction=0.2)
# Soft labels as wide as on MTL-AQA: 5 points of score, 2.5 of a mark.
USDL = HeadConfig(name="usdl", bins=111, lowest=-10.0, highest=100.0, label_std=5.0)
MUSDL = HeadConfig(name="musdl", bins=20, lowest=-4.0, highest=15.0, label_std=2.5)
VARIANTS: dict[str, HeadConfig] = {
    "dae": dataclasses.replace(OURS, name="dae"),
    "dae, beta-NLL": dataclasses.replace(OURS, name="dae", loss="beta_nll"),
    "dae, detached": dataclasses.replace(OURS, name="dae", loss="detached"),
    "dae_mt": dataclasses.replace(OURS, name="dae_mt"),
    "dae_mt, judges' spread": dataclasses.replace(OURS, name="dae_mt", spread_weight=1.0),
    "dae_judges": dataclasses.replace(OURS, name="dae_judges"),
    "dae, released 2021": dataclasses.replace(OURS, name="dae", loss="released_2021", sigma_floor=0.0),
    "dae, released 2023": dataclasses.replace(OURS, name="dae", loss="released_2023", sigma_floor=0.0),
    "usdl": USDL,
    "usdl, its softmax": dataclasses.replace(USDL, sharpen=False),
    "musdl": MUSDL,
    "musdl, its softmax": dataclasses.replace(MUSDL, sharpen=False),
}


def world(count: int, seed: int, *, one_difficulty: bool = False) -> dict[str, np.ndarray]:
    """``count`` performances: ``features`` [N, 1024], ``judges`` [N, 7], ``difficulty``, ``score``, ``true_sigma`` [N].

    A mark is quality plus noise of a standard deviation between .2 and 2 points; the score is the sum of the middle
    three times the difficulty, so the true sigma is that of the middle three, times the difficulty.
    """
    mixing = np.random.default_rng(0).normal(size=(HIDDEN, FEATURES)) / np.sqrt(HIDDEN)
    rng = np.random.default_rng([1, seed])
    hidden = rng.normal(size=(count, HIDDEN))
    quality = 5 + 1.2 * hidden[:, 0] + 0.6 * np.sin(2 * hidden[:, 1])
    mark_sigma = 0.2 + 1.8 / (1 + np.exp(-1.5 * hidden[:, 2]))
    difficulty = np.full(count, 3.0) if one_difficulty else rng.uniform(2.5, 3.5, count)
    judges = quality[:, None] + mark_sigma[:, None] * rng.normal(size=(count, 7))
    values = {
        "features": np.maximum(hidden @ mixing + 0.3, 0) + 0.02 * rng.normal(size=(count, FEATURES)),
        "judges": judges,
        "difficulty": difficulty,
        "score": np.sort(judges, 1)[:, 2:5].sum(1) * difficulty,
        "true_sigma": np.sqrt(MIDDLE_THREE_VARIANCE) * mark_sigma * difficulty,
    }
    return {name: value.astype(np.float32) for name, value in values.items()}


def train(settings: HeadConfig, data: Mapping[str, np.ndarray], *, steps: int = STEPS, seed: int = 0) -> Head:
    """The head that ``settings`` describe, after ``steps`` of Adam on ``data``."""
    head = HEADS[settings.name](FEATURES, settings, data, nnx.Rngs(seed))
    graph, *groups = nnx.split(head, nnx.Param, ...)
    parameters, constants = groups
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(1e-3, steps)))
    arrays = {name: jnp.asarray(value) for name, value in data.items()}

    def step(carry, index):
        parameters, state, key = carry
        key, pick, noise = jax.random.split(key, 3)
        rows = jax.random.randint(pick, (BATCH,), 0, len(arrays["score"]))
        batch = {name: value[rows] for name, value in arrays.items()}

        def loss(parameters):
            model = nnx.merge(graph, parameters, constants)
            return model.loss(model(batch["features"]), batch, noise, index / steps).mean()

        updates, state = optimizer.update(jax.grad(loss)(parameters), state, parameters)
        return (optax.apply_updates(parameters, updates), state, key), None

    start = (parameters, optimizer.init(parameters), jax.random.key(seed))
    (parameters, _, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(steps)))(start)
    return nnx.merge(graph, parameters, constants)


def figures(head: Head, validation: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What the module's docstring names, on ``test``."""
    predicted = {}
    for name, data in (("validation", validation), ("test", test)):
        distribution = jax.jit(lambda batch: head.distribution(head(batch["features"]), batch))(data)
        predicted[name] = (np.asarray(distribution.mean, float), np.asarray(distribution.sigma, float))
    mean, sigma = predicted["validation"]
    temperature = float(np.sqrt(np.mean(((validation["score"] - mean) / sigma) ** 2)))
    mean, sigma = predicted["test"]
    score = test["score"]

    def coverage(factor: float) -> float:
        low, high = calibration.gaussian_interval(mean, factor * sigma, 0.9)
        return float(np.mean((low <= score) & (score <= high)))

    return {
        "rho": float(stats.spearmanr(mean, score).statistic),
        "rho_of_sigma": float(stats.spearmanr(sigma, test["true_sigma"]).statistic),
        "coverage_90_raw": coverage(1.0),
        "coverage_90": coverage(temperature),
        "uncertainty_tau": calibration.uncertainty_tau(score - mean, sigma),
        "mean_sigma": float(sigma.mean()),
        "mean_true_sigma": float(test["true_sigma"].mean()),
    }


def main() -> None:
    """Trains every variant and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = {}
    for name, settings in VARIANTS.items():
        untold = settings.name in ("dae", "usdl")
        data = {split: world(count, seed, one_difficulty=untold) for seed, (split, count) in enumerate(SIZES.items())}
        rows[name] = figures(train(settings, data["train"]), data["validation"], data["test"])
        print(f"{name:<24}" + "".join(f"  {key} {value:.3f}" for key, value in rows[name].items()), flush=True)
    if arguments.output:
        device = jax.devices()[0].device_kind
        write_json(arguments.output, {"device": device, "sizes": SIZES, "steps": STEPS, "variants": rows})


if __name__ == "__main__":
    main()
