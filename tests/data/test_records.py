import pytest
import tensorflow_datasets as tfds

from aqa_jax.data.records import decode_record, encode_record


@pytest.mark.parametrize("frames", [[b"\xff\xd8one"], [b"", b"x" * 127, b"y" * 128, b"z" * 20000], []])
def test_records_are_the_examples_that_tfds_writes(frames, toy_dir):
    frames = frames or [b"a"] * 8
    features = tfds.builder_from_directory(toy_dir).info.features
    serializer = tfds.core.example_serializer.ExampleSerializer(features.get_serialized_info())
    theirs = serializer.serialize_example(features.encode_example({"frames": frames}))
    assert encode_record(frames) == theirs
    assert [bytes(frame) for frame in decode_record(theirs)] == frames


@pytest.mark.parametrize(
    "damage", [lambda r: r[:-1], lambda r: r[1:], lambda r: b"", lambda r: r.replace(b"frames", b"flames")]
)
def test_anything_else_is_refused(damage):
    with pytest.raises(ValueError, match="not a record of frames"):
        decode_record(damage(encode_record([b"one", b"two"])))


def test_tfds_reads_what_we_write(toy_dir, toy):
    source = tfds.builder_from_directory(toy_dir).as_data_source("test")
    assert len(source) == sum(-(-int(n) // 8) for n in toy.table.column("num_frames")[toy.table.rows("test")])
    assert bytes(source[0]["frames"][0]) == bytes(decode_record(toy._records("test", [0])[0])[0])
