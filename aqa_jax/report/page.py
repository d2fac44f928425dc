"""One HTML file that needs nothing but itself: no script, no network, every text escaped."""

import base64
import hashlib
import math
import os
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import markupsafe

from aqa_jax import __version__
from aqa_jax.files import replacing

_TEMPLATES = resources.files("aqa_jax.report") / "templates"


def render(template: str, **values: Any) -> str:
    """The page that ``templates/<template>`` makes of ``values``: all text is escaped, images are data URIs."""
    style = stylesheet()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment().get_template(template).render(
        # Marked safe: it is ours, and inside <style> nothing is unescaped. The hash is what the policy lets through.
        style=safe(style), style_hash=digest, version=__version__, **values
    )  # fmt: skip


def safe(text: str) -> markupsafe.Markup:
    """Text that is HTML already, made by this package's own templates."""
    return markupsafe.Markup(text)


def write(path: str | os.PathLike[str], page: str) -> None:
    """Writes the page, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def stylesheet() -> str:
    """The style sheet of every page."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


@cache
def environment(package: str = "aqa_jax.report") -> jinja2.Environment:
    """For the templates of ``package``. Escapes whatever the template's name."""
    found = jinja2.Environment(
        loader=jinja2.PackageLoader(package), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"number": number, "signed": signed, "value": value}
    return found


def number(x: Any, digits: int = 2) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if x is None or not math.isfinite(x):
        return "–"
    return f"{x:.{digits}f}".replace("-", "−")


def signed(x: Any, digits: int = 2) -> str:
    """A difference, with its sign."""
    shown = number(x, digits)
    return shown if shown == "–" or shown.startswith("−") else f"+{shown}"


def value(x: Any) -> str:
    """Anything, for a table's cell."""
    if x is None or x == "":
        return "–"
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, float):
        return f"{x:.6g}"
    if isinstance(x, list | tuple):
        return ", ".join(map(value, x)) or "–"
    return str(x)


def leaves(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """``(dotted name, value)`` of everything in nested mappings, in order."""
    found: list[tuple[str, Any]] = []
    for name, item in content.items():
        found += leaves(item, f"{prefix}{name}.") if isinstance(item, Mapping) else [(f"{prefix}{name}", item)]
    return found
