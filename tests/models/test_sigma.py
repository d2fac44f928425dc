"""Does sigma follow a noise law that is known? The DAE family on generated features (scripts/heads_alone.py)."""

import functools

import pytest

from scripts import heads_alone

STEPS = 600


@functools.cache
def found(name):
    settings = heads_alone.VARIANTS[name]
    data = {
        split: heads_alone.world(count, seed, one_difficulty=settings.name == "dae")
        for seed, (split, count) in enumerate(heads_alone.SIZES.items())
    }
    head = heads_alone.train(settings, data["train"], steps=STEPS)
    return heads_alone.figures(head, data["validation"], data["test"])


@pytest.mark.parametrize("name", ["dae", "dae_mt", "dae_mt, judges' spread", "dae_judges"])
def test_sigma_is_the_noise_s(name):
    figures = found(name)
    assert figures["rho_of_sigma"] >= 0.9
    assert 0.88 <= figures["coverage_90"] <= 0.92
    assert figures["uncertainty_tau"] >= 0.8
    assert figures["mean_sigma"] == pytest.approx(figures["mean_true_sigma"], rel=0.15)


def test_the_released_losses_shrink_sigma_to_nothing():
    released = found("dae, released 2021")
    assert released["mean_sigma"] < 0.05 * released["mean_true_sigma"]
    assert released["coverage_90_raw"] < 0.1 < found("dae")["coverage_90_raw"]
