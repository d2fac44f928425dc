"""What libraries say that nobody needs to hear."""

from collections.abc import Iterator
from contextlib import contextmanager

from absl import logging


@contextmanager
def only_errors() -> Iterator[None]:
    """Within it absl's log, which TFDS and Orbax write to, takes errors alone."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
