"""Looking for damage, and mending what can be mended from the truth in SQL."""

from engine.doctor.examine import Collection, examine
from engine.doctor.findings import Commands, Finding, Mend
from engine.doctor.repair import repair

__all__ = ["Collection", "Commands", "Finding", "Mend", "examine", "repair"]
