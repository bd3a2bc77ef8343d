"""Tables, migrations and the catalogue: SQL is the truth. Encoders and scores are not known here."""

from engine.storage.catalog import Catalog
from engine.storage.database import Database
from engine.storage.neighbours import Neighbours
from engine.storage.transforms import Transforms

__all__ = ["Catalog", "Database", "Neighbours", "Transforms"]
