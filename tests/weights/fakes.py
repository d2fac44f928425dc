"""Complete I3D weight files of every key style and any width, filled by the golden rule."""

from collections.abc import Iterator

import numpy as np

from tests.golden import rule

# Inception-v1 (Szegedy et al., 2015, table 1), inflated: 1x1 | 3x3 reduce, 3x3 | 5x5 reduce, 5x5 | pool proj.
INCEPTION = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}
OURS = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
HASSONY2 = ("branch_0", "branch_1.0", "branch_1.1", "branch_2.0", "branch_2.1", "branch_3.1")
DEEPMIND = (
    "Branch_0/Conv3d_0a_1x1",
    "Branch_1/Conv3d_0a_1x1",
    "Branch_1/Conv3d_0b_3x3",
    "Branch_2/Conv3d_0a_1x1",
    "Branch_2/Conv3d_0b_3x3",
    "Branch_3/Conv3d_0b_1x1",
)
HEAD = {"fc1": (1024, 256), "fch": (256, 128), "fc2_mean": (128, 1), "fc2_logvar": (128, 1)}


def units(width: float = 1.0) -> Iterator[tuple[str, str, str, int, int, int]]:
    """(our name, hassony2's, DeepMind's, kernel size, inputs, outputs) of every convolution of the trunk."""

    def scaled(channels: int) -> int:
        return max(1, round(channels * width))

    last = scaled(64)
    yield "Conv3d_1a_7x7", "conv3d_1a_7x7", "Conv3d_1a_7x7", 7, 3, last
    yield "Conv3d_2b_1x1", "conv3d_2b_1x1", "Conv3d_2b_1x1", 1, last, last
    yield "Conv3d_2c_3x3", "conv3d_2c_3x3", "Conv3d_2c_3x3", 3, last, scaled(192)
    last = scaled(192)
    for block, published in INCEPTION.items():
        c = [scaled(n) for n in published]
        inputs = (last, last, c[1], last, c[3], last)
        for branch in range(6):
            theirs = DEEPMIND[branch]
            if block == "5b" and branch == 4:
                theirs = "Branch_2/Conv3d_0a_3x3"
            yield (
                f"Mixed_{block}/{OURS[branch]}",
                f"mixed_{block}.{HASSONY2[branch]}",
                f"Mixed_{block}/{theirs}",
                3 if branch in (2, 4) else 1,
                inputs[branch],
                c[branch],
            )
        last = c[0] + c[2] + c[4] + c[5]


def feature_size(width: float) -> int:
    return sum(max(1, round(INCEPTION["5c"][i] * width)) for i in (0, 2, 4, 5))


def targets(width: float = 1.0, classes: int = 0, head: bool = False) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for ours, _, _, k, i, o in units(width):
        shapes[f"i3d/{ours}/conv/kernel"] = (k, k, k, i, o)
        shapes |= {f"i3d/{ours}/bn/{leaf}": (o,) for leaf in ("scale", "bias", "mean", "var")}
    if classes:
        shapes |= {
            "i3d/logits/kernel": (1, 1, 1, feature_size(width), classes),
            "i3d/logits/bias": (classes,),
        }
    if head:
        for name, (i, o) in HEAD.items():
            shapes |= {f"head/{name}/kernel": (i, o), f"head/{name}/bias": (o,)}
    return shapes


def torch_state(style: str, width: float = 1.0, classes: int = 400, counters: bool = True) -> dict[str, np.ndarray]:
    """A complete state dict as hassony2's or piergiaj's module has it."""
    norm = {"hassony2": "batch3d", "piergiaj": "bn"}[style]
    shapes: dict[str, tuple[int, ...]] = {}
    state: dict[str, np.ndarray] = {}
    for ours, hassony2, _, k, i, o in units(width):
        name = hassony2 if style == "hassony2" else ours.replace("/", ".")
        shapes[f"{name}.conv3d.weight"] = (o, i, k, k, k)
        shapes |= {f"{name}.{norm}.{leaf}": (o,) for leaf in ("weight", "bias", "running_mean", "running_var")}
        if counters:
            state[f"{name}.{norm}.num_batches_tracked"] = np.array(7)
    logits = {"hassony2": "conv3d_0c_1x1", "piergiaj": "logits"}[style]
    shapes[f"{logits}.conv3d.weight"] = (classes, feature_size(width), 1, 1, 1)
    shapes[f"{logits}.conv3d.bias"] = (classes,)
    return {key: rule.parameter(key, shape) for key, shape in shapes.items()} | state


