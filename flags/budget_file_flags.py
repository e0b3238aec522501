"""Flags of `BudgetFileConfig`."""

from absl import flags

from flags import sections
from tff_vision.configs import budget_file_config

_DEFAULTS = budget_file_config.BudgetFileConfig()

flags.DEFINE_string('budget_file', _DEFAULTS.budget_file,
                    'File that every run on the same data is charged to; a run that does not fit is refused.')
flags.DEFINE_float('budget_epsilon', _DEFAULTS.budget_epsilon,
                   'What all runs of budget_file may cost together; read when the file is made.')
flags.DEFINE_float('budget_delta', _DEFAULTS.budget_delta,
                   'The delta of budget_epsilon; unset means that of the first run.')
flags.DEFINE_enum('budget_unit', _DEFAULTS.budget_unit, budget_file_config.UNITS,
                  'Whom budget_epsilon protects; unset means what the first run protects.')


def chosen() -> budget_file_config.BudgetFileConfig:
  """Returns the budget that the flags name.

  Raises:
    ValueError: A value is illegal.
  """
  return sections.read(_DEFAULTS)
