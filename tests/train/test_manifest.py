"""Manifests of folders."""

from aqa_jax.train import manifest


def test_only_what_is_named_is_listed_so_that_other_files_may_come_and_go(tmp_path):
    for name in ("metrics.json", "scatter.png", "report.html"):
        (tmp_path / name).write_text(name)
    manifest.write(tmp_path, ("metrics.json", "scatter.png", "confusion.png"))
    (tmp_path / "report.html").write_text("made anew")
    assert manifest.faults(tmp_path, listed_alone=True) == []
    assert manifest.faults(tmp_path) == ["report.html is not of this checkpoint"]
    (tmp_path / "scatter.png").unlink()
    assert manifest.faults(tmp_path, listed_alone=True) == ["scatter.png is missing"]
