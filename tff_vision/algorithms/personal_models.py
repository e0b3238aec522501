"""Algorithms whose clients train their own model in addition to the shared one.

Ditto: Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021, algorithm 1.
APFL: Deng, Kamani and Mahdavi, "Adaptive Personalized Federated Learning", 2020, arXiv:2003.13461, algorithm 1.
Both start from the initial model, and the shared model is that of FedAvg.
"""

import collections

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.learning import algorithm, local_steps


class Ditto(algorithm.Algorithm):
  """Kept by a client: its model, which descends its own loss + strength / 2 * ||v - w||^2, w being the shared model."""
  keeps = True
  personal = True

  def __init__(self, task: tasks.Task, strength: float):
    self._initial = task.initial_trainable()
    self._strength = strength

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.ditto_strength)

  def brings(self, weights):
    del weights
    return tuple(tf.constant(w) for w in self._initial)

  def work(self, client):
    trained = client.descend()
    own = client.descend(algorithm.proximal_gradient(self._strength), start=client.brought)
    return algorithm.Work(trained=trained, sent=tuple(trained.update()), kept=tuple(own.weights))

  def own_model(self, kept, server, weights):
    del server
    return tff.learning.models.ModelWeights(kept, weights.non_trainable)


class Apfl(algorithm.Algorithm):
  """Kept by a client: v, its share alpha in the client's model, and that model, alpha * v + (1 - alpha) * w."""
  keeps = True
  personal = True

  def __init__(self, task: tasks.Task, alpha: float, *, adaptive: bool):
    """Args: `adaptive`: whether alpha takes one gradient step a round (equation 10), kept within 0 and 1."""
    self._initial = task.initial_trainable()
    self._alpha = alpha
    self._adaptive = adaptive

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.apfl_alpha, adaptive=config.apfl_adaptive)

  def brings(self, weights):
    del weights
    initial = tuple(tf.constant(w) for w in self._initial)
    return collections.OrderedDict(v=initial, alpha=tf.constant(self._alpha, tf.float32), mixed=initial)

  def work(self, client):
    gradient_at, rate = local_steps.gradient_at(client.task, client.server_weights), client.learning_rate

    def personal_step(carried, x, y, weights):
      v, alpha, step = carried
      w = [weight.read_value() for weight in weights]
      mixed = _mixed(alpha, v, w)
      gradients = client.change(gradient_at(mixed, x, y), mixed)
      after = tuple(mine - rate * alpha * g for mine, g in zip(v, gradients, strict=True))
      if self._adaptive:
        slope = tf.add_n([tf.reduce_sum((mine - ours) * g) for mine, ours, g in zip(v, w, gradients, strict=True)])
        alpha = tf.where(tf.equal(step, 0), tf.clip_by_value(alpha - rate * slope, 0.0, 1.0), alpha)
      return after, alpha, step + 1

    trained = client.descend(beside=personal_step, carried=(tuple(client.brought['v']), client.brought['alpha'],
                                                            tf.constant(0)))
    v, alpha, _ = trained.carried
    return algorithm.Work(trained=trained, sent=tuple(trained.update()), kept=collections.OrderedDict(
        v=v, alpha=alpha, mixed=_mixed(alpha, v, trained.weights)))

  def own_model(self, kept, server, weights):
    del server
    return tff.learning.models.ModelWeights(kept['mixed'], weights.non_trainable)


def _mixed(alpha, v, w):
  return tuple(alpha * mine + (1 - alpha) * ours for mine, ours in zip(v, w, strict=True))
