"""What every privacy plan answers: who takes part, how updates are aggregated, what it costs."""

import abc
import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, told
from tff_vision.accounting import privacy_losses, profiles
from tff_vision.participation import cohort_sampling, device_rounds, late_arrivals


class ExamplesReader(Protocol):
  """How a client's computation gets at the examples that it is given; see `tff_vision.data.batches`."""

  @property
  def element_spec(self) -> Mapping[str, tf.TensorSpec]:
    """Of the one element of a client's data set."""

  def open(self, dataset: tf.data.Dataset) -> Any:
    """Returns an object whose `one_epoch()` is (model input, labels) of every example once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """What a plan is made for.

  Attributes:
    population: Number of clients.
    cohort_size: The (expected) number of clients in a round.
    rounds: The noise of some mechanisms is calibrated for so many.
    sizes: The number of examples of each client; read where the promise is to examples.
    client: Local batches and epochs; read where the promise is to examples.
    secret: 32 bytes that decide what a reader of the released models must not know: cohorts whose chance is counted
      on, and the noise on metrics.
  """
  population: int
  cohort_size: int
  rounds: int
  sizes: tuple[int, ...]
  client: configs.ClientConfig
  secret: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
  """What became of a run's rounds so far, where that changes what they cost.

  Attributes:
    replayed: Rounds that were begun more often than they count in the run, once for each time: not finished and run
      again, or begun after their end. Noise that clients draw anew makes each a further release.
    again: Of calls to workers that were made again although they may have been answered: the round, and the clients
      who may have computed in it once more. Told only where clients draw noise of their own.
    delivered: For finished rounds, how many clients' updates are in the sum.
    repeated: Of these, the rounds that were begun after their end, because a checkpoint was lost. The first output was
      public by then, so each is a further release whoever adds the noise.
  """
  replayed: tuple[int, ...] = ()
  again: tuple[tuple[int, tuple[int, ...]], ...] = ()
  delivered: Mapping[int, int] = dataclasses.field(default_factory=dict)
  repeated: tuple[int, ...] = ()

  def sent(self, rounds: int) -> list[int]:
    """Returns the rounds in which clients sent noised updates by the end of round `rounds`, once for each time."""
    return [*self._once(rounds), *self.replayed]

  def released(self, rounds: int) -> collections.Counter:
    """Returns how often each round's output was released by the server by the end of round `rounds`."""
    return collections.Counter([*self._once(rounds), *self.repeated])

  def _once(self, rounds):
    # A run that lost checkpoints may have finished rounds that are still ahead of it.
    return [*range(1, rounds + 1), *(number for number in self.delivered if number > rounds)]


