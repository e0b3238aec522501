"""From a task and an aggregator to a TFF learning process.

FedAvg: McMahan et al., AISTATS 2017, algorithm 1. FedProx: Li et al., "Federated Optimization in Heterogeneous
Networks", MLSys 2020, equation 2. The server optimizer applied to the averaged update as a pseudo-gradient:
Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 1.
"""

from collections.abc import Callable, Mapping

import tensorflow_federated as tff

from tff_vision import configs, tasks
from tff_vision.client_state import keeping
from tff_vision.learning import composition, local_training, optimizers

ClientWork = tff.learning.templates.ClientWorkProcess
PrivateTraining = Callable[..., tff.learning.templates.ClientWorkProcess | None]
Aggregator = tff.aggregators.UnweightedAggregationFactory | tff.aggregators.WeightedAggregationFactory


def build_process(task: tasks.Task, *, algorithm: configs.AlgorithmConfig, client: configs.ClientConfig,
                  server: configs.ServerConfig, aggregator: Aggregator,
                  client_work_layer: Callable[[ClientWork], ClientWork] = lambda client_work: client_work,
                  private_training: PrivateTraining = lambda *_: None
                  ) -> tff.learning.templates.LearningProcess | composition.KeepingProcess:
  """Composes broadcast, client work, aggregation and the server's step.

  A weighted aggregator weighs each client's update by its number of examples; an unweighted one (differential
  privacy) counts every client once. Client updates with a non-finite value count as zero with weight zero.

  Args:
    client_work_layer: Wraps what clients do: for aggregators that need more than data from them, for compression
      with a memory, for attacks.
    private_training: (Keras model function, loss, batch spec, client optimizer) -> client work that takes the
      algorithm's place, or None.

  Raises:
    ValueError: Private training replaces an algorithm other than FedAvg.

  Returns:
    A process whose `next` takes the state and one `tf.data.Dataset` of batches per client of the cohort. The
    state of `initialize` holds arbitrary weights: `task.initial_weights` is round 0's model. If the clients keep
    state, a `KeepingProcess` of pairs.
  """
  weighted = isinstance(aggregator, tff.aggregators.WeightedAggregationFactory)
  optimizer = optimizers.CLIENT_OPTIMIZERS[client.client_optimizer](client.client_learning_rate)
  client_work = private_training(task.keras_model, task.loss_fn, task.batch_spec, optimizer)
  if client_work is not None and algorithm.algorithm != 'fedavg':
    raise ValueError(f'algorithm={algorithm.algorithm} changes the gradient that private SGD on clients has clipped; '
                     'it goes with fedavg only.')
  client_work = client_work_layer(client_work or CLIENT_WORKS[algorithm.algorithm](
      task, algorithm, optimizer,
      tff.learning.ClientWeighting.NUM_EXAMPLES if weighted else tff.learning.ClientWeighting.UNIFORM))

  @tff.tensorflow.computation
  def initial_weights():
    return tff.learning.models.ModelWeights.from_model(task.model_fn())

  weights_type = initial_weights.type_signature.result
  weighted_aggregator = aggregator if weighted else tff.aggregators.as_weighted_aggregator(aggregator)
  return composition.compose(
      initial_weights, client_work,
      weighted_aggregator.create(keeping.sent_type(client_work),
                                 client_work.next.type_signature.result.result.member.update_weight),
      tff.learning.templates.build_apply_optimizer_finalizer(
          optimizers.SERVER_OPTIMIZERS[server.server_optimizer](server.server_learning_rate), weights_type),
      reads_server_state=False)


CLIENT_WORKS: Mapping[str, Callable[..., tff.learning.templates.ClientWorkProcess]] = {
    'fedavg': lambda task, algorithm, optimizer, weighting: local_training.build_client_work(
        task.model_fn, optimizer, weighting=weighting),
    'fedprox': lambda task, algorithm, optimizer, weighting: local_training.build_client_work(
        task.model_fn, optimizer, weighting=weighting,
        gradient_fn=local_training.proximal_gradient(algorithm.proximal_strength)),
}
