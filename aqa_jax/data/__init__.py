"""Videos on disk, frame sampling, decoding and the input pipeline. Nothing in here imports jax."""
