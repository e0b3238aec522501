"""An experiment whose clients do something else than learn from images: a game that they play, a sensor that they read.

What a client does is a `Learner`; cohorts, the server's step, aggregation and secure sums are those of images.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import assembly, catalogue, configs, protocols, told
from tff_vision.aggregation import secured
from tff_vision.configs import compatibility
from tff_vision.experiment import trainer
from tff_vision.learning import learning_process
from tff_vision.privacy import plan as plan_lib


class Learner(protocols.ClientData, Protocol):
  """What is learned, and what a client does for it in a round.

  Attributes:
    tells: The measurements that clients can send with their updates, and the largest weight of one client; public.
  """
  tells: told.Told

  def keras_model(self) -> tf.keras.Model:
    """Returns a fresh model."""

  def first_weights(self) -> tff.learning.models.ModelWeights:
    """Returns the model of round 0."""

  def client_work(self, beside: told.Beside) -> tff.learning.templates.ClientWorkProcess:
    """Returns the client work; `beside` says what clients return with their update, see `local_training.returned`."""

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that can take part."""

  def request(self, client: int, round_num: int) -> Any:
    """Returns the input of the client work for `client`: a pure function of `client` and `round_num`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnWork:
  """An experiment around a `Learner`. Nothing is promised to clients but what a secure sum hides.

  Attributes:
    population: The number of clients.
    participation: As in `Experiment`; the same holds for the other attributes.
  """
  learner: Learner
  population: int
  participation: configs.CohortConfig = configs.CohortConfig()
  server: configs.ServerConfig = configs.ServerConfig()
  secure_sum: configs.SecureConfig = configs.SecureConfig()
  aggregator: configs.AggregationConfig = configs.AggregationConfig()
  rounds: int = 80
  seed: int = 0

  def __post_init__(self):
    compatibility.check(self.participation, self.secure_sum, self.aggregator, self.server,
                        more={'client work of one\'s own': (catalogue.Trait.PLAYS,)})

  @functools.cached_property
  def plan(self) -> plan_lib.PrivacyPlan:
    """The plan, which says who takes part."""
    return plan_lib.build_plan(
        configs.PrivacyConfig(), self.participation, population=self.population, rounds=self.rounds, seed=self.seed,
        cohort_size_bounds=secured.cohort_size_bounds(self.secure_sum))

  def check_run(self, run_dir: pathlib.Path) -> None:
    """Refuses a run in `run_dir` that the secure sum does not support. Raises: ValueError: Gives the reason."""
    secured.check_run(self.secure_sum, self.plan, rounds=self.rounds, run_dir=run_dir)

  def prepare(self, place: Any = None, *, on_workers: bool = False) -> 'OwnTraining':
    """Returns the experiment with its learning process built.

    Args:
      place: The open runtime; None: TFF's default context.
      on_workers: Whether the clients run in processes other than this machine's own executors.

    Raises:
      ValueError: The parts do not fit together.
    """
    process = secured.build_process(
        self.secure_sum, self.plan, functools.partial(
            learning_process.around, self.learner.client_work, self.learner.keras_model, server=self.server),
        tells=self.learner.tells, place=place, aggregation=self.aggregator, rounds=self.rounds)
    assembly.require_executable(process, self.aggregator, place)
    hidden = secured.describe(
        self.secure_sum, self.plan, clients=self.participation.cohort_size, tells=self.learner.tells,
        parameters_count=sum(weight.shape.num_elements() for weight in self.learner.keras_model().trainable_weights),
        on_workers=on_workers, rounds=self.rounds, plays=() if place is None else place.plays)
    return OwnTraining(made=self, built=process, secure_sum=hidden, place=place)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnTraining(trainer.Trainer):
  """The training of an `OwnWork`."""
  made: OwnWork
  built: Any
  secure_sum: Mapping[str, Any]
  place: Any = None

  @property
  def process(self) -> Any:
    return self.built

  @property
  def data(self) -> Any:
    return self.made.learner

  @property
  def plan(self) -> plan_lib.PrivacyPlan:
    return self.made.plan

  @property
  def population(self) -> int:
    return self.made.population

  def first_weights(self) -> tff.learning.models.ModelWeights:
    """Returns the model of round 0."""
    return self.made.learner.first_weights()
