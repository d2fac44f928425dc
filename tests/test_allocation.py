"""A process tells the C library how to give memory, once, where it listens, and never against its user's choice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aqa_jax import allocation

ROOT = Path(__file__).parents[1]
KEPT = "glibc.malloc.mmap_threshold=268435456:glibc.malloc.trim_threshold=536870912"


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    path = tmp_path / "enabled"
    path.write_text("always [madvise] never\n")
    return path


def test_it_is_asked_for_beside_what_else_is_set(system):
    wanted = f"glibc.malloc.hugetlb=1:{KEPT}"
    assert allocation.environment({"A": "1"}, system) == {"A": "1", "GLIBC_TUNABLES": wanted}
    changed = allocation.environment({"GLIBC_TUNABLES": "glibc.malloc.check=3"}, system)
    assert changed["GLIBC_TUNABLES"] == f"glibc.malloc.check=3:{wanted}"
    assert not allocation.environment(changed, system)


@pytest.mark.parametrize("chosen", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=3:glibc.malloc.hugetlb=2"])
def test_the_users_choice_stays(system, chosen):
    changed = allocation.environment({"GLIBC_TUNABLES": chosen}, system)
    assert changed["GLIBC_TUNABLES"] == f"{chosen}:{KEPT}"
    chosen = "glibc.malloc.trim_threshold=0:glibc.malloc.mmap_threshold=1:glibc.malloc.hugetlb=0"
    assert not allocation.environment({"GLIBC_TUNABLES": chosen}, system)


def test_who_scores_gets_one_arena_and_small_pages(system):
    wanted = f"glibc.malloc.arena_max=1:{KEPT}"
    assert allocation.environment({}, system, scoring=True) == {"GLIBC_TUNABLES": wanted}
    assert not allocation.environment({"GLIBC_TUNABLES": wanted}, system, scoring=True)
    changed = allocation.environment({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, system, scoring=True)
    assert changed == {"GLIBC_TUNABLES": f"glibc.malloc.arena_max=4:{KEPT}"}


@pytest.mark.parametrize("library", ["glibc 2.31", "musl 1.2", "glibc two", "", None])
def test_other_libraries_are_left_alone(system, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert not allocation.environment({}, system)


@pytest.mark.parametrize("setting", ["[always] madvise never", "always madvise [never]", None])
def test_no_large_pages_are_asked_for_where_all_have_them_or_none(system, setting):
    system.write_text(setting) if setting else system.unlink()
    assert allocation.environment({}, system) == {"GLIBC_TUNABLES": KEPT}


def test_it_is_settled_before_anything_large_is_loaded():
    code = (
        "import sys; from aqa_jax import allocation, command_line; "
        "assert command_line.flag_value(['run.py', '--mode', 'predict'], 'mode') == 'predict'; "
        "print({'numpy', 'jax', 'absl', 'ml_collections'} & {name.partition('.')[0] for name in sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


def test_the_process_starts_again_once_with_its_arguments(tmp_path):
    (tmp_path / "enabled").write_text("[madvise]")
    code = (
        "import json, os, pathlib, sys; from aqa_jax import allocation; "
        f"allocation.environment.__defaults__ = (pathlib.Path({str(tmp_path / 'enabled')!r}),); "
        "allocation._glibc = lambda: (2, 36); allocation.restart(); "
        "print(json.dumps([sys.argv, os.environ['GLIBC_TUNABLES'], sys.flags.optimize]))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-O", "-c", code, "--key=a b", ""]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ended.stdout) == [["-c", "--key=a b", ""], f"glibc.malloc.hugetlb=1:{KEPT}", 1]
