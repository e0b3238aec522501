"""TensorFlow Federated with nothing changed: its FedAvg, its data sets of batches, its default context.

    python -m benchmarks.peers.stock_tff WORKLOAD
"""

import tensorflow as tf
import tensorflow_federated as tff

from benchmarks.peers import protocol
from tff_vision import models


def main() -> None:
  work = protocol.requested()
  name = 'resnet18_gn' if work.kind == 'cifar' else 'cnn_dropout'

  def model_fn():
    return tff.learning.models.from_keras_model(
        models.MODELS[name](work.shape, work.classes),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[tf.keras.metrics.SparseCategoricalAccuracy()],
        input_spec=(tf.TensorSpec((None, *work.shape), tf.float32), tf.TensorSpec((None,), tf.int32)))

  process = tff.learning.algorithms.build_weighted_fed_avg(
      model_fn, client_optimizer_fn=tff.learning.optimizers.build_sgdm(work.learning_rate),
      server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0))
  data = work.clients_data()
  state = [process.initialize()]

  def run_round():
    state[0] = process.next(state[0], [
        tf.data.Dataset.from_tensor_slices(client).shuffle(work.examples).batch(work.batch_size)
        for client in data]).state

  protocol.serve(run_round)


if __name__ == '__main__':
  main()
