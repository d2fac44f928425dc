"""The arithmetic behind the benchmarks' tables. Nothing is timed here."""

import pytest

from benchmarks import report
from benchmarks.work import Size, flops, layers


def test_interleaved_runs_all_of_them_in_turn():
    calls = []
    times = report.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert "".join(calls) == "ab" + "abab"  # Once unseen, for what is slow the first time.
    assert [len(values) for values in times.values()] == [2, 2]


def test_a_turn_of_quick_calls_begins_with_one_untimed():
    calls = []
    times = report.interleaved({"a": lambda: calls.append("a")}, 3, turn=0.01)
    assert len(calls) >= 2 + 3 * 3  # Two to find out how quick it is, then turns of several.
    assert len(times["a"]) == 3


def test_ratio_is_of_rounds_and_not_of_medians():
    assert report.ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}
    with pytest.raises(ValueError, match="zip"):
        report.ratio([1.0], [1.0, 2.0])


def test_a_file_says_what_it_was_measured_on_and_can_be_added_to(tmp_path):
    assert report.written_on(tmp_path / "speed.json") == ""
    path = report.write(tmp_path / "speed.json", {"rows": {"a": 1}})
    assert report.written_on(path) == report.device()
    content = report.read(path)
    assert content == {"rows": {"a": 1}}
    report.write(path, content | {"other": 2})
    assert report.read(path) == {"rows": {"a": 1}, "other": 2}
    machine = report.machine()
    assert machine["cores"] >= 1
    assert machine["device"]
    assert "jax" in machine["versions"]
    assert report.read(tmp_path / "none.json") == {}


def test_rounding_leaves_whole_numbers_and_words():
    assert report.rounded({"a": [1.23456, 123456.7], "b": 123456, "c": "x"}) == {
        "a": [1.235, 123500.0], "b": 123456, "c": "x",
    }  # fmt: skip


def test_markdown():
    assert report.markdown(["size", "ms"], [["1x16", 12.345]]) == "| size | ms |\n| --- | --- |\n| 1x16 | 12.3 |"


def test_size():
    assert Size.parse("2x16x64@.25") == Size(2, 1, 16, 64, 0.25)
    assert Size.parse("8x10x16x224") == Size(8, 10, 16, 224, 1.0)


def test_work_of_the_published_network():
    """I3D's 27.8 GMAC a clip of 16 frames; the stem's share counted by hand; adapters by their own formula."""
    size = Size.parse("1x16x224")
    assert flops("fwd", size) == pytest.approx(55.575e9, rel=1e-4)
    stem = 2 * 8 * 112 * 112 * 7**3 * 3 * 64
    assert next(layers(size, adapted=False)).flops == stem
    # Forward, kernels' gradients, activations' gradients; nobody needs that of the frames.
    assert flops("all", size) == 3 * flops("fwd", size) - stem
    extra = sum(layer.flops for layer in layers(size, adapted=True) if layer.adapter)
    assert extra == pytest.approx(2.084e9, rel=1e-3)
    assert flops("ad", size) == pytest.approx(82.409e9, rel=1e-4)
    assert flops("all", Size.parse("8x10x16x224")) == 80 * flops("all", size)


def test_the_torch_rendering_is_the_same_function():
    # Benchmarks alone need torch (requirements-benchmark.txt); they time nothing that disagrees.
    torch = pytest.importorskip("torch")
    import jax
    import numpy as np

    from aqa_jax.train.state import flat
    from benchmarks import against_torch, torch_i3d

    size = Size.parse("1x8x32@.0625")
    for mode in ("fwd", "ad"):
        assembler, groups = against_torch.our_model(size, mode)
        video = against_torch.video_of(size)
        ours = jax.jit(lambda groups, assembler=assembler, video=video: assembler.merge(groups)(video))(groups)
        module = torch_i3d.I3D(size.width, adapted=mode == "ad").eval()
        torch_i3d.load(module, flat(groups))
        with torch.inference_mode():
            theirs = module(torch.from_numpy(video).permute(0, 4, 1, 2, 3))
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=2e-4, atol=1e-4 * np.abs(ours).max())
