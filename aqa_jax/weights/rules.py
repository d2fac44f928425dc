"""Which tensor of a weight file is which leaf of our tree: ordered rules, one table per key style.

Styles: `hassony2` (kinetics_i3d_pytorch, and its copies in PECoP and CoRe), `piergiaj` (pytorch-i3d, and its
copies in DAE-AQA and MUSDL), `deepmind` (kinetics-i3d's TensorFlow variables) and `aqa_jax` (our own files).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from aqa_jax.errors import WeightsError

Transform = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """A key that matches `pattern` in full becomes `target` (a template) or is dropped for `reason`."""

    pattern: str
    target: str | None
    transform: Transform | None = None
    reason: str = ""
    scalar_only: bool = False


@dataclass(frozen=True)
class Fill:
    """Target leaves that match `pattern` and that no tensor of the file filled get this constant."""

    pattern: str
    value: float
    reason: str


def conv_kernel(value: np.ndarray) -> np.ndarray:
    """Torch [O, I, t, h, w] -> [t, h, w, I, O]; another rank as it is, for the shape check to refuse."""
    return value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value


def linear_kernel(value: np.ndarray) -> np.ndarray:
    """Torch [O, I] -> [I, O]; another rank as it is."""
    return value.transpose(1, 0) if value.ndim == 2 else value


def grouped(nodes: int | None) -> Transform:
    """From a grouped 1x1 convolution to a stack of linear layers, one for each of ``nodes`` (None: one output each).

    Torch kernel [nodes x O, I, 1] -> [nodes, I, O]; bias [nodes x O] -> [nodes, O]; another shape as it is.
    """

    def transform(value: np.ndarray) -> np.ndarray:
        stack = nodes or len(value)
        if value.ndim == 3 and value.shape[-1] == 1 and len(value) % stack == 0:
            return value.reshape(stack, -1, value.shape[1]).transpose(0, 2, 1)
        return value.reshape(stack, -1) if value.ndim == 1 and len(value) % stack == 0 else value

    return transform


def channel_vector(value: np.ndarray) -> np.ndarray:
    """Sonnet's [1, 1, 1, 1, C] or torch's [1, C, 1, 1, 1] -> [C]; another shape as it is."""
    return value.reshape(-1) if value.ndim == 5 and max(value.shape) == value.size else value


_STEM = r"onv3d_(1a_7x7|2b_1x1|2c_3x3)"
_MIXED = r"ixed_(3[bc]|4[b-f]|5[bc])"
# Where a backbone sits in a checkpoint: a dictionary of parts, then wrapping modules (DataParallel, ...).
_INSIDE = (
    r"(?:(?:i3d|base_model|backbone|model|net|state_dict|model_state_dict)/)?"
    r"(?:(?:module|model|backbone|i3d)\.)*"
)

# The heads that the originals train: DAE's beside `i3d`, USDL's and MUSDL's too, CoRe's beside `base_model`.
_DAE = r"(?:dae/|head/)?(?:(?:module|dae|head)\.)*(fc1|fch|fc2_mean|fc2_logvar)\."
_EVALUATOR = r"(?:evaluator/|head/)?(?:(?:module|head)\.)*evaluator\."
_TREE = r"(?:regressor/|head/)?(?:(?:module|regressor|head)\.)*"
_MOST_LEVELS = 7  # of CoRe's tree, that config.head.depth can have


def _head_rules() -> tuple[Rule, ...]:
    rules = []
    for theirs, ours, turn in (("weight", "kernel", linear_kernel), ("bias", "bias", None)):
        rules += [
            Rule(_DAE + theirs, rf"head/\1/{ours}", turn),
            Rule(rf"{_EVALUATOR}layer([123])\.{theirs}", rf"head/evaluator/layer\1/{ours}", turn),
            Rule(rf"{_EVALUATOR}(\d+)\.layer([123])\.{theirs}", rf"head/judge_\1/layer\2/{ours}", turn),
            Rule(rf"{_TREE}first_layer\.0\.{theirs}", f"head/first_layer/{ours}", turn),
            Rule(rf"{_TREE}reg_layer\.{theirs}", f"head/reg_layer/{ours}", grouped(None)),
        ]
        for level in range(_MOST_LEVELS):
            stacked = grouped(2**level)
            rules.append(Rule(rf"{_TREE}clf_layers\.{level}\.{theirs}", f"head/clf_layers_{level}/{ours}", stacked))
            target = f"head/feature_layers_{level}/{ours}"
            rules.append(Rule(rf"{_TREE}feature_layers\.{level}\.0\.{theirs}", target, stacked))
    return tuple(rules)


_TORCH_EXTRAS = (
    Rule(r".*\.num_batches_tracked", None, reason="a counter of torch's batch norm, used only in its training"),
    *_head_rules(),
    Rule(r"(?:.*[/.])?logits_[ps]\..*", None, reason="the pace and segment heads of PECoP's pretext task"),
    Rule(r"(?:evaluator|regressor)[/.].*", None, reason="a head that no method here has"),
    Rule(r"(?:optim|optimizer|scheduler|lr_scheduler|scaler)(?:_state_dict)?/.*", None, reason="training state"),
    Rule(r"[\w/-]+", None, reason="a number kept beside the weights", scalar_only=True),
)


@dataclass(frozen=True)
class TorchStyle:
    """How a PyTorch I3D names its modules.

    Attributes:
      capital: block names start with a capital letter.
      norm: the batch norm of a unit.
      branches: our branch name -> theirs.
      logits: the classifier.
    """

    capital: bool
    norm: str
    branches: Mapping[str, str]
    logits: str


TORCH_STYLES = {
    "hassony2": TorchStyle(
        capital=False,
        norm="batch3d",
        branches={
            "b0": "branch_0",
            "b1a": "branch_1.0",
            "b1b": "branch_1.1",
            "b2a": "branch_2.0",
            "b2b": "branch_2.1",
            "b3b": "branch_3.1",
        },
        logits="conv3d_0c_1x1",
    ),
    "piergiaj": TorchStyle(
        capital=True,
        norm="bn",
        branches={name: name for name in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")},
        logits="logits",
    ),
}
TORCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Leaves of our 3D-Adapter -> those of PECoP's ``tuning_module``.
TORCH_ADAPTER = {
    "down/kernel": "conv1.weight",
    "down/bias": "conv1.bias",
    "up/kernel": "conv2.weight",
    "up/bias": "conv2.bias",
    "scale": "se",
}


def _torch_rules(style: TorchStyle) -> tuple[Rule, ...]:
    c, m = ("C", "M") if style.capital else ("c", "m")
    units = [(rf"{c}{_STEM}", r"i3d/Conv3d_\1")]
    units += [
        (rf"{m}{_MIXED}\.{re.escape(theirs)}", rf"i3d/Mixed_\1/{ours}") for ours, theirs in style.branches.items()
    ]
    rules: list[Rule] = []
    for pattern, target in units:
        rules.append(Rule(rf"{_INSIDE}{pattern}\.conv3d\.weight", f"{target}/conv/kernel", conv_kernel))
        for ours, theirs in TORCH_NORM.items():
            rules.append(Rule(rf"{_INSIDE}{pattern}\.{style.norm}\.{theirs}", f"{target}/bn/{ours}"))
    for ours, theirs in TORCH_ADAPTER.items():
        turn = channel_vector if theirs == "se" else conv_kernel if theirs.endswith("weight") else None
        pattern = rf"{_INSIDE}{m}{_MIXED}\.tuning_module\.{re.escape(theirs)}"
        rules.append(Rule(pattern, rf"i3d/Mixed_\1/adapter/{ours}", turn))
    rules.append(Rule(rf"{_INSIDE}{style.logits}\.conv3d\.weight", "i3d/logits/kernel", conv_kernel))
    rules.append(Rule(rf"{_INSIDE}{style.logits}\.conv3d\.bias", "i3d/logits/bias"))
    return (*rules, *_TORCH_EXTRAS)


def _deepmind_rules() -> tuple[Rule, ...]:
    root = "RGB/inception_i3d/"
    units = [(rf"{root}C{_STEM}", r"i3d/Conv3d_\1")]
    units += [
        (rf"{root}M{_MIXED}/{theirs}", rf"i3d/Mixed_\1/{ours}")
        for theirs, ours in {
            "Branch_0/Conv3d_0a_1x1": "b0",
            "Branch_1/Conv3d_0a_1x1": "b1a",
            "Branch_1/Conv3d_0b_3x3": "b1b",
            "Branch_2/Conv3d_0a_1x1": "b2a",
            "Branch_2/Conv3d_0b_3x3": "b2b",
            "Branch_3/Conv3d_0b_1x1": "b3b",
        }.items()
    ]
    # The published graph misnames one layer, and so does its checkpoint.
    units.append((rf"{root}Mixed_5b/Branch_2/Conv3d_0a_3x3", "i3d/Mixed_5b/b2b"))
    rules: list[Rule] = []
    for pattern, target in units:
        rules.append(Rule(rf"{pattern}/conv_3d/w", f"{target}/conv/kernel"))
        for theirs, ours in {
            "gamma": "scale",
            "beta": "bias",
            "moving_mean": "mean",
            "moving_variance": "var",
        }.items():
            rules.append(Rule(rf"{pattern}/batch_norm/{theirs}", f"{target}/bn/{ours}", channel_vector))
    rules.append(Rule(rf"{root}Logits/Conv3d_0c_1x1/conv_3d/w", "i3d/logits/kernel"))
    rules.append(Rule(rf"{root}Logits/Conv3d_0c_1x1/conv_3d/b", "i3d/logits/bias"))
    return (*rules, Rule("global_step", None, reason="a step counter"))


STYLES: dict[str, tuple[Rule, ...]] = {
    **{name: _torch_rules(style) for name, style in TORCH_STYLES.items()},
    "deepmind": _deepmind_rules(),
    "aqa_jax": (Rule(r"(?:i3d|head)/.+", r"\g<0>"),),
}
FILLS: dict[str, tuple[Fill, ...]] = {
    "deepmind": (Fill(r"i3d/.+/bn/scale", 1.0, "the checkpoint's batch norm has no scale"),),
}
_SIGNATURES = {
    "hassony2": r"(?:.*[/.])?conv3d_1a_7x7\.conv3d\.weight",
    "piergiaj": r"(?:.*[/.])?Conv3d_1a_7x7\.conv3d\.weight",
    "deepmind": r"RGB/inception_i3d/.+",
    "aqa_jax": r"i3d/Conv3d_1a_7x7/conv/kernel",
}


def detect_style(keys: Iterable[str]) -> str:
    """Return the style whose I3D the keys name.

    Raises:
      WeightsError: no I3D among the keys, or more than one.
    """
    keys = list(keys)
    folds = {match[1] for key in keys if (match := re.match(r"i3ds/(?:module\.)?(\d+)\.", key))}
    if folds:
        raise WeightsError(
            f"the file holds the networks of {len(folds)} folds, as MUSDL's code for JIGSAWS saves them: save one fold "
            "with torch, as {'i3d': ..., 'evaluator': ...} without the number in front of its keys"
        )
    found = [s for s, pattern in _SIGNATURES.items() if any(re.fullmatch(pattern, key) for key in keys)]
    if len(found) == 1:
        return found[0]
    if found:
        raise WeightsError(f"the file holds I3D networks in several key styles ({', '.join(found)}); keep one")
    if any(key.startswith("Flow/inception_i3d") for key in keys):
        raise WeightsError("the file is the optical-flow network; fetch the RGB one")
    if keys and all(key.startswith("i3d/") for key in keys):
        raise WeightsError(
            "an adapter file, without the backbone that it belongs to: give it as config.adapter.file, and the "
            "backbone as config.model.weights"
        )
    shown = ", ".join(repr(key[:80]) for key in keys[:5]) or "nothing"
    raise WeightsError(
        f"no I3D among the file's {len(keys)} tensors ({shown}, ...); known are the key styles of "
        "kinetics_i3d_pytorch, pytorch-i3d, DeepMind's TensorFlow checkpoint, and this library's own files"
    )
