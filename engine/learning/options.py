"""How a transform is trained."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.numbers import checked_number, checked_whole

METHODS = ("first_moment", "gaussian_density")
PARAMETERISATIONS = ("diagonal", "triangular", "full")

DIAGONAL_RATE = 3e-2
MATRIX_RATE = 0.08
"""AdamW's learning rate, the latter divided by d: every number of a matrix moves by it in a step, and d of them add up
in one coordinate. The diagonal's sigmoid is nearly flat where it begins."""
PULL = 3e-3
"""The share of ψ that weight decay takes back in a step. All three were chosen by cross-validation over the models of
the benchmark's zoo (d = 256)."""

_WHOLE = {"epochs": 1, "patience": 1, "batch_size": 1, "seed": 0}


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that shapes a training, with its default.

    Attributes:
        method: ``first_moment`` or ``gaussian_density``.
        parameterisation: ``diagonal``, ``triangular`` or ``full``.
        temperature: τ of InfoNCE; None for the encoder's own (first moment), or for the spread of the pre-trained
            scores (density).
        learn_temperature: whether τ is trained along with A.
        epochs: at most so many passes over the queries.
        patience: stop after so many epochs without a better validation score.
        batch_size: queries a step.
        learning_rate, weight_decay: of AdamW; the decay pulls towards the identity. None: see ``rates``.
        validation_share: of the models that training may see, those whose queries decide when to stop.
        seed: of the splits and the batches.
        device: Torch's.
    """

    method: str = "first_moment"
    parameterisation: str = "triangular"
    temperature: float | None = None
    learn_temperature: bool = False
    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    learning_rate: float | None = None
    weight_decay: float | None = None
    validation_share: float = 0.2
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("parameterisation", PARAMETERISATIONS)):
            if getattr(self, name) not in allowed:
                raise InvalidInput(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name, lowest in _WHOLE.items():
            checked_whole(getattr(self, name), name, lowest)
        for name in ("temperature", "learning_rate", "weight_decay"):
            value = getattr(self, name)
            if value is not None:
                checked_number(value, name, 1e-9, 1e9)
        if not 0 < self.validation_share < 1:
            raise InvalidInput(f"validation_share must be between 0 and 1, got {self.validation_share!r}")

    def rates(self, dimension: int) -> tuple[float, float]:
        """AdamW's learning rate and weight decay."""
        default = DIAGONAL_RATE if self.parameterisation == "diagonal" else MATRIX_RATE / dimension
        rate = self.learning_rate or default
        return rate, self.weight_decay or PULL / rate
