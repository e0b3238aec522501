"""Charges one run to a shared budget: reserved before the first round, settled at the end."""

import hashlib

from tff_vision.accounting import budget_file, budget_totals, privacy_losses
from tff_vision.configs import budget_file_config


class Charge:
  """The charge of one run; without a budget, no method does anything."""

  def __init__(self, config: budget_file_config.BudgetFileConfig, *, run: bytes, data: budget_file.Data | None,
               delta: float | None, label: str, session: budget_file.Session | None = None):
    """Args: `run` is a secret of this run alone, the same after a resume; the others are as in `BudgetFile.reserve`.

    Without a budget, `data` may be None.
    """
    self._file = budget_file.BudgetFile(config) if config.budget_file is not None else None
    self._run = hashlib.sha256(b'budget' + run).hexdigest()[:32]
    self._data = data
    self._delta = delta
    self._label = label
    self._session = session

  def reserve(self, spent: privacy_losses.Spent | None) -> None:
    """Charges the most that the run may cost.

    Raises:
      ValueError: The cost exceeds the budget, or the file cannot be used.
    """
    if self._file is not None:
      self._file.reserve(self._run, self._data, spent, delta=self._delta, label=self._label,
                         session=self._session)

  def raise_to(self, spent: privacy_losses.Spent | None) -> None:
    """Charges more than was reserved, before the additional release: if the run is killed then, the charge is recorded.

    Raises:
      ValueError: The cost exceeds the budget, or the file cannot be used.
    """
    self.reserve(spent)

  def add(self, spent: privacy_losses.Spent | None) -> None:
    """Charges releases that have already happened, even if they exceed the budget."""
    if self._file is not None:
      self._file.settle(self._run, self._data, spent, label=self._label, session=self._session)

  def settle(self, spent: privacy_losses.Spent | None) -> budget_totals.Totals | None:
    """Charges the actual cost of the run; returns the totals of the file, None without a budget."""
    if self._file is None:
      return None
    return self._file.settle(self._run, self._data, spent, label=self._label, session=self._session)

  def release(self) -> None:
    """Cancels the reservation, because no round has started."""
    if self._file is not None:
      self._file.release(self._run)
