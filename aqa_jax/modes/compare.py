"""Finished runs side by side."""

from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Prints (and with ``--output`` writes) finished runs side by side."""
    from aqa_jax.evaluate import compare as comparison

    rows = comparison.compare(request.runs, allow_different_protocols=request.allow_different_protocols)
    if request.output is not None:
        comparison.write(request.output, rows)
    print(comparison.markdown(rows))
    return 0
