"""A validation split carved by group: no athlete, patient or competition is on both sides."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from aqa_jax.data.video_store import VideoTable
from aqa_jax.errors import ConfigError, DataError

MIN_FOLD = 3  # test videos of a fold: of two, every rank correlation is 1 or -1
_ORDERS = 64  # random orders of the groups that are tried


def to_train_on(table: VideoTable, names: str) -> np.ndarray:
    """The rows, sorted, of the splits `names`, joined by +; of all but the test split, where it is "all"."""
    wanted = names.split("+") if names != "all" else sorted(set(table.column("split")) - {"test"})
    if not wanted:
        raise DataError("every video of the dataset is in its test split: none is left to train on")
    return np.unique(np.concatenate([table.rows(split) for split in wanted]))


def carve(
    table: VideoTable, rows: np.ndarray, *, fraction: float = 0.1, seed: int = 0, by: str = "group"
) -> tuple[np.ndarray, np.ndarray]:
    """Split `rows` into (training rows, validation rows), each sorted; the same for the same seed.

    Args:
      table: the dataset's table.
      rows: int [N], rows to split.
      fraction: share of the rows wanted for validation; whole groups come as near to it as they can.
      seed: which of the many possible splits.
      by: a text column that must not be shared between the two sides, or "random" for single rows.

    Raises:
      ConfigError: fraction outside (0, 1).
      DataError: fewer than two groups (or rows), so nothing can be held out.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    rows = np.sort(np.asarray(rows))
    groups = rows.astype(str) if by == "random" else table.column(by)[rows].astype(str)
    names, member, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError(f"no validation split can be carved: all {len(rows)} rows share one {by!r}; split by 'random'")
    target = min(max(fraction * len(rows), 1), len(rows) - 1)
    rng = np.random.default_rng(seed)
    best: list[int] = []
    best_miss = np.inf
    for _ in range(_ORDERS):
        chosen = _nearest(counts, target, rng.permutation(len(names)))
        miss = abs(counts[chosen].sum() - target)
        if miss < best_miss:
            best, best_miss = chosen, miss
    held_out = np.isin(member, best)
    train, validation = rows[~held_out], rows[held_out]
    assert len(train) and len(validation) and not set(groups[held_out]) & set(groups[~held_out])
    return train, validation


def held_out(table: VideoTable, rows: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Split `rows` into (training rows, test rows), each sorted: the test rows have a certain value of a column.

    Args:
      table: the dataset's table.
      rows: int [N], rows to split.
      where: "column=value", or "column=value+value": "fold=0", "group=B+C".

    Raises:
      ConfigError: `where` is not of that form, the column is unknown or holds lists, no row has the value.
      DataError: all rows have it, so nothing is left to train on.
    """
    what = f"config.data.test_where={where!r}"
    name, _, text = where.partition("=")
    wanted = text.split("+")
    if not all(wanted):
        raise ConfigError(f"{what} is not column=value, as fold=0 or group=B.")
    if name not in table.names or table.column(name).ndim > 1:
        known = [column for column in table.names if table.column(column).ndim == 1]
        raise ConfigError(f"{what}: no column {name!r} to choose by; there are {', '.join(known)}.")
    rows = np.sort(np.asarray(rows))
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in table.column(name)[rows].tolist()]
    if missing := [value for value in wanted if value not in values]:
        there = sorted(set(values))
        shown = ", ".join(there[:20]) + (", ..." if len(there) > 20 else "")
        raise ConfigError(
            f"{what}: no video of the training split has {name} {' or '.join(missing)}; there are {shown}."
        )
    chosen = np.array([value in wanted for value in values])
    if chosen.all():
        raise DataError(f"{what} takes all {len(rows)} videos: none is left to train on.")
    return rows[~chosen], rows[chosen]


def without(table: VideoTable, rows: Mapping[str, np.ndarray], excluded: Sequence[str]) -> dict[str, np.ndarray]:
    """The splits `rows` without the videos `excluded`; all others stay on the side where they are.

    Raises:
      ConfigError: an id is not in the dataset, or a split that had videos has none left.
    """
    known = set(table.column("id").tolist())
    if unknown := [id_ for id_ in excluded if id_ not in known]:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        shown = ", ".join(unknown[:20]) + (", ..." if len(unknown) > 20 else "")
        raise ConfigError(f"config.data.exclude: the dataset has no video {shown}{hint}.")
    out = np.array([table.row(id_) for id_ in excluded], np.int64)
    left = {split: some[~np.isin(some, out)] for split, some in rows.items()}
    if emptied := [split for split, some in left.items() if len(rows[split]) and not len(some)]:
        raise ConfigError(f"config.data.exclude leaves no video in {' and '.join(emptied)}.")
    return left


def folds_of(table: VideoTable, rows: np.ndarray, column: str, what: str) -> tuple[list[str], int]:
    """The folds of a partition: the values of a column over `rows`, as `held_out` takes them, in order.

    Args:
      table: the dataset's table.
      rows: int [N], the rows that are partitioned.
      column: of text or numbers; rows with a negative number, no number or no text are in no fold.
      what: the key that asked for it, for error messages.

    Returns:
      The values, and how many rows are in no fold.

    Raises:
      ConfigError: fewer than two folds, or a fold with fewer than `MIN_FOLD` videos; all of these are named.
    """
    values = table.column(column)[rows].tolist()
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    in_fold = [value != "" if isinstance(value, str) else value >= 0 for value in values]
    counts: dict[str, int] = {}
    for text, kept in zip(texts, in_fold, strict=True):
        if kept:
            counts[text] = counts.get(text, 0) + 1
    if len(counts) < 2:
        there = ", ".join(counts) or "none"
        raise ConfigError(
            f"{what}: all {sum(counts.values())} videos have the {column} {there}: tested on it, none is left to "
            "train on. Choose another protocol, or more videos with config.data.options."
        )
    if small := [f"{column}={text} ({count})" for text, count in counts.items() if count < MIN_FOLD]:
        more = f" and {len(small) - 10} more" if len(small) > 10 else ""
        raise ConfigError(
            f"{what}: folds with fewer than {MIN_FOLD} videos, on which a rank correlation says nothing: "
            f"{', '.join(small[:10])}{more}. Choose another protocol, or leave these videos out of the dataset."
        )
    is_number = not any(isinstance(value, str) for value in values)
    return sorted(counts, key=lambda text: (float(text) if is_number else 0.0, text)), in_fold.count(False)


def _nearest(counts: np.ndarray, target: float, order: np.ndarray) -> list[int]:
    """Groups in `order` that bring the total nearer to `target`; at least one, and never all."""
    chosen: list[int] = []
    total = 0
    for group in order:
        nearer = abs(total + counts[group] - target) < abs(total - target)
        if (nearer or not chosen) and len(chosen) < len(counts) - 1:
            chosen.append(int(group))
            total += int(counts[group])
    return chosen
