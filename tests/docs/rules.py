"""How each command of the pages is run here: as it is, at a smaller size, or not at all, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

# Whatever it would take to run these for real is not this test's: a network, a GPU, hours, a package manager.
NOT_RUN = {
    "pip": "installs packages: the continuous integration does, in a fresh environment",
    "python -m pytest": "the suite itself",
    "python -m venv": "an environment would hide the one that the test runs in; the continuous integration makes one",
    "python scripts/docs_commands.py": "runs this",
    "python train.py": "the original's command, shown for comparison",
    "python benchmarks/against_torch.py": "needs torch, and minutes on a quiet machine",
    "python benchmarks/input.py": "needs torch and torchvision (requirements-benchmark.txt)",
    "python benchmarks/scaling.py": "minutes on a quiet machine",
    "python benchmarks/quickstart.py": "needs a checkout of an earlier version",
}
"""By their first words."""

# Further arguments that make a script quick. Those that take keys are given a smaller study.
SCRIPTS: dict[str, list[str]] = {
    "scripts/controls.py": [],
    "scripts/heads_alone.py": [],
    "scripts/pecop_study.py": ["--seeds", "2", "--jobs", "1", "--arms", "pecop"],
    "scripts/render_folder.py": ["--videos", "20", "--unlabelled", "8"],
    "scripts/quickstart_study.py": ["--seeds", "1"],
    "scripts/uncertainty_study.py": ["--heads", "dae_mt"],
    "scripts/unfamiliar.py": ["--limit", "8"],
    "scripts/why_study.py": [],
    "benchmarks/step.py": ["--rounds", "1", "--no-cold", "--steps", "score", "--out", "step.json"],
    "benchmarks/predict.py": ["--out", "predict.json"],
}

# Commands of the shell that are run as they are.
PLAIN = {
    ".", "source", "cd", "mkdir", "ls", "cat", "head", "cp", "mv", "rm", "echo", "wait", "sleep", "kill", "test",
    "export", "unzip", "sha256sum", "printf", "true", "for", "do", "done", "find", "xargs",
}  # fmt: skip
# The same of python.
PLAIN_PYTHON = ("-c", "-", "-m zipfile", "-m json.tool")


@dataclass(frozen=True)
class Rule:
    """What is done with a command: nothing, because of ``why``; or it is run, with ``more`` arguments."""

    why: str = ""
    more: tuple[str, ...] = ()


def rule_of(words: Sequence[str]) -> Rule | None:
    """The rule of a command; None: there is none, and somebody must write one."""
    text = " ".join(words)
    for start, why in NOT_RUN.items():
        if text == start or text.startswith(start + " "):
            return Rule(why)
    if "host0:" in text:
        return Rule("needs another host; the page has the same for one machine, which is run")
    if words[0] in PLAIN:
        return Rule()
    if words[0] != "python" or len(words) < 2:
        return None
    if any(text.startswith(f"python {start}") for start in PLAIN_PYTHON) or words[1] == "run.py":
        return Rule()
    if words[1].startswith("scripts/reliability/"):
        return Rule(more=("--n", "2"))
    return Rule(more=tuple(SCRIPTS[words[1]])) if words[1] in SCRIPTS else None


# A word of the pages that stands for something of the reader's -> what it is here.
STANDS_FOR = {"RUN": "runs/quickstart", "DIR": "runs/dir", "CHECKOUT": "checkout", "VIDEO": "my_dive.mp4"}

# What pieces of Python take for given, by page.
GIVEN = {"docs/weights.md": "from tests.weights import fakes\ntargets = fakes.targets(0.05)\n"}

# What a block finds there because the reader has made it before -> the command that makes it.
MADE_BEFORE = {
    "runs/quickstart": "python run.py --config configs/quickstart.py --workdir runs/quickstart",
    "runs/one_layer": "python run.py --config configs/quickstart.py --config.head.name=my_heads:make_one_layer "
    "--workdir runs/one_layer",
    "runs/pretrained": "python run.py --config configs/pecop_pd4t_finger.py --config.data.raw_dir=PD4T "
    "--config.model.weights=model_rgb.pth --workdir runs/pretrained",
}
MADE_BEFORE |= {
    f"runs/jigsaws_{head}_knot_tying": f"python run.py --config configs/jigsaws_{head}.py --mode crossval "
    "--config.data.raw_dir=JIGSAWS --config.data.options=task=Knot_Tying --config.crossval.protocol=fourfold "
    f"--config.model.weights=rgb_i3d_pretrained.pt --workdir runs/jigsaws_{head}_knot_tying"
    for head in ("usdl", "musdl")
}
