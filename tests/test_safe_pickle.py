"""The pickle reader gives what pickle gives for plain data, and refuses everything else, running nothing."""

import base64
import collections
import io
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest

from aqa_jax import safe_pickle
from aqa_jax.errors import DataError, UnsafePickleError, WeightsError
from aqa_jax.safe_pickle import PickleError, load

PROTOCOLS = range(6)


def same(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


ANNOTATIONS = {
    (4, 49): {
        "judge_scores": np.array([7.0, 7.5, 45.0]),
        "dive": ("forward", 2.5, None, True),
        "frames": [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**70)],
    },
    "text": ["", "plain", "umlaut é", "日本", "\ud800", "line\nbreak '\"\\", "x" * 300],
    "bytes": [b"", b"\x00\xff\n", b"y" * 300],
    "numbers": [0.1, float("inf"), -0.0, 1 + 2j, True, False],
    "sets": [set(), {1, 2}, frozenset(), frozenset({"a"})],
    "ordered": collections.OrderedDict(b=1, a=2),
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "bytearray": bytearray(b"\x01\xfe"),
}
ARRAYS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(4, dtype=">i4"),
    np.array(3.5),
    np.zeros((0, 4), np.int16),
    np.array([True, False]),
    np.array(["a", "éé"]),
    np.array([b"ab", b"c"]),
    np.array([1 + 2j], np.complex64),
    np.array([1.5, 2], np.float16),
    np.arange(10)[::3],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_equals_pickle(protocol):
    data = pickle.dumps(ANNOTATIONS, protocol)
    assert same(load(data), pickle.loads(data))
    assert same(load(data), ANNOTATIONS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_arrays_equal_pickle(array, protocol):
    for thing in (array, [array, array], {"a": (array,)}):
        data = pickle.dumps(thing, protocol)
        assert same(load(data), pickle.loads(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_equal_pickle(protocol):
    scalars = [
        np.float64(0.9449),
        np.float32(1.5),
        np.int64(-7),
        np.bool_(True),
        np.str_("dive"),
        np.bytes_(b"x"),
    ]
    loaded = load(pickle.dumps(scalars, protocol))
    assert [type(s) for s in loaded] == [type(s) for s in scalars]
    assert loaded == scalars


def test_older_numpy_module_names():
    data = pickle.dumps(np.arange(3.0), 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    np.testing.assert_array_equal(load(data), [0.0, 1.0, 2.0])


def test_python_2_byte_strings_are_latin_1():
    assert load(b"\x80\x02U\x02\xe9!.") == "é!"


# cPickle.dumps(..., 2) of Python 2.7, base 85.
PYTHON_2 = (
    "fC7DS0Vq`gVqI|pD2f3AM?eGs0000008WTXknaBfiU|M!5MwP~$7=;;RRV8haRXyxZ)|L3V{~b6ZgUDxa%5$4Wn@HY"
    "V{{5}1YL0jC|z*|C{+P#O95qFaR(?>0cu@w2ulKCWo3m@aS2NVOEHFV3RMAkSOEY40C|RS3snPhVRvy1RR-w*3MV35"
    "aSc@gb7Nm$Vs&Y3bZKs1UkY<&bP90}U2zX6O94v)Wrb345LgBP003dbspglZaS=-abuI"
)


def test_a_pickle_that_python_2_wrote():
    loaded = load(base64.b85decode(PYTHON_2))
    assert loaded == {
        "aé日": 1,
        "b": [1, 2.5, None, True, -70000, 10**20],
        (4, 49): ("x", "y"),
        "s": {1, 2},
        "od": collections.OrderedDict([("k", 1), ("j", [2])]),
        "raw": "é\0\n'\"\\",
    }


def test_shared_and_cyclic_references_are_kept():
    shared = [1]
    loaded = load(pickle.dumps([shared, shared]))
    assert loaded[0] is loaded[1]
    cycle = []
    cycle.append(cycle)
    loaded = load(pickle.dumps(cycle))
    assert loaded[0] is loaded


def test_path_is_read_and_named_in_errors(tmp_path):
    path = tmp_path / "splits.pkl"
    path.write_bytes(pickle.dumps([(1, 2)]))
    assert load(path) == [(1, 2)]
    path.write_bytes(b"cos\nsystem\n.")
    with pytest.raises(UnsafePickleError, match=r"splits\.pkl.*os\.system"):
        load(path)
    with pytest.raises(PickleError, match=r"missing\.pkl"):
        load(tmp_path / "missing.pkl")
    with pytest.raises(PickleError, match="max_bytes"):
        load(path, max_bytes=4)


def test_errors_are_both_data_and_weights_errors():
    for error in (UnsafePickleError, PickleError):
        assert issubclass(error, DataError)
        assert issubclass(error, WeightsError)


class Reduced:
    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


class Plain:
    def __init__(self):
        self.a = 1


def utf8(text):
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


ran = []


def touch(*args):
    ran.append(args)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "thing, named",
    [
        (Reduced(touch, ("x",)), "touch"),
        (Reduced(eval, ("1+1",)), "eval"),
        (Reduced(getattr, ({}, "clear")), "getattr"),
        (Plain(), "Plain|_reconstructor"),
        (collections.deque([1]), "deque"),
        (collections.defaultdict(list), "defaultdict"),
        (slice(1, 2), "slice"),
        ({"a": [Reduced(touch, ())]}, "touch"),
        (np.array([{}, 1], dtype=object), "dtype"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "dtype"),
        (np.ma.array([1.0]), "ma"),
        (np.datetime64("2020-01-01"), "dtype"),
        (np.float64, "float64"),
        ({10**40: 1}, "key"),
        ({((1, 2), 3): 1}, "key"),
        ({tuple(range(100)): 1}, "key"),
        ({frozenset(): 1}, "key"),
        ({1j: 1}, "key"),
        ({np.complex64(1): 1}, "key"),
        ({(1, 2**40): 1}, "key"),
        ({(1, 2.5): 1}, "key"),
        ({1j}, "key"),
        (np.ndarray, "ndarray"),
    ],
    ids=lambda p: p if isinstance(p, str) else "",
)
def test_everything_else_is_refused(thing, named, protocol):
    with pytest.raises(UnsafePickleError, match=named):
        load(pickle.dumps(thing, protocol))
    assert not ran


HOSTILE = {
    "giant integer": pickle.dumps(1 << 10_000, 2),
    "reduce os.system": b"cos\nsystem\n(S'true'\ntR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93)R.",
    "dotted global": b"cnumpy\nndarray.tofile\n.",
    "module with a space": b"cnumpy dtype\nx\n.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": b"(cnumpy\nndarray\nI1\no.",
    "newobj of ndarray": b"\x80\x02cnumpy\nndarray\nI99999\n\x85\x81.",
    "newobj_ex": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "ndarray called": b"cnumpy\nndarray\n(I99999999\ntR.",
    "reduce of data": b"]).R.".replace(b").", b")"),
    "ext1": b"\x80\x02\x82\x01.",
    "ext2": b"\x80\x02\x83\x01\x00.",
    "ext4": b"\x80\x02\x84\x01\x00\x00\x00.",
    "next buffer": b"\x80\x05\x97.",
    "readonly buffer": b"\x80\x05C\x01a\x98.",
    "persid": b"Pid\n.",
    "binpersid": b"K\x01Q.",
    "build on dict": b"}}b.",
    "build on list": b"]}(S'__class__'\nI1\nub.",
    "build on a global": b"cnumpy\nndarray\n}(S'x'\nI1\nub.",
    "build on an ordered dict, not a dict": b"ccollections\nOrderedDict\n)R]b.",
    "append to a dict": b"}I1\na.",
    "setitem on a list": b"]I0\nI1\ns.",
    "setitem on a global": b"ccollections\nOrderedDict\nI0\nI1\ns.",
    "additems on a list": b"\x80\x04](I1\n\x90.",
    "list as a key": b"}]I1\ns.",
    "global as a key": b"}cnumpy\nndarray\nI1\ns.",
    "bytearray of a size": b"c__builtin__\nbytearray\n(I999999999999\ntR.",
    "bytes of a size": b"c__builtin__\nbytes\n(I999999999999\ntR.",
    "set of a string": b"c__builtin__\nset\n(S'abc'\ntR.",
    "encode with another codec": b"c_codecs\nencode\n(S'abc'\nS'zlib'\ntR.",
    "dtype object": b"cnumpy\ndtype\n(S'O8'\ntR.",
    "dtype of a list": b"cnumpy\ndtype\n(]tR.",
    "array of another class": b"cnumpy.core.multiarray\n_reconstruct\n(c_codecs\nencode\n(I0\ntS'b'\ntR.",
    "bare global": b"ccollections\nOrderedDict\n.",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_streams_are_refused(data):
    with pytest.raises(UnsafePickleError):
        load(data)


BROKEN = {
    "empty": b"",
    "text": b"<!DOCTYPE html>\n",
    "jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "no stop": b"]",
    "empty stack at stop": b".",
    "two objects at stop": b"NN.",
    "open mark": b"(N.",
    "mark without items": b"t.",
    "pop of nothing": b"0.",
    "dup of nothing": b"2.",
    "tuple of too few": b"N\x86.",
    "reduce of too few": b"R.",
    "reduce without a tuple": b"ccollections\nOrderedDict\n]R.",
    "unknown memo": b"h\x07.",
    "odd items": b"}(I1\nu.",
    "protocol 6": b"\x80\x06N.",
    "string without a quote": b"Sabc\n.",
    "long text": b"I" + b"9" * 5000 + b"\n.",
    "too many arguments": b"c__builtin__\nset\n(]]tR.",
    "stack global of numbers": b"\x80\x04K\x01K\x02\x93.",
    **{f"length claim {op}": op + struct.pack("<I", 2**31 - 1) + b"ab." for op in (b"T", b"B", b"X", b"\x8b")},
    **{f"length claim {op}": op + struct.pack("<Q", 2**62) + b"ab." for op in (b"\x8d", b"\x8e", b"\x96")},
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_streams_are_typed_errors(data):
    tracemalloc.start()
    with pytest.raises(PickleError):
        load(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_every_truncation_and_many_bit_flips_are_typed_errors_or_plain_data():
    data = pickle.dumps({"a": np.arange(3.0), "b": [(1, "x"), {1.5}], "c": np.float32(2)}, 2)
    for end in range(len(data)):
        with pytest.raises((PickleError, UnsafePickleError)):
            load(data[:end])
    rng = np.random.default_rng(0)
    for _ in range(2000):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            load(bytes(flipped))
        except (PickleError, UnsafePickleError):
            continue


def array_pickle(shape, dtype, raw):
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        + pickletools.optimize(pickle.dumps(shape, 0))[:-1]
        + b"cnumpy\ndtype\n(S'"
        + dtype
        + b"'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n"
        + b"B"
        + struct.pack("<I", len(raw))
        + raw
        + b"tb."
    )


def test_array_of_hand_written_pickle():
    np.testing.assert_array_equal(load(array_pickle((2,), b"f4", b"\0" * 8)), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "shape, dtype, raw",
    [
        ((10**9,), b"f8", b""),
        ((2**62, 4), b"f8", b""),
        ((3,), b"f4", b"\0" * 8),
        ((-1,), b"f4", b"\0" * 4),
        ((-2, -1), b"f4", b"\0" * 8),
        ((10**9,), b"S0", b""),
        ((1,) * 70, b"f4", b"\0" * 4),
        ([1], b"f4", b"\0" * 4),
        ((1.0,), b"f4", b"\0" * 4),
    ],
)
def test_arrays_hold_exactly_the_bytes_in_the_file(shape, dtype, raw):
    with pytest.raises((PickleError, UnsafePickleError)):
        load(array_pickle(shape, dtype, raw))


def test_a_dtype_may_not_become_objects_afterwards():
    state = b"(I3\nS'|'\nN(S'a'\nt}(S'a'\nNuI8\nI1\nI63\ntb."
    with pytest.raises(UnsafePickleError, match="structured"):
        load(b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR" + state)


def test_a_large_argument_may_not_be_copied_many_times():
    text = utf8("x" * 100_000)
    call = b"c_codecs\nencode\n(h\x00S'latin1'\ntR"
    bomb = b"(" + text + b"q\x00" + call * 1000 + b"l."
    tracemalloc.start()
    with pytest.raises(UnsafePickleError, match="more data than it holds"):
        load(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(bomb)


def test_a_large_container_may_not_be_copied_many_times():
    items = b"](" + b"".join(b"J" + struct.pack("<i", i) for i in range(5000)) + b"eq\x00"
    tracemalloc.start()
    with pytest.raises(UnsafePickleError, match="more data than it holds"):
        load(b"(" + items + b"c__builtin__\nset\n(h\x00tR" * 1000 + b"l.")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_shared_structure_is_not_expanded():
    # Each level holds the one below twice: 2 ** 200 leaves if anyone walked it.
    bomb = b"]q\x00" + b"".join(b"]q%c(h%ch%ce" % (i, i - 1, i - 1) for i in range(1, 201)) + b"."
    loaded = load(b"(" + bomb[:-1] + b"l.")
    assert loaded[-1][0] is loaded[-1][1]


def test_too_many_opcodes():
    with pytest.raises(PickleError, match="opcodes"):
        load(b"N0" * 100 + b"N.", max_opcodes=100)


def test_stacked_pickles_and_persistent_ids():
    stream = io.BytesIO(pickle.dumps(1, 2) + b"K\x07Q." + b"rest")
    assert safe_pickle.load_stream(stream, name="x") == 1
    assert safe_pickle.load_stream(stream, name="x", persistent_load=lambda pid: ("storage", pid)) == (
        "storage",
        7,
    )
    assert stream.read() == b"rest"


def test_allowed_table_replaces_the_default():
    data = b"cmy.module\nThing\n(I2\ntR."
    with pytest.raises(UnsafePickleError, match=r"my\.module\.Thing"):
        load(data)
    assert load(data, allowed={"my.module.Thing": lambda n: [n]}) == [2]
