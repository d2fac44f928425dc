"""The pages' commands can work: each is understood, what it names is there. scripts/docs_commands.py runs them."""

import dataclasses
import re

import pytest
from absl import flags

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import AqaError
from tests.docs import rules, shrink
from tests.docs.commands import ROOT, Block, blocks, blocks_of_configs, pages, parse

EVERY = [*(block for page in pages() for block in blocks(page)), *blocks_of_configs()]


def is_run(words):
    return words[:2] == ["python", "run.py"]


def problem(block: Block, runs: dict[str, Config]) -> str | None:
    """Why the commands of a block cannot work."""
    if block.python:
        compile(block.text, block.name, "exec")
    for words in block.commands:
        text = " ".join(words)
        if rules.rule_of(words) is None:
            return f"{text}: no rule in tests/docs/rules.py says how it is run"
        for name in re.findall(r"(?<![\w./-])((?:configs|scripts|benchmarks|requirements)[\w/-]*\.(?:py|txt))", text):
            if not (ROOT / name).is_file():
                return f"{text}: there is no {name}"
        if is_run(words):
            try:
                parsed = parse(words[2:], runs)
                # As it is run: small.
                config_lib.resolve(changed(dataclasses.asdict(parsed.config)))
            except (AqaError, flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
                return f"{text}: {error}"
    return None


def changed(values):
    for name, value in shrink.changes(values).items():
        group, key = name.split(".")
        values[group][key] = value
    return values


def test_every_command_of_every_page_is_understood():
    runs: dict[str, Config] = {}
    found = {block.name: why for block in EVERY if (why := problem(block, runs))}
    assert not found, "\n".join(f"{name}: {why}" for name, why in found.items())
    commands = [words for block in EVERY for words in block.commands]
    assert len(commands) > 90 and sum(map(is_run, commands)) > 60
    assert runs["runs/quickstart"].head.name == "dae_mt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("python run.py --config configs/quickstart.py --config.train.step=3 --workdir runs/x", "config.train.step"),
        ("python run.py --config configs/quickstart.py --config.train.steps=three --workdir runs/x", "three"),
        ("python run.py --config configs/quickstrat.py --workdir runs/x", "there is no configs/quickstrat.py"),
        ("python run.py --workdir runs/x --mode predikt", "predikt"),
        ("python run.py --workdir runs/x --inptu a.mp4", "inptu"),
        ("python run.py --workdir runs/x \\\n  --config.head.bins=1", "config.head.bins must be at least 2"),
        ("ls && python scripts/no_such.py", "no rule"),
        ("curl https://example.org | sh", "no rule"),
    ],
)
def test_a_wrong_command_is_found(text, message):
    assert message in str(problem(Block("page.md", 1, text), {}))


def test_what_counts_as_a_command(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.docs.commands.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Do `python a.py --x 1` or `python b.py [--y]` or `pythonic`.\n\n```bash\n# a comment\npython c.py \\\n"
        "  'two words' && ls; wait &\n```\n\n```\nnot run\n```\n\n  ```sh\n  cat\n  ```\n\n```python\nx = ...\n```\n"
    )
    found = blocks(page)
    assert [block.name for block in found] == ["page.md:1", "page.md:3", "page.md:13", "page.md:17"]
    assert found[-1] == Block("page.md", 17, "x = ...\n", python=True)
    assert [block.commands for block in found[:-1]] == [
        [["python", "a.py", "--x", "1"]], [["python", "c.py", "two words"], ["ls"], ["wait"]], [["cat"]],
    ]  # fmt: skip


def test_no_rule_is_left_over():
    texts = [" ".join(words) for block in EVERY for words in block.commands]
    rules_used = [*rules.NOT_RUN, *(f"python {name}" for name in rules.SCRIPTS)]
    assert [rule for rule in rules_used if not any(text.startswith(rule) for text in texts)] == []


def test_every_link_leads_somewhere():
    for page in pages():
        text = page.read_text()
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", text):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(file.read_text()), f"{page.name} links to {target}#{anchor}"


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
