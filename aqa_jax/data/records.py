"""One record of a video dataset: up to eight JPEG frames, serialised as the `tf.train.Example` that TFDS
writes.

The wire format is small and fixed, so it is written and read here directly: TensorFlow is not needed and a
reader thread gets views into the record instead of copies.
"""

FRAMES_PER_RECORD = 8
_KEY = b"frames"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def encode_record(jpegs: list[bytes]) -> bytes:
    """`Example{features{feature{"frames": bytes_list{value: jpeg, ...}}}}`."""
    bytes_list = b"".join(_field(1, jpeg) for jpeg in jpegs)
    entry = _field(1, _KEY) + _field(2, _field(1, bytes_list))
    return _field(1, _field(1, entry))


def _split(view: memoryview) -> list[tuple[int, memoryview]]:
    """The (field number, payload) pairs of a message of length-delimited fields."""
    fields, at = [], 0
    while at < len(view):
        tag, length, shift = view[at], 0, 0
        at += 1
        while True:
            byte = view[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag & 7 != 2 or at + length > len(view):
            raise ValueError("not a record of frames")
        fields.append((tag >> 3, view[at : at + length]))
        at += length
    return fields


def decode_record(record: bytes) -> list[memoryview]:
    """The JPEG bytes of each frame of a record; ValueError when it is not a record of frames."""
    try:
        ((_, features),) = _split(memoryview(record))
        ((_, entry),) = _split(features)
        (_, key), (_, feature) = _split(entry)
        ((kind, bytes_list),) = _split(feature)
        if bytes(key) != _KEY or kind != 1:
            raise ValueError("not a record of frames")
        return [payload for _, payload in _split(bytes_list)]
    except (IndexError, ValueError) as error:
        raise ValueError("not a record of frames") from error