def _block_channels(width: float) -> dict[str, int]:
    return {name: sum(max(1, round(c[i] * width)) for i in (0, 2, 4, 5)) for name, c in INCEPTION.items()}


def adapter_targets(width: float = 1.0, ratio: int = 4) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for block, channels in _block_channels(width).items():
        root, narrow = f"i3d/Mixed_{block}/adapter", -(-channels // ratio)
        shapes |= {f"{root}/down/kernel": (3, 3, 3, ratio, narrow), f"{root}/down/bias": (narrow,)}
        shapes |= {f"{root}/up/kernel": (1, 1, 1, narrow, channels), f"{root}/up/bias": (channels,)}
        shapes[f"{root}/scale"] = (channels,)
    return shapes


def adapter_state(width: float = 1.0) -> dict[str, np.ndarray]:
    """The 3D-Adapters' part of PECoP's state dict."""
    state = {}
    for block, channels in _block_channels(width).items():
        narrow = -(-channels // 4)
        shapes = {
            "conv1.weight": (narrow, 4, 3, 3, 3), "conv1.bias": (narrow,), "conv2.weight": (channels, narrow, 1, 1, 1),
            "conv2.bias": (channels,), "se": (1, channels, 1, 1, 1),
        }  # fmt: skip
        for leaf, shape in shapes.items():
            key = f"mixed_{block}.tuning_module.{leaf}"
            state[key] = rule.parameter(key, shape)
    return state


def dae_state() -> dict[str, np.ndarray]:
    """The head's state dict as DAE-AQA has it."""
    state = {}
    for name, (i, o) in HEAD.items():
        state[f"{name}.weight"] = rule.parameter(f"{name}.weight", (o, i))
        state[f"{name}.bias"] = rule.parameter(f"{name}.bias", (o,))
    return state


def evaluator_state(features: int, bins: int, judges: int | None = None) -> dict[str, np.ndarray]:
    """The head's state dict as USDL has it (``judges=None``), or MUSDL."""
    sizes = {"layer1": (256, features), "layer2": (128, 256), "layer3": (bins, 128)}
    state = {}
    for root in ["evaluator"] if judges is None else [f"evaluator.{judge}" for judge in range(judges)]:
        for layer, shape in sizes.items():
            for leaf, size in (("weight", shape), ("bias", shape[:1])):
                state[f"{root}.{layer}.{leaf}"] = rule.parameter(f"{root}.{layer}.{leaf}", size)
    return state


def tree_state(features: int, depth: int = 5) -> dict[str, np.ndarray]:
    """CoRe's regression tree: grouped 1x1 convolutions, 256 channels a node."""
    shapes = {"first_layer.0": (256, 2 * features + 1), "reg_layer": (2 ** (depth - 1), 256, 1)}
    for level in range(depth - 1):
        shapes[f"feature_layers.{level}.0"] = (2**level * 512, 256, 1)
        shapes[f"clf_layers.{level}"] = (2**level * 2, 256, 1)
    state = {f"{name}.weight": rule.parameter(f"{name}.weight", shape) for name, shape in shapes.items()}
    return state | {f"{name}.bias": rule.parameter(f"{name}.bias", shape[:1]) for name, shape in shapes.items()}


def deepmind_variables(width: float = 1.0, classes: int = 400) -> dict[str, np.ndarray]:
    """The variables of DeepMind's RGB checkpoint: the values of hassony2's keys in TensorFlow's layout."""
    state = torch_state("hassony2", width, classes, counters=False)
    variables = {}
    for _, hassony2, deepmind, *_ in units(width):
        root = f"RGB/inception_i3d/{deepmind}"
        variables[f"{root}/conv_3d/w"] = np.einsum("oithw->thwio", state[f"{hassony2}.conv3d.weight"])
        for theirs, torchs in {
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        }.items():
            variables[f"{root}/batch_norm/{theirs}"] = state[f"{hassony2}.batch3d.{torchs}"][None, None, None, None]
    root = "RGB/inception_i3d/Logits/Conv3d_0c_1x1/conv_3d"
    variables[f"{root}/w"] = np.einsum("oithw->thwio", state["conv3d_0c_1x1.conv3d.weight"])
    variables[f"{root}/b"] = state["conv3d_0c_1x1.conv3d.bias"]
    return variables
