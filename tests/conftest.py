"""What every test shares: strict JAX settings and parsed absl flags. No test chooses the platform."""

import os
from pathlib import Path

# Set before anything imports jax, and inherited by the processes that tests start.
# An accidental [N] + [N, 1] is an error and not an [N, N] array.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")
# Compiled steps are kept between test processes and test runs.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Several test processes share a GPU where there is one: none may take all its memory at the start.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from absl import flags

from aqa_jax import compilation

# As run.py compiles; the processes that tests start inherit it.
compilation.prepare()

# Grain reads absl flags, which only absl.app.run parses.
flags.FLAGS.mark_as_parsed()
