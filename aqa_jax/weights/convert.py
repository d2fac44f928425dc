"""Apply the rules strictly: every tensor is used or named as dropped, every leaf of the model is filled."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from aqa_jax.errors import WeightsError
from aqa_jax.weights.rules import FILLS, STYLES, Rule, detect_style

_STEM_KERNEL = "i3d/Conv3d_1a_7x7/conv/kernel"
_STEM_CHANNELS = 64
_MAX_SHOWN = 10
ADAPTERS = "i3d/adapters"


@dataclass
class Report:
    """What went where.

    Attributes:
      style: key style of the source.
      used: (source key, source shape, target leaf).
      dropped: (source key, source shape, reason).
      filled: (target leaf, reason) of leaves filled with a constant.
      left: target leaves that the file does not have and that were allowed to stay as they are.
    """

    style: str
    used: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)
    dropped: list[tuple[str, tuple[int, ...], str]] = field(default_factory=list)
    filled: list[tuple[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line of counts."""
        parts = [f"{self.style} keys: {len(self.used)} tensors used", f"{len(self.dropped)} dropped"]
        parts += [f"{len(self.filled)} leaves filled with a constant"] * bool(self.filled)
        parts += [f"{len(self.left)} leaves left as they were"] * bool(self.left)
        return ", ".join(parts)

    def groups(self) -> set[str]:
        """The parts of the model (see `group_of`) that the file filled."""
        return {group_of(target) for _, _, target in self.used}

    def table(self) -> str:
        """Every tensor of the file and every leaf of the model, a line each."""
        rows = [(source, str(list(shape)), "-> " + target) for source, shape, target in self.used]
        rows += [(source, str(list(shape)), "dropped: " + reason) for source, shape, reason in self.dropped]
        rows += [("(constant)", "", f"-> {target}: {reason}") for target, reason in self.filled]
        rows += [("(not in the file)", "", f"{target} stays as it was") for target in self.left]
        first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
        lines = [f"{source:<{first}}  {shape:<{second}}  {fate}" for source, shape, fate in rows]
        return "\n".join([self.summary(), *lines])


def group_of(target: str) -> str:
    """The part of the model that a leaf belongs to: "i3d", "i3d/logits", "i3d/adapters" or "head"."""
    if "/adapter/" in target or "/low_rank/" in target:
        return ADAPTERS
    return "i3d/logits" if target.startswith("i3d/logits/") else target.partition("/")[0]


def convert(
    source: Mapping[str, np.ndarray],
    targets: Mapping[str, tuple[int, ...]],
    kind: str | None = None,
    *,
    optional: Collection[str] = (),
    name: str = "the weight file",
) -> tuple[dict[str, np.ndarray], Report]:
    """Map a weight file's tensors onto our flat tree.

    Args:
      source: tensors by their key in the file, as `load_source` gives them.
      targets: shape of every leaf to fill, by its path, e.g. "i3d/Mixed_3b/b1a/conv/kernel".
      kind: key style (a key of `rules.STYLES`); None recognises it.
      optional: parts ("head", "i3d/logits", "i3d/adapters") that may stay unfilled, as a whole, when the file does
        not have them. A part of the file that `targets` does not have at all is dropped, and named in the report; so
        is a head of another method, or of other sizes, where the head is optional.
      name: of the file, for errors.

    Returns:
      float32 arrays for the leaves of `targets`, in its order, and the report.

    Raises:
      WeightsError: names every tensor without a rule, every leaf without a tensor, two tensors for one leaf,
        wrong shapes (with the width that the file was made for), and values that are not finite numbers.
    """
    kind = detect_style(source) if kind is None else kind
    if kind not in STYLES:
        raise WeightsError(f"unknown key style {kind!r}; known: {', '.join(STYLES)}")
    report = Report(kind)
    problems: list[str] = []
    values: dict[str, np.ndarray] = {}
    origin: dict[str, str] = {}
    groups = {group_of(target) for target in targets}
    matches = {key: _match(STYLES[kind], key, array) for key, array in source.items()}
    foreign = _foreign_head(source, matches, targets) if "head" in optional else ""
    for key, array in source.items():
        rule, target = matches[key]
        if rule is None:
            problems.append(f"{key} {list(array.shape)}: no rule says what this is")
        elif target is None:
            report.dropped.append((key, array.shape, rule.reason))
        elif foreign and group_of(target) == "head":
            report.dropped.append((key, array.shape, foreign))
        elif target not in targets and _is_behind(target, targets):
            report.dropped.append((key, array.shape, "behind the model's last layer (config.model.final_endpoint)"))
        elif target not in targets and group_of(target) not in groups:
            report.dropped.append((key, array.shape, _absent(group_of(target))))
        elif target not in targets:
            problems.append(f"{key} belongs to {target}, which the model does not have{_nearest(target, targets)}")
        elif target in origin:
            problems.append(f"{key} and {origin[target]} both belong to {target}")
        else:
            origin[target] = key
            value = _float32(rule.transform(array) if rule.transform else array)
            problem = _fault(key, array, target, value, targets[target])
            if problem:
                problems.append(problem)
            else:
                values[target] = value
                report.used.append((key, array.shape, target))
    for fill in FILLS.get(kind, ()):
        for target in targets:
            if target not in origin and re.fullmatch(fill.pattern, target):
                values[target] = np.full(targets[target], fill.value, np.float32)
                report.filled.append((target, f"{fill.value:g}, {fill.reason}"))
    absent = {group for group in optional if not any(group_of(target) == group for target in origin)}
    for target in targets:
        if target in values or target in origin:
            continue
        if group_of(target) in absent:
            report.left.append(target)
        else:
            problems.append(f"{target} {list(targets[target])}: no tensor for it{_nearest(target, source)}")
    if problems:
        raise WeightsError(_message(name, problems, kind, source, origin, targets))
    return {target: values[target] for target in targets if target in values}, report


