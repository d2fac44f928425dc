"""Scores video files."""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqa_jax.errors import ConfigError, printable
from aqa_jax.modes.request import Request

if TYPE_CHECKING:
    from aqa_jax.predict.ahead import Ahead
    from aqa_jax.predict.ensemble import EnsembleScorer
    from aqa_jax.predict.inputs import Inputs
    from aqa_jax.predict.scorer import RunScorer


def run(request: Request) -> int:
    """Scores video files; 1 if any of them failed."""
    from aqa_jax.predict import extras, input_format
    from aqa_jax.predict.ahead import Ahead
    from aqa_jax.predict.camera import camera_of, check_camera
    from aqa_jax.predict.inputs import find_videos
    from aqa_jax.predict.scores_files import check_output

    if not request.inputs:
        raise ConfigError("--mode predict needs --input FILE, FOLDER, GLOB, @LIST, - (paths on stdin) or camera.")
    settings, output = request.config.predict, request.predictions
    names = extras.parse(settings.extras)
    check_output(output)
    cameras = {name: number for name in request.inputs if (number := camera_of(name)) is not None}
    named = [name for name in request.inputs if name not in cameras]
    # What is not there is said before a model is loaded, and before anybody performs.
    for number in cameras.values():
        check_camera(number)
    found = find_videos(named, results=output) if named else None
    ahead = None
    # A call that goes on with another's may find that they are scored already.
    if found is not None and not settings.resume:
        form = input_format.expected(request.config, request.workdir)
        if form is not None:
            ahead = Ahead(found, form, seconds=settings.decode_seconds, megabytes=settings.decode_mb)
    with ahead or nullcontext():
        return _scored(request, names, cameras, named, found, ahead)


def _scored(
    request: Request,
    names: tuple[str, ...],
    cameras: dict[str, int],
    named: list[str],
    found: "Inputs | None",
    ahead: "Ahead | None",
) -> int:
    """The rest, which loads jax.

    Args:
      request: the command line.
      names: of the extras.
      cameras: their numbers, by input.
      named: the other inputs.
      found: their videos; None where there are cameras alone.
      ahead: reads the first of them.
    """
    from aqa_jax import compilation

    compilation.prepare()
    from aqa_jax.data import checksums
    from aqa_jax.predict import extras, kept
    from aqa_jax.predict.inputs import find_videos, read_difficulties
    from aqa_jax.predict.predict import predict as predict_files

    settings, output = request.config.predict, request.predictions
    # Pictures and checks need the model itself.
    place = None if names or settings.check else kept.path_of(request.config, request.workdir)
    ready = kept.find(request.config, place) if place is not None else None
    scorer: Any = ready or _made(request)
    difficulty = read_difficulties(request.difficulties) if request.difficulties else settings.difficulty or None
    if scorer.needs_difficulty and difficulty is None:
        raise ConfigError(
            "This run's head needs the difficulty of the action: give --config.predict.difficulty=3.0, "
            "or --difficulties FILE.csv with the columns file and difficulty."
        )
    if cameras:
        found = find_videos(
            [*named, *(_take(number, settings.camera_seconds, output) for number in cameras.values())], results=output
        )
    assert found is not None
    shown = extras.VideoExtras(names, output, found.videos, scorer, request.config.report) if names else None
    batch_size = settings.batch_size or scorer.batch_size
    report = predict_files(
        found, scorer, output, form=scorer.input_format, batch_size=batch_size,
        difficulty=difficulty if scorer.needs_difficulty else None, known_difficulties=scorer.known_difficulties,
        score_range=scorer.trained_on["score_range"], model=scorer.describe(), check=settings.check,
        threads=request.config.data.threads or None, decode_seconds=settings.decode_seconds,
        decode_mb=settings.decode_mb, resume=settings.resume, ahead=ahead, extras=shown,
    )  # fmt: skip
    extras.remove_earlier(output, found.videos, report.errors)
    kinds = {row["checksum"] for row in report.rows}
    for row in report.rows:
        notes = [
            *(["outside the training scores"] if row["out_of_training_range"] else []),
            *(["unlike the training videos: do not trust it"] if row["unfamiliar"] else []),
            *([f"damaged: {row['damage']}"] if row["damage"] else []),
            *(["no recorded checksum"] if len(kinds) > 1 and row["checksum"] == checksums.NONE else []),
            *([row["extras_error"]] if row.get("extras_error") else []),
        ]
        told = f"{row['score']:.2f} ± {row['sigma']:.2f}  (90 %: {row['low90']:.2f} to {row['high90']:.2f})"
        # A name, like a message, may hold what a terminal acts on.
        print(printable(f"{row['file']}: {told}" + "".join(f"  ({note})" for note in notes)))
    for file, error in report.errors.items():
        print(printable(error if error.startswith(file) else f"{file}: {error}"))
    if report.check is not None:
        print(f"Check: {report.check.words}")
    print(f"Sigma and intervals: {scorer.describe().get('intervals', 'raw')}")
    if report.rows:
        print(f"Checksums: {checksums.in_words([row['checksum'] for row in report.rows])}")
    print(f"Scores: {output / 'scores.csv'}")
    if shown is not None:
        print(f"Beside them: {output / 'videos'}{os.sep}*{os.sep}", shown.note, sep="\n" if shown.note else "")
    if place is not None and ready is None and report.rows:
        # Last: nobody waits for it.
        sys.stdout.flush()
        kept.keep(scorer, place, batch_size)
    return report.exit_code


def _made(request: Request) -> "RunScorer | EnsembleScorer":
    from aqa_jax.predict.ensemble import make_scorer

    return make_scorer(request.config, request.workdir)


def _take(camera: int, seconds: float, output: Path) -> Path:
    """Records one take into the output folder."""
    from aqa_jax.predict.camera import record

    path = output / f"camera{camera}_{time.strftime('%Y%m%d_%H%M%S')}.mp4"
    print(f"Recording {seconds:g} s from camera {camera} …", flush=True)
    frames = record(camera, seconds, path)
    print(f"Recorded: {path} ({frames} frames)", flush=True)
    return path
