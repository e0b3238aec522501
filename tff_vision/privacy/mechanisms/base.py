"""The base of privacy plans: participation, aggregation and cost."""

import abc
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs, told
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.accounting import privacy_losses, profiles
from tff_vision.participation import cohort_sampling, device_rounds
from tff_vision.privacy.mechanisms import past as past_lib


class ExamplesReader(Protocol):
  """Reads a client's examples inside the client's computation; see `tff_vision.data.batches`."""

  @property
  def element_spec(self) -> Mapping[str, tf.TensorSpec]:
    """The element spec of a client's data set, which has one element."""

  def open(self, dataset: tf.data.Dataset) -> Any:
    """Returns an object whose `one_epoch()` gives (model input, labels) of each example once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
  """The training run for which a plan is built.

  Attributes:
    population: Number of clients.
    cohort_size: The (expected) number of clients in a round.
    rounds: Number of rounds; some mechanisms calibrate their noise for it.
    sizes: [clients] the number of examples of each client; used only for example-level privacy.
    client: Local batches and epochs; used only for example-level privacy.
    secret: A random key of 32 bytes. It determines what a reader of the released models must not know: the random
      cohorts on which privacy amplification relies, and the noise on metrics.
  """
  population: int
  cohort_size: int
  rounds: int
  sizes: Sequence[int] | np.ndarray
  client: configs.ClientConfig
  secret: bytes = dataclasses.field(repr=False)

  @property
  def counts(self) -> tuple[int, ...]:
    """`sizes`, for the plans that charge each client by its own."""
    return tuple(map(int, self.sizes))


Past = past_lib.Past


class NoAggregator(enum.Enum):
  """Marks a plan that needs no step in the aggregation, so any aggregation can be used."""
  NO_AGGREGATOR = enum.auto()


NO_AGGREGATOR = NoAggregator.NO_AGGREGATOR


class PrivacyPlan(abc.ABC):
  """How clients are sampled, and the privacy guarantee that they get."""

  @abc.abstractmethod
  def cohort(self, round_num: int) -> np.ndarray:
    """Returns the clients of a round, as sorted indices."""

  @abc.abstractmethod
  def aggregator(self, sum_factory: tff.aggregators.UnweightedAggregationFactory | None
                 ) -> tff.aggregators.UnweightedAggregationFactory | NoAggregator:
    """Returns one factory that clips, sums, adds noise and divides; `NO_AGGREGATOR` if none of this is needed.

    Args:
      sum_factory: Sums clipped float32 updates so that the server does not see them; None sums in the clear.

    Raises:
      ValueError: The mechanism does not support a hidden sum.
    """

  @property
  def fewest_clients(self) -> int:
    """The fewest clients whose secure sum may be opened; a sum over one client would reveal its update."""
    return 2

  @property
  @abc.abstractmethod
  def update_bound(self) -> float | None:
    """The L2 bound to which updates are clipped before they are summed, or None."""

  @abc.abstractmethod
  def ledger(self, rounds: int) -> ledger_lib.Statement:
    """Returns the privacy cost of `rounds` rounds, with every condition that the number depends on."""

  def final_ledger(self, rounds: int) -> ledger_lib.Statement:
    """Returns the `ledger` of a finished run, including parts that are too slow for every round (the `profile`)."""
    found, promise = self.ledger(rounds), self.promise(rounds) if rounds else None
    if promise is None or isinstance(found, ledger_lib.NoGuarantee):
      return found
    return dataclasses.replace(found, profile=profiles.section(promise, found.delta, unit=found.unit))

  def most_ledger(self, rounds: int) -> ledger_lib.Statement:
    """Returns the `ledger` of as many begun rounds, of which the plan may know fewer, at its worst.

    Where clients draw the noise, it holds whoever chooses the cohorts. Where the server does, which chooses them, it
    holds for the cohorts of the plan. Rounds beyond those that the plan knows are repetitions.
    """
    return self.ledger(rounds)

  def promise(self, rounds: int) -> profiles.Promise | None:
    """Returns the privacy cost of `rounds` rounds at every delta; None without a mechanism."""
    del rounds
    return None

  @property
  @abc.abstractmethod
  def releases_exact_metrics(self) -> bool:
    """Whether training metrics and attendance may be released without noise."""

  @property
  def measured(self) -> told.Measured:
    """Which training measurements a client may send to the aggregator."""
    return told.Measured.NOTHING

  def released_metrics(self, metrics: Mapping[str, Any], round_num: int) -> Mapping[str, float]:
    """Returns a round's training metrics with their own noise; empty unless the privacy cost includes them.

    Args:
      metrics: The exact metrics of the learning process.
    """
    del metrics, round_num
    return {}

  @property
  def clients_draw_noise(self) -> bool:
    """Whether a client that repeats a computation draws fresh noise, so that each repetition is a further release."""
    return False

  @property
  def example_counts(self) -> Sequence[int]:
    """The number of examples of each client that the guarantee assumes; empty if it assumes none."""
    return ()

  @property
  def built(self) -> tuple[Any, ...]:
    """What a process is made of that follows from clients, cohorts and seed; equal in plans that can share one."""
    return ()

  @property
  def hides_attendance(self) -> bool:
    """Whether the guarantee requires that nobody knows which clients took part in a round."""
    return False

  def quick_epsilon(self, rounds: int) -> float | None:
    """Returns epsilon of `rounds` rounds by Renyi accounting, fast enough for each round; None without a mechanism.

    It is never below the ledger's epsilon. A plan whose mechanism is one Gaussian may return the closed-form epsilon.
    """
    del rounds
    return None

  def spent(self, rounds: int) -> privacy_losses.Spent | None:
    """Returns the privacy cost of `rounds` rounds, for a budget over several runs; None without a guarantee."""
    del rounds
    return None

  def turn_mu(self) -> float | None:
    """Returns mu of one participation of a client in a known round, without sampling; None without a guarantee.

    For example-level privacy: mu of one step that is known to contain the example.
    """
    return None

  def attendance(self, round_num: int) -> Mapping[str, int]:
    """Returns the number of clients at each stage of a simulated round; empty without device simulation."""
    del round_num
    return {}

  def charged(self, past: Past) -> 'PrivacyPlan':
    """Returns a plan whose ledger accounts for the run's history; the plan itself if it gives no guarantee."""
    del past
    return self

  def with_fresh_noise(self, state: Any) -> Any:
    """Returns a learning process's state whose next rounds get noise independent of all earlier releases.

    Used for rounds whose checkpoints were lost after their outputs were seen. Returns the same state if no noise
    comes from the state.
    """
    return state

  def for_secure_sum(self, secure: configs.SecureConfig) -> 'PrivacyPlan':
    """Returns the plan for updates that are summed with these secure-aggregation settings.

    Raises:
      ValueError: The mechanism does not support these settings.
    """
    del secure
    return self

  def for_evaluations(self, *, noise_multiplier: float, every: int, once: int) -> 'PrivacyPlan':
    """Returns the plan of a run that also evaluates on held-out examples, with noise.

    Where an example is protected, held-out examples are others than those that are trained on, and have a ledger of
    their own; so this returns the plan itself.

    Args:
      noise_multiplier: Standard deviation of the noise over what one client, or example, changes.
      every: Rounds from one evaluation to the next.
      once: Evaluations after the last round.
    """
    del noise_multiplier, every, once
    return self

  def sum_encoding(self) -> Any:
    """Returns the encoding of updates as integers of a secure sum; None: `secure.fixed_point.Encoding`."""
    return None

  def begun(self, client: int, round_num: int) -> int:
    """Returns the round in which a client started training, if its update is counted in round `round_num`."""
    del client
    return round_num

  def for_model(self, model: tf.keras.Model, input_spec: tf.TensorSpec) -> 'PrivacyPlan':
    """Returns the plan for this model.

    Raises:
      ValueError: The plan's guarantee cannot hold for this model.
    """
    del model, input_spec
    return self

  def for_length(self, length: int) -> 'PrivacyPlan':
    """Returns the plan of clients that send `length` numbers in an update, which may be more than the model has.

    Raises:
      ValueError: The plan's guarantee holds for updates of another length only.
    """
    del length
    return self

  def for_loss(self, loss: tf.keras.losses.Loss, labels: tf.TensorSpec, outputs: tf.TensorSpec, *, separable: bool
               ) -> 'PrivacyPlan':
    """Returns the plan for a loss of (labels, outputs); `separable` if it is known to be a mean over examples.

    Raises:
      ValueError: The plan's guarantee cannot hold with this loss.
    """
    del loss, labels, outputs, separable
    return self

  def client_data(self, client: configs.ClientConfig) -> configs.ClientConfig:
    """Returns the settings by which a client's examples are fed to its training."""
    return client

  def client_work(self, keras_model_fn: Callable[[], tf.keras.Model], loss_fn: tf.keras.losses.Loss,
                  reader: ExamplesReader, optimizer: tff.learning.optimizers.Optimizer
                  ) -> tff.learning.templates.ClientWorkProcess | None:
    """Returns the clients' private training, or None if they train in the usual way."""
    del keras_model_fn, loss_fn, reader, optimizer
    return None

  def affordable_rounds(self, rounds: int, budget: float) -> int:
    """Returns how many of `rounds` rounds cost at most epsilon = `budget`, 0 if not even one does."""
    if self.ledger(rounds).epsilon <= budget:
      return rounds
    low, high = 0, rounds
    while high - low > 1:
      middle = (low + high) // 2
      low, high = (middle, high) if self.ledger(middle).epsilon <= budget else (low, middle)
    return low


def everyone(population: int) -> cohort_sampling.FixedCohort:
  """Returns a sampler of all clients, whose turns are the most that anyone can choose for a client."""
  return cohort_sampling.FixedCohort(population=population, size=population, seed=0)


def attendance_of(sampler: cohort_sampling.Cohort, round_num: int) -> Mapping[str, int]:
  """Returns `PrivacyPlan.attendance` of a sampler; empty unless the sampler simulates devices."""
  return sampler.counts(round_num) if isinstance(sampler, device_rounds.Participation) else {}
