"""Runs every command of the pages, at a small size, in a copy of the repository; exit code 1 if one fails.

    python scripts/docs_commands.py [--pages docs/share.md ...] [--workdir FOLDER]

Blocks run as they stand, by bash, page after page in one folder, so that what one command writes the next one finds.
In place of ``python`` comes a program that makes each training small (tests/docs/shim.py); datasets and weight files
that a reader would have are made on the spot (tests/docs/raw_data.py). What cannot be run here stands in
tests/docs/rules.py with its reason, and is listed at the end. A command that no rule covers fails.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.docs import raw_data, rules  # noqa: E402
from tests.docs.commands import Block, blocks, pages  # noqa: E402

SECONDS = 900
_SMALL_CONFIG = """

_full_size = get_config


def get_config(*words):
    import sys

    from tests.docs.shrink import changes

    config = _full_size(*words)
    # Another config that starts from this one shrinks itself.
    if not sys._getframe(1).f_globals["__name__"].startswith("configs."):
        config.update_from_flattened_dict(changes(config.to_dict()))
    return config
"""


def copy_repository(folder: Path) -> None:
    """Its files, as git knows them, with configs that are small already: the studies' scripts start from these."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for path in (folder / "configs").glob("*.py"):
        if path.stem not in ("__init__", "from_workdir"):
            path.write_text(path.read_text() + _SMALL_CONFIG)
    (head,) = re.findall(r"```python\n(.*?)```", (folder / "docs" / "extend.md").read_text(), re.S)
    (folder / "my_heads.py").write_text(head)


class Runner:
    """Runs blocks in a folder, one after the other."""

    def __init__(self, folder: Path):
        """Copies the repository into ``folder``."""
        self.repository, self.not_run = folder / "repository", folder / "not_run.txt"
        programs = folder / "programs"
        programs.mkdir(parents=True, exist_ok=True)
        copy_repository(self.repository)
        self._program(programs / "python", f'exec "{sys.executable}" "{self.repository}/tests/docs/shim.py" "$@"')
        for name, why in rules.NOT_RUN.items():
            if " " not in name:
                self._program(programs / name, f'echo "{name} $*: {why}" >> "$DOCS_NOT_RUN"')
        self.environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "DOCS_NOT_RUN": str(self.not_run),
            "PYTHONPATH": "", "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax"),
        }  # fmt: skip
        self.not_run.touch()
        self.said: dict[str, str] = {}

    def run(self, block: Block) -> str | None:
        """The end of what ``block`` said if it failed, else None."""
        for words in block.commands:
            if rules.rule_of(words) is None:
                return f"no rule in tests/docs/rules.py covers: {' '.join(words)}"
        text = block.text
        if block.python:
            # A page's pieces go on from one another.
            before = self.said.get(block.page, rules.GIVEN.get(block.page, ""))
            text = text.replace('"RUN', f'"{self.repository}/runs/quickstart')
            self._make(text)
            self.said[block.page] = before + text
            (self.repository / "piece.py").write_text(before + text)
            return self._shell(f"{sys.executable} piece.py")
        for word, stands_for in rules.STANDS_FOR.items():
            text = re.sub(rf"(?<![\w/-]){word}(?![\w.-])", stands_for, text)
        self._make(text)
        return self._shell(text)

    def _make(self, text: str) -> None:
        """What the block reads and nobody has made yet."""
        lines = text.replace("\\\n", " ")
        for name, command in rules.MADE_BEFORE.items():
            named = rf"{re.escape(name)}(?![\w-])"
            made_here = re.search(rf"--config .*{named}", lines)
            if re.search(named, lines) and not made_here and not (self.repository / name).exists():
                error = self._shell(command)
                print(f"made before: {name}" + (f": FAILED\n{error}" if error else ""), flush=True)
        for name in re.findall(r"--input[ =](\S+\.(?:mp4|mov|avi))", lines):
            if not re.search(r"[*?]", name) and not (self.repository / name).exists():
                raw_data.video(self.repository / name)
        for name in re.findall(r'"(\w+\.pth?)"', lines):
            if not (self.repository / name).exists():
                raw_data.weights(self.repository / name, "hassony2")

    def _shell(self, text: str) -> str | None:
        command = ["bash", "-e", "-o", "pipefail", "-c", text]
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=self.repository, env=self.environment, stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            try:
                code: int | str = process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                code = f"none within {SECONDS} s"
            finally:
                # A block leaves nobody behind: what it started in the background neither.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            output.seek(0)
            return None if code == 0 else f"exit code {code}\n{output.read()[-3000:]}"

    @staticmethod
    def _program(path: Path, line: str) -> None:
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", nargs="+", type=Path, help="by default all")
    parser.add_argument(
        "--workdir", type=Path, help="kept, and a page's commands find what is in it; by default a new one"
    )
    given = parser.parse_args()
    chosen = [page.resolve() for page in given.pages] if given.pages else pages()
    with tempfile.TemporaryDirectory() as temporary:
        runner = Runner(given.workdir.absolute() if given.workdir else Path(temporary))
        failed, count, seen = [], 0, set()
        for page in chosen:
            for block in blocks(page):
                if not block.python and block.text in seen:
                    continue  # Another page says the same.
                seen.add(block.text)
                started = time.monotonic()
                error = runner.run(block)
                count += len(block.commands)
                seconds = time.monotonic() - started
                first = " ".join(block.text.split())[:90]
                print(f"{'FAILED' if error else 'ok':<7}{seconds:6.0f} s  {block.name:<24} {first}", flush=True)
                if error:
                    failed.append(block.name)
                    print("    " + error.replace("\n", "\n    "), flush=True)
        skipped = runner.not_run.read_text().splitlines()
    print(f"\n{count} commands, {len(skipped)} of them not run:")
    for line in sorted(set(skipped)):
        print(f"  {line}")
    print(f"{len(failed)} blocks failed{': ' + ', '.join(failed) if failed else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
