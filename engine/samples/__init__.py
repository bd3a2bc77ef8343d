"""Where samples come from: folders, archives, arrays and live generators."""

from engine.samples.archive import ArchiveSource
from engine.samples.arrays import FeatureSource
from engine.samples.decode import any_to_image, bytes_to_image, is_large, path_to_image
from engine.samples.folder import FolderSource
from engine.samples.generators import GeneratorSource, options_to_generator
from engine.samples.moments import MomentsSource
from engine.samples.open import Source, open_source
from engine.samples.protocol import Generator, ImageSource, Sample
from engine.samples.room import one_picture

__all__ = [
    "ArchiveSource",
    "FeatureSource",
    "FolderSource",
    "Generator",
    "GeneratorSource",
    "ImageSource",
    "MomentsSource",
    "Sample",
    "Source",
    "any_to_image",
    "bytes_to_image",
    "is_large",
    "one_picture",
    "open_source",
    "options_to_generator",
    "path_to_image",
]
