"""From a task and an aggregator to a TFF learning process: which algorithm has which parts."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs, plugins, protocols, tasks, told
from tff_vision.client_state import keeping
from tff_vision.learning import algorithm as algorithm_lib
from tff_vision.learning import (
    composition,
    contract,
    local_steps,
    local_training,
    optimizers,
    schedules,
    server_step,
)
from tff_vision.models import blank, replayable

PrivateTraining = Callable[..., tff.learning.templates.ClientWorkProcess | None]
_Weighting = tff.learning.ClientWeighting


def build_process(task: tasks.Task, *, algorithm: configs.AlgorithmConfig, client: configs.ClientConfig,
                  server: configs.ServerConfig, aggregator: protocols.Aggregator,
                  schedule: configs.ScheduleConfig = configs.ScheduleConfig(), rounds: int = 1,  # noqa: B008  Frozen.
                  client_work_layer: protocols.Layer = protocols.unchanged,
                  private_training: PrivateTraining = lambda *_: None, beside: told.Beside = told.IN_THE_CLEAR
                  ) -> composition.Composed:
  """Composes broadcast, client work, aggregation and the server's step.

  A weighted aggregator weighs each client's update according to `client_weighting`; an unweighted one (differential
  privacy) counts every client once. Client updates with a non-finite value count as zero with weight zero.

  Args:
    rounds: The number of rounds of the run; schedules may depend on it.
    client_work_layer: Wraps the client work, for aggregators that need more than data from clients.
    private_training: (Keras model function, loss, batch reader, client optimizer) -> client work that replaces the
      algorithm's client work, or None.
    beside: What a client's computation returns in addition to its update; private training returns only a weight.

  Raises:
    ValueError: The algorithm and the optimizers do not fit together.

  Returns:
    A process whose `next` takes the state and `task.client_dataset` of each client of the cohort. If clients keep a
    state, it takes pairs of the data set and this state. The state of `initialize` holds arbitrary weights; the model
    of round 0 is `task.initial_weights`.
  """
  takes_weights = isinstance(aggregator, tff.aggregators.WeightedAggregationFactory)
  weighted = takes_weights and beside.weighs
  chosen = algorithm_of(task, algorithm, client)
  for side, optimizer in (('client', client.client_optimizer), ('server', server.server_optimizer)):
    contract.check_optimizer(side, optimizer, task.weights_type)
  step = server_step.ServerStep(
      algorithm=chosen,
      optimizer=optimizers.server_optimizer(server, scheduled=not schedule.server_is_constant()),
      learning_rate=optimizers.learning_rate(server.server_optimizer, server.server_learning_rate),
      weights_type=task.weights_type,
      schedule=None if schedule.server_is_constant() else schedules.server_schedule(schedule, rounds),
      total_weight=_total_weight(task, algorithm, weighted, read=chosen.reads_share))
  local = local_training.LocalOptimization(
      client=client, schedule=None if schedule.client_is_constant() else schedules.client_schedule(schedule, rounds))
  client_work = private_training(lambda: blank.blank_model(task.keras_model), task.loss_fn, task.batch_reader,
                                 local.optimizer(client.client_learning_rate))
  reads_server_state = client_work is None and (local.schedule is not None or chosen.shows)
  client_work = client_work_layer(client_work or local_training.build_client_work(
      task, chosen, local, weighting=weighting_of(algorithm, weighted) if weighted else None, beside=beside,
      server_state_type=step.initial_state().type_signature.result if reads_server_state else None))
  return _composed(client_work, task.training_model, step, aggregator, reads_server_state=reads_server_state)


def around(client_work: Callable[[told.Beside], tff.learning.templates.ClientWorkProcess],
           model: Callable[[], tf.keras.Model], *, server: configs.ServerConfig, aggregator: protocols.Aggregator,
           client_work_layer: protocols.Layer = protocols.unchanged, beside: told.Beside = told.IN_THE_CLEAR
           ) -> composition.Composed:
  """Composes the caller's own client work with broadcast, aggregation and the server's step of FedAvg.

  Args:
    client_work: Takes `beside`, which says what a client returns in addition to its update, and returns the client
      work; see `local_training.returned`.
    model: Returns a fresh Keras model.
    aggregator, client_work_layer, beside: As for `build_process`.
  """
  blank_model = lambda: blank.blank_model(lambda: replayable.with_replayable_dropout(model))
  weights_type = tff.tensorflow.computation(
      lambda: tff.learning.models.ModelWeights.from_model(blank_model())).type_signature.result
  contract.check_optimizer('server', server.server_optimizer, weights_type)
  step = server_step.ServerStep(
      algorithm=algorithm_lib.Algorithm(), optimizer=optimizers.server_optimizer(server, scheduled=False),
      learning_rate=optimizers.learning_rate(server.server_optimizer, server.server_learning_rate),
      weights_type=weights_type, schedule=None, total_weight=1.0)
  return _composed(client_work_layer(client_work(beside)), blank_model, step, aggregator, reads_server_state=False)


def _composed(client_work, model, step, aggregator, *, reads_server_state):
  sent_type = keeping.sent_type(client_work)
  takes_weights = isinstance(aggregator, tff.aggregators.WeightedAggregationFactory)
  weighted_aggregator = aggregator if takes_weights else tff.aggregators.as_weighted_aggregator(aggregator)

  @tff.tensorflow.computation
  def initial_weights():
    return tff.learning.models.ModelWeights.from_model(model())

  return composition.compose(
      initial_weights, client_work,
      weighted_aggregator.create(sent_type, client_work.next.type_signature.result.result.member.update_weight),
      step.finalizer(sent_type), reads_server_state=reads_server_state)


def kept_at_first(task: tasks.Task, algorithm: configs.AlgorithmConfig, client: configs.ClientConfig) -> Any:
  """Returns a client's kept state before its first round, as arrays; None if the algorithm's clients keep nothing."""
  chosen = algorithm_of(task, algorithm, client)
  return local_training.brought_at_first(task, chosen) if chosen.keeps else None


def algorithm_of(task: tasks.Task, config: configs.AlgorithmConfig, client: configs.ClientConfig
                 ) -> algorithm_lib.Algorithm:
  """Returns the algorithm that a config names, holds or refers to.

  Raises:
    ValueError: The target of a reference does not exist or is not an algorithm.
  """
  chosen = config.algorithm
  names = catalogue.names('algorithm')
  if not plugins.is_own(chosen, names):
    return catalogue.load(catalogue.row('algorithm', chosen).loads).from_config(task, config, client)
  made = plugins.value_of(chosen, {}, field='algorithm')
  if not isinstance(made, algorithm_lib.Algorithm) and callable(made):
    given = plugins.options(config.algorithm_option, field='algorithm_option')
    plugins.check_call(made, given, setting=f'algorithm={plugins.shown(chosen)}')
    made = made(**given)
  if not isinstance(made, algorithm_lib.Algorithm):
    raise ValueError(f'algorithm={plugins.shown(chosen)} is no tff_vision.Algorithm but {type(made).__name__}.')
  contract.check_declared(made)
  return made


def shown(task: tasks.Task, chosen: algorithm_lib.Algorithm) -> Sequence[tf.Tensor]:
  """Returns the part of the server's state that clients receive in addition to the model, as tensors of round 1."""
  if not chosen.shows:
    return ()
  specs = tuple(tff.types.type_to_tf_tensor_specs(task.weights_type).trainable)
  server = contract.server_state(chosen, specs)
  return [tf.convert_to_tensor(part) for part in tf.nest.flatten(contract.shown(chosen, server))]


