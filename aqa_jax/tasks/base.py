"""The interface between the loop and what is learnt."""

from collections.abc import Mapping
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aqa_jax.config import Config
from aqa_jax.data.sampling import Sampler
from aqa_jax.models.adapters import AdapterSettings, Kind
from aqa_jax.models.i3d import I3D, BNMode
from aqa_jax.models.primitives import Form

Batch = Mapping[str, jax.Array]
Arrays = Mapping[str, np.ndarray]


class Task(Protocol):
    """A model, its loss, its outputs and the figures made of them.

    A batch holds ``video`` uint8 [B, S, T, H, W, 3], ``row`` int32 [B] and a float32 array for each of ``columns``.
    """

    columns: tuple[str, ...]
    monitor: str
    """The figure of :meth:`report` that chooses the epoch; higher is better."""

    @property
    def window(self) -> Sampler:
        """Which frames an example consists of; the sampler's labels are int32 arrays [B] of the batch."""
        ...

    def make_model(self, labels: Arrays | None, rngs: nnx.Rngs, axis_name: str | None) -> nnx.Module:
        """The model for training videos with these labels (one array per column; None: constants are restored)."""
        ...

    def loss(
        self, model: Any, batch: Batch, key: jax.Array, progress: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Loss [B] and figures to log [B]; ``progress`` goes from 0 to 1 over the training."""
        ...

    def outputs(self, model: Any, batch: Batch) -> dict[str, jax.Array]:
        """What is kept of each example for :meth:`report`, each [B, ...]."""
        ...

    def report(self, outputs: Arrays, labels: Arrays, *, bootstrap: int) -> dict:
        """Figures over a whole split, one entry per video in the same order."""
        ...


def make_backbone(config: Config, rngs: nnx.Rngs, axis_name: str | None) -> I3D:
    """The I3D that ``config.model`` describes."""
    model = config.model
    adapter = config.adapter
    adapters = AdapterSettings(
        cast(Kind, adapter.kind), adapter.blocks, adapter.ratio, adapter.rank, adapter.zero_scale, adapter.depthwise
    )
    return I3D(
        rngs=rngs, dialect=model.dialect, width=model.width, form=cast(Form, model.kernels), axis_name=axis_name,
        adapters=adapters, remat=config.train.remat == "blocks", final_endpoint=model.final_endpoint,
    )  # fmt: skip


def compute_dtype(config: Config) -> jnp.dtype:
    """bfloat16 on accelerators that compute in it, float32 on others and on the CPU, or as the config says."""
    name = config.model.dtype
    if name == "auto":
        name = "bfloat16" if _computes_in_bfloat16() else "float32"
    return jnp.dtype(name)


def _computes_in_bfloat16() -> bool:
    backend = jax.default_backend()
    if backend in ("gpu", "cuda"):
        # NVIDIA's from 8.0 (Ampere) on; before, it is emulated. Other makers' numbers have another form.
        major = str(getattr(jax.local_devices()[0], "compute_capability", "")).partition(".")[0]
        return not major.isdigit() or int(major) >= 8
    return backend != "cpu"


def training_mode(config: Config) -> BNMode:
    """Batch normalisation's mode in training."""
    return "batch" if config.model.batch_norm == "batch" else "frozen"
