"""Canaries in a run's own mechanism, built again with fresh noise: what one turn in a known round gives away."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tff_vision import configs
from tff_vision.accounting import gdp
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.accounting.conditions import Unit
from tff_vision.audit import canary, opened_sum
from tff_vision.privacy import plan as plan_lib

_ROUNDS = 8  # Number of rounds of the mechanism, for canaries in a known round.
_MANY = 2000  # Above this number of canaries, there are no further rounds.


def known_turn(plan: plan_lib.PrivacyPlan, config: configs.ExperimentConfig, ledger: ledger_lib.Statement, *,
               canaries: int, dimension: int, runtime: Callable[[], contextlib.AbstractContextManager]
               ) -> Mapping[str, Any] | None:
  """Returns what canaries in a known round (private SGD: a known step) show, or None if there is no guarantee.

  Args:
    plan: The plan of the run, whose mechanism is attacked.
    ledger: The ledger of the finished run.
    canaries: Number of clients with random directions.
    dimension: Size of a canary; must be much larger than `canaries`.
    runtime: Opens the runtime in which the aggregation runs.

  Returns:
    The fields of `canary.Finding`, and `mu_theory` and `epsilon_theory`.
  """
  mu, seed = plan.turn_mu(), config.program.seed
  if mu is None:
    return None
  if ledger.unit is Unit.EXAMPLE:
    finding = canary.known_step(plan.training, steps=_ROUNDS, canaries=canaries, dimension=dimension,
                                delta=ledger.delta, seed=seed)
    return _beside_theory(finding, mu, ledger)
  rounds, summing = min(_ROUNDS, config.program.rounds), None
  if ledger.shares is None and ledger.against_server:
    rounds = canaries  # Every update is visible by itself.
  elif ledger.shares is not None:
    # The sum that the secure sum opens. Canaries per round: the number the noise is sized for, as each adds a share.
    plan = dataclasses.replace(plan, length=dimension)
    rounds = max(1, min(rounds, _MANY // plan.survivors))
    summing, canaries = opened_sum.OpenedSumFactory(plan.sum_encoding()), rounds * plan.survivors
  with runtime():
    finding = canary.known_round(plan.aggregator(summing), rounds=rounds, canaries=canaries, dimension=dimension,
                                 delta=ledger.delta, seed=seed)
  return _beside_theory(finding, mu, ledger)


def _beside_theory(finding, mu, ledger):
  return {**dataclasses.asdict(finding), 'mu_theory': mu, 'epsilon_theory': gdp.epsilon(mu, ledger.delta)}
