"""The whole error tree. Every error a user can meet is one of these.

    EngineError
     ├── InvalidInput (ValueError)      what the caller gave is wrong
     │    ├── InvalidQuery              no query, an empty text, a method that cannot score it
     │    ├── InvalidFilter             an unknown filter key or a malformed filter
     │    ├── InvalidFeatures           NaN, zero, wrong dimension or dtype
     │    ├── InvalidStatistics         indefinite, asymmetric or mismatched moments
     │    ├── InvalidImage              a file that cannot be decoded, or is refused
     │    ├── InvalidManifest           a manifest that cannot be read
     │    └── InvalidArchive            an archive that is damaged, foreign, or of a newer engine
     ├── NotFound (LookupError)
     │    ├── ModelNotFound
     │    ├── EncoderNotFound
     │    ├── DatabaseNotFound
     │    ├── SourceNotFound
     │    ├── TransformNotFound
     │    └── KeyNotFound
     ├── Conflict                       a name that is taken, statistics of another encoder
     │    ├── DuplicateName
     │    └── EncoderMismatch
     ├── IngestError
     │    ├── TooManyBadSamples         more bad files than the allowed share; nothing was written
     │    ├── NotEnoughSamples          fewer good samples than a covariance needs
     │    └── GeneratorError            a generator failed, hung or drew nothing
     ├── NotTrusted (PermissionError)   code would run, and the caller did not opt in
     ├── StorageError
     │    ├── DatabaseLocked
     │    ├── DatabaseOutdated          older than this engine: run `engine db upgrade`
     │    ├── DatabaseTooNew            written by a newer engine
     │    ├── UnfinishedCopy            `engine copy` was interrupted: run it again
     │    ├── DiskFull
     │    └── CorruptData               a checksum does not hold
     ├── MissingStatistics              the model has nothing that this method needs
     ├── AddressUnavailable             a server cannot listen there
     ├── MissingWeights                 an encoder's weights are not on this machine
     └── MissingDependency (ImportError) an optional package is not installed

``hint`` holds the next step, in words a user can act on. The command line prints it, and the
JSON error object carries it.
"""

from __future__ import annotations

__all__ = [
    "AddressUnavailable",
    "Conflict",
    "CorruptData",
    "DatabaseLocked",
    "DatabaseNotFound",
    "DatabaseOutdated",
    "DatabaseTooNew",
    "DiskFull",
    "DuplicateName",
    "EncoderMismatch",
    "EncoderNotFound",
    "EngineError",
    "GeneratorError",
    "IngestError",
    "InvalidArchive",
    "InvalidFeatures",
    "InvalidFilter",
    "InvalidImage",
    "InvalidInput",
    "InvalidManifest",
    "InvalidQuery",
    "InvalidStatistics",
    "KeyNotFound",
    "MissingDependency",
    "MissingStatistics",
    "MissingWeights",
    "ModelNotFound",
    "NotEnoughSamples",
    "NotFound",
    "NotTrusted",
    "SourceNotFound",
    "StorageError",
    "TooManyBadSamples",
    "TransformNotFound",
    "UnfinishedCopy",
]


class EngineError(Exception):
    """Base of every error raised on purpose. ``str(error)`` says what was wrong and what was given.

    Lone surrogates in what was given, a path's undecodable bytes for example, are told as escapes.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(message)
        self.message = message
        self.hint = hint if hint is None else hint.encode(errors="backslashreplace").decode()

    def __str__(self) -> str:
        return self.message


class InvalidInput(EngineError, ValueError):
    """What the caller gave cannot be used."""


class InvalidQuery(InvalidInput):
    """There is no query, it is empty, or the method cannot score it."""


class InvalidFilter(InvalidInput):
    """An unknown filter key or a malformed filter."""


class InvalidFeatures(InvalidInput):
    """Features that are not finite, are zero, or have the wrong dimension or dtype."""


class InvalidStatistics(InvalidInput):
    """Moments that are not finite, not symmetric, indefinite, or of mismatched shapes."""


class InvalidImage(InvalidInput):
    """A picture that cannot be decoded or is refused."""


class InvalidManifest(InvalidInput):
    """A manifest, or an entry in it, that cannot be understood."""


class InvalidArchive(InvalidInput):
    """An archive of models that is damaged, is none, or was written by a newer engine. Nothing of it was imported."""


class NotFound(EngineError, LookupError):
    """A thing that was named does not exist."""


class ModelNotFound(NotFound):
    """No model of that name is in the collection."""


class EncoderNotFound(NotFound):
    """No encoder of that name is known."""


class DatabaseNotFound(NotFound):
    """There is no database at that address, or it has no collection in it."""


class SourceNotFound(NotFound):
    """The folder, archive or file of samples is not there."""


class TransformNotFound(NotFound):
    """No transform of that name is in the collection."""


class KeyNotFound(NotFound):
    """No API key of that id is in the collection."""


class Conflict(EngineError):
    """The request contradicts what is stored."""


class DuplicateName(Conflict):
    """Another model already has that name."""


class EncoderMismatch(Conflict):
    """Statistics or features of one encoder met those of another."""


class IngestError(EngineError):
    """A model could not be ingested; nothing of it was written."""


class TooManyBadSamples(IngestError):
    """More samples were unreadable than the allowed share."""


class NotEnoughSamples(IngestError):
    """Fewer good samples than statistics need."""


class GeneratorError(IngestError):
    """A generator failed, timed out, or drew something that is not an image."""


class NotTrusted(EngineError, PermissionError):
    """Running this would execute code that the caller has not opted in to."""


class StorageError(EngineError):
    """The database or a file beside it could not be read or written."""


class DatabaseLocked(StorageError):
    """Another process held the write lock for longer than the busy timeout."""


class DatabaseOutdated(StorageError):
    """The database was made by an older engine."""


class DatabaseTooNew(StorageError):
    """The database was made by a newer engine."""


class UnfinishedCopy(StorageError):
    """A collection is being copied into the database, or its copy was interrupted."""


class DiskFull(StorageError):
    """There is no room left on the device."""


class CorruptData(StorageError):
    """Stored bytes do not match their checksum."""


class DamagedIndex(CorruptData):
    """A part of an index file that was read just now does not match its checksum. The index can be built again."""


class MissingStatistics(EngineError):
    """A model has no covariance, or no stored sample features, and the method needs them."""


class AddressUnavailable(EngineError):
    """A server cannot listen there: the port is in use or not permitted, or the address is not this machine's."""


class MissingWeights(EngineError):
    """An encoder's weights are not on this machine and could not be downloaded."""


class MissingDependency(EngineError, ImportError):
    """An optional package is not installed."""
