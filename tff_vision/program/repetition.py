"""Second releases of a round: charged and journaled before they happen, or refused where the budget ends."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tff_vision import wording
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal as journal_lib


class OverBudgetError(ValueError):
  """Clients would have to release something a second time, which the budget does not pay for."""


class Charged(Protocol):
  """A budget that pays for a run in addition to its own ledger; see `accounting.budget_charge.Charge`."""

  def raise_to(self, spent: Any) -> None:
    """Charges a coming cost above the reserved amount; raises ValueError if it does not fit."""

  def add(self, spent: Any) -> None:
    """Charges a cost above the reserved amount that has already occurred."""


class Uncharged:
  """No budget beyond the run's own."""

  def raise_to(self, spent: Any) -> None:
    del spent

  def add(self, spent: Any) -> None:
    del spent


def announced(plan: plan_lib.PrivacyPlan, journal: journal_lib.Journal, round_num: int, clients: int,
              budget: float | None, charged: Charged, rounds: int) -> Callable[[Sequence[int]], None] | None:
  """Returns the function to call before clients of the round repeat a computation; None if that releases nothing new.

  Args:
    clients: The number of clients in the round.
    budget: The run's `stop_at_epsilon`.
    charged: The budget that pays for the whole run.
    rounds: The number of rounds of the run.

  The returned function raises:
    OverBudgetError: The budget does not pay for the repetition.
  """
  if not plan.clients_draw_noise:
    return None
  lock = threading.Lock()  # Several workers may be lost at the same time.

  def again(repeating):
    with lock:
      past = journal.after(round_num, clients)
      cost = plan.charged(dataclasses.replace(past, again=(*past.again, (round_num, tuple(repeating)))))
      if budget is not None:
        if (epsilon := cost.ledger(round_num).epsilon) > budget:
          raise OverBudgetError(
              f'stop_at_epsilon={budget:g} does not pay for round {round_num} once more: a worker was lost that may '
              f'have answered, and what its clients compute now is a second release, in all '
              f'epsilon {wording.at_most(epsilon, ".3g")}.')
      try:
        charged.raise_to(cost.spent(rounds))
      except ValueError as error:
        raise OverBudgetError(f'round {round_num} is not computed once more, as a lost worker may have answered: '
                              f'{error}') from None
      journal.repeat(round_num, repeating)

  return again
