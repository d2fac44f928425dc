"""JIGSAWS's raw data for --mode check: every labelled trial, with what is wrong in which line or entry."""

from collections.abc import Sequence
from pathlib import Path

from aqa_jax.check.findings import Finding, Video, error, warning
from aqa_jax.errors import ConfigError, DataError

from . import annotations, gestures, videos


def raw_videos(
    raw_dir: Path,
    found: list[Finding],
    *,
    task: str,
    capture: int,
    layout: str,
    info_dir: str,
    frames_dir: str,
    exclude: Sequence[str],
) -> list[Video]:
    """The labelled trials; the options are the builder's."""
    tasks = annotations.tasks_of(task)
    try:
        pickles, metas = annotations.find_files(raw_dir, tasks, info_dir)
    except DataError as fault:
        found.append(error("file", str(fault), raw_dir))
        return []
    from_pickle: dict[str, annotations.Label] = {}
    if path := pickles["label.pkl"]:
        try:
            from_pickle = annotations.read_pickle(path, tasks, found)
        except DataError as fault:
            found.append(error("file", str(fault), path))
    from_meta = annotations.read_metas(metas, found)
    found += annotations.differing(from_pickle, from_meta)
    labels = annotations.joined(from_pickle, from_meta)
    if path := pickles["splits.pkl"]:
        try:
            fold_of = annotations.read_folds(path, tasks, labels, found)
            found += [
                warning("split", "in no fold", label.file, label.row, id_)
                for id_, label in labels.items()
                if id_ not in fold_of
            ]
        except DataError as fault:
            found.append(error("file", str(fault), path))
    labels = {id_: label for id_, label in labels.items() if id_ not in exclude}
    gestures.read(raw_dir, list(labels), tasks, found, exclude)
    sources: dict[str, videos.Source] = {}
    try:
        sources = videos.sources(raw_dir, tasks, capture=capture, layout=layout, frames_dir=frames_dir)
    except ConfigError:
        raise
    except DataError as fault:
        found.append(error("file", str(fault), raw_dir))
    for id_ in sorted(set(sources) - set(labels) - set(exclude)):
        found.append(warning("split", "a video without a label", sources[id_].path, None, id_))
    made = []
    for id_, label in labels.items():
        source = sources.get(id_)
        if source is None:
            found.append(error("video", f"no video in {raw_dir}", label.file, label.row, id_))
        elif Path(source.path).is_dir() and not source.names:
            found.append(error("video", f"no images in {source.path}", label.file, label.row, id_))
            source = None
        surgeon = annotations.split_id(id_)[1]
        made.append(
            Video(
                id_, "train", surgeon, float(label.total), judges=tuple(map(float, label.items)), file=label.file,
                row=label.row, path=source.path if source else "", names=source.names if source else (),
            )
        )  # fmt: skip
    return made
