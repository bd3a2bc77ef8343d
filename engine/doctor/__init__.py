"""Looking for damage, and mending what can be mended from the truth in SQL."""

from engine.doctor.examine import Parts, examine
from engine.doctor.findings import Commands, Finding, Mend
from engine.doctor.repair import Makers, repair

__all__ = ["Commands", "Finding", "Makers", "Mend", "Parts", "examine", "repair"]
