"""Client-level privacy without a trusted server: every client adds a share of the noise inside a secure sum.

`distributed_gaussian` and `distributed_skellam`, see `integer_shares`. The party that opens the sum sees it with the
noise of all clients that delivered. The noise is calibrated for the smallest allowed number of delivering clients; the
cost is computed for the clients that actually delivered. If fewer clients deliver than the floor, the round fails and
no sum is opened. Participation is public, so there is no amplification by sampling.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.accounting import privacy_losses, profiles
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.accounting.ledger import Ledger
from tff_vision.accounting.ledger_parts import NoiseShares
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question
from tff_vision.privacy.mechanisms import base, client_level
from tff_vision.privacy.noise import integer_shares, noise_shares

_KINDS = {'distributed_gaussian': 'gaussian', 'distributed_skellam': 'skellam'}


class _FixedDenominatorFactory(tff.aggregators.UnweightedAggregationFactory):
  """A hidden sum, divided by a public number."""

  def __init__(self, sum_factory, denominator: float):
    self._sum_factory = sum_factory
    self._denominator = denominator

  def create(self, value_type):
    summing = self._sum_factory.create(value_type)

    @tff.tensorflow.computation(value_type)
    def divide(total):
      return tf.nest.map_structure(lambda tensor: tensor / tf.cast(self._denominator, tensor.dtype), total)

    @tff.federated_computation(summing.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      output = summing.next(state, value)
      return tff.templates.MeasuredProcessOutput(
          output.state, tff.federated_map(divide, output.result), output.measurements)

    return tff.templates.AggregationProcess(summing.initialize, next_fn)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distributed(client_level.ClientLevel):
  """Clipping, rounding and noise shares on clients.

  Attributes:
    mechanism: A key of `_KINDS`.
    sampler: Which clients deliver in a round; any sampler can be used.
    noise_multiplier: Standard deviation of the noise in the sum over the sensitivity of rounded updates, while no
      more than `survivors` clients deliver; None until it is calibrated for `target_epsilon`.
    survivors: The number of delivering clients for which the noise is calibrated.
    floor: The fewest clients whose sum is opened.
    denominator: The denominator of the mean.
    rounds: Number of rounds in the run.
    value_bits: Bits of one integer of the secure sum, once known.
    length: Number of model parameters, once known.
    past: The history of the run so far.
  """
  mechanism: str
  noise_multiplier: float | None
  target_epsilon: float | None
  survivors: int
  floor: int
  denominator: int
  rounds: int
  value_bits: int | None = None
  length: int | None = None
  past: base.Past = base.Past()

  @property
  def clients_draw_noise(self):
    return True

  @property
  def built(self):
    return self.noise_multiplier, self.survivors, self.floor, self.denominator

  def cohort(self, round_num):
    # A simulated round that fails uses no update, like a real one.
    delivering = self.sampler(round_num)
    return delivering if len(delivering) >= self.floor else delivering[:0]

  @property
  def fewest_clients(self):
    return self.floor

  def attendance(self, round_num):
    found = base.attendance_of(self.sampler, round_num)
    if found and not len(self.cohort(round_num)):
      return {**found, 'reported': 0, 'dropped': found['selected']}
    return found

  def aggregator(self, sum_factory):
    if sum_factory is None:
      raise ValueError(f'privacy={self.mechanism} needs a secure sum: each client adds only a share of the noise, '
                       'which hides nothing where single updates are seen; choose secure_sum=masks, he or '
                       'he_keyholder.')
    return _FixedDenominatorFactory(sum_factory, float(self.denominator))

  def sum_encoding(self):
    return noise_shares.NoiseShareEncoding(value_bits=self.value_bits, clip_norm=self.clip_norm, shares=self.shares)

  def for_secure_sum(self, secure):
    if secure.secure_sum == 'none':
      self.aggregator(None)
    if secure.secure_range != configs.SecureConfig().secure_range:
      raise ValueError(f'secure_range={secure.secure_range!r} has no effect with privacy={self.mechanism}: the range '
                       'follows from clip_norm and the noise.')
    return dataclasses.replace(self, value_bits=secure.secure_bits)

  def for_model(self, model, input_spec):
    del input_spec
    length = sum(weight.shape.num_elements() for weight in model.trainable_weights)
    plan = dataclasses.replace(self, length=length)
    if plan.noise_multiplier is None:
      plan = plan._calibrated()
    plan.shares  # noqa: B018  Raises where the integers are too small.
    return plan

  def for_length(self, length):
    if length != self.length:
      raise ValueError(f'the algorithm sends {length} numbers, and privacy={self.mechanism} counts on those of the '
                       f'model, {self.length}: rounding and noise of integers cost more for a longer update.')
    return self

  def charged(self, past):
    return dataclasses.replace(self, past=past)

  @functools.cached_property
  def shares(self) -> integer_shares.Shares:
    """The grid and one client's noise; known once the model and the secure sum are known."""
    return integer_shares.fit(
        _KINDS[self.mechanism], offset=2**(self.value_bits - 1) - 1, length=self.length,
        noise_multiplier=self.noise_multiplier, survivors=self.survivors)

  def turn_mu(self):
    return 1 / self.noise_multiplier if self.noise_multiplier else math.inf

  def quick_epsilon(self, rounds):
    return max(map(self._epsilon, self._turns(rounds)), default=0.0)

  def promise(self, rounds):
    turns = self._turns(rounds)
    return profiles.Promise(epsilon=lambda delta: max((self._epsilon(turn, delta) for turn in turns), default=0.0),
                            population=self.sampler.population)

  def ledger(self, rounds):
    worst = max(self._turns(rounds), key=self._epsilon, default=())
    return Ledger(
        mechanism=self.mechanism, epsilon=self._epsilon(worst), epsilon_rdp=self._epsilon(worst), delta=self.delta,
        unit=Unit.CLIENT, relation=Relation.ZERO_OUT_ONE, against_server=True,
        sampling=Sampling(Scheme.NONE_CLAIMED), accountant=Accountant.RDP, rounds=rounds,
        noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm,
        max_participations=sum(count for _, count in worst),
        replayed_rounds=len(self.past.replayed) + len(self.past.again),
        rounding_adds_to_sensitivity=self.shares.sensitivity / self.shares.clip_steps - 1,
        shares=self._stated_shares(rounds, min((clients for clients, _ in worst), default=None)))

  def most_ledger(self, rounds):
    # The smallest sum that is opened has the least noise.
    smallest = base.Past(delivered=dict.fromkeys(range(1, rounds + 1), self.floor))
    return dataclasses.replace(self, sampler=base.everyone(self.sampler.population), past=smallest).ledger(rounds)

  def _stated_shares(self, rounds, fewest):
    return NoiseShares(
        noise_sized_for_clients=self.survivors, opened_from_clients=self.floor,
        failed_rounds=sum(not len(self.cohort(round_num)) for round_num in range(1, rounds + 1)),
        fewest_clients_in_a_sum=fewest, share_stddev_steps=self.shares.stddev, clip_norm_steps=self.shares.clip_steps)

  def spent(self, rounds):
    found = [self._divergence(turns) for turns in self._turns(rounds)]
    divergences = np.max(found, axis=0) if found else np.zeros(len(integer_shares.ORDERS))
    return privacy_losses.Spent(unit=Unit.CLIENT,
                                kinds=(privacy_losses.Loss(divergences=tuple(map(float, divergences))),))

  def _turns(self, rounds) -> set[tuple[tuple[int, int], ...]]:
    """Returns, for each kind of client, how often it took part in a sum of each size: ((clients, count), ...)."""
    return {tuple(sorted(found.items())) for found in self._counted(rounds).values()}

  def _counted(self, rounds) -> Mapping[int, collections.Counter]:
    """Returns, for each client that took part, how often it took part in a sum of each size."""
    counted: Mapping[int, collections.Counter] = collections.defaultdict(collections.Counter)
    # If only a few clients draw fresh shares, less of the noise in the sum is new: charge a second sum to everyone.
    for round_num in [*self.past.sent(rounds), *(number for number, _ in self.past.again)]:
      cohort = self.cohort(round_num)
      # The noise of clients that did not deliver is missing; every client that was asked is still charged.
      delivered = min(len(cohort), self.past.delivered.get(round_num, len(cohort)))
      for client in cohort if delivered else ():  # A sum over nobody is not opened.
        counted[int(client)][delivered] += 1
    return counted

  def _epsilon(self, turns, delta=None):
    if not turns:
      return 0.0
    return integer_shares.epsilon(self._divergence(turns), self.delta if delta is None else delta)

  def _divergence(self, turns):
    """Returns the Renyi divergences, at `integer_shares.ORDERS`, of a client that took part so often."""
    return sum(count * self.shares.divergence(clients) for clients, count in turns)

  def _calibrated(self):
    """Returns the plan with the least noise that meets the target for every client, to a thousandth."""
    return self._least(1e-2, 1e4, lambda plan: plan.ledger(self.rounds).epsilon)

  def _least(self, low, high, cost):
    while high > 1.001 * low:
      middle = math.sqrt(low * high)
      plan = dataclasses.replace(self, noise_multiplier=middle)
      low, high = (low, middle) if self._meets(plan, cost) else (middle, high)
    return dataclasses.replace(self, noise_multiplier=high)

  def _meets(self, plan, cost):
    try:
      return cost(plan) <= self.target_epsilon
    except ValueError:
      # The integers have no room for this much noise: an upper bound of the search, reported when shares are fitted.
      return True


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> Distributed:
  """Returns the plan of `distributed_gaussian` or `distributed_skellam`.

  Without `noise_survivors` the noise is calibrated for the whole cohort, and the floor is the smallest cohort of the
  run's rounds. The smallest cohort is the whole cohort too, unless devices are simulated or cohorts are drawn by
  Poisson sampling. Those cohorts are known, and counted, before the run.

  Raises:
    ValueError: delta is too large to give a guarantee, or in no round do enough clients deliver.
  """
  survivors = privacy.noise_survivors or run.cohort_size
  if survivors > run.cohort_size:
    raise ValueError(f'noise_survivors={survivors} exceeds cohort_size={run.cohort_size}.')
  delivering = [len(sampler(round_num)) for round_num in range(1, run.rounds + 1)]
  floor = max(2, privacy.noise_survivors or min((count for count in delivering if count > 1), default=run.cohort_size))
  if max(delivering) < floor:
    raise ValueError(f'noise_survivors={survivors}, but at most {max(delivering)} clients deliver in any of the '
                     f'{run.rounds} rounds, so none would be opened: lower noise_survivors.')
  return Distributed(
      mechanism=privacy.privacy, sampler=sampler, clip_norm=privacy.clip_norm,
      noise_multiplier=privacy.noise_multiplier, target_epsilon=privacy.target_epsilon,
      delta=budget_question.chosen_delta(privacy.delta, run.population), survivors=survivors, floor=floor,
      denominator=run.cohort_size,
      rounds=run.rounds)
