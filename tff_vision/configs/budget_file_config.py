"""The configuration of a privacy budget over several runs."""

import dataclasses

from tff_vision.configs import option, validate

UNITS = ('client', 'example')


@dataclasses.dataclass(frozen=True, kw_only=True)
class BudgetFileConfig:
  """See docs/explanation/privacy.md.

  The numbers are read when the file is created; later they must be equal to the numbers in the file, or unset.
  """
  budget_file: str | None = option.option(
      None, 'File that every run on the same data is charged to; a run that does not fit is refused.')
  budget_epsilon: float | None = option.option(
      None, 'What all runs of budget_file may cost together; read when the file is made.')
  budget_delta: float | None = option.option(
      None, 'The delta of budget_epsilon; unset means that of the first run.')
  budget_unit: str | None = option.option(
      None, 'Whom budget_epsilon protects; unset means what the first run protects.', choices=UNITS)

  def __post_init__(self):
    given = {name: value for name, value in option.changed(self).items() if name != 'budget_file'}
    if self.budget_file is None and given:
      name, value = next(iter(given.items()))
      raise ValueError(f'{name}={value!r} has no effect without budget_file.')
    if self.budget_epsilon is not None:
      validate.positive(budget_epsilon=self.budget_epsilon)
    if self.budget_delta is not None:
      validate.open_unit(budget_delta=self.budget_delta)
    option.check_choices(self)