def _is_behind(target: str, targets: Collection[str]) -> bool:
    """Whether ``target`` is of an Inception module that comes after the model's last one."""

    def module(path: str) -> str:
        found = re.match(r"i3d/(Mixed_\w\w)/", path)
        return found[1] if found else ""

    # Their names are in the order of the alphabet.
    return module(target) > max(map(module, targets), default="")


def _absent(group: str) -> str:
    if group == ADAPTERS:
        return "the model has no adapters (config.adapter.kind: 3d for 3D-Adapters, or lora)"
    return f"the model has no {group}"


def _foreign_head(
    source: Mapping[str, np.ndarray],
    matches: Mapping[str, tuple[Rule | None, str | None]],
    targets: Mapping[str, tuple[int, ...]],
) -> str:
    """Why the file's head is not the model's; empty if it is, or if either has none."""
    if not any(group_of(target) == "head" for target in targets):
        return ""
    for key, (rule, target) in matches.items():
        if rule is None or target is None or group_of(target) != "head":
            continue
        if target not in targets:
            return "the head of another method than config.head.name, or of another panel"
        shape = (rule.transform(source[key]) if rule.transform else source[key]).shape
        if shape != tuple(targets[target]):
            return f"a head of other sizes than config.head's: {key} becomes {list(shape)}, not {list(targets[target])}"
    return ""


def _match(rules: tuple[Rule, ...], key: str, array: np.ndarray) -> tuple[Rule | None, str | None]:
    for rule in rules:
        match = re.fullmatch(rule.pattern, key)
        if match and not (rule.scalar_only and array.ndim):
            return rule, match.expand(rule.target) if rule.target else None
    return None, None


def _float32(value: np.ndarray) -> np.ndarray:
    if value.dtype.kind != "f":
        return value  # for _fault to refuse
    # A double beyond float32 becomes infinite, and is refused as such.
    with np.errstate(over="ignore"):
        return np.array(value, np.float32, order="C")


def _fault(key: str, array: np.ndarray, target: str, value: np.ndarray, shape: tuple[int, ...]) -> str | None:
    if array.dtype.kind != "f":
        return f"{key}: {array.dtype} where a weight must be a float"
    if value.shape != tuple(shape):
        return f"{key} {list(array.shape)} becomes {list(value.shape)}, but {target} is {list(shape)}"
    if not np.isfinite(value).all():
        return f"{key}: holds NaN or infinity"
    if target.endswith("/bn/var") and (value < 0).any():
        return f"{key}: holds a negative variance"
    return None


def _nearest(name: str, names: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (nearest: {close[0]})" if close else ""


def _message(
    name: str,
    problems: list[str],
    kind: str,
    source: Mapping[str, np.ndarray],
    origin: Mapping[str, str],
    targets: Mapping[str, tuple[int, ...]],
) -> str:
    lines = [f"{name} ({kind} keys) does not fit the model, {len(problems)} problem(s):"]
    if _STEM_KERNEL in origin and _STEM_KERNEL in targets:
        kernel = source[origin[_STEM_KERNEL]]
        torch = kind in ("hassony2", "piergiaj")
        ours = targets[_STEM_KERNEL]
        if kernel.ndim == 5:
            inputs, outputs = (kernel.shape[1], kernel.shape[0]) if torch else kernel.shape[3:]
            if inputs != ours[3]:
                lines.append(f"Its first layer takes {inputs} channels: the optical-flow network? Use the RGB one.")
            if outputs != ours[4]:
                theirs, mine = outputs / _STEM_CHANNELS, ours[4] / _STEM_CHANNELS
                lines.append(f"It has width {theirs:g}, the model {mine:g}: set config.model.width.")
    if any("/adapter/" in problem or "/low_rank/" in problem for problem in problems):
        lines.append("Adapters differ: set config.adapter (kind, blocks, ratio, depthwise, rank) as they were trained.")
    lines += ["  " + problem for problem in problems[:_MAX_SHOWN]]
    lines += [f"  ... and {len(problems) - _MAX_SHOWN} more"] * (len(problems) > _MAX_SHOWN)
    return "\n".join(lines)
