"""Client-level central mechanisms with correlated noise: `dp_ftrl` (trees) and `dp_mf` (matrix factorisation).

The whole run is one Gaussian mechanism C X + Z. Its cost depends on how often a client takes part and on the number of
rounds between its participations, not on random sampling. Cohorts in a fixed order guarantee this separation.
Amplified banded noise instead draws Poisson cohorts from blocks of clients in turn.
"""

import dataclasses
import math

import dp_accounting
import numpy as np

from tff_vision import configs
from tff_vision.accounting import accounting, calibration, gdp, profiles
from tff_vision.accounting.conditions import Accountant, Relation
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question, mechanism_comparison
from tff_vision.privacy.matrix import banded, blt, toeplitz, tree
from tff_vision.privacy.mechanisms import base, client_level, noised_mean, noised_metrics
from tff_vision.privacy.noise import correlated_noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Separated(client_level.Central):
  """Correlated noise over cohorts whose clients return after a known number of rounds.

  Attributes:
    mechanism: The name in the ledger.
    sampler: Every client in a fixed order.
    noise_multiplier: Standard deviation of the white noise over the clip norm.
    stream: How white noise becomes a round's noise.
    max_rounds: The number of rounds for which the noise was calibrated.
    coefficients: First column of C; empty for trees.
  """
  mechanism: str
  sampler: cohort_sampling.RoundRobinCohort
  stream: correlated_noise.Stream
  max_rounds: int
  coefficients: tuple[float, ...] = ()

  def aggregator(self, sum_factory):
    return noised_mean.NoisedMeanFactory(
        clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier, stream=self.stream,
        max_rounds=self.max_rounds, denominator=self.denominator, sum_factory=sum_factory,
        tells_total=self.tells_total)

  @property
  def denominator(self):
    return float(self.sampler.size)

  @property
  def built(self):
    return *super().built, self.stream.num_buffers, self.coefficients

  def mu(self, rounds: int) -> float:
    """Returns sensitivity over noise of the first `rounds` rounds; their outputs are a Gaussian mechanism too.

    A round that is repeated after it finished, from an older checkpoint, draws fresh noise: its row of C X + Z is
    released once more, over the same cohort. The rounds before it differ only if they were repeated as well. A client
    contributes at most norm w_t to row t. w_t depends only on the rounds in which the client takes part, so it is the
    same in every repetition: with bands that do not overlap, a row contains one participation; with non-negative
    coefficients, the worst case is the sum. So the squared mu is at most sum_t k_t w_t^2 / noise^2 for rows released
    k_t times. This is at most max_t k_t times the squared mu of rows released once. The nodes of trees, and the metrics
    of each participation, are such rows as well. Evaluations are further Gaussian releases of the same client.
    """
    _check_rounds(rounds, self.max_rounds)
    if self.noise_multiplier == 0:
      return math.inf
    times = self.past.released(rounds)
    if not times:
      return 0.0
    participation = self._participation(max(times))
    updates = _sensitivity(self.stream, self.coefficients, participation) / self.noise_multiplier
    trained = math.hypot(updates, _metrics_mu(self.metrics, participation)) * math.sqrt(max(times.values()))
    return trained if self.evaluations is None else math.hypot(trained, self.evaluations.mu(rounds, self.past))

  def turn_mu(self):
    if self.noise_multiplier == 0:
      return math.inf
    once = toeplitz.Participation.of(self.max_rounds, self.max_rounds)
    return _sensitivity(self.stream, self.coefficients, once) / self.noise_multiplier

  def event(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns one Gaussian release for all `rounds` rounds."""
    return gdp.event(self.mu(rounds))

  def most_ledger(self, rounds):
    return _most_ledger(self, rounds)

  def promise(self, rounds):
    return profiles.Promise(mu=self.mu(rounds), population=self.sampler.population)

  def quick_epsilon(self, rounds):
    return accounting.epsilon_rdp(self.event(rounds), self.delta)

  def ledger(self, rounds):
    return self.stated(
        rounds, mechanism=self.mechanism, epsilon=gdp.epsilon(self.mu(rounds), self.delta),
        accountant=Accountant.GAUSSIAN, relation=Relation.ZERO_OUT_ONE, sampling=self.sampler.describe(),
        max_participations=self._participation(rounds).max_participations if rounds else 0,
        noise_buffers=self.stream.num_buffers)

  def _participation(self, rounds):
    return toeplitz.Participation.of(max(rounds, 1), min(self.sampler.min_separation, max(rounds, 1)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AmplifiedBanded(client_level.Sampled):
  """Banded noise over Poisson cohorts from blocks in turn; arXiv:2306.08153, Theorem 4.

  Attributes:
    sampler: Has as many blocks as there are bands.
    noise_multiplier: Standard deviation of the white noise over the clip norm.
    coefficients: First column of C.
    max_rounds: The number of rounds for which the noise was calibrated.
  """
  sampler: cohort_sampling.BlockPoissonCohort
  coefficients: tuple[float, ...]
  max_rounds: int

  def aggregator(self, sum_factory):
    return noised_mean.NoisedMeanFactory(
        clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier,
        stream=correlated_noise.Banded(self.coefficients),
        max_rounds=self.max_rounds, denominator=self.denominator, sum_factory=sum_factory,
        tells_total=self.tells_total)

  @property
  def built(self):
    return *super().built, self.coefficients

  def turn_mu(self):
    if self.noise_multiplier == 0:
      return math.inf
    return math.sqrt(sum(c * c for c in self.coefficients)) / self.noise_multiplier

  def trained(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns the turns of one block as sampled Gaussian releases.

    One turn is one Gaussian release of the rows of C X + Z within one band after it. If no row was released more than k
    times, each time over the same cohort, this Gaussian has at most k times the squared mu, as in `Separated.mu`.
    """
    _check_rounds(rounds, self.max_rounds)
    times = self.past.released(rounds)
    if not times:
      return dp_accounting.NoOpDpEvent()
    noise = self.noise_multiplier / math.sqrt(sum(c * c for c in self.coefficients))
    noise = (self.metrics.accounted(noise) if self.metrics else noise) / math.sqrt(max(times.values()))
    return self.sampler.releases(max(times), noise_multiplier=noise).event()

  def ledger(self, rounds):
    return self.sampled_ledger(rounds, mechanism='dp_mf amplified', noise_buffers=len(self.coefficients) - 1)

  def most_ledger(self, rounds):
    return _most_ledger(self, rounds)


def _most_ledger(plan, rounds):
  """Returns the ledger of rounds of which those beyond the planned ones repeat one round, the dearest that they can."""
  planned = min(rounds, plan.max_rounds)
  return plan.charged(base.Past(repeated=(planned,) * (rounds - planned))).ledger(planned)


def _check_rounds(rounds, planned):
  """Refuses more rounds than the noise was made for, whose sensitivity is not known."""
  if rounds > planned:
    raise ValueError(f'correlated noise was made for {planned} rounds, so that nobody knows what {rounds} would cost.')


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run
          ) -> Separated | AmplifiedBanded:
  """Returns the plan of `dp_ftrl` or `dp_mf`.

  Raises:
    ValueError: The cohorts do not have the separation that the sensitivity requires, or the budget cannot be met.
  """
  delta = budget_question.chosen_delta(privacy.delta, run.population)
  if privacy.privacy == 'dp_mf' and privacy.mf_strategy == 'amplified':
    return _amplified(privacy, sampler, run, delta)
  participation = toeplitz.Participation.of(run.rounds, min(sampler.min_separation, run.rounds))
  stream, coefficients = _stream(privacy, participation)
  noise, metrics = privacy.noise_multiplier, client_level.metrics_of(privacy, run)
  if noise is None:
    noise = _sensitivity(stream, coefficients, participation) * _left_for_updates(
        gdp.mu(privacy.target_epsilon, delta), metrics, participation)
  name = 'dp_ftrl' if privacy.privacy == 'dp_ftrl' else f'dp_mf {privacy.mf_strategy}'
  return Separated(mechanism=name, sampler=sampler, clip_norm=privacy.clip_norm, noise_multiplier=noise, delta=delta,
                   stream=stream, max_rounds=run.rounds, coefficients=tuple(coefficients), metrics=metrics)


