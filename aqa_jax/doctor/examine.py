"""All checks in order; the result as JSON."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from aqa_jax import __version__
from aqa_jax.doctor import machine, places, videos
from aqa_jax.doctor.finding import BROKEN, Check, Finding, gathered

SCHEMA = "aqa_jax.doctor/1"


def examine(data_dir: Path, named: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Looks at everything; nothing is downloaded, and nothing but temporary files is written.

    Args:
      data_dir: where built datasets lie.
      named: paths that a config names, by key.
    """
    checks: tuple[tuple[str, Check], ...] = (
        ("machine", machine.machine),
        ("packages", machine.packages),
        ("devices", machine.devices),
        ("videos", videos.codecs),
        ("places", places.cache),
        ("places", lambda: places.disk(data_dir)),
        ("places", lambda: places.datasets(data_dir)),
        ("places", places.weights),
        ("config", lambda: places.named(named or {})),
    )
    for topic, check in checks:
        yield from gathered(topic, check)


def as_json(findings: list[Finding]) -> dict:
    """The findings under a schema's name, for machines."""
    rows = [
        {"topic": f.topic, "name": f.name, "state": f.state, "value": f.value, "fix": f.fix or None} for f in findings
    ]
    healthy = all(finding.state != BROKEN for finding in findings)
    return {"schema": SCHEMA, "aqa_jax": __version__, "healthy": healthy, "findings": rows}
