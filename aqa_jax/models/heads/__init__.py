"""Scoring methods: one file each, one interface (:class:`aqa_jax.models.heads.base.Head`)."""

from aqa_jax.models.heads.dae import make_dae, make_dae_mt

# Name in the config -> how to make the head from the config and the training table.
HEADS = {"dae": make_dae, "dae_mt": make_dae_mt}
