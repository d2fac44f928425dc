"""Scores video files."""

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
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
    output = request.predictions
    report = predict_files(
        found, scorer, output, form=scorer.input_format, batch_size=settings.batch_size or scorer.batch_size,
        difficulty=difficulty if scorer.needs_difficulty else None, known_difficulties=scorer.known_difficulties,
        score_range=scorer.trained_on["score_range"], model=scorer.describe(), check=settings.check,
        threads=request.config.data.threads or None, decode_seconds=settings.decode_seconds,
        decode_mb=settings.decode_mb,
    )  # fmt: skip
    for row in report.rows:
        note = "  (outside the training scores)" if row["out_of_training_range"] else ""
        note += "  (unlike the training videos: do not trust it)" if row["unfamiliar"] else ""
        note += f"  (damaged: {row['damage']})" if row["damage"] else ""
        print(f"{row['file']}: {row['score']:.2f} ± {row['sigma']:.2f}{note}")
    for file, error in report.errors.items():
        print(f"{file}: {error}")
    if report.check is not None:
        print(f"Check: {report.check.words}")
    print(f"Sigma and intervals: {scorer.describe().get('intervals', 'raw')}")
    print(f"Scores: {output / 'scores.csv'}")
    return report.exit_code
