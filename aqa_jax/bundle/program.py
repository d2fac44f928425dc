"""A model as one program in StableHLO, by ``jax.export``: it runs with jax alone, without this library.

It holds the weights. Videos are scored as in float32 by the model with its batch normalisation folded, in the plain
form of its operations, on a CPU or an NVIDIA GPU; how many at once is left open.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from aqa_jax import compilation
from aqa_jax.config import Config
from aqa_jax.data import exemplar_keys
from aqa_jax.data.sampling import clip_window
from aqa_jax.errors import BundleError
from aqa_jax.models.folding import fold
from aqa_jax.models.score_model import ClipModel
from aqa_jax.predict.trained import Trained
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.train.run import Run

PLATFORMS = ("cpu", "cuda")

Scores = dict[str, jax.Array]
"""``score`` (what config.evaluate.point says), ``mean`` and ``sigma`` (recalibrated), float32 [B], in score points."""


def export_program(config: Config, trained: Trained) -> bytes:
    """The program, serialised: uint8 clips [B, S, T, H, W, 3] and difficulties float32 [B] to :data:`Scores`.

    Heads that need no difficulty take it and pass it over. B is any number.
    """
    # Products of float32 stay float32's on a GPU too.
    with compilation.without_paths(), jax.default_matmul_precision("highest"):
        exported = export.export(scoring_function(config, trained), platforms=PLATFORMS)(*_arguments(config))
        return bytes(exported.serialize())


def scoring_function(config: Config, trained: Trained) -> Any:
    """The same as a jitted function."""
    plain = dataclasses.replace(config, model=dataclasses.replace(config.model, kernels="plain", dtype="float32"))
    run, task = Run(plain), ScoreTask(plain)
    model = cast(ClipModel, run.assembler.merge(jax.tree.map(np.asarray, trained.state)))
    fold(model.i3d)
    graph, arrays = nnx.split(model)
    temperature = trained.trust.recalibration.temperature if trained.trust.recalibration else 1.0

    @jax.jit
    def score(clips: jax.Array, difficulty: jax.Array) -> Scores:
        merged = nnx.merge(graph, arrays)
        batch = {"difficulty": difficulty}
        if run.paired:
            by_difficulty = config.head.exemplars_by == "difficulty"
            batch[exemplar_keys.COLUMN] = difficulty if by_difficulty else jnp.zeros_like(difficulty)
        told = task.distribution_of(merged, merged.features(clips), batch)
        point = told.most_likely if config.evaluate.point == "mode" else told.mean
        return {"score": point, "mean": told.mean, "sigma": temperature * told.sigma}

    return score


def load_program(content: bytes) -> Callable[[Any, Any], Scores]:
    """The program of :func:`export_program`.

    Raises:
      BundleError: this jax does not read it.
    """
    try:
        return export.deserialize(bytearray(content)).call
    except Exception as error:  # jax, flatbuffers and MLIR each have their own.
        raise BundleError(
            f"The program is damaged, or jax {jax.__version__} no longer reads it ({error}): such programs are for six "
            "months. Export it again from the run or the bundle."
        ) from error


def _arguments(config: Config) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
    window, crop = clip_window(config.data), config.data.crop
    (batch,) = export.symbolic_shape("b")
    shape = (batch, window.num_clips, window.clip_length, crop, crop, 3)
    return jax.ShapeDtypeStruct(shape, jnp.uint8), jax.ShapeDtypeStruct((batch,), jnp.float32)
