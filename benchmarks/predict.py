"""Seconds that a video takes from a file to its score, cold and warm, and where they go.

    python benchmarks/predict.py [--video FILE] [--videos N] [--rounds N] [--clips N ...]

The run that scores is configs/mtl_aqa_dae.py's (I3D at full width, ten clips of 16 frames at 224 pixels) with random
weights, saved by the library's own checkpoints: they take as long as trained ones. The video is ten seconds of 720p at
30 frames a second, rendered: H.264 where PyAV is installed (requirements-benchmark.txt), else MPEG-4, which decodes
faster; or FILE. All of it is run.py as a person calls it, in processes of its own:

- cold: nothing is on disk yet; programs: the compiled programs are (config.predict.keep=False); kept: so is the scorer,
  as after the first call with a model;
- warm: what each further video takes in a process that has scored one: (1 + N videos less 1 video) / N;
- phases: one after the other in one process (run.py decodes while it loads jax and restores, and while it scores the
  video before).

Then clips through the backbone at a time (config.predict.clips), and what folding and bfloat16 change.
Figures go to benchmarks/results/predict.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))
from aqa_jax import allocation  # noqa: E402
from benchmarks import report  # noqa: E402

HEIGHT, WIDTH, RATE, SECONDS = 720, 1280, 30, 10
CLIPS = (1, 2, 5, 10)
FRAME_SIZE = (256, 455)  # what MTL-AQA's frames are stored in
CODECS = {"h264": "H.264 (x264, crf 23)", "mpeg4": "MPEG-4"}


def rendered() -> Iterator[Any]:
    """Ten seconds of a moving, textured, slightly noisy scene: uint8 RGB [720, 1280, 3]."""
    import numpy as np

    from aqa_jax.data.decode import cv2

    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (1000, 1700, 3)).astype(np.float32), (0, 0), 3)
    scene = (scene - scene.min()) / np.ptp(scene) * 255
    for i in range(SECONDS * RATE):
        top, left = int(100 + 80 * np.sin(i / 20)), int(100 + 90 * np.cos(i / 17))
        frame = scene[top : top + HEIGHT, left : left + WIDTH].astype(np.uint8)
        cv2.circle(frame, (640 + int(400 * np.sin(i / 30)), 360 + int(200 * np.cos(i / 11))), 80, (255, 40, 10), -1)
        noise = rng.integers(-4, 5, frame.shape, dtype=np.int8)
        yield np.clip(frame.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def write_video(path: Path) -> str:
    """Writes the rendered video; returns the codec."""
    try:
        import av
    except ImportError:
        from aqa_jax.data import decode

        decode.write_video(path, rendered(), fps=RATE)
        return CODECS["mpeg4"]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"crf": "23"}
        for frame in rendered():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return CODECS["h264"]


def untrained_run(values: Mapping[str, Any], workdir: Path, frame_size: tuple[int, int] = FRAME_SIZE) -> None:
    """A workdir as training leaves it, with random weights, by the library's own checkpoints.

    Args:
      values: the config.
      workdir: empty.
      frame_size: height and width of the frames that clips are cropped from.
    """
    import numpy as np

    from aqa_jax import config as config_lib
    from aqa_jax.files import write_json
    from aqa_jax.train.checkpoints import Checkpoints
    from aqa_jax.train.finished import TRAINED_ON
    from aqa_jax.train.run import Run

    config = config_lib.resolve(values)
    state = {"step": np.zeros((), np.int32), **Run(config).assembler.init()}
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save_model(0, state, {"history": [{"step": 0}]})
    checkpoints.close()
    write_json(workdir / "config.json", json.loads(config_lib.to_json(config)))
    about = {"builder": config.data.builder, "fingerprint": "", "videos": {}, "groups": [], "score_range": None}
    write_json(workdir / "trained_on.json", {"schema": TRAINED_ON, "frame_size": list(frame_size), **about})


def make_run(workdir: Path) -> None:
    """The run that scores."""
    from configs import mtl_aqa_dae

    values = mtl_aqa_dae.get_config()
    values.evaluate.selection = "last"
    untrained_run(values, workdir)


def child(arguments: list[str], cache: Path, set_up: Mapping[str, str] = os.environ) -> tuple[float, float, float]:
    """Runs a command with the compiled programs in ``cache``, in the environment ``set_up``.

    Returns:
      Seconds, seconds of all cores together (a busy machine changes them less), MB of resident memory at the highest.
    """
    environment = {**set_up, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(arguments, env=environment, cwd=REPO, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(arguments)} failed:\n{errors.read().decode()[-3000:]}")
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return seconds, usage.ru_utime + usage.ru_stime, peak


def whole(folder: Path, videos: int, rounds: int) -> dict[str, Any]:
    """run.py from its start to its end, by seconds."""

    def score(count: int, *, keep: bool = True) -> tuple[float, float, float]:
        inputs = [f"--input={folder / 'videos' / f'{i}.mp4'}" for i in range(count)]
        command = [sys.executable, "run.py", "--mode=predict", f"--workdir={folder / 'run'}", *inputs]
        command += [f"--output={folder / 'out'}", f"--config.predict.keep={keep}"]
        return child(command, folder / "cache")

    cold = score(1)
    # In turn, so that a busy moment hits all.
    turns = [(score(1, keep=False), score(1), score(1 + videos)) for _ in range(rounds)]
    programs, one, many = ([turn[i] for turn in turns] for i in range(3))

    def figures(which: int) -> dict[str, float]:
        return {
            "cold": cold[which],
            "programs": statistics.median(run[which] for run in programs),
            "kept": statistics.median(run[which] for run in one),
            "each_further": statistics.median((b[which] - a[which]) / videos for _, a, b in turns),
        }

    return {
        "seconds": figures(0),
        "core_seconds": figures(1),
        "peak_mb": {
            "cold": cold[2],
            **{
                name: max(run[2] for run in runs)
                for name, runs in (("programs", programs), ("kept", one), ("many", many))
            },
        },
        "further_videos": videos,
        "rounds": {
            "programs": [run[0] for run in programs],
            "kept": [run[0] for run in one],
            "kept_and_further_videos": [run[0] for run in many],
        },
    }


def phases(workdir: Path, video: Path, output: Path) -> dict[str, float]:
    """Seconds of each part of scoring one video, one after the other, in this process."""
    times, last = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name], last = now - last, now

    # As run.py does, and nothing else before.
    from aqa_jax import compilation
    from aqa_jax import config as config_lib

    compilation.prepare()
    from aqa_jax import modes  # noqa: F401
    from aqa_jax.files import write_json
    from aqa_jax.predict.ensemble import make_scorer
    from aqa_jax.predict.predict import predict  # noqa: F401
    from aqa_jax.predict.video_clips import read_clips

    lap("import")
    scorer = make_scorer(config_lib.resolve(config_lib.read_json(workdir / "config.json")), workdir)
    lap("restore")
    form = scorer.input_format
    scorer.prepare(1)
    lap("compile")
    clips = read_clips(video, form.window, form.frame_size, form.crop_size)
    lap("decode")
    scorer.score(clips.video[None])
    lap("first forward")
    told = scorer.score(clips.video[None])
    lap("forward")
    write_json(output, {"score": told.point, "sigma": told.sigma})
    lap("write")
    return times


def clips_at_once(workdir: Path, clips: int) -> dict[str, float]:
    """Seconds and memory of one video's ten clips, so many at a time, in this process."""
    from benchmarks import memory

    program, video = _program(workdir, clips=clips)
    seconds = statistics.median(report.interleaved({"forward": lambda: program(video, {})}, 3)["forward"])
    return {"seconds": seconds, **memory.peak(lambda: program(video, {}))}


