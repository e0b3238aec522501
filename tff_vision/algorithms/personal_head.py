"""Algorithms whose clients share most of the model and keep layers of their own: a head, or all that normalise.

FedPer: Arivazhagan et al., "Federated Learning with Personalization Layers", 2019, arXiv:1912.00818, algorithms 1
and 2. FedRep: Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021,
algorithm 1. FedBN: Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021,
arXiv:2102.07623, algorithm 1.

The personal layers never leave their client, and neither do the moving statistics of batch normalisations among them;
those of the server's model stay as they were initialized.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.learning import algorithm
from tff_vision.models import personal_layers


class FedPer(algorithm.Algorithm):
  """Kept by a client: the weights of its personal layers, then their moving statistics; at first the initial model's.
  """
  personal = True

  def __init__(self, task: tasks.Task, layers: str):
    """Args: `layers` as in `configs.AlgorithmConfig.personal_layers`."""
    masks = personal_layers.masks(task.keras_model(), layers)
    self._is_head, self._is_statistic = masks.trainable, masks.statistics
    first = task.initial_weights()
    self._head = self._own([w.numpy() for w in first.trainable], [w.numpy() for w in first.non_trainable])
    self.keeps = bool(self._head)

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.kept_layers)

  def brings(self, weights):
    del weights
    return tuple(tf.constant(w) for w in self._head) or None

  def work(self, client):
    shared = client.server_weights
    start, statistics = self._joined(client.brought, shared.trainable, shared.non_trainable)
    client = dataclasses.replace(client, server_weights=tff.learning.models.ModelWeights(
        shared.trainable, tf.nest.pack_sequence_as(shared.non_trainable, statistics)))
    trained = self._train(client, start)
    body = tuple(u for u, own in zip(trained.update(), self._is_head, strict=True) if not own)
    moved = trained.statistics if any(self._is_statistic) else statistics
    return algorithm.Work(trained=trained, sent=body, kept=self._own(trained.weights, moved) or None)

  def step(self, server, mean, share, weights):
    del share
    body = iter(mean)
    return server, tuple(tf.zeros_like(w) if own else next(body) for w, own in zip(weights, self._is_head, strict=True))

  def own_model(self, kept, server, weights):
    del server
    return tff.learning.models.ModelWeights(*self._joined(kept, weights.trainable, weights.non_trainable))

  def _train(self, client, start):
    return client.descend(start=start)

  def _joined(self, head, trainable, statistics):
    """Returns the trainable weights and the others, with a client's own among them."""
    own = iter(head or ())
    return tuple(tuple(next(own) if mine else w for w, mine in zip(weights, which, strict=True))
                 for weights, which in ((trainable, self._is_head), (statistics, self._is_statistic)))

  def _own(self, trainable, statistics):
    """Returns what of a model's weights a client keeps."""
    return tuple(w for weights, which in ((trainable, self._is_head), (statistics, self._is_statistic))
                 for w, own in zip(weights, which, strict=True) if own)


class FedBn(FedPer):
  """FedPer over normalisation layers. Clients that never trained use the mean of the clients' layers and statistics."""

  def joint_model(self, kept, weights):
    total, number = None, 0
    for own in kept:
      parts = [np.asarray(part, np.float64) for part in own]
      total = parts if total is None else [before + part for before, part in zip(total, parts, strict=True)]
      number += 1
    if total is None:
      return weights
    mean = [(part / number).astype(np.float32) for part in total]
    return tff.learning.models.ModelWeights(*self._joined(mean, weights.trainable, weights.non_trainable))


class FedRep(FedPer):
  """FedPer whose clients first train their head, with the server's body unchanged, and then the body."""

  def __init__(self, task: tasks.Task, layers: str, head_epochs: int):
    """Args: `head_epochs`: the first so many local epochs train the head; the others train the body."""
    super().__init__(task, layers)
    self._head_epochs = head_epochs

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.kept_layers, config.fedrep_head_epochs or client.client_epochs - 1)

  def _train(self, client, start):
    examples = client.task.batch_reader.open(client.dataset).num_examples
    # Batches continue across epochs: the batch in which the head's last epoch ends still trains the head. A step
    # that is skipped (loss_scale) is none: the head takes the batch after it instead.
    head_steps = -(-examples * self._head_epochs // client.task.client.batch_size)

    def one_part(step, gradients, weights, server_weights):
      del weights, server_weights
      turn = step < head_steps
      return step + 1, [tf.where(turn if own else ~turn, g, 0.0)
                        for g, own in zip(gradients, self._is_head, strict=True)]

    return client.descend(one_part, carried=tf.constant(0), start=start)
