"""What ten votes cost: evaluating the same videos with CoRe and with a head that looks once (DAE), side by side.

    python benchmarks/core_votes.py [--out benchmarks/results/core_votes.json]

Rendered dives, the quickstart's network and clips, untrained: time does not depend on the weights. Every round
evaluates the test videos, decoding included, in four ways one after the other: with DAE; with CoRe and ten exemplars
whose features the checkpoint holds; the same after computing these features once; and as CoRe's own code does, where
every vote computes its exemplar's feature again, on fewer queries. Ratios are medians over the rounds. So small a
network makes the votes look dear: XLA's count of operations at the published size stands beside.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))
from absl import flags  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from aqa_jax import config as config_lib  # noqa: E402
from aqa_jax.files import write_json  # noqa: E402
from aqa_jax.train import state as states  # noqa: E402
from aqa_jax.train.evaluation import predict_rows  # noqa: E402
from aqa_jax.train.exemplars import refreshed  # noqa: E402
from aqa_jax.train.run import Run  # noqa: E402
from configs import mtl_aqa_core, mtl_aqa_dae_mt, quickstart  # noqa: E402

TRAIN, TEST, BATCH, VOTES = 400, 96, 16, 10
PER_VOTE_QUERIES = 8


def run_of(head: str, data_dir: str, width: float) -> tuple[Run, states.State]:
    """A run of ``head`` and its first state."""
    config = quickstart.get_config()
    config.data.data_dir = data_dir
    config.data.options = f"train_videos={TRAIN},test_videos={TEST}"
    config.model.width, config.model.weights = width, ""
    config.evaluate.batch_size = BATCH
    config.head.name, config.head.exemplars, config.head.exemplars_by = head, VOTES, "random"
    run = Run(config_lib.resolve(config))
    return run, states.replicated({"step": np.zeros((), np.int32), **run.initial_groups})


def gigaflops(config: ConfigDict) -> float:
    """Operations of one video's evaluation, by XLA's count; plain convolutions, for it counts a loop's body once."""
    config.model.kernels = "plain"
    run = Run(config_lib.resolve(config))
    state = {"step": jax.ShapeDtypeStruct((), "int32"), **jax.eval_shape(run.assembler.init)}
    batch = {name: jax.ShapeDtypeStruct((1, BATCH), jnp.float32) for name in run.task.columns}
    batch["row"] = jax.ShapeDtypeStruct((1, BATCH), jnp.int32)
    batch["video"] = jax.ShapeDtypeStruct((1, BATCH, *run.batch_shape), jnp.uint8)
    return run.output_step.lower(state, batch).cost_analysis()["flops"] / 1e9 / BATCH


def seconds(work: Callable[[], object]) -> float:
    """Wall time of ``work``."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measures, prints and writes."""
    flags.FLAGS.mark_as_parsed()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "core_votes.json")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    dae, dae_state = run_of("dae_mt", arguments.data_dir, arguments.width)
    core, core_state = run_of("core", arguments.data_dir, arguments.width)
    core_state = refreshed(core, core_state)
    bank = core_state["constants"]["head"]["exemplars"]
    exemplars = np.asarray(bank["row"])[np.asarray(bank["row"]) >= 0]
    queries = core.rows["test"]

    def evaluate(run: Run, state: states.State, rows: np.ndarray) -> dict[str, np.ndarray]:
        return predict_rows(run.output_step, state, run.batches_of("test", rows), quiet=True)

    # As in the original, a query's own pass and one for each of its exemplars.
    per_vote = np.concatenate([[query, *exemplars] for query in queries[:PER_VOTE_QUERIES]])
    ways = {
        "dae": lambda: evaluate(dae, dae_state, queries),
        "core, features in the checkpoint": lambda: evaluate(core, core_state, queries),
        "core, features computed once": lambda: evaluate(core, refreshed(core, core_state), queries),
        "core, features computed for every vote": lambda: evaluate(core, core_state, per_vote),
    }
    for work in ways.values():
        work()  # Compiled.
    rounds = []
    for _ in range(arguments.rounds):
        taken = {name: seconds(work) for name, work in ways.items()}
        taken["core, features computed for every vote"] *= len(queries) / PER_VOTE_QUERIES
        rounds.append(taken)
    ratios = {name: [taken[name] / taken["dae"] for taken in rounds] for name in ways if name != "dae"}
    report = {
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "jax": jax.__version__,
        "videos": len(queries),
        "exemplars": len(exemplars),
        "votes": VOTES,
        "network": f"I3D of width {arguments.width:g}, 2 clips of 16 frames at 32 px",
        "gigaflops_per_video_at_mtl_aqas_size": {
            "dae": round(gigaflops(mtl_aqa_dae_mt.get_config()), 2),
            "core, features in the checkpoint": round(gigaflops(mtl_aqa_core.get_config()), 2),
        },
        "rounds": arguments.rounds,
        "seconds": {name: round(statistics.median(taken[name] for taken in rounds), 3) for name in ways},
        "ratio_to_dae": {
            name: {"median": round(statistics.median(r), 3), "least": round(min(r), 3), "most": round(max(r), 3)}
            for name, r in ratios.items()
        },
    }
    write_json(arguments.out, report)
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
