"""What plans with a promise to clients share: the clip, what stays inside, and metrics with noise of their own."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_vision import configs, told
from tff_vision.accounting import privacy_losses
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import canaries
from tff_vision.privacy.mechanisms import base, noised_metrics
from tff_vision.privacy.noise import integer_grid, key_binding


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientLevel(base.PrivacyPlan):
  """A promise to each client: updates are clipped, and what no noise covers stays inside.

  Attributes:
    sampler: Which clients take part in a round.
    clip_norm: L2 bound on one client's update.
    noise_multiplier: Standard deviation of the noise over clip_norm.
    delta: Of (epsilon, delta).
  """
  sampler: cohort_sampling.Cohort
  clip_norm: float
  noise_multiplier: float
  delta: float

  def cohort(self, round_num):
    return self.sampler(round_num)

  def audited(self, among: canaries.Canaries) -> 'ClientLevel':
    """Returns the plan of a run that was planned with places for these canaries, who take their turns."""
    del among
    return self

  def spent(self, rounds):
    return privacy_losses.Spent(unit='client', kinds=(privacy_losses.Loss(event=self.event(rounds)),))

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
    tells_total: Whether the server, which is trusted, hands the exact sum to an audit beside the noised one.
    hidden: Whether a secure sum adds the updates up.
    length: Parameters of the model, once it is known.
    past: What happened in the run so far.
  """
  metrics: noised_metrics.NoisedMetrics | None = None
  tells_total: bool = False
  hidden: bool = False
  length: int | None = None
  past: base.Past = base.Past()

  @property
  @abc.abstractmethod
  def denominator(self) -> float:
    """Of the mean: the expected number of clients in a round."""

  def charged(self, past):
    return dataclasses.replace(self, past=past)

  def audited(self, among):
    # Who opens a hidden sum is not the one who audits.
    return dataclasses.replace(self, sampler=dataclasses.replace(self.sampler, absent=among.absent),
                               tells_total=not self.hidden)

  def with_fresh_noise(self, state):
    return key_binding.with_fresh_keys(state)

  def for_secure_sum(self, secure):
    return dataclasses.replace(self, hidden=secure.secure_sum != 'none')

  def for_model(self, model, input_spec):
    del input_spec
    return dataclasses.replace(self, length=sum(weight.shape.num_elements() for weight in model.trainable_weights))

  @property
  def measured(self):
    return told.Measured.NOTHING if self.metrics is None else told.Measured.NOISED

  def released_metrics(self, metrics, round_num):
    if self.metrics is None:
      return {}
    return self.metrics.release(metrics['client_work']['train'], round_num, self.past.repeated.count(round_num))

  def common_ledger(self) -> Mapping[str, Any]:
    """Returns what every central mechanism's ledger says."""
    said = {'noise_multiplier': self.noise_multiplier, 'clip_norm': self.clip_norm,
            'replayed_rounds': len(self.past.repeated)}
    if self.hidden and self.length:
      # The noise is in proportion to the clip norm and this.
      said['rounding_adds_to_sensitivity'] = integer_grid.hidden_sensitivity(self.length,
                                                                             self.denominator) / integer_grid.STEPS - 1
    if self.metrics is not None:
      said['metrics_noise_multiplier'] = self.metrics.noise_multiplier
    return said


def metrics_of(privacy: configs.PrivacyConfig, run: base.Run) -> noised_metrics.NoisedMetrics | None:
  """Returns the release of metrics that the settings ask for."""
  if privacy.metrics_noise_multiplier is None:
    return None
  return noised_metrics.NoisedMetrics(noise_multiplier=privacy.metrics_noise_multiplier, secret=run.secret)
