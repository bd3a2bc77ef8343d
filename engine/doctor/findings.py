"""What a doctor finds, and what would mend it."""

from __future__ import annotations

from dataclasses import dataclass

DAMAGE, STALE, NOTE = "damage", "stale", "note"


@dataclass(frozen=True)
class Mend:
    """Something that the repair can do: ``kind`` names it, ``subject`` is what it is done to, of that encoder."""

    kind: str
    encoder_id: int = 0
    subject: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    ``severity`` is ``damage`` (stored bytes are wrong), ``stale`` (something derived is behind and will be
    brought up by itself) or ``note``; ``repair`` is the command or step that mends it. ``mend`` is what
    ``doctor(repair=True)`` does about it, None where the truth itself is damaged; ``repaired`` says that it has.
    """

    severity: str
    what: str
    repair: str
    mend: Mend | None = None
    repaired: bool = False


@dataclass(frozen=True)
class Commands:
    """The commands that mend something in one collection, ready to be pasted."""

    url: str

    def repair(self) -> str:
        """What does all that can be done from the truth in SQL."""
        return f"engine doctor --repair --database {quoted(self.url)}"

    def build(self) -> str:
        """What brings everything derived up to date."""
        return f"engine index build --database {quoted(self.url)}"

    def ingest_again(self, name: str, encoder: str, source: str | None) -> str:
        """For damaged statistics, which only the samples can mend."""
        given = "SOURCE" if source is None else quoted(source)
        command = (
            f"engine ingest {given} --name {quoted(name)} --encoder {quoted(encoder)} --database {quoted(self.url)}"
        )
        return f"ingest this model again: {command} (until then searches that need it leave it out)"


def quoted(text: str) -> str:
    """A text as one word of a shell's command."""
    from shlex import quote

    return quote(text)
