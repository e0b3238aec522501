"""The bare TensorFlow loop: a traced training step over the same batches, two threads, no clients and no server.

    python -m benchmarks.peers.tensorflow_loop WORKLOAD
"""

import numpy as np
import tensorflow as tf

from benchmarks.peers import protocol
from tff_vision import models


def main() -> None:
  work = protocol.requested()
  tf.config.threading.set_intra_op_parallelism_threads(2)
  model = models.MODELS['resnet18_gn' if work.kind == 'cifar' else 'cnn_dropout'](work.shape, work.classes)
  loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  variables = model.trainable_variables

  @tf.function
  def step(x, y):
    with tf.GradientTape() as tape:
      loss = loss_fn(y, model(x, training=True))
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
      variable.assign_sub(work.learning_rate * gradient)

  batches = []
  for x, y in work.clients_data():
    parts = np.arange(work.batch_size, work.examples, work.batch_size)
    batches += [(tf.constant(a), tf.constant(b)) for a, b in zip(np.split(x, parts), np.split(y, parts), strict=True)]

  def run_round():
    for x, y in batches:
      step(x, y)
    variables[0].numpy()

  protocol.serve(run_round)


if __name__ == '__main__':
  main()
