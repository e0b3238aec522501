"""Rounds one call at a time, for programs that choose cohorts, data or the end themselves and need no folder of a run.

    with runtimes.open_runtime(experiment.runtime) as place:
      trainer = experiment.trainer(place)
      state = trainer.begin()
      for round_num in range(1, experiment.rounds + 1):
        state = trainer.next(state, round_num).state
      print(trainer.evaluate(state)['evaluation'])
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_vision import assembly, configs, tasks
from tff_vision.client_state import store
from tff_vision.experiment import definition, planning, running
from tff_vision.learning import attacked_work, evaluation
from tff_vision.privacy import plan as plan_lib

# Of these sections of a config, what the compiled process does not depend on.
_DATA_ONLY = {'data': None, 'cohort': None, 'program': ('seed', 'rounds_per_evaluation'), 'attack': None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
  """A training whose learning process is built; it has no state of its own, and several may share the process.

  Attributes:
    process: Looks like a `tff.learning.templates.LearningProcess`.
    data: What `process.next` is given for each client, `request(client, round_num)`; `dataclasses.replace` puts data of
      one's own there.
    plan: Who takes part, what is clipped and noised, and what that costs.
    population: Number of clients.
    first_weights: Returns the model of round 0.
    secure_sum: What is hidden, with which parameters and sizes, as in report.json.
    place: The open runtime; None: TFF's own default context.
  """
  process: Any
  data: Any
  plan: plan_lib.PrivacyPlan
  population: int
  first_weights: Callable[[], tff.learning.models.ModelWeights]
  secure_sum: Mapping[str, Any]
  place: Any = None

  def begin(self) -> Any:
    """Returns the state before round 1."""
    return self.process.set_model_weights(self.process.initialize(), self.first_weights())

  def next(self, state: Any, round_num: int, cohort: Sequence[int] | None = None) -> Any:
    """Returns the output of one round: its `state`, and its `metrics` as TFF has them.

    Under differential privacy the plan's cohorts are the accounted ones, and `metrics` is for nobody else.

    Args:
      state: Of `begin` or of the round before; it stays good.
      round_num: From 1.
      cohort: The clients that take part, whoever the plan draws; None: those that it draws.
    """
    chosen: Any = self.plan.cohort(round_num) if cohort is None else cohort
    clients = [int(client) for client in chosen]
    with self._among(clients):
      return self.process.next(state, [self.data.request(client, round_num) for client in clients])

  def weights(self, state: Any) -> tff.learning.models.ModelWeights:
    """Returns the model of a state."""
    return self.process.get_model_weights(state)

  def _among(self, clients):
    if self.place is None:
      return contextlib.nullcontext()
    return self.place.cohort(clients, population=self.population)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTrainer(Trainer):
  """The trainer of an `Experiment`.

  Attributes:
    training: The experiment, its plan and its parts.
  """
  training: running.Training

  @property
  def task(self) -> tasks.Task:
    """Images and model, as the clients see them."""
    return self.training.planned.task

  @property
  def rounds(self) -> int:
    """How many the experiment has, or its budget pays for."""
    return self.training.planned.program.rounds

  @property
  def states(self) -> store.Store | None:
    """What clients keep between rounds; None: nothing."""
    return self.training.parts.states

  @property
  def evaluator(self) -> evaluation.Evaluator:
    """Carries the weights last evaluated."""
    return self.training.evaluator

  def evaluate(self, state: Any) -> dict[str, Any]:
    """Returns how good the model of a state is on the test set: the keys of report.json."""
    self.weights(state).assign_weights_to(self.evaluator.model)
    return self.evaluator.evaluate(self.task.images.test)


def prepare(made: definition.Definition, place: Any, client_states: str | os.PathLike[str] | None,
            like: ImageTrainer | None) -> ImageTrainer:
  """Builds the trainer of an experiment; see `Experiment.trainer`.

  Raises:
    ValueError: The parts do not fit, or the experiment cannot share the process of `like`.
  """
  planning.check(made)
  problem = made.problem if place is None else assembly.counted(made.problem, made.runtime, place)
  planned = planning.plan(made, problem)
  folder = pathlib.Path(tempfile.mkdtemp() if client_states is None else client_states)
  if like is None:
    training = running.Training.prepare(made, planned, place, folder)
  else:
    _check_alike(made, planned, like)
    parts = assembly.shared(like.training.parts, made.config, planned.task, planned.plan, made.runtime, folder)
    training = dataclasses.replace(like.training, made=made, planned=planned, parts=parts, place=place)
  trainer = ImageTrainer(
      process=training.parts.process, data=training.parts.data, plan=planned.plan, place=place,
      population=len(planned.task.images.train), first_weights=planned.task.initial_weights,
      secure_sum=training.secure_sum, training=training)
  if client_states is None:
    weakref.finalize(trainer, shutil.rmtree, folder, ignore_errors=True)
  return trainer


def _check_alike(made, planned, like):
  """Refuses a process that was built for something else.

  Raises:
    ValueError: Names it.
  """
  other = like.training.made
  for name in configs.sections():
    mine, theirs = ({field.name: getattr(getattr(config, name), field.name)
                     for field in dataclasses.fields(getattr(config, name)) if _matters(name, field.name)}
                    for config in (made.config, other.config))
    if differing := sorted(field for field in mine if mine[field] != theirs[field]):
      raise ValueError(f'like: the process was built for another {differing[0]}; build one for this experiment.')
  both = [planned.task.images, like.task.images]
  if both[0].spec != both[1].spec or both[0].preprocessing != both[1].preprocessing:
    raise ValueError('like: the process was built for images of another kind; build one for this experiment.')
  attacks = [one.config.attack.attack in attacked_work.UPDATE_ATTACKS for one in (made, other)]
  if attacks[0] != attacks[1]:
    raise ValueError('like: the process was built for another attack; build one for this experiment.')
  # Noise, bounds of what is hidden, and a server that reads the share of the clients' weights count on sizes.
  counts = made.config.promises or like.training.parts.reads_share
  sizes = [[part.train.num_examples(client) for client in range(len(part.train))] for part in both]
  if counts and sizes[0] != sizes[1]:
    raise ValueError('like: the process counts on the numbers of the clients\' examples, which are others here; build '
                     'one for this experiment.')


def _matters(section, field):
  ignored = _DATA_ONLY.get(section, ())
  return ignored is not None and field not in ignored
