"""What a number of an evaluation is: its name and title, which way is better, and how it is written.

An objective declares its metrics. All readers (reports, comparisons, sweeps, progress, cards) use this declaration.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
  """One number that an objective measures.

  Attributes:
    name: Its key in `evaluation`.
    title: The name in words; '': the name with spaces.
    higher_is_better: False for losses and errors.
    percent: Whether it is a share, written in percent.
    detail: Whether it is shown only in a run's own report, and not where runs are compared or monitored.
  """
  name: str
  title: str = ''
  higher_is_better: bool = True
  percent: bool = False
  detail: bool = False

  @property
  def label(self) -> str:
    """The title in words."""
    return self.title or self.name.replace('_', ' ')

  @property
  def heading(self) -> str:
    """The title in words, with a capital first letter."""
    return self.label[:1].upper() + self.label[1:]

  def goodness(self, value: float) -> float:
    """Returns a number that is higher if `value` is better."""
    return value if self.higher_is_better else -value


AUC = Metric(name='auc', title='AUC')
LOSS = Metric(name='loss', higher_is_better=False)


def of(objective: Any) -> tuple[Metric, ...]:
  """Returns the metrics that an objective declares; if it declares none, its main metric and the loss.

  Raises:
    ValueError: It declares something other than metrics, declares a name twice, or does not declare its main metric.
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


def is_better_higher(objective: Any) -> bool:
  """Returns whether a higher value of an objective's main metric is better."""
  return next(one.higher_is_better for one in of(objective) if one.name == objective.metric)


def first_of_each(declared: Sequence[Metric]) -> tuple[Metric, ...]:
  """Returns the metrics without those whose name occurred before: tasks may declare one name in different ways."""
  found: dict[str, Metric] = {}
  for one in declared:
    found.setdefault(one.name, one)
  return tuple(found.values())


def shown(declared: Sequence[Metric], first: str) -> list[Metric]:
  """Returns the metrics that are not details, with the one called `first` before the others."""
  return sorted((one for one in declared if not one.detail), key=lambda one: one.name != first)


def choosing(declared: Sequence[Metric], measured: Sequence[Any]) -> Metric | None:
  """Returns the metric by which runs are chosen: the first declared one that all runs have; None if there is none.

  Args:
    measured: For each run, a container of its metrics by name.
  """
  return next((one for one in declared if not one.detail and all(
      found.get(one.name) is not None for found in measured)), None)
