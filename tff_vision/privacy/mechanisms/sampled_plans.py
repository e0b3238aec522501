"""Client-level central mechanisms with independent noise, amplified by Poisson sampling or random allocation.

DP-FedAvg: McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018, algorithm 1 (fixed
denominator, flat clipping); with a tracked clip: Andrew et al. 2021, arXiv:1905.03871. The server adds the noise. The
guarantee holds against anyone who sees models and metrics, but not against the server.
"""

import collections
import dataclasses
import math

import dp_accounting

from tff_vision import catalogue, configs
from tff_vision.accounting import calibration
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question
from tff_vision.privacy.mechanisms import base, client_level, noised_mean, noised_metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientGaussian(client_level.Sampled):
  """Clip, sum, Gaussian noise, a fixed denominator.

  Attributes:
    sampler: A sampler whose sampling gives the amplification that is accounted for.
    clip_norm: L2 bound on one client's update; with `quantile`, its first value.
    noise_multiplier: Standard deviation of the noise on the sum over the clip norm, or, with `quantile`, of the one
      Gaussian that costs as much as sum and count together.
    quantile: How the clip norm adapts, or None.
  """
  sampler: cohort_sampling.PoissonCohort | cohort_sampling.AllocationCohort
  quantile: noised_mean.QuantileClip | None = None

  def aggregator(self, sum_factory):
    if self.quantile is not None and sum_factory is not None:
      raise ValueError('privacy=client_adaptive does not go with a secure sum: '
                       f'{catalogue.why_not("privacy", "client_adaptive", catalogue.Trait.HIDES_UPDATES)}.')
    return noised_mean.NoisedMeanFactory(
        clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier, quantile=self.quantile,
        denominator=self.denominator, sum_factory=sum_factory, tells_total=self.tells_total)

  @property
  def built(self):
    return *super().built, self.quantile

  def turn_mu(self):
    return 1 / self.noise_multiplier if self.noise_multiplier else math.inf

  def trained(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns the releases of `rounds` rounds of training as an event, for an accountant.

    A round that was released k times is k Gaussian releases over the same cohort. This costs more than k cohorts drawn
    independently: together they are one sampled Gaussian with noise smaller by a factor of sqrt(k).
    """
    noise = self.metrics.accounted(self.noise_multiplier) if self.metrics else self.noise_multiplier
    if isinstance(self.sampler, cohort_sampling.AllocationCohort):
      # Rounds of a pass are not independent, so each round counts as often as the most often released one.
      released = self.past.released(rounds)
      return self.sampler.releases(max(released), noise_multiplier=noise / math.sqrt(max(released.values()))).event()
    times = collections.Counter(self.past.released(rounds).values())
    events = tuple(self.sampler.releases(count, noise_multiplier=noise / math.sqrt(k)).event()
                   for k, count in sorted(times.items()))
    return events[0] if len(events) == 1 else dp_accounting.ComposedDpEvent(events)

  def ledger(self, rounds):
    return self.sampled_ledger(rounds, mechanism='client_adaptive' if self.quantile else 'client_gaussian')


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> ClientGaussian:
  """Returns the plan of `client_gaussian` or `client_adaptive`.

  Raises:
    ValueError: The settings would make the stated epsilon false, or cannot be met.
  """
  delta, metrics = budget_question.chosen_delta(privacy.delta, run.population), client_level.metrics_of(privacy, run)
  sampler = dataclasses.replace(sampler, secret=run.secret)
  noise = privacy.noise_multiplier
  if noise is None:
    noise = noised_metrics.left_for_updates(calibration.noise_multiplier(
        sampler.releases(run.rounds, noise_multiplier=1.0), privacy.target_epsilon, delta), metrics)
  quantile = None
  if privacy.privacy == 'client_adaptive':
    # Andrew et al. 2021, section 3.1: a twentieth of the cohort needs almost no extra noise on the sum.
    count_stddev = privacy.count_stddev or sampler.rate * sampler.population / 20
    quantile = noised_mean.QuantileClip(quantile=privacy.target_quantile, count_stddev=count_stddev,
                                        learning_rate=privacy.clip_learning_rate)
    quantile.sum_noise_multiplier(noise)
  return ClientGaussian(sampler=sampler, clip_norm=privacy.clip_norm, delta=delta, noise_multiplier=noise,
                        quantile=quantile, metrics=metrics)
