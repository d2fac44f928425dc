import subprocess
import sys

import cv2
import numpy as np
import pytest

from aqa_jax.evaluate.metrics import score_metrics
from aqa_jax.evaluate.plots import confusions, paired_differences, scatter, training_curves

BLUE, ORANGE, GREEN = (0, 114, 178), (213, 94, 0), (0, 158, 115)


def pixels_of(path, colour, tolerance=60):
    """Number of pixels near an RGB colour."""
    image = cv2.imread(str(path))
    assert image is not None
    return int((np.abs(image[..., ::-1].astype(int) - colour).max(-1) < tolerance).sum())


def test_scatter_shows_which_labels_are_outside_their_interval(tmp_path):
    score = np.linspace(40, 90, 30)
    scatter(tmp_path / "all_inside.png", score, score + 1, np.full(30, 2.0))
    scatter(tmp_path / "all_outside.png", score, score + 9, np.full(30, 2.0))
    assert pixels_of(tmp_path / "all_inside.png", BLUE) > 10 * pixels_of(tmp_path / "all_inside.png", ORANGE)
    assert pixels_of(tmp_path / "all_outside.png", ORANGE) > 10 * pixels_of(tmp_path / "all_outside.png", BLUE)


def test_the_same_figures_give_the_same_bytes_and_nothing_else_is_left(tmp_path):
    score = np.linspace(40, 90, 30)
    metrics = score_metrics(score, score + 1, np.full(30, 2.0))
    for name in ("a.png", "b.png"):
        scatter(tmp_path / name, score, score + 1, np.full(30, 2.0), title="long " * 40, metrics=metrics)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_and_constant_inputs_are_drawn(tmp_path, n):
    scatter(
        tmp_path / "a.png",
        np.full(n, 5.0),
        np.full(n, 5.0),
        np.ones(n),
        metrics=score_metrics(*[np.full(n, 5.0)] * 2),
    )
    scatter(tmp_path / "b.png", np.full(n, 5.0), np.full(n, 5.0))
    training_curves(tmp_path / "c.png", [(i, 1.0) for i in range(n)], [{"step": 1, "validation": {"rho": None}}] * n)
    assert all(cv2.imread(str(tmp_path / name)) is not None for name in ("a.png", "b.png", "c.png"))


def test_training_curves_draw_the_splits_there_are(tmp_path):
    losses = [(step, 5.0 / step) for step in range(1, 200)] + [(200, float("nan"))]
    both = [{"step": 50 * i, "validation": {"rho": 0.1 * i}, "test": {"rho": 0.05 * i}} for i in range(1, 5)]
    without_test = [{"step": entry["step"], "validation": entry["validation"]} for entry in both]
    training_curves(tmp_path / "both.png", losses, both, selected_step=200, title="a run")
    training_curves(tmp_path / "validation.png", losses, without_test)
    for name in ("both.png", "validation.png"):
        assert pixels_of(tmp_path / name, GREEN) > 200
        assert pixels_of(tmp_path / name, BLUE) > 200
    assert pixels_of(tmp_path / "both.png", ORANGE) > 200
    assert pixels_of(tmp_path / "validation.png", ORANGE) == 0


def test_confusions_and_differences_are_drawn(tmp_path):
    matrix = np.diag([3.0, 2.0, 0.0])  # the third class never occurs
    confusions(tmp_path / "two.png", {"segment": (matrix, "123"), "pace": (matrix, "234")})
    confusions(tmp_path / "one.png", {"segment": (matrix, "123")})
    assert cv2.imread(str(tmp_path / "two.png")).shape[1] > cv2.imread(str(tmp_path / "one.png")).shape[1]
    noise = np.random.default_rng(0).standard_normal(8)
    paired_differences(tmp_path / "clear.png", {"a": 1 + 0.01 * noise}, "b")
    paired_differences(tmp_path / "unclear.png", {"a": noise}, "b")
    assert pixels_of(tmp_path / "clear.png", BLUE) > 100 and pixels_of(tmp_path / "clear.png", ORANGE) == 0
    assert pixels_of(tmp_path / "unclear.png", ORANGE) > 100 and pixels_of(tmp_path / "unclear.png", BLUE) == 0


def test_pyplot_stays_unloaded():
    code = "import sys, aqa_jax.evaluate.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
