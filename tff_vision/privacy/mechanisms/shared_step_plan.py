"""Example-level privacy with noise that clients share: private SGD on the examples of all clients together.

`example_distributed`: in each round every client sends the sum of the clipped gradients of one secret batch, with a
share of the noise, inside a secure sum. The server takes the step. With `example_dp_sgd` every client adds the whole
noise by itself, several steps a round, and needs no secure sum; here the noise of all clients together is that of one,
so a mean over k clients has noise smaller by a factor of sqrt(k), and a step costs a round.

The opened sum is protected against everyone who sees it, the server too. A client knows its own share, so a client
together with the server faces less noise than is accounted.
"""

import dataclasses
import functools

import dp_accounting

from tff_vision import configs
from tff_vision.accounting import accounting, privacy_losses, profiles
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.accounting.ledger import Ledger
from tff_vision.accounting.ledger_parts import ClientCost, Clipping, PerExample
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import budget_question
from tff_vision.privacy.ghost import clipped, penalties
from tff_vision.privacy.mechanisms import base, distributed_plan, example_plan, shared_step
from tff_vision.privacy.noise import example_shares


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleDistributed(distributed_plan.Distributed):
  """Clipped gradients of one batch a round, and noise shares on clients.

  Attributes:
    clip_norm: L2 bound on one example's gradient.
    noise_multiplier: Standard deviation of the noise in the sum over the largest change by one example.
    sizes: The number of examples of each client, public.
    batch_size: The expected examples of an average client's batch; all examples have the same probability.
    method: How gradients are clipped, once the model is known.
  """
  sizes: tuple[int, ...]
  batch_size: int
  method: clipped.Method | None = None

  @property
  def rate(self) -> float:
    """The probability with which each example of each client is in the batch of a round."""
    return min(1.0, self.batch_size * len(self.sizes) / sum(self.sizes))

  @property
  def example_counts(self):
    return self.sizes

  @functools.cached_property
  def shares(self) -> example_shares.ExampleShares:
    return example_shares.fit(offset=2**(self.value_bits - 1) - 1, length=self.length,
                              noise_multiplier=self.noise_multiplier, survivors=self.survivors)

  def sum_encoding(self):
    return shared_step.ExampleShareEncoding(value_bits=self.value_bits, clip_norm=self.clip_norm, shares=self.shares)

  def for_model(self, model, input_spec):
    found = dataclasses.replace(self, method=clipped.examine(model, input_spec))
    return distributed_plan.Distributed.for_model(found, model, input_spec)

  def for_loss(self, loss, labels, outputs, *, separable):
    penalties.check_loss(example_plan.one_each(loss), labels, outputs)
    return self if separable else dataclasses.replace(self, method=example_plan.by_loop(self.method))

  def client_data(self, client):
    # Each example is read once: the step draws its own batch.
    return dataclasses.replace(client, client_epochs=1)

  def client_work(self, keras_model_fn, loss_fn, reader, optimizer):
    del optimizer  # The server takes the step.
    return shared_step.build_client_work(keras_model_fn, example_plan.one_each(loss_fn), reader, self.step)

  @property
  def step(self) -> shared_step.SharedStep:
    """A client's part of a step; known once the model and the secure sum are known."""
    return shared_step.SharedStep(clip_norm=self.clip_norm, rate=self.rate, batch_size=self.batch_size,
                                  ghost=self.method.ghost, shares=self.shares)

  def event(self, turns: tuple[tuple[int, int], ...]) -> dp_accounting.DpEvent:
    """Returns the releases that an example pays for, if its client took part so often in sums of so many clients.

    Args:
      turns: ((clients in the sum, number of such sums), ...).
    """
    return dp_accounting.ComposedDpEvent(tuple(dp_accounting.SelfComposedDpEvent(dp_accounting.PoissonSampledDpEvent(
        self.rate, dp_accounting.GaussianDpEvent(self.shares.accounted(clients))), count) for clients, count in turns))

  def quick_epsilon(self, rounds):
    return max((_quick_epsilon(self.event(turns), self.delta) for turns in self._turns(rounds)), default=0.0)

  def promise(self, rounds):
    turns = self._turns(rounds)
    return profiles.Promise(events=tuple(map(self.event, turns)), relation=Relation.ADD_OR_REMOVE_ONE,
                            population=sum(self.sizes)) if turns else None

  def ledger(self, rounds):
    turns = self._turns_of_clients(rounds)
    quick = {turn: _quick_epsilon(self.event(turn), self.delta) if turn else 0.0 for turn in set(turns)}
    worst = max(quick, key=quick.__getitem__, default=())
    epsilon, accountant = accounting.tightest(self.event(worst), self.delta) if worst else (0.0, Accountant.PLD)
    return Ledger(
        mechanism='example_distributed', epsilon=epsilon, epsilon_rdp=quick.get(worst, 0.0), delta=self.delta,
        unit=Unit.EXAMPLE, relation=Relation.ADD_OR_REMOVE_ONE, against_server=True, accountant=accountant,
        rounds=rounds,
        sampling=Sampling(Scheme.POISSON, f'each example of a client with probability {self.rate:.4g} a round'),
        noise_multiplier=self.noise_multiplier, clip_norm=self.clip_norm,
        replayed_rounds=len(self.past.replayed) + len(self.past.again),
        rounding_adds_to_sensitivity=self.shares.sensitivity / self.shares.clip_steps - 1,
        shares=self._stated_shares(rounds, min((clients for clients, _ in worst), default=None)),
        examples=PerExample(
            per_client=tuple(ClientCost(examples=size, rounds=sum(count for _, count in turn), epsilon_rdp=quick[turn])
                             for size, turn in zip(self.sizes, turns, strict=True)),
            gradients=None if self.method is None else Clipping(
                ghost=self.method.ghost, layers=self.method.layers, reason=self.method.reason)))

  def spent(self, rounds):
    turns = self._turns_of_clients(rounds)
    kinds = {turn: number for number, turn in enumerate(dict.fromkeys(turns))}
    return privacy_losses.Spent(
        unit=Unit.EXAMPLE, kind_of=tuple(kinds[turn] for turn in turns),
        kinds=tuple(privacy_losses.Loss(event=self.event(turn) if turn else dp_accounting.NoOpDpEvent())
                    for turn in kinds))

  def _calibrated(self):
    # The quick epsilon is never below that of the ledger, and seldom far above it.
    quick = self._least(1e-2, 1e4, lambda plan: plan.quick_epsilon(self.rounds)).noise_multiplier
    return self._least(0.8 * quick, quick, lambda plan: plan.ledger(self.rounds).epsilon)

  def _turns_of_clients(self, rounds) -> list[tuple[tuple[int, int], ...]]:
    """Returns for each client how often it took part in a sum of each size: ((clients, count), ...)."""
    counted = self._counted(rounds)
    return [tuple(sorted(counted[client].items())) if client in counted else () for client in range(len(self.sizes))]


@functools.lru_cache(maxsize=1024)
def _quick_epsilon(event, delta):
  return accounting.epsilon_rdp(event, delta)


def build(privacy: configs.PrivacyConfig, sampler: cohort_sampling.Cohort, run: base.Run) -> ExampleDistributed:
  """Returns the plan of `example_distributed`.

  `noise_survivors` and the floor are as for `distributed_plan.build`.

  Raises:
    ValueError: delta is too large to give a guarantee, a client has no example, or in no round do enough deliver.
  """
  if not min(run.counts):
    raise ValueError(f'privacy={privacy.privacy}: a client has no examples.')
  found = distributed_plan.build(privacy, sampler, run)
  return ExampleDistributed(
      **{field.name: getattr(found, field.name) for field in dataclasses.fields(found) if field.name != 'denominator'
         and field.name != 'delta'}, delta=budget_question.chosen_delta(privacy.delta, sum(run.counts)),
      denominator=run.cohort_size * run.client.batch_size, sizes=run.counts, batch_size=run.client.batch_size)
