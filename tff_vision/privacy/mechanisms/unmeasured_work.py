"""TFF client work without measurements: losses of examples have no noise, so nothing but the update leaves a client."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_federated as tff


def build(keras_model_fn: Callable[[], tf.keras.Model], data_type: tff.Type,
          build_client_fn: Callable[[tf.keras.Model], Callable]) -> tff.learning.templates.ClientWorkProcess:
  """Returns stateless client work.

  Args:
    data_type: What the process receives from each client.
    build_client_fn: Returns the client's computation for a model that it may overwrite: (the server's `ModelWeights`,
      the client's data) -> `ClientResult`. It is called where the computation is traced.
  """
  @tff.tensorflow.computation
  def initial_weights():
    return tff.learning.models.ModelWeights.from_model(keras_model_fn())

  weights_type = initial_weights.type_signature.result

  @tff.tensorflow.computation(weights_type, data_type)
  def train(server_weights, data):
    return build_client_fn(keras_model_fn())(server_weights, data)

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, client_data):
    return tff.templates.MeasuredProcessOutput(state, tff.federated_map(train, (weights, client_data)),
                                               tff.federated_value((), tff.SERVER))

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
