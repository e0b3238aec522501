"""Algorithms for the worst client: clients with a large loss count more.

q-FedAvg: Li, Sanjabi, Beirami and Smith, "Fair Resource Allocation in Federated Learning", ICLR 2020, algorithm 2.
AFL: Mohri, Sivek and Suresh, "Agnostic Federated Learning", ICML 2019, algorithm 1 (stochastic AFL), where every client
is a domain. A round's local training takes the place of one gradient step, and the last model is kept, not the mean of
all.
"""

import collections

import tensorflow as tf

from tff_vision.learning import algorithm, local_steps

_LEAST_LOSS = 1e-10  # As in the authors' code of q-FedAvg: a loss of 0 has no negative power.


class QFedAvg(algorithm.Algorithm):
  """Minimises the mean over clients of F^(q+1) / (q+1), where F is a client's loss; q = 0 is FedAvg.

  In the paper a client sends F^q L d and the estimate of curvature q F^(q-1) L^2 |d|^2 + L F^q, where d is its movement
  and L is 1 / learning rate. Here both are divided by L, which cancels.
  """

  def __init__(self, q: float):
    self._q = q

  @classmethod
  def from_config(cls, task, config, client):
    return cls(config.qfedavg_q)

  def work(self, client):
    loss = tf.maximum(_loss_at_server(client), _LEAST_LOSS)
    trained = client.descend()
    moved = tuple(trained.update())
    factor = loss ** self._q
    length = tf.add_n([tf.reduce_sum(tf.square(part)) for part in moved])
    curvature = factor + self._q * loss ** (self._q - 1) * length / client.learning_rate
    return algorithm.Work(trained=trained, sent=collections.OrderedDict(
        update=tuple(factor * part for part in moved), curvature=curvature))

  def step(self, server, mean, share, weights):
    del share, weights
    return server, [tf.math.divide_no_nan(part, mean['curvature']) for part in mean['update']]


class Afl(algorithm.Algorithm):
  """Minimises the loss under the worst mixture of clients: the server ascends in the shares of the mixture.

  Server state: lambda, the share of each client, float32 [clients]. Brought by a client: its number, int32 [].
  """
  shows = True
  numbered = True

  def __init__(self, clients: int, rate: float):
    """Args: `rate` is the step of lambda along the clients' losses."""
    self._clients, self._rate = clients, rate

  @classmethod
  def from_config(cls, task, config, client):
    return cls(len(task.images.train), config.afl_rate)

  def server_state(self, weights):
    del weights
    return tf.fill([self._clients], 1 / self._clients)

  def shown(self, server):
    return server

  def brings(self, weights):
    del weights
    return tf.constant(0, tf.int32)

  def work(self, client):
    loss, share = _loss_at_server(client), client.shown[client.brought]
    trained = client.descend()
    mine = tf.one_hot(client.brought, self._clients)
    return algorithm.Work(trained=trained, sent=collections.OrderedDict(
        update=tuple(share * part for part in trained.update()), share=share, loss=loss * mine, present=mine))

  def step(self, server, mean, share, weights):
    del share, weights
    loss = tf.math.divide_no_nan(mean['loss'], mean['present'])  # 0 for clients that are absent, whose share stays.
    return on_simplex(server + self._rate * loss), [
        tf.math.divide_no_nan(part, mean['share']) for part in mean['update']]


def on_simplex(point: tf.Tensor) -> tf.Tensor:
  """Returns the nearest point whose coordinates are 0 or more and sum to 1 (Duchi et al., ICML 2008, figure 1)."""
  point -= tf.reduce_max(point)  # The nearest point stays the same, and large numbers lose no digits.
  descending = tf.sort(point, direction='DESCENDING')
  above = (tf.cumsum(descending) - 1) / tf.range(1, tf.size(point) + 1, dtype=point.dtype)
  threshold = tf.reduce_max(tf.where(descending > above, tf.range(tf.size(point)), 0))
  return tf.maximum(point - above[threshold], 0.0)


def _loss_at_server(client):
  weights = client.server_weights
  return tf.cast(local_steps.mean_loss(client.task, weights.trainable, weights, client.dataset), tf.float32)
