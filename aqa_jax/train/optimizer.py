"""The optimizer that a config describes, in optax's terms."""

from typing import Any

import jax
import numpy as np
import optax

from aqa_jax.config_keys import OptimizerConfig


def make_schedule(settings: OptimizerConfig, total_updates: int) -> optax.Schedule:
    """Learning rate by update: linear warm-up, then constant or cosine."""
    # A numpy scalar: a Python float would be weakly typed and compile the step twice.
    peak = np.float32(settings.learning_rate)
    after = max(total_updates - settings.warmup_steps, 1)
    if settings.schedule == "cosine":
        length = max(round(after * settings.cosine_length), 1)
        main = optax.cosine_decay_schedule(peak, length, settings.final_fraction)
    else:
        main = optax.constant_schedule(peak)
    if not settings.warmup_steps:
        return main
    warmup = optax.linear_schedule(np.float32(0), peak, settings.warmup_steps)
    return optax.join_schedules([warmup, main], [settings.warmup_steps])


def make_optimizer(settings: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """Clipping, weight decay, the rule, the schedule; ``total_steps`` counts batches.

    Adam's and SGD's weight decay is added to the gradient before the moments, as torch does; AdamW's is decoupled.
    """
    schedule = make_schedule(settings, max(total_steps // settings.accumulate, 1))
    parts = []
    if settings.clip_norm:
        parts.append(optax.clip_by_global_norm(settings.clip_norm))
    if settings.weight_decay and settings.name != "adamw":
        parts.append(optax.add_decayed_weights(settings.weight_decay))
    if settings.name == "sgd":
        parts.append(optax.trace(settings.momentum))
    else:
        parts.append(optax.scale_by_adam())
    if settings.weight_decay and settings.name == "adamw":
        parts.append(optax.add_decayed_weights(settings.weight_decay))
    if settings.head_multiplier != 1.0:
        parts.append(optax.masked(optax.scale(settings.head_multiplier), _head_alone))
    parts.append(optax.scale_by_learning_rate(schedule))
    rule = optax.chain(*parts)
    if settings.accumulate > 1:
        return optax.MultiSteps(rule, settings.accumulate).gradient_transformation()
    return rule


def _head_alone(tree: dict[str, Any]) -> dict[str, Any]:
    """True for the leaves of the head, False for the others."""
    return {part: jax.tree.map(lambda _, head=part == "head": head, leaves) for part, leaves in tree.items()}
