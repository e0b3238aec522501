"""Local differential privacy: each client clips and noises its whole update.

The server may read every released update and knows which client sent it, so there is no privacy amplification. The
guarantee covers replacing a client's update by any other one, so the sensitivity is twice the clip norm
(Kasiviswanathan et al. 2008, arXiv:0803.0924).
"""

import collections
import dataclasses
import math

import dp_accounting
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs
from tff_vision.accounting import accounting, gdp, profiles
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.accounting.ledger import Ledger
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question
from tff_vision.privacy.mechanisms import base, client_level
from tff_vision.privacy.noise import integer_gaussian, integer_grid
from tff_vision.secure import os_keys


class LocallyNoisedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
  """Plain mean of updates that the clients have clipped and noised."""

  def __init__(self, *, clip_norm: float, noise_multiplier: float):
    self._clip_norm = clip_norm
    self._noise_multiplier = noise_multiplier

  def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
    template = tff.types.type_to_tf_tensor_specs(value_type)

    @tff.tensorflow.computation(value_type)
    def release(value):
      clip_norm, key = tf.constant(self._clip_norm, tf.float32), os_keys.kernel_key()
      encoded, _ = integer_grid.encode(tf.nest.flatten(value), clip_norm)
      released = []
      for index, (steps, spec) in enumerate(zip(encoded, tf.nest.flatten(template), strict=True)):
        fresh = integer_gaussian.gaussian(key, tf.constant([index, 0, 0], tf.uint32), tuple(spec.shape),
                                          self._noise_multiplier * integer_grid.STEPS)
        released.append(tf.cast(integer_grid.decode(steps, fresh, clip_norm), spec.dtype))
      return tf.nest.pack_sequence_as(template, released)

    @tff.tensorflow.computation(value_type, np.float32)
    def divide(total, count):
      return tf.nest.map_structure(lambda tensor: tensor / tf.cast(tf.maximum(count, 1.0), tensor.dtype), total)

    @tff.federated_computation
    def init_fn():
      return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(init_fn.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      count = tff.federated_sum(tff.federated_value(np.float32(1), tff.CLIENTS))
      total = tff.federated_sum(tff.federated_map(release, value))
      return tff.templates.MeasuredProcessOutput(state, tff.federated_map(divide, (total, count)),
                                                 tff.federated_value((), tff.SERVER))

    return tff.templates.AggregationProcess(init_fn, next_fn)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalDp(client_level.ClientLevel):
  """Noise on each update; works with any sampler. Attributes: past: The history of the run so far."""
  past: base.Past = base.Past()

  def charged(self, past):
    return dataclasses.replace(self, past=past)

  def aggregator(self, sum_factory):
    if sum_factory is not None:
      raise ValueError('privacy=local_dp does not go with a secure sum: '
                       f'{catalogue.why_not("privacy", "local_dp", catalogue.Trait.HIDES_UPDATES)}.')
    return LocallyNoisedMeanFactory(clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier)

  @property
  def built(self):
    return (self.noise_multiplier,)

  def turn_mu(self):
    return 2 / self.noise_multiplier if self.noise_multiplier else math.inf

  def quick_epsilon(self, rounds):
    return gdp.epsilon(self._mu(rounds), self.delta)

  def promise(self, rounds):
    return profiles.Promise(mu=self._mu(rounds), population=self.sampler.population, replaces=True)

  def _mu(self, rounds):
    return 2 * math.sqrt(self._most_turns(rounds)) / self.noise_multiplier if self.noise_multiplier else math.inf

  def event(self, rounds: int) -> dp_accounting.DpEvent:
    """Returns the event of `rounds` rounds for the client that takes part most often."""
    return gdp.event(self._mu(rounds))

  def ledger(self, rounds):
    mu = self._mu(rounds)
    return Ledger(
        mechanism='local_dp', epsilon=gdp.epsilon(mu, self.delta),
        epsilon_rdp=accounting.epsilon_rdp(self.event(rounds), self.delta), delta=self.delta, unit=Unit.CLIENT,
        relation=Relation.REPLACE_ONE, against_server=True, sampling=Sampling(Scheme.NONE_CLAIMED),
        accountant=Accountant.GAUSSIAN, rounds=rounds, noise_multiplier=self.noise_multiplier,
        clip_norm=self.clip_norm, max_participations=self._most_turns(rounds),
        replayed_rounds=len(self.past.replayed) + len(self.past.again))

  def most_ledger(self, rounds):
    return dataclasses.replace(self, sampler=base.everyone(self.sampler.population)).ledger(rounds)

  @property
  def clients_draw_noise(self):
    return True

  def _most_turns(self, rounds):
    # A repeated round is a second release, because clients draw fresh noise.
    counted = collections.Counter(int(client) for number in self.past.sent(rounds) for client in self.sampler(number))
    counted.update(client for _, clients in self.past.again for client in clients)
    return max(counted.values(), default=0)


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> LocalDp:
  """Returns the plan of `local_dp`; the target epsilon holds for the client that takes part most often.

  Raises:
    ValueError: delta is too large to give a guarantee.
  """
  delta = budget_question.chosen_delta(privacy.delta, run.population)
  plan = LocalDp(sampler=sampler, clip_norm=privacy.clip_norm, delta=delta,
                 noise_multiplier=privacy.noise_multiplier or 0.0)
  if privacy.target_epsilon is None:
    return plan
  turns = max(1, plan._most_turns(run.rounds))
  return dataclasses.replace(plan, noise_multiplier=2 * math.sqrt(turns) / gdp.mu(privacy.target_epsilon, delta))
