"""A run, or several side by side, as one HTML file."""

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request, check_single_run


def run(request: Request) -> int:
    """Writes the report of a run's workdir, or of the runs that are named."""
    from aqa_jax.report import page

    if request.runs:
        from aqa_jax.report.comparison import comparison_report

        if request.output is None:
            raise ConfigError("--mode report RUN RUN needs --output FILE.html.")
        path = request.output
        text = comparison_report(
            request.runs, allow_different_protocols=request.allow_different_protocols, names=request.config.report.names
        )
    elif not (request.workdir / "config.json").is_file():
        raise ConfigError("--mode report needs --workdir RUN of a finished run, or several: --mode report RUN RUN.")
    else:
        from aqa_jax.report.run import run_report

        check_single_run(request.workdir)
        path = request.output or request.workdir / "report.html"
        settings = request.config.report
        text = run_report(request.workdir, request.config, thumbnails=settings.thumbnails, names=settings.names)
    if path.suffix not in (".html", ".htm"):
        raise ConfigError(f"--output {path}: a report is a FILE.html.")
    page.write(path, text)
    print(f"Report: {path}")
    return 0
