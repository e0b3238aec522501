"""Algorithms whose clients send the gradient over all of their examples: FedSGD and MimeLite.

FedSGD: McMahan et al., AISTATS 2017, section 2. MimeLite: Karimireddy et al., "Mime: Mimicking Centralized Stochastic
Algorithms in Federated Learning", 2020, arXiv:2008.03606, algorithm 1 with SGD with momentum. TFF's own MimeLite is not
used here: it has a separate training loop over data sets of batches.
"""

import collections
import dataclasses

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.algorithms import scaffold
from tff_vision.learning import algorithm, local_steps


class _Still(tff.learning.optimizers.Optimizer):
  """An optimizer that does not change the weights."""

  def initialize(self, specs):
    del specs
    return ()

  def next(self, state, weights, gradients):
    del gradients
    return state, weights


def gradient_of_all(client: algorithm.Client) -> local_steps.Trained:
  """Returns one pass over the client's examples at the server's model; `carried` is the gradient of their mean loss."""
  task = dataclasses.replace(client.task, client=dataclasses.replace(client.task.client, client_epochs=1))
  examples = task.batch_reader.open(client.dataset).num_examples
  batch_size = task.client.batch_size

  def add(carried, gradients, weights, server_weights):
    del server_weights
    total, done = carried
    changed = client.change(gradients, weights)
    count = tf.minimum(batch_size, examples - done)
    part = tf.cast(count, tf.float32) / tf.cast(examples, tf.float32)
    return (tuple(t + part * g for t, g in zip(total, changed, strict=True)), done + count), gradients

  nothing = scaffold.zeros_like(client.server_weights.trainable)
  seen = local_steps.descend(task, _Still(), client.server_weights, client.dataset, change=add,
                             carried=(nothing, tf.constant(0)))
  return dataclasses.replace(seen, carried=seen.carried[0])


class FedSgd(algorithm.Algorithm):
  """Clients send gradients; the server's optimizer takes one step along their mean."""

  def work(self, client):
    seen = gradient_of_all(client)
    return algorithm.Work(trained=seen, sent=seen.carried)


class MimeLite(algorithm.Algorithm):
  """Server state: the momentum m, which clients step along but do not change."""
  shows = True

  def __init__(self, momentum: float):
    """Args: `momentum` is beta."""
    self._beta = momentum

  @classmethod
  def from_config(cls, task, config, client):
    return cls(config.mime_momentum)

  def server_state(self, weights):
    return scaffold.zeros_like(weights)

  def shown(self, server):
    return server

  def work(self, client):
    def with_momentum(carried, gradients, weights, server_weights):
      del weights, server_weights
      return carried, self._moved(client.shown, gradients)

    trained = client.descend(with_momentum)
    return algorithm.Work(trained=trained, sent=collections.OrderedDict(
        update=tuple(trained.update()), gradient=gradient_of_all(client).carried))

  def step(self, server, mean, share, weights):
    del share, weights
    return tuple(self._moved(server, mean['gradient'])), mean['update']

  def _moved(self, momentum, gradients):
    return [(1 - self._beta) * g + self._beta * m for g, m in zip(gradients, momentum, strict=True)]
