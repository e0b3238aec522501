"""Charges one run to a shared budget: reserved before the first round, settled at the end."""

import hashlib

from tff_vision.accounting import budget_file, budget_totals, privacy_losses
from tff_vision.configs import budget_file_config


class Charge:
  """What one run is charged; without a budget nothing happens."""

  def __init__(self, config: budget_file_config.BudgetFileConfig, *, run: bytes, data: budget_file.Data,
               delta: float | None, label: str):
    """Args: `run` is a secret that only this run has, also when it goes on; the others as in `BudgetFile.reserve`."""
    self._file = budget_file.BudgetFile(config) if config.budget_file is not None else None
    self._run = hashlib.sha256(b'budget' + run).hexdigest()[:32]
    self._data = data
    self._delta = delta
    self._label = label

  def reserve(self, spent: privacy_losses.Spent | None) -> None:
    """Charges what the run may cost.

    Raises:
      ValueError: It does not fit, or the file does not serve.
    """
    if self._file is not None:
      self._file.reserve(self._run, self._data, spent, delta=self._delta, label=self._label)

  def raise_to(self, spent: privacy_losses.Spent | None) -> None:
    """Charges more than was reserved, before that is released: a run that is killed then has paid for it.

    Raises:
      ValueError: It does not fit, or the file does not serve.
    """
    self.reserve(spent)

  def add(self, spent: privacy_losses.Spent | None) -> None:
    """Charges what has happened already, whether it fits or not."""
    if self._file is not None:
      self._file.settle(self._run, self._data, spent, label=self._label)

  def settle(self, spent: privacy_losses.Spent | None) -> budget_totals.Totals | None:
    """Charges what the run did cost; returns the totals of the file, None without a budget."""
    if self._file is None:
      return None
    return self._file.settle(self._run, self._data, spent, label=self._label)

  def release(self) -> None:
    """Takes the reservation back: no round has begun."""
    if self._file is not None:
      self._file.release(self._run)
