"""SCAFFOLD: Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning", ICML 2020.

Algorithm 1 with option II for the clients' control variates. Client i steps along g - c_i + c, and afterwards
c_i' = c_i - c + (x - y_i) / (K * rate) after K steps. The server adds up the changes of the c_i. In the paper all
clients have the same weight. Here `client_weighting` determines the weights, both in the mean of the models and in c,
so that c stays the mean of the c_i.
"""

import collections

import tensorflow as tf

from tff_vision.learning import algorithm


class Scaffold(algorithm.Algorithm):
  """Server state: c. Kept by client i: c_i, zero at first."""
  keeps = True
  reads_share = True
  shows = True

  def server_state(self, weights):
    return zeros_like(weights)

  def shown(self, server):
    return server

  def brings(self, weights):
    return zeros_like(weights)

  def work(self, client):
    own, common = client.brought, client.shown

    def corrected(carried, gradients, weights, server_weights):
      del weights, server_weights
      return carried, [g - mine + ours for g, mine, ours in zip(gradients, own, common, strict=True)]

    trained = client.descend(corrected)
    update = tuple(trained.update())
    moved = 1 / (tf.cast(trained.steps, tf.float32) * client.learning_rate)
    change = tuple(tf.where(trained.steps > 0, moved * u - ours, 0.0) for u, ours in zip(update, common, strict=True))
    return algorithm.Work(trained=trained, sent=collections.OrderedDict(update=update, control=change),
                          kept=tuple(mine + d for mine, d in zip(own, change, strict=True)))

  def step(self, server, mean, share, weights):
    del weights
    return tuple(c + share * d for c, d in zip(server, mean['control'], strict=True)), mean['update']


def zeros_like(weights: algorithm.Tensors) -> algorithm.Tensors:
  """Returns zeros in the shapes of `weights`."""
  return tuple(tf.zeros(w.shape, w.dtype) for w in weights)
