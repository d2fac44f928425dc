"""A model over every video of a split exactly once."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from aqa_jax.data.pipeline import eval_iterator
from aqa_jax.errors import RunError
from aqa_jax.train.state import State
from aqa_jax.train.step import shard


def predict_rows(
    output_step: Any, state: State, batches: eval_iterator, *, name: str = "", quiet: bool = False
) -> dict[str, np.ndarray]:
    """Outputs of all videos that ``batches`` holds, on every host.

    Args:
      output_step: made by :func:`aqa_jax.train.step.make_output_step`.
      state: the weights.
      batches: the split; padding is left out, several views of a video are averaged.
      name: for the progress bar.
      quiet: no progress bar.

    Returns:
      ``row`` int [N], ascending, and each output [N, ...].
    """
    devices = jax.local_device_count()
    bar = tqdm(
        batches,
        total=len(batches),
        desc=name,
        unit="batch",
        leave=False,
        disable=quiet or jax.process_index() > 0,
    )
    parts: list[dict[str, np.ndarray]] = []
    pending: tuple[Any, ...] | None = None
    for batch in bar:
        mask = batch.pop("mask")
        outputs = output_step(state, shard(batch, devices))
        # Read when the next batch is on its way: the device need not wait for this host.
        if pending is not None:
            parts.append(_read(*pending))
        pending = (outputs, batch["row"], mask)
    if pending is not None:
        parts.append(_read(*pending))
    merged = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    if jax.process_count() > 1:
        merged = {k: np.asarray(v) for k, v in multihost_utils.process_allgather(merged, tiled=True).items()}
    kept = merged.pop("mask") > 0
    merged = {k: v[kept] for k, v in merged.items()}
    rows, inverse = np.unique(merged.pop("row"), return_inverse=True)
    counts = np.bincount(inverse)
    result: dict[str, np.ndarray] = {"row": rows}
    for key, values in merged.items():
        total = np.zeros((len(rows), *values.shape[1:]), np.float64)
        np.add.at(total, inverse, values.astype(np.float64))
        result[key] = total / counts.reshape(-1, *(1,) * (values.ndim - 1))
    return result


def check_outputs(outputs: dict[str, np.ndarray], ids: np.ndarray, where: str) -> None:
    """Refuses figures made of NaN or infinities: no metric of theirs means anything.

    Args:
      outputs: as :func:`predict_rows` returned them.
      ids: of all videos of the table.
      where: step and split, for the message.

    Raises:
      RunError: naming the videos.
    """
    bad = np.zeros(len(outputs["row"]), bool)
    for values in outputs.values():
        bad |= ~np.isfinite(values.reshape(len(bad), -1)).all(1)
    if bad.any():
        named = ", ".join(str(ids[row]) for row in outputs["row"][bad][:8])
        raise RunError(f"{where}: the model's outputs are not finite for {bad.sum()} of {len(bad)} videos: {named}.")


def _read(outputs: dict[str, jax.Array], row: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    local = {k: np.asarray(_local(v)).reshape(len(mask), *v.shape[2:]) for k, v in outputs.items()}
    return {**local, "row": row, "mask": mask}


def _local(array: jax.Array) -> Any:
    """This host's part of a pmapped output [devices, ...]."""
    if array.is_fully_addressable:
        return array
    shards = sorted(array.addressable_shards, key=lambda s: s.index[0].start or 0)
    return np.concatenate([np.asarray(s.data) for s in shards])
