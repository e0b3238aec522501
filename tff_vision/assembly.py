"""The parts of a run put together: one learning process, and what it is given for each client.

From the innermost layer outwards: the algorithm's client work, reading of data on workers, late arrivals, attacks on
updates, error feedback of a compression, the aggregation with its secure sum, and the states that clients keep.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import catalogue, configs, plugins, protocols, tasks, told
from tff_vision.aggregation import codecs, error_feedback, secured
from tff_vision.audit import canary_data
from tff_vision.client_state import driver, store
from tff_vision.configs import runtime_config
from tff_vision.data import attacked, images
from tff_vision.learning import attacked_work, client_data, composition, evaluation, local_training
from tff_vision.learning import learning_process as process
from tff_vision.learning import personal as personal_lib
from tff_vision.privacy import canaries
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.tff_internals import intrinsics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """The parts that a training loop runs.

  Attributes:
    data: The input of `process.next` for each client.
    shown: The parts of the server's state, beside the model, that are sent to clients, as tensors.
    own_models: The clients' own models, if the algorithm has them.
    kept: Whether clients keep state between rounds.
    bare: The process without the clients' kept state; `shared` wraps it for another run.
    states: The states that clients keep between rounds; None: clients keep none.
    reads_share: Whether the server reads which share of the clients' weights takes part.
    numbered: Whether the process depends on the number of clients.
  """
  process: protocols.Process
  data: protocols.ClientData
  shown: Sequence[Any]
  own_models: personal_lib.KeptModels | None
  kept: bool
  bare: protocols.Process
  states: store.Store | None
  reads_share: bool
  numbered: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Builder(protocols.BuildProcess):
  """Builds a run's process around an aggregator.

  Attributes:
    layers: Wrap the client work, the innermost layer first.
    reads: The reader of examples, where clients' examples are read on their workers.
  """
  config: configs.ExperimentConfig
  task: tasks.Task
  plan: plan_lib.PrivacyPlan
  layers: Sequence[protocols.Layer] = ()
  reads: client_data.WorkerData | None = None

  def __call__(self, *, aggregator: protocols.Aggregator, client_work_layer: protocols.Layer = protocols.unchanged,
               beside: told.Beside = told.IN_THE_CLEAR) -> composition.Composed:

    def layered(client_work):
      for layer in (*self.layers, client_work_layer):
        client_work = layer(client_work)
      return client_work

    made = process.build_process(
        self.task, algorithm=self.config.algorithm, client=self.config.client, server=self.config.server,
        schedule=self.config.schedule, rounds=self.config.program.rounds, private_training=self.plan.client_work,
        aggregator=aggregator, beside=beside, client_work_layer=layered)
    return made if self.reads is None else self.reads.read_on_workers(made)


def assemble(config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
             runtime: runtime_config.RuntimeConfig, client_states: pathlib.Path, place: protocols.Place,
             among: canaries.Canaries | None = None) -> Parts:
  """Builds the process of a run.

  Args:
    client_states: Folder of the states that clients keep between rounds.
    place: The open runtime.
    among: The canaries among the task's clients, or among their examples; None: there are none.

  Raises:
    ValueError: The parts do not fit together.
  """
  chosen = process.algorithm_of(task, config.algorithm, config.client)
  if plugins.is_own(config.algorithm.algorithm, catalogue.names('algorithm')):
    config.check(instead={'algorithm': chosen.row})  # Only now is the object known that a reference names.
  layers: list[protocols.Layer] = []
  if config.attack.attack in attacked_work.UPDATE_ATTACKS:
    layers.append(attacked_work.with_factors)
  if config.aggregation.compression == 'top_k':
    layers.append(_remembering(config.aggregation))
  if among is not None and not config.privacy.of_examples:
    layers.append(functools.partial(canary_data.crafting, canaries=among.number, clip_norm=config.privacy.clip_norm))
  read = _client_data(task, runtime)
  build = Builder(config=config, task=task, plan=plan, layers=layers,
                  reads=read if isinstance(read, client_data.WorkerData) else None)
  made = secured.build_process(config.secure, plan, build, aggregation=config.aggregation, place=place,
                               tells=process.tells(task, config.algorithm), rounds=config.program.rounds)
  require_executable(made, config.aggregation, place)
  if among is not None:
    _check_canaries(config, task, among, made.sent_length)
  kept = process.kept_at_first(task, config.algorithm, config.client)
  if config.aggregation.compression == 'top_k':
    kept = np.zeros(made.sent_length, np.float32)
  states = None if kept is None else store.Store(client_states, kept, wiped=config.promises)
  return _with_states(Parts(
      process=made, bare=made, data=_layered_data(read, chosen, config, task, plan, among), own_models=None,
      kept=kept is not None, states=states, reads_share=chosen.reads_share, numbered=chosen.numbered,
      shown=process.shown(task, chosen)), chosen, task, config)


def require_executable(made: protocols.Process, aggregation: configs.AggregationConfig, place: protocols.Place | None
                       ) -> None:
  """Refuses an aggregator of one's own that executors at `place` cannot run; a context that the caller has set may.

  Raises:
    ValueError: The aggregator asks for what they do not have.
  """
  if place is not None and isinstance(made, composition.Composed) and plugins.is_own(
      aggregation.aggregator, catalogue.names('aggregator')):  # To look through a round takes 0.3 s.
    intrinsics.require_executable(made.round)


def shared(parts: Parts, config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
           runtime: runtime_config.RuntimeConfig, client_states: pathlib.Path) -> Parts:
  """Returns the parts of another run that uses the process of `parts`, which is compiled already.

  Args: As in `assemble`. The model, the kind of images, and all work of clients and server must be the same.
  """
  states = None if parts.states is None else parts.states.moved(client_states)
  chosen = process.algorithm_of(task, config.algorithm, config.client)
  return _with_states(dataclasses.replace(
      parts, data=_layered_data(_client_data(task, runtime), chosen, config, task, plan), states=states),
                      chosen, task, config)


def _with_states(parts, chosen, task, config):
  """Returns the parts, with process and data wrapped to handle the states that clients keep."""
  if parts.states is None:
    return parts
  own_models = personal_lib.KeptModels(algorithm=chosen, store=parts.states, task=task, joins=not config.promises
                                       ) if chosen.personal else None
  return dataclasses.replace(parts, process=driver.KeptStateProcess(parts.bare, parts.states),
                             data=driver.NumberedData(parts.data), own_models=own_models)


def of_other_clients(parts: Parts, config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
                     client_states: pathlib.Path | None) -> Parts:
  """Returns the parts with the clients of `task`, whose images the driver sends; what they keep begins anew.

  Args:
    client_states: As in `assemble`; None: the clients keep nothing.
  """
  chosen = process.algorithm_of(task, config.algorithm, config.client)
  data = _layered_data(client_data.SentData(task=task), chosen, config, task, plan)
  states = None if client_states is None or parts.states is None else parts.states.moved(client_states)
  return _with_states(dataclasses.replace(parts, data=data, states=states), chosen, task, config)


def fed(parts: Parts, data: Any) -> Parts:
  """Returns the parts with other data of the same clients, who keep what they have."""
  return dataclasses.replace(parts, data=data if parts.states is None else driver.NumberedData(data))


def _layered_data(data, chosen, config, task, plan, among=None):
  """Returns the input of the process for each client, without the clients' kept state; `data`: the clients' images."""
  if among is not None and config.privacy.of_examples:
    data = canary_data.SlottedData(data, among, len(task.images.train))
  if chosen.late:
    data = client_data.LateData(data, plan.begun)
  if chosen.numbered:
    data = client_data.OwnNumberData(data)
  if config.attack.attack in attacked_work.UPDATE_ATTACKS:
    attackers = attacked.attackers(config.attack, len(task.images.train), seed=config.program.seed)
    data = attacked_work.FactorData(data, config.attack, attackers)
  if among is not None and not config.privacy.of_examples:
    data = canary_data.MarkedData(data, config.privacy.privacy, among)
  return data


def _check_canaries(config, task, among, sent_length):
  """Raises ValueError where the audit could not observe a canary."""
  length = sum(weight.shape.num_elements() for weight in task.keras_model().trainable_weights)
  canaries.require_room(length, among.number)
  if sent_length != length:
    raise ValueError(f'audit_canaries={among.number} does not go with algorithm='
                     f'{plugins.shown(config.algorithm.algorithm)}, which sends {sent_length} numbers: a canary is '
                     f'seen in the {length} weights that are trained, and nowhere else.')


def counted(problem: tasks.Problem, runtime: runtime_config.RuntimeConfig, place: protocols.Place,
            known: Sequence[int] = ()) -> tasks.Problem:
  """Returns the problem with each client's number of examples as its worker counts it.

  The problem is unchanged if the coordinator sends the examples, or if nobody may know these numbers. Sampling rates,
  steps, weights and the bounds on what clients send follow from these numbers.

  Args:
    place: The open runtime.
    known: The numbers of an earlier part of the run, for clients that cannot be reached or whose file is missing now.
      Without them the local copies are counted, and a worker that comes back with another number refuses.

  Raises:
    ValueError: A number is not known, and this machine has no copies.
  """
  if runtime.data_placement != 'worker':
    return problem
  copies = problem.images.train
  if not copies.counted:
    return problem
  found = dict(enumerate(known)) | dict(_client_data(problem, runtime).count(place))
  if not copies.here:
    if missing := [name for client, name in enumerate(copies.client_ids) if client not in found]:
      raise ValueError(f'nobody says how many examples {", ".join(missing[:12])} {"have" if missing[1:] else "has"}: '
                       'the worker cannot be reached, or has no file of that client; this machine has no copies.')
    return dataclasses.replace(problem, images=dataclasses.replace(problem.images, train=images.CountedClients(
        copies=copies, counts=[found[client] for client in range(len(copies))])))
  counts = [found.get(client, copies.num_examples(client)) for client in range(len(copies))]
  if np.array_equal(counts, copies.sizes):
    return problem
  notes = [*problem.images.notes, images.Counted(
      'Some clients have another number of examples on their workers than in the copies here: what their workers have '
      'counts.')]
  return dataclasses.replace(problem, images=dataclasses.replace(
      problem.images, train=images.CountedClients(copies=copies, counts=counts), notes=notes))


def personalize(config: configs.ExperimentConfig, task: tasks.Task, runtime: runtime_config.RuntimeConfig,
                place: protocols.Place, weights: tff.learning.models.ModelWeights, evaluator: evaluation.Evaluator
                ) -> Mapping[str, Any] | None:
  """Returns the metrics of the final model after each client fine-tuned it; None if config does not ask for that."""
  if not config.algorithm.personalize_epochs:
    return None
  rate, client = config.algorithm.personalize_learning_rate, config.client
  if rate is not None:
    client = dataclasses.replace(client, client_learning_rate=rate)
  models = personal_lib.fine_tuned(
      task, local_training.LocalOptimization(client=client), weights, data=_client_data(task, runtime),
      epochs=config.algorithm.personalize_epochs, round_num=config.program.rounds + 1, cohort=place.cohort)
  return personal_lib.compare(evaluator, task.images.test, weights, models)


def _client_data(task, runtime):
  if runtime.data_placement == 'worker':
    return client_data.WorkerData(task=task, folder=runtime.worker_data_dir)
  return client_data.SentData(task=task)


def _remembering(config):
  """Returns the layer for compression with error feedback: clients keep what compression left out."""
  def remembering(client_work):
    return error_feedback.with_error_feedback(client_work, lambda length: codecs.build_codec(config, length))
  return remembering
