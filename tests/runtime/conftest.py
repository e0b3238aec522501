"""A small federation to compare runtimes with: built once, because tracing it is what costs."""

import dataclasses
import hashlib
import secrets

import numpy as np
import pytest


@dataclasses.dataclass(frozen=True)
class Federation:
  """A FedAvg process with momentum, and clients of different sizes.

  Attributes:
    clients: One `tf.data.Dataset` each.
  """
  process: object
  clients: list

  def train(self, clients, rounds=2):
    """Returns the state after `rounds` rounds over `clients`."""
    state = self.process.initialize()
    for _ in range(rounds):
      state = self.process.next(state, clients).state
    return state

  def digest(self, clients, rounds=2):
    """Returns a hash of the weights, bit for bit."""
    return digest(self.train(clients, rounds))


def digest(state):
  return hashlib.sha256(b''.join(np.asarray(w).tobytes() for w in state.global_model_weights.trainable)).hexdigest()


@pytest.fixture(scope='session')
def federation(tff_runtime):
  import tensorflow as tf
  import tensorflow_federated as tff
  specification = (tf.TensorSpec([None, 4, 4, 1]), tf.TensorSpec([None], tf.int32))

  def model_fn():
    tf.keras.utils.set_random_seed(1)
    model = tf.keras.Sequential([tf.keras.layers.Flatten(input_shape=(4, 4, 1)), tf.keras.layers.Dense(3)])
    return tff.learning.models.from_keras_model(
        model, loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), input_spec=specification)

  process = tff.learning.algorithms.build_weighted_fed_avg(
      model_fn, client_optimizer_fn=tff.learning.optimizers.build_sgdm(0.1),
      server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0, 0.9))
  rng = np.random.default_rng(0)
  clients = [tf.data.Dataset.from_tensor_slices(
      (rng.random((6 + i, 4, 4, 1), dtype=np.float32), rng.integers(0, 3, 6 + i).astype(np.int32))).batch(4)
             for i in range(7)]
  return Federation(process, clients)


@pytest.fixture(scope='session')
def local_digest(federation):
  """Digests on TFF's local context, by number of clients."""
  return {count: federation.digest(federation.clients[:count]) for count in (0, 3)}


@pytest.fixture
def known_keys(monkeypatch):
  """Every key of noise and of rounding is the same number, so that what two runtimes make of it can be compared."""
  import tensorflow as tf

  from tff_vision.secure import os_keys
  keys = lambda count: tf.tile(tf.constant([list(range(8))], tf.uint32), [count, 1])
  monkeypatch.setattr(os_keys, 'kernel_keys', keys)
  monkeypatch.setattr(os_keys, 'kernel_key', lambda: keys(1)[0])
  monkeypatch.setattr(secrets, 'token_bytes', lambda size=32: bytes(range(size)))
