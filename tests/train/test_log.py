"""What a run writes while it runs, and what a full disk makes of that."""

import struct

import pytest
from tensorboardX.proto.event_pb2 import Event

from aqa_jax.errors import StorageError
from aqa_jax.train.log import TrainLog, read_log


def events(folder):
    """The events of a TensorBoard file: length, its checksum, the event, its checksum."""
    (path,) = folder.iterdir()
    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += length + 16


def test_steps_are_logged_for_programs_and_for_tensorboard(tmp_path):
    log = TrainLog(tmp_path, 2, 10)
    log.write(3, {"loss": 0.5, "name": "text"})
    log.close()
    assert read_log(tmp_path) == [{"step": 3, "kind": "train", "loss": 0.5, "name": "text"}]
    version, start, loss = events(tmp_path / "tensorboard")
    assert version.file_version == "brain.Event:2"
    # What an earlier process logged from here on counts no more.
    assert start.step == 3 and start.session_log.status == start.session_log.START
    assert loss.step == 3 and loss.summary.value[0].tag == "train/loss" and loss.summary.value[0].simple_value == 0.5


def test_damaged_lines_do_not_stop_a_training_that_goes_on(tmp_path):
    whole = [b'{"step": 1, "kind": "train"}', b'{"step": 2, "kind": "train"}']
    damaged = [b'{"step": 1, "kind": "tr\xffin"}', b"{}", b"7", b'{"step": "1"}', b'{"step": 3, "ki']
    (tmp_path / "train.jsonl").write_bytes(b"\n".join([whole[0], *damaged[:-1], whole[1], damaged[-1]]))
    TrainLog(tmp_path, 2, 10).close()
    assert (tmp_path / "train.jsonl").read_bytes().splitlines() == whole


@pytest.mark.parametrize("which", ["lines", "tensorboard"])
def test_a_full_disk_ends_a_training_in_words_and_nobody_waits(tmp_path, which):
    log = TrainLog(tmp_path, 0, 10)
    if which == "lines":
        log._file.close()
        log._file = full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    else:
        writer = log._board._events._py_recordio_writer
        writer._writer.close()
        writer._writer = full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
    for _ in range(20):  # more than a queue would hold
        with pytest.raises(StorageError, match=r"train.jsonl could not be written: the disk is full"):
            log.write(1, {"loss": 1.0})
    if which == "lines":
        with pytest.raises(StorageError, match="the disk is full"):
            log.close()
    else:
        log._bar.close()
        log._file.close()
        full.close()