def precision(workdir: Path) -> dict[str, Any]:
    """The largest change of a feature and of a score by folding and by bfloat16, of what they are without."""
    import numpy as np

    plain, video = _program(workdir, clips=1, folded=False)
    expected, _, (_, features) = plain(video, {})
    found: dict[str, Any] = {}
    for name, dtype in (("folded", "float32"), ("folded, bfloat16", "bfloat16")):
        program, _ = _program(workdir, clips=1, dtype=dtype)
        told, _, (_, changed) = program(video, {})
        found[name] = {
            "feature_change": float(np.abs(changed - features).max() / np.std(features)),
            "score_change_in_sigmas": float(np.abs((told.mean - expected.mean) / expected.sigma).max()),
            "seconds": report.seconds(lambda program=program: program(video, {})),
        }
    return found


def _program(workdir: Path, *, clips: int, dtype: str = "float32", folded: bool = True) -> tuple[Any, Any]:
    """A program of the run's weights, and random frames of one video."""
    import jax.numpy as jnp
    import numpy as np

    from aqa_jax import compilation
    from aqa_jax import config as config_lib
    from aqa_jax.predict.program import Program
    from aqa_jax.tasks.score import ScoreTask
    from aqa_jax.train.chosen import restore_chosen
    from aqa_jax.train.run import Run

    compilation.prepare()
    config = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
    run = Run(config)
    _, state = restore_chosen(run, workdir)
    task = ScoreTask(config)
    program = Program(task, run.assembler, state, dtype=jnp.dtype(dtype), clips=clips, folded=folded)
    return program, np.random.default_rng(0).integers(0, 256, (1, *run.batch_shape), np.uint8)


