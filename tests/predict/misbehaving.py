"""What a codec, or a stranger who has taken it over, might do in the sandbox."""

import ctypes
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np

from aqa_jax.errors import ConfigError, RunError


def echo(*values):
    return values


def modules():
    return sorted(sys.modules)


def environment():
    return dict(os.environ)


def crash(path):
    ctypes.string_at(0)


def leave(path):
    os._exit(3)


def never_return(path):
    while True:
        pass


def sleep(path):
    time.sleep(60)


def take_memory(path):
    return len(bytearray(8 * 2**30))


def take_memory_bit_by_bit(path):
    held = []
    while True:
        held.append(np.ones(2**20))


def raise_ours(path):
    raise ConfigError("a key \x1b[31m is wrong")


def end_the_call(path):
    raise RunError("all files")


def raise_theirs(path):
    raise ZeroDivisionError("one by nought")


def return_an_object(path):
    return Path(path)


def say(*lines):
    """As C libraries do: by a buffer of their own."""
    library = ctypes.CDLL(None)
    for line in lines:
        library.printf(b"%s\n", line.encode())


def say_much():
    say(*["y" * 1000] * 1000)


def forge(data):
    """Writes an answer of its own to the pipe that the parent reads, and goes on for ever."""
    for fd in range(3, 20):
        try:
            os.write(fd, data)
        except OSError:
            continue
    time.sleep(60)


def framed(header):
    return struct.pack("<Q", len(header)) + header
