"""FedBuff: Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022, algorithm 1.

The server makes a step when its buffer of updates is full. The updates may start from different models: an update that
is s server steps late is multiplied by 1 / sqrt(1 + s). `participation.late_arrivals` simulates which update arrives
when. A client is trained when its update arrives, from the model of the round in which it began; the server keeps the
last few models for this purpose.
"""

import dataclasses

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.learning import algorithm


class FedBuff(algorithm.Algorithm):
  """Server state: the models of the last rounds, newest first. Brought: the client's delay in rounds, int32 []."""
  shows = True
  late = True

  def __init__(self, max_staleness: int):
    self._max_staleness = max_staleness

  @classmethod
  def from_config(cls, task, config, client):
    return cls(config.max_staleness)

  def server_state(self, weights):
    return tuple(tf.zeros([self._max_staleness, *w.shape], w.dtype) for w in weights)

  def shown(self, server):
    return server

  def brings(self, weights):
    del weights
    return tf.constant(0, tf.int32)

  def work(self, client):
    late = client.brought
    newest = client.server_weights
    begun_with = tff.learning.models.ModelWeights(
        tf.nest.pack_sequence_as(newest.trainable, [
            tf.where(late > 0, old[tf.maximum(late - 1, 0)], now)
            for old, now in zip(client.shown, newest.trainable, strict=True)]), newest.non_trainable)
    trained = dataclasses.replace(client, server_weights=begun_with).descend()
    weight = tf.math.rsqrt(1 + tf.cast(late, tf.float32))
    return algorithm.Work(trained=trained, sent=tuple(weight * u for u in trained.update()))

  def step(self, server, mean, share, weights):
    del share
    return tuple(tf.concat([w[tf.newaxis], old[:-1]], axis=0) for w, old in zip(weights, server, strict=True)), mean
