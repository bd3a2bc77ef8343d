"""Which generators may be drawn from on this machine: what they name, by digest, and who allowed it."""

from engine.samples.trust.grants import CODE, FILES, Grant, Grants
from engine.samples.trust.named import content_digest, named_files, record_digest

__all__ = ["CODE", "FILES", "Grant", "Grants", "content_digest", "named_files", "record_digest"]
