"""What a run learns: the loop knows only :class:`aqa_jax.tasks.base.Task`."""

from aqa_jax.config import Config
from aqa_jax.tasks.base import Task
from aqa_jax.tasks.motion import MotionTask
from aqa_jax.tasks.score import ScoreTask


def make_task(config: Config) -> Task:
    """The task that ``config.task`` names."""
    return MotionTask(config) if config.task == "motion" else ScoreTask(config)
