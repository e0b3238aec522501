"""IFCA: Ghosh et al., "An Efficient Framework for Clustered Federated Learning", NeurIPS 2020, algorithm 1, option II.

The server keeps several models. A client trains the model that has the lowest loss on its examples. Each model moves by
the mean update of the clients that chose it. A client sends one update for every model; all are zero except the update
of the chosen model.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.learning import algorithm, local_steps


class Ifca(algorithm.Algorithm):
  """Server state: all models except the first, which is the process's model. Kept by a client: its choice, one-hot."""
  keeps = True
  personal = True

  def __init__(self, task: tasks.Task, clusters: int):
    """Args: `clusters`: the number of models; all but the first begin with other random weights."""
    self._clusters = clusters
    self.shows = clusters > 1
    self._others = tuple(task.initial_trainable(i) for i in range(1, clusters))

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.ifca_clusters)

  def server_state(self, weights):
    del weights
    return tuple(tuple(tf.constant(w) for w in model) for model in self._others)

  def shown(self, server):
    return server

  def brings(self, weights):
    del weights
    return tf.zeros([self._clusters])

  def work(self, client):
    models = [client.server_weights.trainable, *client.shown]
    losses = [local_steps.mean_loss(client.task, model, client.server_weights, client.dataset) for model in models]
    chosen = tf.argmin(tf.stack(losses))
    start = [tf.stack(versions)[chosen] for versions in zip(*models, strict=True)]
    trained = client.descend(start=start)
    one_hot = tf.one_hot(chosen, self._clusters)
    return algorithm.Work(trained=trained, kept=one_hot, sent=collections.OrderedDict(
        chosen=one_hot, update=tuple(tf.tensordot(one_hot, u, axes=0) for u in trained.update())))

  def step(self, server, mean, share, weights):
    del share, weights
    moves = [[tf.math.divide_no_nan(u[i], mean['chosen'][i]) for u in mean['update']] for i in range(self._clusters)]
    others = tuple(tuple(w - move for w, move in zip(model, moved, strict=True))
                   for model, moved in zip(server, moves[1:], strict=True))
    return others, moves[0]

  def own_model(self, kept, server, weights):
    chosen = [weights.trainable, *server][int(np.argmax(kept))]
    return tff.learning.models.ModelWeights(chosen, weights.non_trainable)
