"""Action quality assessment in JAX: how well was it done, and how sure are we."""

__version__ = "0.1.0"
