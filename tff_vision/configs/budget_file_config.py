"""Which budget over several runs a run is charged to, as data."""

import dataclasses

from tff_vision.configs import validate

UNITS = ('client', 'example')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetFileConfig:
  """See docs/explanation/privacy.md.

  The numbers are read when the file is made; later they must be those in the file, or unset.

  Attributes:
    budget_file: The file to which every run on the same data is charged; None: no budget.
    budget_epsilon: What all of them may cost together.
    budget_delta: At this delta; None means the first run's.
    budget_unit: What must not be told apart: one client, or one example; None means the first run's.
  """
  budget_file: str | None = None
  budget_epsilon: float | None = None
  budget_delta: float | None = None
  budget_unit: str | None = None

  def __post_init__(self):
    given = {name: value for name in ('budget_epsilon', 'budget_delta', 'budget_unit')
             if (value := getattr(self, name)) is not None}
    if self.budget_file is None and given:
      name, value = next(iter(given.items()))
      raise ValueError(f'{name}={value!r} has no effect without budget_file.')
    if self.budget_epsilon is not None:
      validate.positive(budget_epsilon=self.budget_epsilon)
    if self.budget_delta is not None:
      validate.open_unit(budget_delta=self.budget_delta)
    if self.budget_unit is not None:
      validate.one_of(UNITS, budget_unit=self.budget_unit)
