"""Collections in and out: archives, moments from elsewhere, backups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.files import checked_path
from engine.filters import Where
from engine.session import Session
from engine.storage.archive_rows import CONFLICTS, REFUSE, ImportCounts, write_records

if TYPE_CHECKING:
    from engine.exchange import ArchiveFile, Exported


class ExchangeService:
    """Moves one collection's models into archives and backups, and out of them. Threads may share it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def export_archive(
        self, path: str | Path, where: Where | None = None, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Exported:
        """Write the models that a filter admits, with everything of them, and every transform into one archive.

        The archive is of one moment; it appears when it is whole, and replaces a file of that name. What is damaged is
        left out and named in the answer. docs/archive-format.md describes the file.

        Args:
            on_progress: called with (models done, models in all).

        Raises:
            InvalidFilter
            Conflict: the path is a folder.
            DiskFull, StorageError: it could not be written; nothing is left of it.
        """
        from engine.exchange import export_archive
        from engine.version import __version__

        return export_archive(
            self._session.database, checked_path(path), where,
            facts=self._session.catalog.facts(), engine_version=__version__, on_progress=on_progress,
        )  # fmt: skip

    def import_archive(
        self,
        archive: str | Path | ArchiveFile,
        *,
        on_conflict: str = REFUSE,
        on_progress: Callable[[str, int, int], None] | None = None,
    ) -> ImportCounts:
        """Take in an archive: verified as a whole first, then written in one transaction, so that it is all or nothing.

        Ids are new, everything else is as it was exported; lists of similar models are computed when they are asked
        for. A whitening, which is fitted to a collection, is taken where there is none. Previews that are no pictures
        are dropped, which the answer's ``remarks`` say. Generators are taken, but not the trust in them.

        Args:
            archive: a path, or an archive that is open.
            on_conflict: for a name that is taken: ``refuse`` the whole archive, ``skip`` that model, or ``replace`` it.
            on_progress: called with (stage, done, total).

        Raises:
            SourceNotFound: there is no such file.
            InvalidArchive: it is damaged, cut short, none of engine's, or written by a newer one.
            DuplicateName, EncoderMismatch: it does not go with what is there. Whatever is raised, nothing was written.
        """
        from engine.exchange import ArchiveFile, ArchiveReader, Checked

        if on_conflict not in CONFLICTS:
            raise InvalidInput(f"on_conflict must be one of {', '.join(CONFLICTS)}, got {on_conflict!r}")
        if not isinstance(archive, ArchiveFile):
            with ArchiveFile(checked_path(archive)) as opened:
                return self.import_archive(opened, on_conflict=on_conflict, on_progress=on_progress)
        reader = ArchiveReader(archive)
        reader.verify(None if on_progress is None else lambda done, total: on_progress("verified", done, total))
        models = Checked(reader.models())
        counts = write_records(
            self._session.database, reader.encoders, models, reader.transforms(), on_conflict=on_conflict
        )
        counts.remarks = models.remarks
        return counts

    def backup(
        self, path: str | Path, *, on_progress: Callable[[str, int, int], None] | None = None
    ) -> Mapping[str, str]:
        """Copy the database into a new SQLite file while others go on writing; it appears when it is whole.

        The copy is one state of the database, with everything committed before; it is a collection of its own. Of
        Postgres models and transforms are copied, with new ids.

        Returns:
            What could not be copied because it is damaged, by name, with the reason.

        Raises:
            Conflict: there is a file of that name.
            CorruptData: the database's pages are damaged.
            DiskFull, StorageError: it could not be written; nothing is left of it.
        """
        from engine.exchange import back_up

        return back_up(
            self._session.database, checked_path(path), replace(self._session.settings, index_folder=None), on_progress
        )
