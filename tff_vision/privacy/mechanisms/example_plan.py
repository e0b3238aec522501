"""Example-level differential privacy: each client runs private SGD on its own examples and keeps its own ledger.

Clients hold different examples, so the cost to an example is the cost of its own client's training (parallel
composition). The update is private before it leaves the client. Participation is public, so sampling clients gives no
amplification.
"""

import collections
import copy
import dataclasses
import functools
import math

import dp_accounting
import numpy as np
import tensorflow as tf

from tff_vision import configs
from tff_vision.accounting import accounting, calibration, privacy_losses, profiles
from tff_vision.accounting.conditions import Accountant, Sampling, Scheme, Unit
from tff_vision.accounting.ledger import Ledger
from tff_vision.accounting.ledger_parts import ClientCost, Clipping, PerExample, PrivateSteps
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question
from tff_vision.privacy.ghost import clipped, penalties
from tff_vision.privacy.mechanisms import base, example_noise, example_views, example_work, noised_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleDpSgd(base.PrivacyPlan):
  """DP-SGD on every client.

  Attributes:
    sampler: Which clients train in a round.
    sizes: The number of examples of each client, public.
    clip_norm: L2 bound on one example's gradient.
    noise_multiplier: Standard deviation of the white noise on a batch's sum, over clip_norm; with `quantile`, of the
      one Gaussian that costs as much as sum and count together.
    delta: The delta of (epsilon, delta).
    batch_size: Expected examples of one step.
    epochs: Passes over a client's examples in a round.
    sampling: How a step's examples are drawn.
    noise: How the noise is correlated between the steps of a round.
    views: The random views of each example (augmentation).
    quantile: How the clip norm adapts from step to step; None if it is fixed.
    average: The decay of the weight average that a client returns; 0: no averaging.
    canaries: The number of canaries among all clients' examples; `sizes` include their slots.
    method: How gradients are clipped, once the model is known.
    past: The history of the run so far.
  """
  sampler: cohort_sampling.Cohort
  sizes: tuple[int, ...]
  clip_norm: float
  noise_multiplier: float
  delta: float
  batch_size: int
  epochs: int
  sampling: str
  noise: example_noise.StepNoise = example_noise.StepNoise()
  views: example_views.Views = example_views.Views()
  quantile: noised_mean.QuantileClip | None = None
  average: float = 0.0
  canaries: int = 0
  method: clipped.Method | None = None
  past: base.Past = base.Past()

  def charged(self, past):
    return dataclasses.replace(self, past=past)

  def audited(self, among):
    return dataclasses.replace(self, canaries=among.number)

  def cohort(self, round_num):
    return self.sampler(round_num)

  def aggregator(self, sum_factory):
    del sum_factory
    return base.NO_AGGREGATOR

  @property
  def update_bound(self):
    return None

  @property
  def clients_draw_noise(self):
    return True

  @property
  def example_counts(self):
    return self.sizes

  @property
  def releases_exact_metrics(self):
    return False

  def for_model(self, model, input_spec):
    self.views.check(input_spec.shape)
    return dataclasses.replace(self, method=clipped.examine(model, input_spec))

  def for_loss(self, loss, labels, outputs, *, separable):
    penalties.check_loss(one_each(loss), labels, outputs)
    return self if separable else dataclasses.replace(self, method=by_loop(self.method))

  def client_data(self, client):
    # Each example is read once: private training does its own sampling and its own passes.
    return dataclasses.replace(client, client_epochs=1)

  def turn_mu(self):
    # mu of one step whose examples are known; a round has many steps.
    column = math.sqrt(sum(c * c for c in self.noise.coefficients))
    return column / self.noise_multiplier if self.noise_multiplier else math.inf

  @property
  def built(self):
    return self.noise_multiplier, self.noise.coefficients, self.noise.blocks, self.quantile

  @property
  def training(self) -> example_work.ExampleSgd:
    """One client's training in one round, once the model is known."""
    return example_work.ExampleSgd(
        clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier, batch_size=self.batch_size,
        epochs=self.epochs, sampling=self.sampling, ghost=self.method.ghost, views=self.views,
        stream=self.noise.stream, blocks=self.noise.blocks, quantile=self.quantile, average=self.average)

  def client_work(self, keras_model_fn, loss_fn, reader, optimizer):
    return example_work.build_client_work(keras_model_fn, one_each(loss_fn), reader, optimizer, self.training,
                                          self.canaries)

  def releases(self, client: int, turns: int) -> accounting.SampledGaussian:
    """Returns the releases of `turns` rounds of a client's training."""
    return self.noise.releases(size=self.sizes[client], turns=turns, batch_size=self.batch_size, epochs=self.epochs,
                               sampling=self.sampling, noise_multiplier=self.noise_multiplier)

  def quick_epsilon(self, rounds):
    return max(self._quick_epsilons(self._turns(rounds)))

  def _quick_epsilons(self, turns):
    return [_quick_epsilon(self.releases(client, turns[client]), self.delta) if turns[client] else 0.0
            for client in range(len(self.sizes))]

  def ledger(self, rounds):
    turns = self._turns(rounds)
    quick = self._quick_epsilons(turns)
    worst = int(np.argmax(quick))
    run = self.releases(worst, max(1, turns[worst]))
    epsilon, accountant = self._largest_epsilon(quick, turns)
    return Ledger(
        mechanism='example_dp_sgd', epsilon=epsilon,
        epsilon_rdp=accounting.epsilon_rdp(run.event(), self.delta, run.relation), delta=self.delta,
        unit=Unit.EXAMPLE, relation=run.relation,
        sampling=Sampling(Scheme(self.sampling), f'{self.batch_size} of a client\'s examples a step'),
        accountant=accountant, rounds=rounds, noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm,
        replayed_rounds=len(self.past.replayed) + len(self.past.again),
        examples=PerExample(
            per_client=tuple(ClientCost(examples=size, rounds=turn, epsilon_rdp=one)
                             for size, turn, one in zip(self.sizes, turns, quick, strict=True)),
            gradients=None if self.method is None else Clipping(
                ghost=self.method.ghost, layers=self.method.layers, reason=self.method.reason),
            steps=self._options()))

  def most_ledger(self, rounds):
    return dataclasses.replace(self, sampler=base.everyone(len(self.sizes))).ledger(rounds)

  def _options(self):
    """Returns the differences from plain private SGD, for the ledger."""
    return PrivateSteps(
        noise=None if self.noise.kind == 'independent' else self.noise.describe(),
        count_stddev=self.quantile.count_stddev if self.quantile else None,
        sum_noise_multiplier=self.quantile.sum_noise_multiplier(self.noise_multiplier) if self.quantile else None,
        views=None if self.views == example_views.Views() else dataclasses.asdict(self.views),
        average=self.average or None)

  def _largest_epsilon(self, quick, turns):
    """Returns the largest epsilon of any client, and the accountant; uses privacy loss distributions where possible.

    The client with the largest Renyi epsilon need not have the largest epsilon, but no client's epsilon exceeds the
    largest Renyi epsilon. So clients are evaluated in decreasing order of Renyi epsilon until no remaining client can
    change the maximum. After a few kinds of clients, the Renyi bound is used for the others.
    """
    kinds = {(size, turn): (epsilon, client) for client, (size, turn, epsilon) in enumerate(
        zip(self.sizes, turns, quick, strict=True)) if turn}
    largest = 0.0, Accountant.PLD
    for asked, (epsilon, client) in enumerate(sorted(kinds.values(), reverse=True)):
      if epsilon <= largest[0]:
        break
      if asked == _KINDS_ASKED:
        return epsilon, Accountant.RDP
      run = self.releases(client, turns[client])
      found = accounting.tightest(run.event(), self.delta, run.relation)
      largest = found if found[0] > largest[0] else largest
    return largest

  def final_ledger(self, rounds):
    found = super().final_ledger(rounds)
    if len(self.sizes) > _EXACT_CLIENTS:
      return found
    costs = tuple(dataclasses.replace(one, epsilon=self.client_epsilon(client, one.rounds))
                  for client, one in enumerate(found.per_client))
    return dataclasses.replace(found, examples=dataclasses.replace(found.examples, per_client=costs))

  def promise(self, rounds):
    runs = {self.releases(client, turns) for client, turns in enumerate(self._turns(rounds)) if turns}
    if not runs:
      return None
    return profiles.Promise(events=tuple(run.event() for run in runs), relation=next(iter(runs)).relation,
                            population=max(self.sizes))

  def client_epsilon(self, client: int, turns: int) -> float:
    """Returns epsilon of `turns` rounds for an example of one client, by PLD accounting; 0 if it never trained."""
    if not turns:
      return 0.0
    run = self.releases(client, turns)
    return accounting.tightest(run.event(), self.delta, run.relation)[0]

  def spent(self, rounds):
    clients = list(zip(self.sizes, self._turns(rounds), strict=True))
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(clients))}
    found = [privacy_losses.Loss(event=self.releases(self.sizes.index(size), turns).event() if turns
                                 else dp_accounting.NoOpDpEvent()) for size, turns in kinds]
    return privacy_losses.Spent(unit=Unit.EXAMPLE, kinds=tuple(found),
                                kind_of=tuple(kinds[client] for client in clients))

  def _turns(self, rounds):
    # A repeated round is a second release, because clients draw fresh noise.
    counted = collections.Counter(int(client) for number in self.past.sent(rounds) for client in self.sampler(number))
    counted.update(client for _, clients in self.past.again for client in clients)
    return [counted[client] for client in range(len(self.sizes))]


