#!/usr/bin/env bash
# The literal `tfds build` of the builders gives the same records as the build without TensorFlow.
# Needs an environment with requirements.txt and requirements-tfds.txt. Takes about a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TF_CPP_MIN_LOG_LEVEL=3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mtl_aqa='{"height": 18, "width": 32, "window": 8, "margin": 4}'
synthetic_dives='{"train_videos": 8, "test_videos": 4, "train_athletes": 4, "test_athletes": 2}'
pd4t='{"task": "all", "leak": "exclude", "check_counts": false, "height": 24, "width": 32}'
jigsaws='{"task": "Suturing", "height": 24, "width": 32}'

for name in mtl_aqa synthetic_dives pd4t jigsaws; do
    options=${!name}
    raw=$PWD/data_builders/$name/dummy_data
    (cd "data_builders/$name" && tfds build --data_dir="$work/cli" --manual_dir="$raw" \
        --config="{\"name\": \"check\", ${options#\{}") >"$work/$name.log" 2>&1 || { tail -30 "$work/$name.log"; exit 1; }
    python - "$name" "$raw" "$options" "$work" <<'PYTHON'
import json, sys
from pathlib import Path

from aqa_jax.data.build import build
from aqa_jax.data.video_store import VideoStore

name, raw, options, work = sys.argv[1:]
free = VideoStore.open(build(name, data_dir=f"{work}/free", raw_dir=raw, options=json.loads(options)))
(metadata,) = Path(f"{work}/cli/{name}/check").glob("*/metadata.json")
cli = VideoStore.open(metadata.parent)
cli.verify()
assert cli.metadata["fingerprint"] == free.metadata["fingerprint"], "the records differ"
assert "tensorflow" not in sys.modules, "the build without TensorFlow imported it"
print(f"{name}: {len(cli.table)} videos, the same records both ways ({cli.metadata['fingerprint'][:12]})")
PYTHON
done
