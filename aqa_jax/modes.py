"""What each ``--mode`` of run.py does.

A mode imports what it needs itself: scoring a file should not wait for what only training uses.
"""

import dataclasses
import os
from pathlib import Path

import jax

from aqa_jax import config as config_lib
from aqa_jax.config import Config
from aqa_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Request:
    """One command line: the config and what stands beside it."""

    config: Config
    workdir: Path
    inputs: tuple[str, ...] = ()
    output: Path | None = None
    weights: str = ""
    difficulties: str = ""
    runs: tuple[str, ...] = ()
    allow_different_protocols: bool = False


def train(request: Request) -> int:
    """Builds the dataset if need be, trains, evaluates, and (``config.predict.samples``) scores rendered files."""
    from aqa_jax.train import final
    from aqa_jax.train.loop import train as train_loop

    config, workdir = request.config, request.workdir
    _single_run(workdir)
    run = train_loop(config, workdir)
    content = final.evaluate_run(run, workdir, workdir / "evaluation")
    if jax.process_index() > 0:
        return 0
    print(final.summary(content))
    if config.predict.samples:
        _score_samples(request)
    print(f"Results: {workdir / 'evaluation'}")
    return 0


def evaluate(request: Request) -> int:
    """Evaluates a trained run again, perhaps under changed keys: then into a folder of its own."""
    from aqa_jax.train import final
    from aqa_jax.train.run import Run

    config, workdir = request.config, request.workdir
    _single_run(workdir)
    kept = config_lib.resolve(config_lib.read_json(workdir / "config.json"))
    changed = config_lib.differences(kept, config)
    if config_lib.fingerprint(kept) != config_lib.fingerprint(config) and request.output is None:
        raise ConfigError(
            "Evaluating under other keys than the run was trained with:\n  " + "\n  ".join(changed) + "\n"
            "Name a folder for the result with --output, so that the run's own stays."
        )
    content = final.evaluate_run(Run(config), workdir, request.output or workdir / "evaluation")
    if jax.process_index() == 0:
        print(final.summary(content))
    return 0


def crossval(request: Request) -> int:
    """A run for every fold and seed, and the table of them; 1 if a run failed."""
    from aqa_jax.evaluate import crossval as crossval_table
    from aqa_jax.train import crossval as cross_validation

    # This process only plans and waits: it must not take a GPU's memory from those that train.
    jax.config.update("jax_platforms", "cpu")
    planned = cross_validation.plan(request.config)
    finished = cross_validation.cross_validate(planned, request.workdir)
    print(crossval_table.table(crossval_table.write(planned, request.workdir)))
    print(f"Results: {request.workdir / crossval_table.RESULT}")
    return 0 if finished else 1


def compare(request: Request) -> int:
    """Prints (and with ``--output`` writes) finished runs side by side."""
    from aqa_jax.evaluate import compare as comparison

    rows = comparison.compare(request.runs, allow_different_protocols=request.allow_different_protocols)
    if request.output is not None:
        comparison.write(request.output, rows)
    print(comparison.markdown(rows))
    return 0


def predict(request: Request) -> int:
    """Scores video files; 1 if any of them failed."""
    from aqa_jax.predict.ensemble import make_scorer
    from aqa_jax.predict.inputs import find_videos, read_difficulties
    from aqa_jax.predict.predict import predict as predict_files

    if not request.inputs:
        raise ConfigError("--mode predict needs --input FILE, FOLDER or GLOB.")
    found = find_videos(request.inputs)
    scorer = make_scorer(request.config, request.workdir)
    settings = request.config.predict
    difficulty = read_difficulties(request.difficulties) if request.difficulties else settings.difficulty or None
    if scorer.needs_difficulty and difficulty is None:
        raise ConfigError(
            "This run's head needs the difficulty of the action: give --config.predict.difficulty=3.0, "
            "or --difficulties FILE.csv with the columns file and difficulty."
        )
    output = request.output or request.workdir / "predictions"
    report = predict_files(
        found, scorer, output, form=scorer.input_format, batch_size=settings.batch_size or scorer.batch_size,
        difficulty=difficulty if scorer.needs_difficulty else None, known_difficulties=scorer.known_difficulties,
        score_range=scorer.trained_on["score_range"], model=scorer.describe(), check=settings.check,
        threads=request.config.data.threads or None,
    )  # fmt: skip
    for row in report.rows:
        note = "  (outside the training scores)" if row["out_of_training_range"] else ""
        note += "  (unlike the training videos: do not trust it)" if row["unfamiliar"] else ""
        print(f"{row['file']}: {row['score']:.2f} ± {row['sigma']:.2f}{note}")
    for file, error in report.errors.items():
        print(f"{file}: {error}")
    if report.check is not None:
        print(f"Check: {report.check.words}")
    print(f"Sigma and intervals: {scorer.describe().get('intervals', 'raw')}")
    print(f"Scores: {output / 'scores.csv'}")
    return report.exit_code


def make_dataset(request: Request) -> int:
    """Builds the dataset."""
    from aqa_jax.train.run import build_dataset

    print(build_dataset(request.config))
    return 0


def import_weights(request: Request) -> int:
    """Converts a weight file (or a run's workdir) into an Orbax checkpoint and a safetensors file."""
    from aqa_jax.train import imported

    if not request.weights or request.output is None:
        raise ConfigError("--mode import_weights needs --weights FILE (or a run's workdir) and --output DIR.")
    print(imported.import_weights(request.config, Path(request.weights), request.output))
    return 0


def export_adapter(request: Request) -> int:
    """Writes the adapters of a run, with all that must be known to attach them, into one file."""
    from aqa_jax.train.adapter import adapter_of_run

    if request.output is None:
        raise ConfigError("--mode export_adapter needs --workdir RUN and --output FILE.safetensors.")
    adapter = adapter_of_run(request.workdir, request.config.evaluate.selection)
    adapter.write(request.output)
    print(f"{request.output}: {adapter.describe()}")
    return 0


def inspect(request: Request) -> int:
    """Prints what an adapter file, a run's adapters or a weight file is."""
    from aqa_jax import weights as weight_files
    from aqa_jax.train.adapter import load_adapter

    if not request.weights:
        raise ConfigError("--mode inspect needs --weights FILE (or a run's workdir, for its adapters).")
    path = Path(request.weights)
    if (path / "config.json").is_file():
        print(f"{path}: {load_adapter(path).describe()}")
    else:
        print(weight_files.describe(path))
    return 0


def _single_run(workdir: Path) -> None:
    from aqa_jax.train.finished import is_crossval

    if is_crossval(workdir):
        raise ConfigError(f"{workdir} holds a cross-validation: --mode crossval goes on with it; name one of its runs.")


def _score_samples(request: Request) -> None:
    """Renders unseen videos to files and scores them: the whole way that a stranger's video goes."""
    from aqa_jax.data import build

    config = request.config
    builder = build.builder_class(config.data.builder)
    folder = request.workdir / "sample_videos"
    difficulties = builder.write_samples(folder, config.predict.samples)
    predict(dataclasses.replace(request, inputs=(os.fspath(folder),), difficulties=os.fspath(difficulties)))


MODES = {
    "train": train,
    "evaluate": evaluate,
    "crossval": crossval,
    "compare": compare,
    "predict": predict,
    "build": make_dataset,
    "import_weights": import_weights,
    "export_adapter": export_adapter,
    "inspect": inspect,
}
