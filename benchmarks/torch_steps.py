"""DAE's and PECoP's training steps, the product's beside PyTorch's, in turn; for benchmarks/against_torch.py.

Both start from the same weights and see the same uint8 frames on the device. PyTorch's step is what its careful user
would write: channels_last_3d, and on a GPU bfloat16 autocast, torch.compile and a fused optimizer. Dropout and colour
jitter are off in both, so that loss and gradient norm of the first step can be compared.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks import report, torch_i3d
from benchmarks.step import STEPS, Step, batch_of, run_config
from benchmarks.work import Size, flops

# The papers' own sizes on a GPU; on a CPU small ones, which show that both are the same step.
ON_GPU = {"dae": "8x10x16x224", "pecop": "16x32x224"}
ON_CPU = {"dae": "2x2x16x64@.25", "pecop": "4x32x64@.25"}
# bfloat16 has 8 bits: two orders of summation differ in the second digit of a gradient.
TOLERANCE = {"float32": (1e-4, 2e-2), "bfloat16": (5e-2, 2e-1)}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def config_of(name: str, size: Size) -> Any:
    """The config of the product's step, without what is drawn at random."""
    config = run_config(name, size)
    config.vspp.colour_jitter, config.vspp.dropout = 0.0, 0.0
    return config


class TorchStep:
    """The same step in PyTorch."""

    def __init__(self, name: str, size: Size, values: dict[str, Any], settings: Any, device: str):
        """Starts from ``values`` by path; ``settings`` is the product's config."""
        on_gpu = device == "cuda"
        torch.backends.cudnn.benchmark = True
        self.name, self.settings, self.on_gpu = name, settings, on_gpu
        backbone = torch_i3d.I3D(size.width, adapted=name == "pecop")
        head = torch_i3d.ScoreHead if name == "dae" else torch_i3d.PaceHead
        model = torch_i3d.ClipModel(backbone, head(backbone.feature_size))
        torch_i3d.load(model, values)
        if name == "pecop":
            torch_i3d.train_only_adapters(model)
        # DAE keeps the running statistics in training; PECoP's layers take the batch's.
        model.train(name == "pecop")
        self.model = model.to(device, memory_format=torch.channels_last_3d)
        trained = [p for p in model.parameters() if p.requires_grad]
        rule = settings.optimizer
        if rule.name == "adam":
            self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
                trained, rule.learning_rate, weight_decay=rule.weight_decay, fused=on_gpu
            )
        else:
            self.optimizer = torch.optim.SGD(
                trained, rule.learning_rate, rule.momentum, weight_decay=rule.weight_decay, fused=on_gpu
            )
        self.mean = torch.tensor(_MEAN, device=device)
        self.std = torch.tensor(_STD, device=device)
        self.batch = {key: torch.from_numpy(value).to(device) for key, value in batch_of(size).items()}
        self.loss_of: Callable[[], torch.Tensor] = torch.compile(self._loss) if on_gpu else self._loss
        self.loss = torch.zeros(())

    def _loss(self) -> torch.Tensor:
        video = ((self.batch["video"].float() / 255 - self.mean) / self.std).permute(0, 1, 5, 2, 3, 4)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.on_gpu):
            outputs = self.model(video)
        outputs = {key: value.float() for key, value in outputs.items()}
        if self.name == "pecop":
            pace, segment = (F.cross_entropy(outputs[key], self.batch[key].long()) for key in ("pace", "segment"))
            return pace + segment
        head = self.settings.head
        variance = outputs["logvar"].exp() + head.sigma_floor**2
        residual = self.batch["score"] - outputs["mean"]
        return (head.alpha * residual**2 / variance + head.beta * variance.log()).mean()

    def __call__(self) -> None:
        """One step, to its end."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = self.loss_of()
        self.loss.backward()
        self.optimizer.step()
        if self.on_gpu:
            torch.cuda.synchronize()

    def gradient_norm(self) -> float:
        """Of the last step."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients])))


def check(ours: Step, theirs: TorchStep, dtype: str) -> dict[str, float]:
    """Relative differences of the first step's loss and gradient norm.

    Raises:
      SystemExit: they are not the same step.
    """
    ours()
    theirs()
    pairs = {"loss": float(theirs.loss.detach()), "gradient_norm": theirs.gradient_norm()}
    found = {name: abs(float(ours.figures[name]) - value) / abs(value) for name, value in pairs.items()}
    if not all(found[name] <= limit for name, limit in zip(pairs, TOLERANCE[dtype], strict=True)):
        sys.exit(f"The first steps differ, so nothing is timed: torch {pairs}, ours {ours.figures}")
    return found


def compare(name: str, rounds: int) -> dict[str, Any]:
    """One paper's step in both, on this machine's GPU, or at a small size on its CPU."""
    import jax

    from aqa_jax.train.state import flat

    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("jax sees a GPU and torch does not: install a CUDA build of torch.")
    dtype, text = ("bfloat16", ON_GPU[name]) if on_gpu else ("float32", ON_CPU[name])
    size = Size.parse(text)
    config = config_of(name, size)
    ours = Step(name, size, config)
    values = flat(ours.state, ("trainable", "frozen", "stats"))
    theirs = TorchStep(name, size, values, config, "cuda" if on_gpu else "cpu")
    found = check(ours, theirs, dtype)
    times = report.interleaved({"ours": ours, "torch": theirs}, rounds, pause=0.0 if on_gpu else 0.03, turn=0.25)
    seconds, peak = report.medians(times), report.matmul_peak(dtype)
    work = flops(STEPS[name], size)
    row: dict[str, Any] = {
        "size": text,
        "dtype": dtype,
        "torch": "autocast bfloat16, channels_last_3d, torch.compile" if on_gpu else "float32, channels_last_3d",
        "rounds": rounds,
        "seconds": seconds,
        "ours_over_torch": report.ratio(times["ours"], times["torch"]),
        "gflop": work / 1e9,
        "gflops_per_s": {key: work / value / 1e9 for key, value in seconds.items()},
        "matmul_peak_gflops_per_s": peak / 1e9,
        "share_of_matmul_peak": {key: work / value / peak for key, value in seconds.items()},
        "compile_or_cache_s": ours.compile_s,
        "disagreement": found,
        "commit": report.commit(),
    }
    if on_gpu:
        stats = jax.local_devices()[0].memory_stats() or {}
        row["device_peak_mb"] = {
            "ours": stats.get("peak_bytes_in_use", 0) / 2**20,
            "torch": torch.cuda.max_memory_allocated() / 2**20,
        }
    return row
