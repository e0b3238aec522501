"""Privacy is one object: who is sampled, what is clipped, what noise is added, what it costs.

Because the sampler, the mechanism and the accounted event come from the same plan, the ledger cannot describe
another algorithm than the one that runs.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import dp_accounting
import numpy as np
import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.privacy import accounting, budget, cohorts, solve


class PrivacyPlan(abc.ABC):
  """How clients are sampled and what is promised to them."""

  @abc.abstractmethod
  def cohort(self, round_num: int) -> np.ndarray:
    """Returns the clients of a round, as sorted indices."""

  @abc.abstractmethod
  def aggregator(self) -> tff.aggregators.UnweightedAggregationFactory | None:
    """Returns clipping, sum, noise and denominator in one, or None where nothing is promised."""

  @abc.abstractmethod
  def ledger(self, rounds: int) -> Mapping[str, Any]:
    """Returns what `rounds` rounds cost, with every condition that makes the number mean something."""

  @property
  @abc.abstractmethod
  def releases_exact_metrics(self) -> bool:
    """Whether training metrics and attendance, which no noise covers, may leave the round."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPrivacy(PrivacyPlan):
  """No promise."""
  sampler: cohorts.Cohort

  def cohort(self, round_num):
    return self.sampler(round_num)

  def aggregator(self):
    return None

  def ledger(self, rounds):
    return {'mechanism': 'none'}

  @property
  def releases_exact_metrics(self):
    return True


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientGaussian(PrivacyPlan):
  """Client-level central differential privacy: DP-FedAvg with a fixed clip.

  McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018, algorithm 1 (fixed
  denominator, flat clipping). The server adds the noise: the promise is to whoever sees models and metrics, not
  to the server.

  Attributes:
    sampler: Poisson: the only sampling for which the accounted amplification holds.
    clip_norm: L2 bound on one client's update.
    noise_multiplier: Standard deviation of the noise on the sum, divided by clip_norm.
    delta: Of (epsilon, delta).
  """
  sampler: cohorts.PoissonCohort
  clip_norm: float
  noise_multiplier: float
  delta: float

  def cohort(self, round_num):
    return self.sampler(round_num)

  def aggregator(self):
    # The denominator is the expected cohort: attendance is not public, and a denominator that depends on it
    # would change the sensitivity.
    return tff.aggregators.DifferentiallyPrivateFactory.gaussian_fixed(
        noise_multiplier=self.noise_multiplier, clients_per_round=self.sampler.rate * self.sampler.population,
        clip=self.clip_norm)

  def event(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns what `rounds` rounds release, for an accountant."""
    return self.sampler.releases(rounds, noise_multiplier=self.noise_multiplier).event()

  def ledger(self, rounds):
    event = self.event(rounds)
    return {
        'mechanism': 'client_gaussian', 'epsilon': accounting.epsilon_pld(event, self.delta),
        'epsilon_rdp': accounting.epsilon_rdp(event, self.delta), 'delta': self.delta, 'unit': 'client',
        'relation': 'add or remove one client', 'sampling': f'poisson, rate {self.sampler.rate:g}',
        'accountant': 'PLD', 'rounds': rounds, 'noise_multiplier': self.noise_multiplier,
        'clip_norm': self.clip_norm}

  @property
  def releases_exact_metrics(self):
    return False


def build_plan(privacy: configs.PrivacyConfig, cohort: configs.CohortConfig, *, population: int, rounds: int,
               seed: int) -> PrivacyPlan:
  """Returns the plan of a run of `rounds` rounds over `population` clients.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  sampler = cohorts.build_cohort(cohort, population=population, seed=seed)
  return PLANS[privacy.privacy](privacy, sampler, population, rounds)


def _no_privacy(privacy, sampler, population, rounds):
  del privacy, population, rounds
  return NoPrivacy(sampler=sampler)


def _client_gaussian(privacy, sampler, population, rounds):
  if not isinstance(sampler, cohorts.PoissonCohort):
    raise ValueError('privacy=client_gaussian needs sampling=poisson: its epsilon counts on every client being '
                     'drawn independently, which a cohort of fixed size is not.')
  delta = privacy.delta if privacy.delta is not None else budget.default_delta(population)
  budget.check_delta(delta, population)
  noise = privacy.noise_multiplier
  if noise is None:
    noise = solve.noise_multiplier(sampler.releases(rounds, noise_multiplier=1.0), privacy.target_epsilon, delta)
  return ClientGaussian(sampler=sampler, clip_norm=privacy.clip_norm, delta=delta, noise_multiplier=noise)


PLANS = {'none': _no_privacy, 'client_gaussian': _client_gaussian}
