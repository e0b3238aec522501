"""Which round's model is kept, and when training ends: functions of the records of the rounds, also after a resume."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import objectives

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
  """The rule of `select_best` and `patience`.

  Attributes:
    metric: What is compared; measured on the clients' validation examples.
    patience: The number of evaluations without a better model after which training ends; None: it does not end.
  """
  metric: objectives.Metric
  patience: int | None = None

  def best(self, history: Sequence[Record]) -> int | None:
    """Returns the round of the best model, the first of equal ones; None if none was evaluated.

    A metric that is missing, or not a finite number, is worse than any number.
    """
    rounds = self._evaluated(history)
    return max(rounds, key=rounds.get) if rounds else None  # type: ignore[arg-type]

  def is_over(self, history: Sequence[Record]) -> bool:
    """Returns whether training ends after these rounds."""
    best = self.best(history)
    if self.patience is None or best is None:
      return False
    return sum(number > best for number in self._evaluated(history)) >= self.patience

  def value(self, history: Sequence[Record]) -> float | None:
    """Returns the metric of the best model."""
    best = self.best(history)
    return None if best is None else history[best - 1]['validation'].get(self.metric.name)

  def _evaluated(self, history):
    return {record['round']: self._goodness(record['validation']) for record in history if 'validation' in record}

  def _goodness(self, measured):
    value = measured.get(self.metric.name)
    return -math.inf if value is None or not math.isfinite(value) else self.metric.goodness(value)


def of(metric: str | None, patience: int | None, objective: objectives.Objective, measurable: Sequence[str]
       ) -> Selection | None:
  """Returns the rule; None if no metric is named.

  Args:
    measurable: The metrics that sums over clients give for this objective.

  Raises:
    ValueError: The metric is not among them.
  """
  if metric is None:
    return None
  declared = {one.name: one for one in objectives.metric.of(objective) if one.name in measurable}
  if metric not in declared:
    raise ValueError(f'select_best={metric} is not measured by sums over the clients of this task; choose '
                     f'{" or ".join(declared)}.')
  return Selection(metric=declared[metric], patience=patience)
