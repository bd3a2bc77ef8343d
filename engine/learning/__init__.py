"""The transform A: parameterisations, training by InfoNCE, cross-validation over models. Arrays in, arrays out."""

from engine.learning.cross_validation import CrossValidation, Fold, cross_validate
from engine.learning.options import METHODS, PARAMETERISATIONS, TrainingOptions
from engine.learning.ranks import TOP
from engine.learning.training import Trained, train_on_all
from engine.learning.training_set import TrainingSet

__all__ = [
    "METHODS",
    "PARAMETERISATIONS",
    "TOP",
    "CrossValidation",
    "Fold",
    "Trained",
    "TrainingOptions",
    "TrainingSet",
    "cross_validate",
    "train_on_all",
]
