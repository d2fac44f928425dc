"""Stands in for ``python`` where the commands of the pages are run: the same command, at a smaller size.

Called by scripts/docs_commands.py through a ``python`` that comes first on the path. What is not run is written down.
"""

import dataclasses
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from absl import flags

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
flags.FLAGS.mark_as_parsed()

from tests.docs import raw_data, rules, shrink  # noqa: E402
from tests.docs.commands import Parsed, parse  # noqa: E402

NO_RULE = 97
SERVE_SECONDS = 120


def main(words: list[str]) -> int:
    """Runs ``python WORDS`` by its rule; its exit code."""
    rule = rules.rule_of(["python", *words])
    if rule is None:
        print(f"No rule in tests/docs/rules.py covers: python {' '.join(words)}", file=sys.stderr)
        return NO_RULE
    if rule.why:
        note(words, rule.why)
        if words[:2] == ["-m", "venv"]:
            (Path(words[2]) / "bin").mkdir(parents=True, exist_ok=True)
            (Path(words[2]) / "bin" / "activate").touch()
        return 0
    if words[0] == "run.py":
        understood = parse(words[1:], {})
        words = [*words, *smaller(words, understood)]
        if understood.mode == "serve":
            return served(words, understood.config.serve.port)
    os.execv(sys.executable, [sys.executable, *words, *rule.more])


def note(words: list[str], why: str) -> None:
    """Remembers what was not run."""
    with open(os.environ["DOCS_NOT_RUN"], "a") as file:
        file.write(f"python {' '.join(words)}: {why}\n")


def smaller(words: list[str], understood: Parsed) -> list[str]:
    """The arguments that make a training small, once what it reads is there."""
    config = understood.config
    if not any(word == "--config" or word.startswith("--config=") for word in words):
        return []
    builder, raw = config.data.builder.rpartition("/")[2], Path(config.data.raw_dir)
    if config.data.raw_dir and not raw.exists():
        raw_data.RAW[builder](raw)
    for path in map(Path, (config.model.weights, understood.flags.weights)):
        if path.suffix in (".pt", ".pth") and not path.exists():
            raw_data.weights(path, config.model.dialect)
    keys = shrink.changes(dataclasses.asdict(config))
    if understood.mode == "crossval":
        keys["crossval.seeds"] = 1
    return [f"--config.{key}={value}" for key, value in keys.items()]


def served(words: list[str], port: int) -> int:
    """Starts the local page, looks whether it answers, and ends it."""
    with subprocess.Popen([sys.executable, *words]) as process:
        deadline = time.monotonic() + SERVE_SECONDS
        try:
            while time.monotonic() < deadline and process.poll() is None:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as answer:
                        return 0 if answer.status == 200 else 1
                except OSError:
                    time.sleep(0.5)
            return process.returncode or 1
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
