import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqa_jax.errors import ConfigError, RunError
from aqa_jax.evaluate.selection import DEFAULT_RULE, RULES, mean_of_last, select, select_all


def entry(step, validation=None, test=None, metric="rho"):
    result = {"step": step}
    if validation is not None:
        result["validation"] = {metric: validation}
    if test is not None:
        result["test"] = {metric: test}
    return result


HISTORY = [entry(10, 0.5, 0.6), entry(20, 0.8, 0.4), entry(30, 0.8, 0.9), entry(40, 0.7, 0.7)]


def test_each_rule_chooses_its_own_step():
    assert {rule: select(HISTORY, rule).step for rule in RULES} == {
        "best_on_validation": 20,
        "last": 40,
        "best_on_test": 30,
    }
    assert select(HISTORY).rule == DEFAULT_RULE == "best_on_validation"
    chosen = select(HISTORY, "best_on_test")
    assert (chosen.metric, chosen.split, chosen.value) == ("rho", "test", 0.9)


def test_ties_go_to_the_earliest_step_whatever_the_order():
    assert select(HISTORY[::-1]).step == 20


def test_errors_are_minimised():
    history = [entry(1, 3.0, metric="mae"), entry(2, 2.0, metric="mae"), entry(3, 5.0, metric="mae")]
    assert select(history, metric="mae").step == 2


def test_undefined_never_wins():
    history = [
        {"step": 1, "validation": {"rho": None}},
        {"step": 2, "validation": {"rho": float("nan")}},
        {"step": 3, "validation": {"rho": -0.2}},
        {"step": 4},
    ]
    assert select(history).step == 3
    with pytest.raises(RunError, match="none of 2 evaluations has a validation rho"):
        select(history[:2])
    everything = select_all(history)
    assert everything["last"]["step"] == 4
    assert "has a test rho" in everything["best_on_test"]["undefined"]


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="best_on_validation, last, best_on_test"):
        select(HISTORY, "best")
    with pytest.raises(ConfigError, match="cannot select by 'accuracy'"):
        select(HISTORY, metric="accuracy")
    with pytest.raises(RunError, match="no evaluation"):
        select([])


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_is_the_first_maximum(values):
    history = [entry(10 * i, value) for i, value in enumerate(values)]
    assert select(history).step == 10 * values.index(max(values))


def twelve(**changes):
    history = [
        {"step": step, "test": {"num_examples": 5, "rho": step / 100, "mae": 2.0, "confidence": {}}}
        for step in range(10, 130, 10)
    ]
    for step, figures in changes.items():
        history[int(step[1:]) // 10 - 1]["test"] = figures
    return history


def test_mean_of_the_last_ten_has_figures_and_no_step():
    found = mean_of_last(twelve()[::-1])
    assert found["steps"] == list(range(30, 130, 10))
    assert found["test"] == {"num_examples": 5, "rho": pytest.approx(0.75), "mae": 2.0, "undefined": {}}
    everything = select_all(twelve())["mean_of_last_10"]
    assert "step" not in everything and everything["test"] == found["test"] and "MUSDL" in everything["meaning"]
    one = mean_of_last(twelve(s50={"num_examples": 5, "rho": None, "mae": 2.0, "confidence": {}}))["test"]
    assert one["rho"] is None and one["mae"] == 2.0
    assert one["undefined"] == {"rho": "it is undefined in 1 of 10 evaluations"}
    # What went wrong before the last ten does not count.
    assert mean_of_last(twelve(s20=None))["test"]["rho"] == pytest.approx(0.75)


def test_mean_of_the_last_ten_says_what_it_lacks():
    assert "9 evaluations were made, 10 are needed" in select_all(twelve()[3:])["mean_of_last_10"]["undefined"]
    assert "config.evaluate.track_test" in select_all(twelve(s50=None))["mean_of_last_10"]["undefined"]
    with pytest.raises(ConfigError, match="unknown selection rule"):
        select(twelve(), "mean_of_last_10")
