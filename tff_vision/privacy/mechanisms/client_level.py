"""Common parts of client-level plans: clipping, what is not released, and noised metrics."""

import abc
import dataclasses

import dp_accounting

from tff_vision import configs, told
from tff_vision.accounting import accounting, privacy_losses, profiles
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Unit
from tff_vision.accounting.ledger import Ledger
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import canaries
from tff_vision.privacy.mechanisms import base, evaluation_cost, noised_mean, noised_metrics
from tff_vision.privacy.noise import integer_grid


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientLevel(base.PrivacyPlan):
  """Client-level privacy: updates are clipped, and exact metrics are not released.

  Attributes:
    sampler: Which clients take part in a round.
    clip_norm: L2 bound on one client's update.
    noise_multiplier: Standard deviation of the noise over clip_norm.
    delta: The delta of (epsilon, delta).
  """
  sampler: cohort_sampling.Cohort
  clip_norm: float
  noise_multiplier: float
  delta: float

  def cohort(self, round_num):
    return self.sampler(round_num)

  def audited(self, among: canaries.Canaries) -> 'ClientLevel':
    """Returns the plan of a run that includes these canaries; they take part like other clients."""
    del among
    return self

  def spent(self, rounds):
    return privacy_losses.Spent(unit=Unit.CLIENT, kinds=(privacy_losses.Loss(event=self.event(rounds)),))

  @property
  def update_bound(self):
    return self.clip_norm

  @property
  def releases_exact_metrics(self):
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Central(ClientLevel):
  """Client-level privacy with server-side noise.

  Attributes:
    metrics: The noise on cohort size and accuracy, or None if these metrics are withheld.
    tells_total: Whether the trusted server gives the exact sum to an audit, as well as the noised sum.
    hidden: Whether updates are summed by a secure sum.
    length: Numbers of one update; None until the model is known, and those of the model until the algorithm is.
    past: The history of the run so far.
    evaluations: The noised evaluations on held-out examples, which cost a client too; None: there are none.
  """
  metrics: noised_metrics.NoisedMetrics | None = None
  tells_total: bool = False
  hidden: bool = False
  length: int | None = None
  past: base.Past = base.Past()
  evaluations: evaluation_cost.EvaluationCost | None = None

  @property
  @abc.abstractmethod
  def denominator(self) -> float:
    """The denominator of the mean: the expected number of clients in a round."""

  def charged(self, past):
    return dataclasses.replace(self, past=past)

  def audited(self, among):
    # The party that opens a hidden sum is not the auditor.
    return dataclasses.replace(self, sampler=dataclasses.replace(self.sampler, absent=among.absent),
                               tells_total=not self.hidden)

  @property
  def built(self):
    return self.noise_multiplier, self.denominator

  def with_fresh_noise(self, state):
    return noised_mean.with_fresh_key(state)

  def for_evaluations(self, *, noise_multiplier, every, once):
    return dataclasses.replace(self, evaluations=evaluation_cost.EvaluationCost(
        noise_multiplier=noise_multiplier, every=every, once=once))

  def for_secure_sum(self, secure):
    return dataclasses.replace(self, hidden=secure.secure_sum != 'none')

  def for_model(self, model, input_spec):
    del input_spec
    return dataclasses.replace(self, length=sum(weight.shape.num_elements() for weight in model.trainable_weights))

  def for_length(self, length):
    return dataclasses.replace(self, length=length)

  @property
  def measured(self):
    return told.Measured.NOTHING if self.metrics is None else told.Measured.NOISED

  def released_metrics(self, metrics, round_num):
    if self.metrics is None:
      return {}
    return self.metrics.release(metrics['client_work']['train'], round_num, self.past.repeated.count(round_num))

  def stated(self, rounds: int, *, mechanism: str, epsilon: float, accountant: Accountant, relation: Relation,
             sampling: Sampling, max_participations: int | None = None, noise_buffers: int | None = None) -> Ledger:
    """Returns the ledger of `rounds` rounds: the arguments, and the entries common to all central mechanisms."""
    rounding = None
    if self.hidden and self.length:
      # The noise is proportional to the clip norm plus this rounding term.
      rounding = integer_grid.hidden_sensitivity(self.length, self.denominator) / integer_grid.STEPS - 1
    return Ledger(
        mechanism=mechanism, epsilon=epsilon, epsilon_rdp=self.quick_epsilon(rounds), delta=self.delta,
        unit=Unit.CLIENT, relation=relation, sampling=sampling, accountant=accountant, rounds=rounds,
        noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm, replayed_rounds=len(self.past.repeated),
        max_participations=max_participations, noise_buffers=noise_buffers, rounding_adds_to_sensitivity=rounding,
        metrics_noise_multiplier=None if self.metrics is None else self.metrics.noise_multiplier,
        evaluation_noise_multiplier=None if self.evaluations is None else self.evaluations.noise_multiplier)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampled(Central):
  """Central mechanisms over cohorts that nobody knows, whose cost is that of one event."""

  @abc.abstractmethod
  def trained(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns the releases of `rounds` rounds of training as an event, for an accountant."""

  def event(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns all releases of `rounds` rounds."""
    found = self.trained(rounds)
    if self.evaluations is None:
      return found
    return dp_accounting.ComposedDpEvent((found, self.evaluations.event(rounds, self.past)))

  @property
  def denominator(self):
    # The expected cohort: attendance is not public, and a denominator that depends on it would change the sensitivity.
    return self.sampler.rate * self.sampler.population

  @property
  def hides_attendance(self):
    return True

  def promise(self, rounds):
    return profiles.Promise(events=(self.event(rounds),), population=self.sampler.population)

  def quick_epsilon(self, rounds):
    return accounting.epsilon_rdp(self.event(rounds), self.delta)

  def sampled_ledger(self, rounds: int, *, mechanism: str, noise_buffers: int | None = None) -> Ledger:
    """Returns the ledger of `rounds` rounds."""
    epsilon, accountant = accounting.tightest(self.event(rounds), self.delta)
    return self.stated(rounds, mechanism=mechanism, epsilon=epsilon, accountant=accountant,
                       relation=Relation.ADD_OR_REMOVE_ONE, sampling=self.sampler.describe(),
                       noise_buffers=noise_buffers)


def metrics_of(privacy: configs.PrivacyConfig, run: base.Run) -> noised_metrics.NoisedMetrics | None:
  """Returns the noised release of metrics that the settings request, or None."""
  if privacy.metrics_noise_multiplier is None:
    return None
  return noised_metrics.NoisedMetrics(noise_multiplier=privacy.metrics_noise_multiplier, secret=run.secret)
