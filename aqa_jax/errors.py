"""The exception types that users see.

Every message says what is wrong, where, and what to do about it.
"""


class AqaError(Exception):
    """Base of every error this library raises on purpose."""


class ConfigError(AqaError):
    """A configuration key is unknown, of the wrong type, or has an impossible value."""


class DataError(AqaError):
    """Raw data, annotations or a built dataset are missing, damaged or contradictory."""


class DecodeError(DataError):
    """An image or a video cannot be decoded, or yields fewer frames than are needed."""


class ChecksumError(DataError):
    """A file is not what was recorded of it beside it, or is gone."""


class WeightsError(AqaError):
    """A weight file cannot be read, or does not fit the model."""


class UnsafePickleError(WeightsError, DataError):
    """A pickle asks for something outside the short list of harmless types."""


class CheckpointError(AqaError):
    """A training checkpoint is missing, damaged, or belongs to another model."""


class BundleError(AqaError):
    """A bundle cannot be written, is damaged, or holds what a bundle may not."""


class StorageError(AqaError):
    """The disk is full, read-only, failing or gone; what was there before is intact."""


class RunError(AqaError):
    """A run cannot go on: for instance a loss that is not finite."""


class Interrupted(Exception):
    """SIGTERM came; the state of the training has been saved."""


def printable(text: str) -> str:
    """Without what a terminal would act on: names in files and of files may be a stranger's."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
