"""Action quality assessment in JAX: how well was it done, and how sure are we.

import aqa_jax

print(aqa_jax.load("runs/quickstart").score("my_dive.mp4", difficulty=3.0))
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aqa_jax.api import Model

__version__ = "0.1.0"


def load(path: str | os.PathLike[str], **settings: Any) -> "Model":
    """A trained model, ready to score videos: see :func:`aqa_jax.api.load`."""
    # Readers and workers import this package without jax.
    from aqa_jax.api import load as load_model

    return load_model(path, **settings)