def _metrics_mu(metrics, participation):
  """Returns mu of the metrics over all participations of a client; each adds a coordinate to the same Gaussian."""
  return math.sqrt(participation.max_participations) / metrics.noise_multiplier if metrics else 0.0


def _left_for_updates(mu, metrics, participation):
  """Returns the noise over sensitivity for updates, such that updates and metrics together are mu-GDP."""
  turns = math.sqrt(participation.max_participations)
  return noised_metrics.left_for_updates(1 / (mu / turns), metrics) / turns


def _stream(privacy, participation):
  """Returns the noise stream and the first column of C, empty for trees."""
  if privacy.privacy == 'dp_ftrl':
    return correlated_noise.Tree(tree.restart_period(participation), privacy.tree_efficient), ()
  if privacy.mf_strategy == 'blt':
    strategy = blt.optimise(participation, privacy.mf_buffers)
    return correlated_noise.Buffered(strategy), strategy.coefficients(participation.rounds)
  bands = min(privacy.mf_bands or participation.min_separation, participation.rounds)
  if bands > participation.min_separation:
    raise ValueError(f'mf_bands={bands} exceeds the {participation.min_separation} rounds between two turns of a '
                     'client: the bands of two turns would overlap.')
  coefficients = correlated_noise.on_grid(banded.optimise(participation.rounds, bands))
  return correlated_noise.Banded(tuple(coefficients)), coefficients


def _sensitivity(stream, coefficients, participation):
  if isinstance(stream, correlated_noise.Tree):
    return math.sqrt(participation.max_participations * stream.num_buffers)
  return math.sqrt(toeplitz.sensitivity_squared(np.array(coefficients), participation))


def _amplified(privacy, sampler, run, delta):
  bands = privacy.mf_bands
  if bands is None:
    if privacy.target_epsilon is None:
      raise ValueError('mf_bands is missing: the best number of bands follows from target_epsilon, not from '
                       'noise_multiplier.')
    bands = mechanism_comparison.best_bands(mechanism_comparison.Setting(
        population=sampler.population, cohort_size=round(sampler.rate * sampler.population),
        rounds=run.rounds, target_epsilon=privacy.target_epsilon, delta=delta, sizes=sampler.sizes))
  blocks = cohort_sampling.BlockPoissonCohort(population=sampler.population, rate=sampler.rate, num_blocks=bands,
                                              seed=sampler.seed, secret=run.secret, sizes=sampler.sizes,
                                              optional=sampler.optional)
  coefficients = correlated_noise.on_grid(banded.optimise(run.rounds, bands))
  norm = math.sqrt((coefficients ** 2).sum())
  noise, metrics = privacy.noise_multiplier, client_level.metrics_of(privacy, run)
  if noise is None:
    noise = norm * noised_metrics.left_for_updates(calibration.noise_multiplier(
        blocks.releases(run.rounds, noise_multiplier=1.0), privacy.target_epsilon, delta), metrics)
  return AmplifiedBanded(sampler=blocks, clip_norm=privacy.clip_norm, noise_multiplier=noise, delta=delta,
                         coefficients=tuple(coefficients), max_rounds=run.rounds, metrics=metrics)
