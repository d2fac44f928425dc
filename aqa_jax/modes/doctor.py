"""Looks at this machine."""

from pathlib import Path

from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Prints what is here, what is missing and what helps; 1 if something is broken that a run needs."""
    from aqa_jax import __version__
    from aqa_jax.doctor.examine import as_json, examine
    from aqa_jax.doctor.finding import BROKEN, Finding, Printer

    printer = Printer()
    print(f"aqa_jax {__version__}: what is here")
    findings: list[Finding] = []
    config = request.config
    named = {
        "data.raw_dir": config.data.raw_dir, "model.weights": config.model.weights, "adapter.file": config.adapter.file,
    }  # fmt: skip
    for finding in examine(Path(config.data.data_dir), named):
        findings.append(finding)
        printer.show(finding)
    printer.close(findings)
    if request.output is not None:
        from aqa_jax.files import write_json

        path = request.output if request.output.suffix == ".json" else request.output / "doctor.json"
        write_json(path, as_json(findings))
        print(f"{path}")
    return int(any(finding.state == BROKEN for finding in findings))
