"""What is promised to whom, and the budget over several runs."""

from flags import groups
from tff_vision import configs
from tff_vision.configs import budget_file_config

GROUPS = groups.of(configs.PrivacyConfig, 'Privacy')
BUDGET_FILE = groups.of(budget_file_config.BudgetFileConfig, 'Privacy budget over several runs')


def budget_file() -> budget_file_config.BudgetFileConfig:
  """Returns the budget that the flags name.

  Raises:
    ValueError: A value is illegal.
  """
  return groups.read(budget_file_config.BudgetFileConfig())
