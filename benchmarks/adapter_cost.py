"""What a training step costs by what it trains: operations, memory, and what is kept for the backward pass.

    python benchmarks/adapter_cost.py [--out benchmarks/results/adapter_cost.json]

PECoP's pretraining step at full width, compiled and not run: batch statistics, two clips of 16 frames at 224 px. The
figures are XLA's own analysis of the compiled program; what is kept comes from the traced derivative. The convolutions
are XLA's (config.model.kernels=plain), for the analysis counts a loop of the CPU form once, however often it runs.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

REPO = Path(__file__).parents[1]
sys.path.insert(0, str(REPO))
from aqa_jax import config as config_lib  # noqa: E402
from aqa_jax.train import state as states  # noqa: E402
from aqa_jax.train.optimizer import make_optimizer  # noqa: E402
from aqa_jax.train.run import Run  # noqa: E402
from aqa_jax.train.step import AXIS, make_train_step  # noqa: E402

BATCH, FRAMES, SIDE = 2, 16, 224
# name -> adapter.kind, train.trainable, adapter.blocks
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "all": ("none", "all", config_lib.BLOCKS),
    "adapters (3d)": ("3d", "adapters", config_lib.BLOCKS),
    "adapters (3d, Mixed_5c alone)": ("3d", "adapters", ("Mixed_5c",)),
    "low-rank updates": ("lora", "adapters", config_lib.BLOCKS),
    "norm": ("none", "norm", config_lib.BLOCKS),
    "bias": ("none", "bias", config_lib.BLOCKS),
    "head": ("none", "head", config_lib.BLOCKS),
}


def run_of(kind: str, trainable: str, blocks: tuple[str, ...], width: float) -> Run:
    """A run whose data is never read."""
    config = config_lib.default_config()
    config.task = "vspp"
    config.data.clip_length, config.data.crop = FRAMES, SIDE
    config.model.dialect, config.model.width = "pecop", width
    config.model.batch_norm, config.model.kernels, config.model.dtype = "batch", "plain", "float32"
    config.adapter.kind, config.adapter.blocks = kind, blocks
    config.train.trainable, config.train.batch_size = trainable, BATCH
    return Run(config_lib.resolve(config))


def batch_of() -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of one batch, for one device."""
    numbers = {name: jax.ShapeDtypeStruct((1, BATCH), jnp.int32) for name in ("segment", "pace", "row")}
    return {"video": jax.ShapeDtypeStruct((1, BATCH, 1, FRAMES, SIDE, SIDE, 3), jnp.uint8), **numbers}


def compiled_cost(run: Run) -> dict[str, Any]:
    """XLA's analysis of the compiled step."""
    optimizer = make_optimizer(run.config.optimizer, 100)
    state = jax.eval_shape(lambda: states.start(run.assembler.init(), optimizer))
    started = time.perf_counter()
    compiled = make_train_step(run.task, run.assembler, optimizer, 100, 0).lower(state, batch_of()).compile()
    return {
        "gigaflops": round(compiled.cost_analysis()["flops"] / 1e9, 1),
        "temporary_mb": round(compiled.memory_analysis().temp_size_in_bytes / 2**20),
        "compile_s": round(time.perf_counter() - started, 1),
    }


def kept_for_backward(run: Run) -> list[tuple[int, ...]]:
    """Shapes of the activations that the derivative of the loss keeps, parameters left out."""
    groups = jax.eval_shape(run.assembler.init)

    def residuals(trainable, groups, batch):
        def loss(trainable):
            model = run.assembler.merge({**groups, "trainable": trainable})
            return run.task.loss(model, batch, jax.random.key(0), jnp.zeros(()))[0].mean()

        return jax.vjp(loss, trainable)[1]

    # One device as a mapped axis, for the batch statistics.
    one = jax.vmap(residuals, in_axes=(None, None, 0), axis_name=AXIS)
    kept = jax.tree.leaves(jax.eval_shape(one, groups["trainable"], groups, batch_of()))
    return [leaf.shape for leaf in kept if leaf.ndim == 6 and leaf.shape[:2] == (1, BATCH)]


def main() -> None:
    """Analyse all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPO / "benchmarks" / "results" / "adapter_cost.json")
    parser.add_argument("--width", type=float, default=1.0)
    arguments = parser.parse_args()
    rows = []
    for name, (kind, trainable, blocks) in CASES.items():
        run = run_of(kind, trainable, blocks, arguments.width)
        groups = jax.eval_shape(run.assembler.init)
        kept = kept_for_backward(run)
        # Mixed_3b works at an eighth of the clip's height; what lies before it, its input aside, at a quarter or more.
        before = [shape for shape in kept if shape[3] >= SIDE // 4]
        rows.append(
            {
                "trained": name,
                "parameters_trained": sum(leaf.size for leaf in jax.tree.leaves(groups["trainable"])),
                "parameters": run.assembler.parameters,
                **compiled_cost(run),
                "activations_kept_mb": round(sum(map(math.prod, kept)) * 4 / 2**20),
                "of_these_before_Mixed_3b_mb": round(sum(map(math.prod, before)) * 4 / 2**20),
            }
        )
        rows[-1]["flops_of_full_training"] = round(rows[-1]["gigaflops"] / rows[0]["gigaflops"], 3)
        print(json.dumps(rows[-1]), flush=True)
    report = {
        "step": f"VSPP, {BATCH} clips of {FRAMES} frames at {SIDE} px, float32, Adam, width {arguments.width:g}",
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "rows": rows,
    }
    arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
