"""Spawned workers and reader threads stay light, and scoring waits for nothing that only training needs."""

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            ("aqa_jax.data.encode", "data_builders.mtl_aqa.render"),
            {"jax", "tensorflow", "tensorflow_datasets", "grain"},
        ),
        (("aqa_jax.data.video_store", "aqa_jax.data.sampling", "aqa_jax.data.splits"), {"jax", "tensorflow"}),
        (
            ("aqa_jax.modes", "aqa_jax.predict.ensemble", "aqa_jax.predict.predict"),
            {"tensorflow_datasets", "grain", "matplotlib", "scipy.stats", "pandas"},
        ),
        (("aqa_jax.data.build", "aqa_jax.data.pipeline"), {"tensorflow"}),
        (("aqa_jax",), {"jax", "numpy", "cv2"}),
    ],
)
def test_what_is_not_imported(modules, absent):
    code = f"import sys, importlib; [importlib.import_module(m) for m in {modules!r}]; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True, capture_output=True, text=True)
    assert not absent & set(done.stdout.split())