def measured(name: str, folder: Path, cache: str, *arguments: str) -> dict[str, Any]:
    """What a function of this file gives in a process of its own, with the memory that run.py asks for."""
    result, command = folder / "child.json", [sys.executable, __file__, f"--child={name}", f"--folder={folder}"]
    child([*command, *arguments], folder / cache, allocation.environment(os.environ, scoring=True) or os.environ)
    return json.loads(result.read_text(encoding="utf-8"))


def run_child(name: str, folder: Path, clips: int) -> None:
    """The other side of :func:`measured`."""
    if name == "phases":
        content: Any = phases(folder / "run", folder / "videos" / "0.mp4", folder / "out" / "phases.json")
    elif name == "clips":
        content = clips_at_once(folder / "run", clips)
    elif name == "precision":
        content = precision(folder / "run")
    else:
        make_run(folder / "run")
        content = {}
    from aqa_jax.files import write_json

    write_json(folder / "child.json", content)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="a video of your own, in place of the rendered one")
    parser.add_argument("--videos", type=int, default=3, help="further videos in a warm process")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, nargs="*", default=CLIPS, help="clips at a time to compare")
    parser.add_argument("--out", default="predict", help="a name under benchmarks/results, or a .json file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.folder, arguments.clips[0])
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "videos").mkdir()
        codec, file = "as given", f"rendered, {SECONDS} s, 720p, {RATE}/s"
        if arguments.video is None:
            codec = write_video(folder / "videos" / "0.mp4")
        else:
            shutil.copy(arguments.video, folder / "videos" / "0.mp4")
            file = arguments.video.name
        for i in range(1, arguments.videos + 1):
            # Copies: each is decoded for itself.
            shutil.copy(folder / "videos" / "0.mp4", folder / "videos" / f"{i}.mp4")
        measured("make", folder, "cache_of_making")
        content: dict[str, Any] = {
            "video": {"codec": codec, "file": file},
            "network": "configs/mtl_aqa_dae.py: I3D width 1, 10 clips of 16x224x224, random weights",
            **whole(folder, arguments.videos, arguments.rounds),
        }
        content["phases"] = {
            "cold": measured("phases", folder, "cache_of_phases"),
            "cached": measured("phases", folder, "cache_of_phases"),
        }
        content["clips_at_once"] = {
            str(clips): measured("clips", folder, "cache_of_clips", f"--clips={clips}") for clips in arguments.clips
        }
        content["precision"] = measured("precision", folder, "cache_of_clips")
    content = report.rounded(content)
    print(tables(content))
    print(f"Figures: {report.write(arguments.out, content)}")


def tables(content: Mapping[str, Any]) -> str:
    """For docs/speed.md."""
    seconds, cores, peaks = content["seconds"], content["core_seconds"], content["peak_mb"]
    named = (
        ("cold: nothing on disk yet", "cold", "cold"),
        ("compiled programs on disk", "programs", "programs"),
        ("the scorer too", "kept", "kept"),
        ("each further video", "each_further", "many"),
    )
    rows: list[Any] = [(words, seconds[key], cores[key], round(peaks[peak])) for words, key, peak in named]
    header = ("one video, run.py from start to end", "seconds", "seconds of all cores", "peak MB")
    parts = [report.markdown(header, rows)]
    cold, cached = content["phases"]["cold"], content["phases"]["cached"]
    parts.append(
        report.markdown(("phase", "cold, s", "cached, s"), [(name, cold[name], cached[name]) for name in cold])
    )
    parts.append(
        report.markdown(
            ("clips at a time", "s a video", "MB"),
            [
                (clips, found["seconds"], round(found.get("step_mb", 0)))
                for clips, found in content["clips_at_once"].items()
            ],
        )
    )
    parts.append(
        report.markdown(
            ("beside float32, not folded", "feature, of their spread", "score, of its sigma", "s a video"),
            [
                (name, found["feature_change"], found["score_change_in_sigmas"], found["seconds"])
                for name, found in content["precision"].items()
            ],
        )
    )
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
