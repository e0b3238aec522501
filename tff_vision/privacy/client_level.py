"""What plans with a promise to clients share: the clip, what stays inside, and metrics with noise of their own."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_vision import configs, told
from tff_vision.privacy import base, cohorts, losses, noised_metrics


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientLevel(base.PrivacyPlan):
  """A promise to each client: updates are clipped, and what no noise covers stays inside.

  Attributes:
    sampler: Which clients take part in a round.
    clip_norm: L2 bound on one client's update.
    noise_multiplier: Standard deviation of the noise over clip_norm.
    delta: Of (epsilon, delta).
  """
  sampler: cohorts.Cohort
  clip_norm: float
  noise_multiplier: float
  delta: float

  def cohort(self, round_num):
    return self.sampler(round_num)

  def spent(self, rounds):
    return losses.Spent(unit='client', kinds=(losses.Loss(event=self.event(rounds)),))

  @property
  def update_bound(self):
    return self.clip_norm

  @property
  def releases_exact_metrics(self):
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Central(ClientLevel):
  """A promise to clients whose noise the server adds.

  Attributes:
    metrics: The noise on counts and accuracy of the cohorts, or None if they are withheld.
  """
  metrics: noised_metrics.NoisedMetrics | None = None

  @property
  def measured(self):
    return told.Measured.NOTHING if self.metrics is None else told.Measured.NOISED

  def released_metrics(self, metrics, round_num):
    return {} if self.metrics is None else self.metrics.release(metrics['client_work']['train'], round_num)

  def metrics_ledger(self) -> Mapping[str, Any]:
    """Returns what the ledger says of the metrics' own noise."""
    return {} if self.metrics is None else {'metrics_noise_multiplier': self.metrics.noise_multiplier}


def metrics_of(privacy: configs.PrivacyConfig, run: base.Run) -> noised_metrics.NoisedMetrics | None:
  """Returns the release of metrics that the settings ask for."""
  if privacy.metrics_noise_multiplier is None:
    return None
  return noised_metrics.NoisedMetrics(noise_multiplier=privacy.metrics_noise_multiplier, secret=run.secret)
