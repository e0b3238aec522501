"""The best of a random number of private runs: what showing it costs, which runs are drawn, which one is best.

Papernot and Steinke, "Hyperparameter Tuning with Renyi Differential Privacy", ICLR 2022, arXiv:2110.03620.
"""

import dataclasses
import math
import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import configs
from tff_vision.accounting import budget_charge, budget_totals, conditions, ledger, privacy_losses
from tff_vision.configs import budget_file_config, runtime_config
from tff_vision.experiment import definition, planning
from tff_vision.report import declared


def check(cells: Sequence[configs.ExperimentConfig], *, mean: float, runtime: runtime_config.RuntimeConfig) -> None:
  """Refuses settings for which the cost of a choice is unknown; plans and loads nothing.

  Raises:
    ValueError: With the reason.
  """
  if mean < 1:
    raise ValueError(f'random_runs must be at least 1, found {mean:g}.')
  for cell in cells:
    if cell.privacy.privacy == 'none' or cell.privacy.stop_at_epsilon is not None:
      raise ValueError('random_runs chooses among private runs of known cost: choose --privacy, without '
                       'stop_at_epsilon.')
    if cell.data.dataset != cells[0].data.dataset:
      raise ValueError('random_runs chooses among runs on one data set.')
  if runtime.workers:
    raise ValueError('random_runs trains on this machine: what rounds that lost a worker cost more is not known '
                     'before.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
  """The best of the runs.

  Attributes:
    position: The position of its report in the list of reports.
    content: What may be published about it, for JSON.
    cost: The privacy cost of publishing it.
    totals: The totals of the budget over several runs; None: there is no such budget.
  """
  position: int
  content: Mapping[str, Any]
  cost: ledger.Ledger
  totals: budget_totals.Totals | None


class Choice:
  """A choice among runs of given configs; only this process knows how many are run, and with which configs.

  Attributes:
    delta: The delta of the stated epsilon.
    spent: The privacy cost of publishing the best run.
  """

  def __init__(self, cells: Sequence[configs.ExperimentConfig], *, mean: float,
               budget: budget_file_config.BudgetFileConfig, run_dir: str | os.PathLike[str]):
    """Plans a run of each cell.

    Args:
      mean: The mean of the number of runs, which follows a geometric distribution.
      budget: The budget that is charged for the choice.
      run_dir: The name of the choice in that budget.

    Raises:
      ValueError: A cell cannot be run, or the cells have different units of privacy.
    """
    planned = [_planned(cell) for cell in cells]
    costs = [one.plan.spent(cell.program.rounds) for one, cell in zip(planned, cells, strict=True)]
    if len({cost.unit for cost in costs}) > 1:
      raise ValueError('random_runs needs cells that protect the same: clients or examples.')
    self._cells = len(cells)
    self._mean = mean
    self.spent = privacy_losses.best_of_random_runs(costs, mean)
    self.delta = min(one.plan.delta for one in planned)
    self._charge = budget_charge.Charge(
        budget, run=secrets.token_bytes(32), data=planning.fingerprint(planned[0].task.images), delta=self.delta,
        label=f'the choice in run_dir={run_dir}')

  def draw(self) -> list[int]:
    """Charges the choice to the budget and returns the positions of the cells to run, drawn with repetition.

    The randomness comes from the operating system's kernel.

    Raises:
      ValueError: The budget is too small for the choice; nothing is charged.
    """
    self._charge.reserve(self.spent)
    return [secrets.randbelow(self._cells) for _ in range(_geometric(self._mean))]

  def conclude(self, reports: Sequence[Mapping[str, Any]]) -> Chosen:
    """Returns the best report and what may be published: its metric, its numbers, and the cost of the choice.

    Args:
      reports: The reports of the runs that have finished. A run that failed counts as not chosen: reporting the failure
        would reveal something about the data.

    Raises:
      ValueError: There is no report, or the runs measure nothing.
    """
    if not reports:
      raise ValueError('no run that was drawn has finished, so nothing is chosen; train one cell by itself to see why.')
    metric = declared.choosing(reports[0])
    if metric is None:
      raise ValueError('the runs that were drawn measure nothing, so nothing is chosen: they need test images.')
    best = max(range(len(reports)), key=lambda i: _goodness(metric, reports[i]))
    epsilon = privacy_losses.Composition([self.spent.largest]).epsilon(self.delta)
    once, totals = ledger.Ledger.from_json(reports[best]['privacy']), self._charge.settle(self.spent)
    # A server that reads the updates also sees the runs that are not chosen.
    cost = ledger.Ledger(
        mechanism=once.mechanism, epsilon=epsilon, delta=self.delta, unit=self.spent.unit, relation=once.relation,
        against_server=False, sampling=once.sampling, rounds=once.rounds, accountant=conditions.Accountant.RDP,
        best_of_random_runs=self._mean)
    content = {
        'metric': metric.name, 'evaluation': reports[best]['evaluation'],
        'privacy': cost.to_json(), 'budget_file': totals and totals.to_dict()}
    return Chosen(position=best, content=content, cost=cost, totals=totals)


def _goodness(metric, report):
  """Returns the quality of a run (higher is better); the worst value if it lacks the metric or diverged."""
  value = report['evaluation'].get(metric.name)
  return -math.inf if value is None or math.isnan(float(value)) else metric.goodness(float(value))


def _planned(cell):
  made = definition.Definition(**definition.parts_of(cell))
  planning.check(made)
  return planning.plan(made, made.problem)


def _geometric(mean):
  """Returns a draw from the geometric distribution on 1, 2, ..., with the kernel's randomness."""
  count = 1
  while secrets.randbelow(2**53) >= 2**53 / mean:
    count += 1
  return count