def tells(task: tasks.Task, algorithm: configs.AlgorithmConfig) -> told.Told:
  """Returns the measurements that clients can send in addition to their updates."""
  return told.Told(largest_weight=largest_weight(task, algorithm), summary=local_steps.summary,
                   quantities=local_steps.quantities(task.largest_client * task.client.client_epochs,
                                                     scaled=task.client.loss_scale is not None))


def largest_weight(task: tasks.Task, algorithm: configs.AlgorithmConfig) -> float:
  """Returns the largest weight that one client's update may have in a weighted mean; public."""
  return task.largest_client * task.client.client_epochs if algorithm.by_examples else 1.0


def weighting_of(algorithm: configs.AlgorithmConfig, weighted: bool) -> _Weighting:
  """Returns the weighting of updates; with an aggregator that takes no weights, all updates weigh the same."""
  return _Weighting.NUM_EXAMPLES if weighted and algorithm.by_examples else _Weighting.UNIFORM


def _total_weight(task, algorithm, weighted, *, read):
  clients = task.images.train
  if weighting_of(algorithm, weighted) == _Weighting.UNIFORM:
    return float(len(clients))
  if not clients.counted:
    if read:
      raise ValueError('the algorithm reads which share of all examples takes part in a round, and nobody knows their '
                       'number: choose client_weighting=uniform.')
    return 1.0
  return float(clients.sizes.sum() * task.client.client_epochs)
