"""FedNova: Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated Optimization", 2020.

Clients with more examples take more steps. The plain mean of their updates therefore minimises a different objective,
not the clients' mean loss. FedNova divides each update by |a_i|, the sum of its steps under a constant gradient, and
multiplies the mean by the mean of the |a_i| (the paper's tau_eff). For plain SGD, |a_i| is the number of steps; with
momentum and a proximal term, |a_i| follows the same recursion as the weights.
"""

import collections

import tensorflow as tf

from tff_vision.learning import algorithm


class FedNova(algorithm.Algorithm):
  """Sent: the update divided by |a_i|, and |a_i|, both in units of the largest client's |a_i|."""

  def __init__(self, *, momentum: float, strength: float, largest: float):
    """Initializes the algorithm.

    Args:
      momentum: The momentum of the clients' optimizer.
      strength: The mu of a proximal term; 0: no such term.
      largest: An upper bound of |a_i|, public. It scales the sent values: the first has the scale of an update, the
        second the scale of 1. This is needed because encodings of encrypted sums have a fixed range.
    """
    self._momentum = momentum
    self._strength = strength
    self._largest = largest

  @classmethod
  def from_config(cls, task, config, client):
    momentum = client.client_momentum if client.client_optimizer == 'sgdm' else 0.0
    steps = -(-task.largest_client * client.client_epochs // client.batch_size)
    return cls(momentum=momentum, strength=config.proximal_strength or 0.0, largest=steps / (1 - momentum))

  def work(self, client):
    trained = client.descend(algorithm.proximal_gradient(self._strength))
    share = self._sum_of_coefficients(trained.steps, client.learning_rate) / self._largest
    return algorithm.Work(trained=trained, sent=collections.OrderedDict(
        update=tuple(tf.math.divide_no_nan(u, share) for u in trained.update()), steps=share))

  def step(self, server, mean, share, weights):
    del share, weights
    return server, [u * mean['steps'] for u in mean['update']]

  def _sum_of_coefficients(self, steps, learning_rate):
    """Returns |a_i|: the distance that the steps move under a constant gradient of 1, divided by the learning rate."""
    if not self._momentum and not self._strength:
      return tf.cast(steps, tf.float32)
    def step(moved, velocity):
      velocity = self._momentum * velocity + 1 - self._strength * learning_rate * moved
      return moved + velocity, velocity

    return tf.while_loop(lambda moved, velocity: True, step, [tf.constant(0.0), tf.constant(0.0)],
                         maximum_iterations=steps)[0]
