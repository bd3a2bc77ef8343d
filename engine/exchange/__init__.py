"""Whole collections in and out: archives, and copies of a database that is in use."""

from engine.exchange.archive_file import ArchiveFile
from engine.exchange.backup import back_up
from engine.exchange.previews import Checked
from engine.exchange.read import ArchiveReader
from engine.exchange.write import Exported, export_archive

__all__ = ["ArchiveFile", "ArchiveReader", "Checked", "Exported", "back_up", "export_archive"]
