"""What a number of an evaluation is: its name and title, which way is better, and how it is written.

An objective declares its metrics, and every reader (reports, comparisons, sweeps, progress, cards) goes by that.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """One number that an objective measures.

  Attributes:
    name: Its key in `evaluation`.
    title: In words; '': the name with spaces.
    higher_is_better: False of losses and errors.
    percent: Whether it is a share, written in percent.
    detail: Whether it stands in a run's own report only, and not where runs are compared or followed.
  """
  name: str
  title: str = ''
  higher_is_better: bool = True
  percent: bool = False
  detail: bool = False

  @property
  def label(self) -> str:
    """In words."""
    return self.title or self.name.replace('_', ' ')

  @property
  def heading(self) -> str:
    """In words, with a capital first."""
    return self.label[:1].upper() + self.label[1:]

  def goodness(self, value: float) -> float:
    """Returns a number that is the higher the better `value` is."""
    return value if self.higher_is_better else -value


AUC = Metric(name='auc', title='AUC')
LOSS = Metric(name='loss', higher_is_better=False)


def of(objective: Any) -> tuple[Metric, ...]:
  """Returns what an objective declares; of one that declares nothing, the metric that it names first, and the loss.

  Raises:
    ValueError: It declares something else than metrics, a name twice, or not the one that it names first.
  """
  declared = getattr(objective, 'declared', None)
  if declared is None:
    return (Metric(name=objective.metric), *([LOSS] if objective.metric != LOSS.name else []))
  names = [one.name for one in declared if isinstance(one, Metric)]
  kind = f'task={type(objective).__name__}'
  if len(names) < len(declared) or len(set(names)) < len(names):
    raise ValueError(f'{kind}: declared must hold tff_vision.Metric, each name once, found {list(declared)!r}.')
  if objective.metric not in names:
    raise ValueError(f'{kind}: its first metric {objective.metric!r} is not among those that it declares '
                     f'({", ".join(names)}).')
  return tuple(declared)


def shown(declared: Sequence[Metric], first: str) -> list[Metric]:
  """Returns those that are no details, the one called `first` before the others."""
  return sorted((one for one in declared if not one.detail), key=lambda one: one.name != first)


def choosing(declared: Sequence[Metric], measured: Sequence[Any]) -> Metric | None:
  """Returns by which metric runs are chosen: the first declared one that all of them have; None if there is none.

  Args:
    measured: Of each run, what holds its metrics by name.
  """
  return next((one for one in declared if not one.detail and all(
      found.get(one.name) is not None for found in measured)), None)
