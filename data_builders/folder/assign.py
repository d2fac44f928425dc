"""Which split a row belongs to: as the table says, or drawn by subject."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from aqa_jax.data.splits import carve
from aqa_jax.data.video_store import VideoTable
from aqa_jax.errors import ConfigError, DataError

from .table import Row, Table, listed

SPLITS = ("train", "unlabelled", "test")
LEAK_RULES = ("refuse", "allow")


def assign(
    table: Table, *, test_fraction: float, seed: int, by: str, leak: str
) -> tuple[dict[str, list[Row]], list[Row], bool]:
    """Rows by split, the rows left out, and whether nothing is labelled. Adds to `table.problems` and `table.notes`.

    A table without a split column has about `test_fraction` of its labelled videos (of all, where none is labelled)
    drawn for the test, whole subjects at a time: the same ones for the same seed, whatever the order of the rows. The
    training split holds labelled videos alone; unlabelled ones go into `unlabelled`, but those of subjects who are
    tested are left out, for no model may have seen them.

    Raises:
      ConfigError: an impossible option.
    """
    if by not in ("subject", "video"):
        raise ConfigError(f"option split_by: {by!r} is not one of subject, video")
    if leak not in LEAK_RULES:
        raise ConfigError(f"option leak: {leak!r} is not one of {', '.join(LEAK_RULES)}")
    if not 0 <= test_fraction < 1:
        raise ConfigError(f"option test_fraction: {test_fraction:g} is not between 0 and 1 (0: no test split)")
    rows = table.rows
    nothing_labelled = all(row.score is None for row in rows)
    if not any(row.subject for row in rows):
        table.notes.append(
            "no column subject: every video counts as a subject of its own, and one person's videos may be on both "
            "sides of a split"
        )
    if given := any(row.split for row in rows):
        test = _given(table, nothing_labelled)
    else:
        test = _drawn(
            table, [row for row in rows if nothing_labelled or row.score is not None], test_fraction, seed, by
        )
    tested = {subject_of(row) for row in rows if row.id in test}
    shared = [row for row in rows if row.id not in test and subject_of(row) in tested]
    trained = [row for row in shared if row.score is not None]
    if trained and given and leak == "refuse":
        table.problems.append(
            f"{listed([row.number for row in trained])}: training videos of subjects who are tested too "
            f"({', '.join(sorted({row.subject for row in trained})[:8])}); give a subject one split, or set leak=allow"
        )
    left_out = [row for row in shared if row.score is None and leak == "refuse"]
    if left_out:
        table.notes.append(f"unlabelled videos of tested subjects, left out: {len(left_out)}")
    out = {row.id for row in left_out}
    splits: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in rows:
        if row.id not in out:
            splits["test" if row.id in test else "train" if row.score is not None else "unlabelled"].append(row)
    return {split: some for split, some in splits.items() if some}, left_out, nothing_labelled


def subject_of(row: Row) -> str:
    """The subject, or the video itself where nobody says."""
    return row.subject or row.id


def _given(table: Table, nothing_labelled: bool) -> set[str]:
    """The ids of the test split that the table names."""
    if any(row.split == "validation" for row in table.rows):
        table.notes.append(
            "validation videos of the column split are training videos here: a run holds out its own, by subject "
            "(config.data.validation_fraction)"
        )
    test = [row for row in table.rows if row.split == "test"]
    if lacking := [row.number for row in test if row.score is None and not nothing_labelled]:
        table.problems.append(f"{listed(lacking)}: a test video needs a score")
    if scored := [row.number for row in table.rows if row.split == "unlabelled" and row.score is not None]:
        table.problems.append(f"{listed(scored)}: in the split unlabelled, but with a score; take one of them away")
    return {row.id for row in test}


def _drawn(table: Table, rows: Sequence[Row], fraction: float, seed: int, by: str) -> set[str]:
    """The ids of a test split of about `fraction` of `rows`, whole subjects at a time."""
    if not fraction:
        return set()
    # In an order of their own: that of the rows must not matter.
    ordered = sorted(rows, key=lambda row: row.id)
    of_subject: dict[str, list[Row]] = defaultdict(list)
    for row in ordered:
        of_subject[subject_of(row)].append(row)
    if (len(of_subject) if by == "subject" else len(ordered)) < 2:
        table.problems.append(
            f"no test split can be drawn: all {len(rows)} labelled videos are of one subject; give a column split, or "
            "set split_by=video (then the figures are not about new subjects) or test_fraction=0"
        )
        return set()
    columns = {"id": [row.id for row in ordered], "group": [subject_of(row) for row in ordered]}
    try:
        _, test = carve(
            VideoTable(columns), np.arange(len(ordered)), fraction=fraction, seed=seed,
            by="group" if by == "subject" else "random",
        )  # fmt: skip
    except DataError as error:
        table.problems.append(str(error))
        return set()
    return {ordered[k].id for k in test}