def one_each(loss_fn: tf.keras.losses.Loss) -> tf.keras.losses.Loss:
  """Returns the loss without reduction: one value for each example."""
  loss = copy.copy(loss_fn)  # Not `from_config`: a user's loss may keep parameters that its config does not hold.
  loss.reduction = tf.keras.losses.Reduction.NONE
  return loss


def by_loop(method: clipped.Method) -> clipped.Method:
  """Returns the method for a loss that may mix the examples of a batch; in a batch of one, it cannot."""
  if not method.ghost:
    return method
  return clipped.Method(ghost=False, layers={},
                        reason='nothing shows that the loss, which is not built in, keeps examples apart')


_KINDS_ASKED = 6
_EXACT_CLIENTS = 20  # Each takes seconds to compute.


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> ExampleDpSgd:
  """Returns the plan of `example_dp_sgd`.

  Raises:
    ValueError: delta is too large to give the largest client a guarantee, or the budget cannot be met.
  """
  delta = budget_question.chosen_delta(privacy.delta, max(run.counts))
  plan = ExampleDpSgd(
      sampler=sampler, sizes=run.counts, clip_norm=privacy.clip_norm, noise_multiplier=privacy.noise_multiplier or 0.0,
      delta=delta, batch_size=run.client.batch_size, epochs=run.client.client_epochs, sampling=privacy.example_sampling,
      views=example_views.Views(copies=privacy.example_copies, shift=privacy.example_shift,
                                mirror=privacy.example_mirror),
      quantile=_quantile(privacy, run.client.batch_size), average=privacy.example_average)
  turns = plan._turns(run.rounds)
  plan = dataclasses.replace(plan, noise=example_noise.build(privacy, run.client, run.counts, max(1, *turns, 1), delta))
  if privacy.target_epsilon is not None:
    plan = dataclasses.replace(plan, noise_multiplier=_calibrated(plan, turns, privacy.target_epsilon))
  if plan.quantile:
    plan.quantile.sum_noise_multiplier(plan.noise_multiplier)
  return plan


