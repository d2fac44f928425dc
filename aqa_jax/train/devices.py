"""How many devices this host's cores are taken for.

XLA's CPU back end gives every operation to all cores, one operation after the other, and many operations of a video
network are too small or too bound by memory for that. Taken for several devices, the cores share the batch instead, as
GPUs do, and meet only where the gradient is summed (and at each layer, where the batch's statistics are used); see
docs/speed.md. Figures differ in their last bits, as with any number of devices.
"""

import os

import jax

from aqa_jax.config import Config
from aqa_jax.data import cores, exemplar_keys
from aqa_jax.tasks import make_task

MOST = 8
"""Each has weights, gradient and optimizer of its own."""
PIXELS = 800_000
"""Pixels in a step, for each device and for a network of width 1, from which devices gain more by sharing a batch than
each loses by updating all parameters itself: one clip of 16 frames at 224 pixels (docs/speed.md)."""


def cpu_devices(config: Config, processes: int = 1) -> int:
    """Devices for a training: ``config.train.cpu_devices``, or as many as there are cores and the batch allows.

    Args:
      config: of the training.
      processes: hosts that share its batch.
    """
    train = config.train
    if train.cpu_devices:
        return train.cpu_devices
    if train.clip_chunk:
        return 1  # little memory: a chunk on each device would take as much again
    task = make_task(config)
    # Heads that compare videos need both of a pair on one device.
    together = 2 if exemplar_keys.COLUMN in task.columns else 1
    shares, left = divmod(train.batch_size, processes * together)
    if left:
        return 1  # an error, which the training has words for
    pixels = shares * together * task.window.num_clips * task.window.clip_length * config.data.crop**2
    return max(
        n
        for n in range(1, min(cores(), MOST) + 1)
        if shares % n == 0 and (n == 1 or worth_sharing(train.trainable, pixels // n, config.model.width))
    )


def worth_sharing(trainable: str, pixels: int, width: float) -> bool:
    """Whether several devices are quicker than one, where each sees ``pixels`` a step.

    Each updates all of ``trainable`` itself. Both its work and the parameters grow with the square of the network's
    width, but those of a narrow one stay in the cores' caches.
    """
    return trainable != "all" or pixels >= PIXELS * width


def share_among_cores(config: Config, processes: int = 1) -> None:
    """Makes jax see :func:`cpu_devices`, unless the environment says how many. Call it before jax is first used."""
    environment = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in environment:
        return
    jax.config.update("jax_num_cpu_devices", cpu_devices(config, processes))
