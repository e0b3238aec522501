"""The parts of a run put together: one learning process, and what it is given for each client.

From the inside out: the algorithm's client work, reading of data on workers, late arrivals, attacks on updates, error
feedback of a compression, the aggregation with its secure sum, and the states that clients keep.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_vision import configs, plugins, tasks, told
from tff_vision.aggregation import codecs, error_feedback, flat, secured
from tff_vision.audit import canary_data
from tff_vision.client_state import driver, keeping, store
from tff_vision.configs import runtime_config
from tff_vision.data import attacked, images
from tff_vision.learning import attacked_work, client_data, evaluation, local_training
from tff_vision.learning import learning_process as process
from tff_vision.learning import personal as personal_lib
from tff_vision.privacy import canaries
from tff_vision.privacy import plan as plan_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
  """What a training loop runs.

  Attributes:
    process: Looks like a `tff.learning.templates.LearningProcess`.
    data: What its `next` is given for each client; a `program.loop.ClientData`.
    sent_length: How many numbers a client sends.
    shown: What clients are shown of the server's state beside the model, as tensors.
    own_models: The clients' own models, if the algorithm has some.
    kept: Whether clients keep something between rounds.
  """
  process: Any
  data: Any
  sent_length: int
  shown: Sequence[Any]
  own_models: personal_lib.KeptModels | None
  kept: bool


def assemble(config: configs.ExperimentConfig, task: tasks.Task, plan: plan_lib.PrivacyPlan,
             runtime: runtime_config.RuntimeConfig, client_states: pathlib.Path, place: secured.Place,
             among: canaries.Canaries | None = None) -> Parts:
  """Builds the process of a run.

  Args:
    client_states: Folder of what clients keep between rounds.
    place: The open runtime.
    among: The canaries among the task's clients, or among their examples; None: there are none.

  Raises:
    ValueError: The parts do not fit.
  """
  chosen = process.algorithm_of(task, config.algorithm, config.client)
  if not plan.releases_exact_metrics and (chosen.personal or chosen.reads_share):
    raise ValueError(f'algorithm={plugins.shown(config.algorithm.algorithm)} does not go with '
                     f'privacy={config.privacy.privacy}: ' + (
                         'the report tells how good the clients\' own models are, and no noise covers that.'
                         if chosen.personal else 'the server reads the sum of the clients\' weights without noise.'))
  if chosen.keeps and plan.clients_draw_noise:
    raise ValueError(f'algorithm={plugins.shown(config.algorithm.algorithm)} does not go with '
                     f'privacy={config.privacy.privacy}: the server stores what its clients keep, as it is, and the '
                     'promise is against the server too.')
  data, sent = _client_data(task, runtime), _SentLength()
  build = _layered(functools.partial(
      process.build_process, task, algorithm=config.algorithm, client=config.client, server=config.server,
      schedule=config.schedule, rounds=config.program.rounds, private_training=plan.client_work), sent)
  if runtime.data_placement == 'worker':
    build = _reading(build, data)
  if among is not None and config.privacy.privacy == 'example_dp_sgd':
    data = canary_data.SlottedData(data, among, len(task.images.train))
  if config.algorithm.algorithm == 'fedbuff':
    data = client_data.LateData(data=data, begun=plan.begun)
  build, data = _with_client_layers(config, task, build, data)
  if among is not None and config.privacy.privacy != 'example_dp_sgd':
    build, data = _layered(build, functools.partial(
        canary_data.crafting, canaries=among.number, clip_norm=config.privacy.clip_norm)), canary_data.MarkedData(
            data, config.privacy.privacy, among)
  made = secured.build_process(config.secure, plan, build, aggregation=config.aggregation, place=place,
                               tells=process.tells(task, config.algorithm), rounds=config.program.rounds)
  if plan.promised_length not in (None, sent.length):
    raise ValueError(f'algorithm={plugins.shown(config.algorithm.algorithm)} sends {sent.length} numbers, and '
                     f'privacy={config.privacy.privacy} counts on those of the model, {plan.promised_length}: rounding '
                     'and noise of integers cost more for a longer update.')
  if among is not None:
    _check_canaries(config, task, among, sent.length)
  kept = process.kept_at_first(task, config.algorithm, config.client)
  if config.aggregation.compression == 'top_k':
    kept = np.zeros(sent.length, np.float32)
  own_models = None
  if kept is not None:
    states = store.Store(client_states, kept, wiped=config.promises)
    made, data = driver.KeptStateProcess(made, states), driver.NumberedData(data)
    if chosen.personal:
      own_models = personal_lib.KeptModels(algorithm=chosen, store=states, task=task)
  return Parts(process=made, data=data, sent_length=sent.length, own_models=own_models,
               kept=kept is not None, shown=process.shown(task, chosen))


def counted(task: tasks.Task, runtime: runtime_config.RuntimeConfig, place: secured.Place,
            known: Sequence[int] = ()) -> tasks.Task:
  """Returns the task with the clients' numbers of examples as their workers have them; as it is, if we send them.

  Sampling rates, steps, weights and the bounds on what clients send follow from these numbers.

  Args:
    place: The open runtime.
    known: Of an earlier part of the run, for clients that cannot be reached or whose file is away now. Without these
      the copies here stand in, and a worker that comes back with another number refuses.
  """
  if runtime.data_placement != 'worker':
    return task
  copies = task.images.train
  found = dict(enumerate(known)) | dict(_client_data(task, runtime).count(place.with_parties))
  counts = [found.get(client, copies.num_examples(client)) for client in range(len(copies))]
  if all(number == copies.num_examples(client) for client, number in enumerate(counts)):
    return task
  notes = [*task.images.notes, images.Counted(
      'Some clients have another number of examples on their workers than in the copies here: what their workers have '
      'counts.')]
  return dataclasses.replace(task, images=dataclasses.replace(
      task.images, train=images.CountedClients(copies=copies, counts=counts), notes=notes))


def personalize(config: configs.ExperimentConfig, task: tasks.Task, runtime: runtime_config.RuntimeConfig, place: Any,
                weights: tff.learning.models.ModelWeights, evaluator: evaluation.Evaluator) -> Mapping[str, Any] | None:
  """Returns how the final model does after each client has trained it on; None if that is not asked for."""
  if not config.algorithm.personalize_epochs:
    return None
  models = personal_lib.fine_tuned(
      task, local_training.LocalOptimization(client=config.client), weights, data=_client_data(task, runtime),
      epochs=config.algorithm.personalize_epochs, round_num=config.program.rounds + 1, cohort=place.cohort)
  return personal_lib.compare(evaluator, task.images.test, [np.asarray(w) for w in weights.trainable], models)


def _client_data(task, runtime):
  if runtime.data_placement == 'worker':
    return client_data.WorkerData(task=task, folder=runtime.worker_data_dir)
  return client_data.SentData(task=task)


class _SentLength:
  """A layer that leaves client work as it is and notes how many values it sends."""

  def __call__(self, client_work):
    self.length = flat.length(keeping.sent_type(client_work))
    return client_work


def _check_canaries(config, task, among, sent_length):
  """Raises ValueError where a canary could not be seen."""
  length = sum(weight.shape.num_elements() for weight in task.keras_model().trainable_weights)
  canaries.require_room(length, among.number)
  if sent_length != length:
    raise ValueError(f'audit_canaries={among.number} does not go with algorithm='
                     f'{plugins.shown(config.algorithm.algorithm)}, which sends {sent_length} numbers: a canary is '
                     f'seen in the {length} weights that are trained, and nowhere else.')


def _reading(build, data):
  """Returns `build` for clients whose examples are read on their workers."""
  return lambda *, aggregator, client_work_layer=_same, beside=told.IN_THE_CLEAR: data.read_on_workers(
      build(aggregator=aggregator, client_work_layer=client_work_layer, beside=beside))


def _with_client_layers(config, task, build, data):
  """Returns `build` and the clients' data with what the config does to single updates: attacks, then compression."""
  if config.attack.attack in attacked_work.UPDATE_ATTACKS:
    chosen = attacked.attackers(config.attack, len(task.images.train), seed=config.program.seed)
    build, data = (_layered(build, attacked_work.with_factors),
                   attacked_work.FactorData(data, config.attack, chosen))
  if config.aggregation.compression == 'top_k':
    codec_for = functools.partial(codecs.build_codec, config.aggregation)
    build = _layered(build, functools.partial(error_feedback.with_error_feedback, codec_for=codec_for))
  return build, data


def _layered(build, layer):
  """Returns `build` with one more layer around the client work, inside of those that are asked for later."""
  return lambda *, aggregator, client_work_layer=_same, beside=told.IN_THE_CLEAR: build(
      aggregator=aggregator, beside=beside,
      client_work_layer=lambda client_work: client_work_layer(layer(client_work)))


def _same(client_work):
  return client_work
