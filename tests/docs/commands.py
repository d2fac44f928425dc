"""The commands in the pages: found, taken apart, and held against what run.py takes. Nothing is run here."""

import copy
import importlib
import re
import shlex
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from absl import flags
from ml_collections import ConfigDict, config_flags

import run as entry
from aqa_jax import command_line
from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import AqaError
from configs import quickstart

ROOT = Path(__file__).parents[2]
SHELLS = ("bash", "sh", "shell", "console")
# What shows the form of commands rather than one: an ellipsis, a bracket, a name in capitals for a file of configs/.
_FORM = re.compile(r"…|\.\.\.|\[-|NAME\.py")


@dataclass(frozen=True)
class Block:
    """Commands that stand together, or a piece of Python, and where."""

    page: str
    line: int
    text: str
    python: bool = False

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each simple command."""
        if self.python:
            return []
        found: list[list[str]] = [[]]
        for line in self.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
            lexer.whitespace_split = True
            for word in lexer:
                if set(word) <= set(";&|"):
                    found.append([])
                else:
                    found[-1].append(word)
            found.append([])
        # Without the variables that are set for one command.
        bare = [words[next((i for i, word in enumerate(words) if "=" not in word), len(words)) :] for words in found]
        return [words for words in bare if words]


def pages() -> list[Path]:
    """Every page, in the order in which commands build on one another."""
    first = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
    return [*dict.fromkeys([*first, *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"])]


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of shell and Python, and the commands within sentences, in their order."""
    text, name = page.read_text(), str(page.relative_to(ROOT))
    found = []
    for match in re.finditer(r"^ *```(\w*)\n(.*?)^ *```", text, re.M | re.S):
        if match[1] in (*SHELLS, "python"):
            found.append((match.start(), textwrap.dedent(match[2]), match[1] == "python"))
    prose = re.sub(r"^ *```.*?^ *```", lambda match: re.sub(r"[^\n]", " ", match[0]), text, flags=re.M | re.S)
    for match in re.finditer(r"(?<!`)`((?:python|pip) [^`]+)`(?!`)", prose):
        found.append((match.start(), " ".join(match[1].split()), False))
    return [
        Block(name, text.count("\n", 0, at) + 1, body, python)
        for at, body, python in sorted(found)
        if python or not _FORM.search(body)
    ]


def blocks_of_configs() -> list[Block]:
    """The commands that the configs' docstrings begin with."""
    found = []
    for path in sorted((ROOT / "configs").glob("*.py")):
        text = path.read_text().replace("\\\\\n", "\\\n")
        head = text[: text.find('"""', 3)]
        for match in re.finditer(r"^ {4}python (?:.*\\\n)*.*$", head, re.M):
            found.append(Block(f"configs/{path.name}", text.count("\n", 0, match.start()) + 1, match[0]))
    return found


@dataclass(frozen=True)
class Parsed:
    """A command line of run.py, as it is understood."""

    mode: str
    config: Config
    flags: flags.FlagValues


def parse(words: list[str], runs: dict[str, Config]) -> Parsed:
    """What run.py makes of ``words``, the arguments that follow it.

    Args:
      words: the arguments.
      runs: the configs that the workdirs of commands before this one hold; this one's is added.

    Raises:
      AqaError, flags.Error: run.py would refuse them.
    """
    argv = ["run.py", *words]
    given, workdir = (command_line.flag_value(argv, name) for name in ("config", "workdir"))
    values = flags.FlagValues()
    for flag in flags.FLAGS.flags_by_module_dict()[entry.__name__]:
        if flag.name != "config":
            values[flag.name] = copy.deepcopy(flag)
    if given is not None:
        file, _, argument = given.partition(":")
        command_line.check_file(str(ROOT / file))
        make = importlib.import_module(f"configs.{Path(file).stem}").get_config
        values_of_keys = make(argument) if argument else make()
    else:
        values_of_keys = ConfigDict(asdict(runs[workdir])) if workdir in runs else quickstart.get_config()
    return _parse(argv, given, workdir, values_of_keys, values, runs)


def _parse(argv, given, workdir, keys: ConfigDict, values: flags.FlagValues, runs: dict[str, Config]) -> Parsed:
    kept = [word for word in argv if word != "--config" and not word.startswith("--config=") and word != given]
    with mock.patch.object(sys, "argv", kept):  # Where the library looks for the keys.
        config_flags.DEFINE_config_dict("config", keys, flag_values=values, lock_config=True)
        rest = values(kept)
    if len(rest) > 1 and values.mode not in ("compare", "report"):
        raise AqaError(f"unexpected argument {rest[1]!r}")
    config = config_lib.resolve(values.config)
    if workdir and values.mode in ("train", "crossval"):
        runs[workdir] = config
    return Parsed(values.mode, config, values)
