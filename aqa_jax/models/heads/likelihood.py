"""The losses that teach a mean and a variance, for every head of the DAE family.

With residual r and variance V, both in units in which the training scores have spread 1:

- ``likelihood`` (DAE's, rebuilt): ``alpha r^2 / V + beta log V``; alpha = beta = 1/2 is the normal likelihood itself;
- ``beta_nll`` (Seitzer et al. 2022, "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic
  neural networks"): the same times ``V^beta_nll``, through which no gradient goes: examples with a large variance are
  not forgotten;
- ``detached``: ``r^2`` for the mean, and the likelihood for the variance alone, no gradient of which reaches the mean
  (after Stirn et al. 2023, "Faithful heteroscedastic regression with neural networks");
- ``released_2021``, ``released_2023``: what DAE's code does; both shrink sigma to 0.
"""

import jax
import jax.numpy as jnp

from aqa_jax.config_keys import HeadConfig


def likelihood_loss(residual: jax.Array, variance: jax.Array, settings: HeadConfig, progress: jax.Array) -> jax.Array:
    """Loss of each residual, elementwise, for the first three losses.

    Args:
      residual: label less mean, any shape.
      variance: of the same shape, positive.
      settings: which loss; its warm-up and weight of the squared error.
      progress: 0 to 1 over the training.
    """
    if settings.loss == "detached":
        fixed = jax.lax.stop_gradient(residual)
        return blended(residual**2, fixed**2 / variance, jnp.log(variance), variance, settings, progress)
    return blended(residual**2, residual**2 / variance, jnp.log(variance), variance, settings, progress)


def blended(
    error: jax.Array,
    quadratic: jax.Array,
    log_variance: jax.Array,
    variance: jax.Array,
    settings: HeadConfig,
    progress: jax.Array,
) -> jax.Array:
    """Squared error and likelihood in the proportions of ``settings``; all arrays of one shape.

    ``quadratic`` and ``log_variance`` are the likelihood's two terms, ``variance`` is what ``beta_nll`` weighs by.
    """
    likelihood = settings.alpha * quadratic + settings.beta * log_variance
    warming = progress < settings.warmup_fraction
    if settings.loss == "detached":
        return error + jnp.where(warming, 0.0, likelihood)
    if settings.loss == "beta_nll":
        likelihood = jax.lax.stop_gradient(variance**settings.beta_nll) * likelihood
    share = jnp.where(warming, 1.0, settings.mse_weight)
    return share * error + (1 - share) * likelihood


def sampled_loss(residual: jax.Array, sigma: jax.Array, settings: HeadConfig, key: jax.Array) -> jax.Array:
    """The released losses, elementwise: one draw ``z = mu + sigma eps`` for each residual."""
    sampled = jnp.square(residual - sigma * jax.random.normal(key, sigma.shape, sigma.dtype))
    return sampled if settings.loss == "released_2021" else sampled + jnp.square(residual)