class PrivacyPlan(abc.ABC):
  """How clients are sampled and what is promised to them."""

  @abc.abstractmethod
  def cohort(self, round_num: int) -> np.ndarray:
    """Returns the clients of a round, as sorted indices."""

  @abc.abstractmethod
  def aggregator(self, sum_factory: tff.aggregators.UnweightedAggregationFactory | None
                 ) -> tff.aggregators.UnweightedAggregationFactory | None:
    """Returns clipping, sum, noise and denominator in one, or None where updates need nothing of that.

    Args:
      sum_factory: Adds clipped float32 updates up, hidden from the server; None adds in the clear.

    Raises:
      ValueError: The mechanism does not go with a hidden sum.
    """

  @property
  def fewest_clients(self) -> int:
    """The fewest clients whose secure sum may be opened; the sum of one is that client's update."""
    return 2

  @property
  @abc.abstractmethod
  def update_bound(self) -> float | None:
    """The L2 bound to which updates are clipped before they are summed, or None."""

  @abc.abstractmethod
  def ledger(self, rounds: int) -> Mapping[str, Any]:
    """Returns what `rounds` rounds cost, with every condition that makes the number mean something."""

  def final_ledger(self, rounds: int) -> Mapping[str, Any]:
    """Returns `ledger` of a finished run, with what is too slow to compute in every round, such as its `profile`."""
    found, promise = dict(self.ledger(rounds)), self.promise(rounds) if rounds else None
    if promise is not None:
      found['profile'] = profiles.section(promise, found['delta'], unit=found['unit'])
    return found

  def promise(self, rounds: int) -> profiles.Promise | None:
    """Returns what `rounds` rounds cost at every delta; None without a mechanism."""
    del rounds
    return None

  @property
  @abc.abstractmethod
  def releases_exact_metrics(self) -> bool:
    """Whether training metrics and attendance, which no noise covers, may leave the round."""

  @property
  def measured(self) -> told.Measured:
    """What of its training a client may tell whoever adds up."""
    return told.Measured.NOTHING

  def released_metrics(self, metrics: Mapping[str, Any], round_num: int) -> Mapping[str, float]:
    """Returns what may be told of a round's training because noise of its own covers it; nothing unless paid for.

    Args:
      metrics: The learning process's own.
    """
    del metrics, round_num
    return {}

  @property
  def clients_draw_noise(self) -> bool:
    """Whether a client that computes something again has other noise, so that both are releases."""
    return False

  @property
  def example_counts(self) -> Sequence[int]:
    """The number of examples of each client that the promise counts on; empty if it counts on none."""
    return ()

  @property
  def promised_length(self) -> int | None:
    """How many numbers an update has of which the ledger's cost holds; None: of any."""
    return None

  @property
  def hides_attendance(self) -> bool:
    """Whether the promise counts on nobody knowing who took part in a round."""
    return False

  def quick_epsilon(self, rounds: int) -> float | None:
    """Returns epsilon of `rounds` rounds by Renyi accounting, for each round of a run; None without a mechanism.

    Never below the ledger's; where the mechanism is a Gaussian in closed form, it is that.
    """
    del rounds
    return None

  def spent(self, rounds: int) -> privacy_losses.Spent | None:
    """Returns what `rounds` rounds cost, for a budget over several runs; None where nothing is promised."""
    del rounds
    return None

  def turn_mu(self) -> float | None:
    """Returns mu of one turn of a client in a round that is known, without any sampling; None if none is promised.

    Where the promise is to examples: of one step that an example is known to be in.
    """
    return None

  def attendance(self, round_num: int) -> Mapping[str, int]:
    """Returns how many clients a round of simulated devices lost on the way; nothing where none are simulated."""
    del round_num
    return {}

  def charged(self, past: Past) -> 'PrivacyPlan':
    """Returns the plan whose ledger counts what happened; itself where nothing is promised."""
    del past
    return self

  def with_fresh_noise(self, state: Any) -> Any:
    """Returns a learning process' state whose next rounds get noise that owes nothing to what was released before.

    For rounds whose checkpoints were lost after their outputs were seen; itself where no noise comes from the state.
    """
    return state

  def for_secure_sum(self, secure: configs.SecureConfig) -> 'PrivacyPlan':
    """Returns the plan for updates that are summed so.

    Raises:
      ValueError: The mechanism does not go with it.
    """
    del secure
    return self

  def sum_encoding(self) -> Any:
    """Returns how updates become a secure sum's integers, like `secure.fixed_point.Encoding`, or None for that one."""
    return None

  def begun(self, client: int, round_num: int) -> int:
    """Returns the round in which a client began whose update round `round_num` takes."""
    del client
    return round_num

  def for_model(self, model: tf.keras.Model, input_spec: tf.TensorSpec) -> 'PrivacyPlan':
    """Returns the plan for this model.

    Raises:
      ValueError: The model cannot keep the plan's promise.
    """
    del model, input_spec
    return self

  def for_loss(self, loss: tf.keras.losses.Loss, labels: tf.TensorSpec, outputs: tf.TensorSpec, *, separable: bool
               ) -> 'PrivacyPlan':
    """Returns the plan for a loss of (labels, outputs); `separable` if it is known to be a mean over examples.

    Raises:
      ValueError: With this loss the plan cannot keep its promise.
    """
    del loss, labels, outputs, separable
    return self

  def client_data(self, client: configs.ClientConfig) -> configs.ClientConfig:
    """Returns how a client's examples reach its training."""
    return client

  def client_work(self, keras_model_fn: Callable[[], tf.keras.Model], loss_fn: tf.keras.losses.Loss,
                  reader: ExamplesReader, optimizer: tff.learning.optimizers.Optimizer
                  ) -> tff.learning.templates.ClientWorkProcess | None:
    """Returns the clients' private training, or None where they train as ever."""
    del keras_model_fn, loss_fn, reader, optimizer
    return None

  def affordable_rounds(self, rounds: int, budget: float) -> int:
    """Returns how many of `rounds` rounds cost at most epsilon = `budget`, 0 if not even one does."""
    if self.ledger(rounds)['epsilon'] <= budget:
      return rounds
    low, high = 0, rounds
    while high - low > 1:
      middle = (low + high) // 2
      low, high = (middle, high) if self.ledger(middle)['epsilon'] <= budget else (low, middle)
    return low


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoPrivacy(PrivacyPlan):
  """No promise."""
  sampler: cohort_sampling.Cohort

  def cohort(self, round_num):
    return self.sampler(round_num)

  def aggregator(self, sum_factory):
    del sum_factory
    return None

  @property
  def update_bound(self):
    return None

  def ledger(self, rounds):
    return {'mechanism': 'none'}

  @property
  def releases_exact_metrics(self):
    return True

  @property
  def measured(self):
    return told.Measured.EXACT

  def attendance(self, round_num):
    return attendance_of(self.sampler, round_num)

  def begun(self, client, round_num):
    if isinstance(self.sampler, late_arrivals.LateArrivals):
      return self.sampler.begun(round_num)[client]
    return round_num


def attendance_of(sampler: cohort_sampling.Cohort, round_num: int) -> Mapping[str, int]:
  """Returns `PrivacyPlan.attendance` of a sampler: nothing unless it simulates devices."""
  return sampler.counts(round_num) if isinstance(sampler, device_rounds.Participation) else {}
