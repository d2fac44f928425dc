"""Scoring methods: one file each, one interface (:class:`aqa_jax.models.heads.base.Head`)."""

import importlib
from collections.abc import Callable

from flax import nnx

from aqa_jax.config_keys import HeadConfig
from aqa_jax.errors import ConfigError
from aqa_jax.models.heads.base import Head, Labels
from aqa_jax.models.heads.core import make_core
from aqa_jax.models.heads.dae import make_dae, make_dae_mt
from aqa_jax.models.heads.dae_core import make_dae_core
from aqa_jax.models.heads.dae_judges import make_dae_judges
from aqa_jax.models.heads.musdl import make_musdl
from aqa_jax.models.heads.regression import make_regression
from aqa_jax.models.heads.usdl import make_usdl

MakeHead = Callable[[int, HeadConfig, Labels | None, nnx.Rngs], Head]
"""From the number of features, the settings and the training table (None: constants are restored) to the head."""

# Name in the config -> how to make the head.
HEADS: dict[str, MakeHead] = {
    "regression": make_regression,
    "usdl": make_usdl,
    "musdl": make_musdl,
    "dae": make_dae,
    "dae_mt": make_dae_mt,
    "dae_judges": make_dae_judges,
    "core": make_core,
    "dae_core": make_dae_core,
}


def head_maker(name: str) -> MakeHead:
    """What makes the head called ``name``: one of :data:`HEADS`, or anybody's as ``package.module:make_head``.

    Raises:
      ConfigError: there is no such head.
    """
    if name in HEADS:
        return HEADS[name]
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"config.head.name={name!r}: {error}. A head of your own is named as package.module:make_head, and its "
            "module must be found from where the command runs."
        ) from error
