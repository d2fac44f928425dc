"""What a run learns: the loop knows only :class:`aqa_jax.tasks.base.Task`."""

from collections.abc import Callable

from aqa_jax.config import Config
from aqa_jax.tasks.base import Task
from aqa_jax.tasks.motion import MotionTask
from aqa_jax.tasks.score import ScoreTask
from aqa_jax.tasks.vspp import VsppTask

_TASKS: dict[str, Callable[[Config], Task]] = {"score": ScoreTask, "vspp": VsppTask, "motion": MotionTask}


def make_task(config: Config) -> Task:
    """The task that ``config.task`` names."""
    return _TASKS[config.task](config)
