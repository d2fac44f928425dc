"""``--mode check --config C``: raw data and the built dataset of a config, before anything is computed from them."""

from pathlib import Path
from typing import TYPE_CHECKING

from aqa_jax import config as config_lib
from aqa_jax.check import findings
from aqa_jax.check.findings import Finding
from aqa_jax.config import Config
from aqa_jax.errors import AqaError, ConfigError

if TYPE_CHECKING:
    from aqa_jax.data.video_store import VideoStore


def check(config: Config, output: Path | None = None) -> int:
    """Prints what is wrong with the data of ``config``, its raw data and the built dataset, whichever are there.

    Args:
      config: says which; ``config.data.exclude`` is not looked at in the built dataset.
      output: a folder for check.csv and check.json.

    Returns:
      1 where there is an error, else 0; warnings alone do not count.

    Raises:
      ConfigError: there is nothing to check, or a key cannot be.
    """
    from aqa_jax.check.built import check_built, videos_of
    from aqa_jax.check.raw import check_raw, groups_apart
    from aqa_jax.check.recorded import check_recorded
    from aqa_jax.data import build
    from aqa_jax.data.video_store import VideoStore
    from aqa_jax.tasks import make_task
    from aqa_jax.train.run import check_crop

    data = config.data
    raw_dir = Path(data.raw_dir) if data.raw_dir else None
    found: list[Finding] = []
    looked_at: list[str] = []
    store, threads = None, data.threads or None
    try:
        builder = build.make_builder(
            data.builder, data_dir=data.data_dir, raw_dir=raw_dir, options=config_lib.all_options(data)
        )
        directory = Path(builder.data_dir)
    except ConfigError:
        raise
    except AqaError as fault:  # Some builders look into the raw data to know where the dataset is.
        found += findings.from_refusal(fault, raw_dir or data.data_dir)
        looked_at.append(str(raw_dir or data.data_dir))
        if raw_dir and raw_dir.is_dir():  # Damage may be why.
            found += check_recorded(raw_dir, threads=threads)
        return _tell(found, looked_at, output)
    if directory.exists():
        looked_at.append(f"the built dataset {directory}")
        try:
            store = VideoStore.open(directory)
        except AqaError as fault:
            found.append(findings.error("built", str(fault), directory))
    if raw_dir and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        built = videos_of(store) if store else None
        faults, videos = check_raw(builder, raw_dir, built=built, threads=threads)
        looked_at.append(f"the raw data {raw_dir} ({videos} videos decoded)")
        found += faults
    if store:
        excluded = config_lib.excluded_ids(data)
        found += check_built(
            store, needed=make_task(config).window.window, excluded=excluded, groups_apart=groups_apart(builder),
            threads=threads,
        )  # fmt: skip
        try:
            check_crop(data.crop, store.frame_size)
        except ConfigError as fault:
            found.append(findings.error("built", str(fault), directory))
        found += _of_the_run(config, store, groups_apart(builder))
    if not looked_at:
        raise ConfigError(
            f"Nothing to check: {data.builder} is not built in config.data.data_dir={data.data_dir} (--mode build "
            "builds it)" + ("." if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS else ", and config.data.raw_dir is empty.")
        )
    return _tell(found, looked_at, output)


def _of_the_run(config: Config, store: "VideoStore", apart: bool) -> list[Finding]:
    """What a training with ``config`` would refuse of its dataset, or should know."""
    from aqa_jax.train.run import Run

    run = Run(config)
    run.store = store
    try:
        rows = run.rows
        run.check_columns()
    except AqaError as fault:
        return [findings.error("label", str(fault), run.store.directory)]
    if not (apart and config.data.test_where):
        return []
    groups = {split: set(run.store.table.column("group")[some]) for split, some in rows.items()}
    shared = groups["test"] & (groups["train"] | groups["validation"])
    if not shared:
        return []
    listed = ", ".join(sorted(map(str, shared))[:20])
    text = f"config.data.test_where={config.data.test_where} tests on groups that are trained on: {listed}"
    return [findings.warning("group", text, run.store.directory)]


def _tell(found: list[Finding], looked_at: list[str], output: Path | None) -> int:
    findings.show(found)
    if output:
        findings.write(found, output, looked_at)
    errors = findings.errors(found)
    print(f"Checked {' and '.join(looked_at)}: {errors} error(s), {len(found) - errors} warning(s).")
    return int(errors > 0)
