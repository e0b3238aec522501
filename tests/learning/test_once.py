"""The clients of a learning process train once a round, wherever they are, also where they keep something."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests import tiny
from tff_vision import configs
from tff_vision.aggregation import codecs, error_feedback, stack
from tff_vision.configs import runtime_config
from tff_vision.learning import learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.runtime.driver import remote


def marking(folder):
  """Returns a layer around client work that leaves a file in `folder` for each time that a client's work is done."""
  def layer(client_work):
    @tff.tensorflow.computation(client_work.next.type_signature.result.result.member)
    def mark(result):
      name = tf.strings.strip(tf.io.read_file('/proc/sys/kernel/random/uuid'))
      with tf.control_dependencies([*tf.nest.flatten(result), tf.io.write_file(
          tf.strings.join([str(folder), name], '/'), '')]):
        return tf.nest.map_structure(tf.identity, result)

    @tff.federated_computation(*client_work.next.type_signature.parameter)
    def next_fn(state, weights, data):
      output = client_work.next(state, weights, data)
      return tff.templates.MeasuredProcessOutput(output.state, tff.federated_map(mark, output.result),
                                                 output.measurements)

    return tff.learning.templates.ClientWorkProcess(client_work.initialize, next_fn)
  return layer


def with_memory(folder):
  """Returns `marking` inside of the memory of a compression."""
  config = configs.AggregationConfig(compression='top_k', top_k_fraction=0.2)
  return lambda client_work: error_feedback.with_error_feedback(
      marking(folder)(client_work), lambda length: codecs.build_codec(config, length))


@pytest.mark.parametrize(('algorithm', 'layer'), [('fedavg', marking), ('scaffold', marking), ('fedavg', with_memory)])
def test_a_round_is_one_training_of_each_client(tff_runtime, tmp_path, algorithm, layer):
  task = tiny.task(client_epochs=1)
  client = configs.ClientConfig(batch_size=4, client_epochs=1)
  chosen = configs.AlgorithmConfig(algorithm=algorithm)
  made = learning_process.build_process(
      task, algorithm=chosen, client=client, server=configs.ServerConfig(), client_work_layer=layer(tmp_path),
      aggregator=stack.build_stack(plan_lib.NoPrivacy(sampler=lambda round_num: np.arange(4))))
  keeps = made.keeps
  kept = learning_process.kept_at_first(task, chosen, client) if layer is marking else np.zeros(51, np.float32)
  data = [task.client_dataset(i, 1) for i in range(4)]
  if keeps:
    data = [(one, tf.data.Dataset.from_tensors(tf.nest.map_structure(tf.constant, kept))) for one in data]
  state = made.set_model_weights(made.initialize(), task.initial_weights())
  here = made.next(state, data)
  assert keeps == (algorithm == 'scaffold' or layer is with_memory) and len(list(tmp_path.iterdir())) == 4
  for workers in (1, 2):
    with remote.remote_runtime(runtime_config.RuntimeConfig(runtime='workers', local_workers=workers)):
      there = made.next(state, data)
    assert len(list(tmp_path.iterdir())) == 4 * (workers + 1)
    for a, b in zip(here.state.global_model_weights.trainable, there.state.global_model_weights.trainable, strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert type(here.state) is type(there.state)
    if keeps:
      for a, b in zip(tf.nest.flatten(list(here.kept)), tf.nest.flatten(list(there.kept)),
                      strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
