"""What noised evaluations on a client's held-out examples cost the client, whose updates cost it too."""

import dataclasses
import math

import dp_accounting

from tff_vision.accounting import evaluated_rounds, gdp
from tff_vision.privacy.mechanisms import base


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationCost:
  """Gaussian releases to which every client contributes a record of bounded norm.

  One client's record has norm 1 (in units of the bound) in each evaluation, so `times` of them are one Gaussian release
  of norm sqrt(times), whoever takes part in the rounds.

  Attributes:
    noise_multiplier: Standard deviation of the noise over the norm of one client's record.
    every: Rounds from one evaluation to the next, as in `evaluated_rounds`.
    once: Evaluations after the last round.
  """
  noise_multiplier: float
  every: int
  once: int = 0

  def times(self, rounds: int, past: base.Past = base.Past()) -> int:  # noqa: B008  Frozen.
    """Returns the most evaluations that `rounds` rounds can have released; a round that ran again may be one more."""
    # Rounds that were finished before their checkpoints were lost have been evaluated, even if none reaches them again.
    reached = max((rounds, *past.delivered))
    return evaluated_rounds.count(reached, self.every) + self.once + len(past.repeated) + len(past.replayed)

  def mu(self, rounds: int, past: base.Past = base.Past()) -> float:  # noqa: B008
    """Returns the sensitivity over the noise of all of them together."""
    return math.sqrt(self.times(rounds, past)) / self.noise_multiplier

  def event(self, rounds: int, past: base.Past = base.Past()) -> dp_accounting.DpEvent:  # noqa: B008
    """Returns all of them as one Gaussian release."""
    return gdp.event(self.mu(rounds, past))