def _calibrated(plan, turns, target_epsilon):
  """Returns the least noise for which no client's examples exceed the target epsilon."""
  found = 0.0
  # The most turns and the highest rate may belong to different clients, so each kind of client is checked.
  for client in {(size, turn): number for number, (size, turn) in enumerate(
      zip(plan.sizes, turns, strict=True)) if turn}.values():
    # The accountant uses the white noise divided by a sensitivity.
    once = dataclasses.replace(plan, noise_multiplier=1.0).releases(client, turns[client]).noise_multiplier
    released = dataclasses.replace(plan, noise_multiplier=max(found, 1e-9)).releases(client, turns[client])
    if found == 0.0 or released.epsilon(plan.delta) > target_epsilon:
      found = calibration.noise_multiplier(released, target_epsilon, plan.delta) / once
  return found


def _quantile(privacy, batch_size):
  if not privacy.example_adaptive_clip:
    return None
  return noised_mean.QuantileClip(quantile=privacy.target_quantile, learning_rate=privacy.clip_learning_rate,
                                  count_stddev=privacy.count_stddev or batch_size / 20)


@functools.lru_cache(maxsize=4096)
def _quick_epsilon(run, delta):
  return accounting.epsilon_rdp(run.event(), delta, run.relation, accounting.QUICK_ORDERS)
