"""From a task and an aggregator to a TFF learning process.

FedAvg: McMahan et al., AISTATS 2017, algorithm 1. FedProx: Li et al., "Federated Optimization in Heterogeneous
Networks", MLSys 2020, equation 2. The server optimizer applied to the averaged update as a pseudo-gradient:
Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 1.
"""

from collections.abc import Callable, Mapping

import tensorflow_federated as tff

from tff_vision import configs, tasks
from tff_vision.learning import local_training, optimizers
from tff_vision.models import blank

ClientWork = tff.learning.templates.ClientWorkProcess
PrivateTraining = Callable[..., tff.learning.templates.ClientWorkProcess | None]
Aggregator = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


def build_process(task: tasks.Task, *, algorithm: configs.AlgorithmConfig, client: configs.ClientConfig,
                  server: configs.ServerConfig, aggregator: Aggregator,
                  client_work_layer: Callable[[ClientWork], ClientWork] = lambda client_work: client_work,
                  private_training: PrivateTraining = lambda *_: None
                  ) -> tff.learning.templates.LearningProcess:
  """Composes broadcast, client work, aggregation and the server's step.

  A weighted aggregator weighs each client's update by its number of examples; an unweighted one (differential
  privacy) counts every client once. Client updates with a non-finite value count as zero with weight zero.

  Args:
    client_work_layer: Wraps what clients do, for aggregators that need more than data from them.
    private_training: (Keras model function, loss, batch reader, client optimizer) -> client work that takes the
      algorithm's place, or None.

  Raises:
    ValueError: Private training replaces an algorithm other than FedAvg.

  Returns:
    A process whose `next` takes the state and `task.client_dataset` of each client of the cohort. The
    state of `initialize` holds zero weights: `task.initial_weights` is round 0's model.
  """
  weighted = isinstance(aggregator, tff.aggregators.WeightedAggregationFactory)
  optimizer = optimizers.CLIENT_OPTIMIZERS[client.client_optimizer](client.client_learning_rate)
  client_work = private_training(lambda: blank.blank_model(task.keras_model), task.loss_fn, task.batch_reader, optimizer)
  if client_work is not None and algorithm.algorithm != 'fedavg':
    raise ValueError(f'algorithm={algorithm.algorithm} changes the gradient that private SGD on clients has clipped; '
                     'it goes with fedavg only.')
  client_work = client_work_layer(client_work or CLIENT_WORKS[algorithm.algorithm](
      task, algorithm, optimizer,
      tff.learning.ClientWeighting.NUM_EXAMPLES if weighted else tff.learning.ClientWeighting.UNIFORM))

  @tff.tensorflow.computation
  def initial_weights():
    return tff.learning.models.ModelWeights.from_model(task.training_model())

  weights_type = task.weights_type
  weighted_aggregator = aggregator if weighted else tff.aggregators.as_weighted_aggregator(aggregator)
  return tff.learning.templates.compose_learning_process(
      initial_weights,
      tff.learning.templates.build_broadcast_process(weights_type),
      client_work,
      weighted_aggregator.create(weights_type.trainable,
                                 client_work.next.type_signature.result.result.member.update_weight),
      tff.learning.templates.build_apply_optimizer_finalizer(
          optimizers.SERVER_OPTIMIZERS[server.server_optimizer](server.server_learning_rate), weights_type))


CLIENT_WORKS: Mapping[str, Callable[..., tff.learning.templates.ClientWorkProcess]] = {
    'fedavg': lambda task, algorithm, optimizer, weighting: local_training.build_client_work(
        task, optimizer, weighting=weighting),
    'fedprox': lambda task, algorithm, optimizer, weighting: local_training.build_client_work(
        task, optimizer, weighting=weighting,
        change=local_training.proximal_gradient(algorithm.proximal_strength)),
}
