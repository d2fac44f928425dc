"""The exemplars of a run: their features, computed once for all votes."""

import jax
import numpy as np

from aqa_jax.config_keys import HeadConfig
from aqa_jax.data.exemplar_keys import KEY_DECIMALS
from aqa_jax.train import state as states
from aqa_jax.train.run import Run


def has_bank(state: states.State) -> bool:
    """Whether the model of ``state`` scores with exemplars."""
    return "exemplars" in state["constants"].get("head", {})


def known_difficulties(state: states.State, settings: HeadConfig) -> tuple[float, ...] | None:
    """The difficulties that the bank has exemplars of, ascending; None where exemplars are chosen otherwise."""
    if not has_bank(state) or settings.exemplars_by != "difficulty":
        return None
    bank = state["constants"]["head"]["exemplars"]
    keys = np.unique(np.asarray(bank["key"])[np.asarray(bank["row"]) >= 0])
    return tuple(round(float(key), KEY_DECIMALS) for key in keys)


def refreshed(run: Run, state: states.State) -> states.State:
    """``state`` with the features of its exemplars as its own weights make them; without exemplars, ``state``."""
    from aqa_jax.train.evaluation import predict_rows

    if not has_bank(state):
        return state
    bank = state["constants"]["head"]["exemplars"]
    rows = np.asarray(bank["row"])
    used = np.unique(rows[rows >= 0])
    outputs = predict_rows(run.output_step, state, run.batches_of("train", used), name="exemplars")
    features = np.zeros(bank["features"].shape, np.float32)
    features[rows >= 0] = outputs["features"][np.searchsorted(outputs["row"], rows[rows >= 0])]
    # Placed as before, or the next step would be compiled again.
    fresh = jax.device_put(features, bank["features"].sharding)
    head = {**state["constants"]["head"], "exemplars": {**bank, "features": fresh}}
    return {**state, "constants": {**state["constants"], "head": head}}
