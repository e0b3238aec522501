"""Algorithms whose clients share the body of the model and keep their own head.

FedPer: Arivazhagan et al., "Federated Learning with Personalization Layers", 2019, arXiv:1912.00818, algorithms 1
and 2. FedRep: Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021,
algorithm 1.

The head never leaves its client; the head of the server's model stays as it was initialized.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_vision import tasks
from tff_vision.learning import algorithm

NONE = 'none'


class FedPer(algorithm.Algorithm):
  """Kept by a client: the weights of its personal layers; at first those of the initial model."""
  personal = True

  def __init__(self, task: tasks.Task, layers: str):
    """Args: `layers` as in `configs.AlgorithmConfig.personal_layers`."""
    self._is_head = head_mask(task.keras_model(), layers)
    self._head = self._own(task.initial_trainable())
    self.keeps = any(self._is_head)

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.personal_layers)

  def brings(self, weights):
    del weights
    return tuple(tf.constant(w) for w in self._head) or None

  def work(self, client):
    trained = self._train(client, self._joined(client.brought, client.server_weights.trainable))
    body = tuple(u for u, own in zip(trained.update(), self._is_head, strict=True) if not own)
    return algorithm.Work(trained=trained, sent=body, kept=self._own(trained.weights) or None)

  def step(self, server, mean, share, weights):
    del share
    body = iter(mean)
    return server, tuple(tf.zeros_like(w) if own else next(body) for w, own in zip(weights, self._is_head, strict=True))

  def own_model(self, kept, server, weights):
    del server
    return self._joined(kept, weights)

  def _train(self, client, start):
    return client.descend(start=start)

  def _joined(self, head, weights):
    own = iter(head or ())
    return tuple(next(own) if mine else w for w, mine in zip(weights, self._is_head, strict=True))

  def _own(self, weights):
    return tuple(w for w, own in zip(weights, self._is_head, strict=True) if own)


class FedRep(FedPer):
  """FedPer whose clients first train their head, with the server's body unchanged, and then the body."""

  def __init__(self, task: tasks.Task, layers: str, head_epochs: int):
    """Args: `head_epochs`: the first so many local epochs train the head; the others train the body."""
    super().__init__(task, layers)
    self._head_epochs = head_epochs

  @classmethod
  def from_config(cls, task, config, client):
    return cls(task, config.personal_layers, config.fedrep_head_epochs or client.client_epochs - 1)

  def _train(self, client, start):
    examples = client.task.batch_reader.open(client.dataset).num_examples
    # Batches continue across epochs: the batch in which the head's last epoch ends still trains the head.
    head_steps = -(-examples * self._head_epochs // client.task.client.batch_size)

    def one_part(step, gradients, weights, server_weights):
      del weights, server_weights
      turn = step < head_steps
      return step + 1, [tf.where(turn if own else ~turn, g, 0.0)
                        for g, own in zip(gradients, self._is_head, strict=True)]

    return client.descend(one_part, carried=tf.constant(0), start=start)


def head_mask(model: tf.keras.Model, layers: str) -> Sequence[bool]:
  """Returns which of the model's trainable weights are personal.

  Args:
    layers: Names separated by commas; empty: the last layer that has weights; `none`: no layer.

  Raises:
    ValueError: No such layer with weights, or no weight would be shared.
  """
  found = {layer.name: layer for layer in model.submodules
           if isinstance(layer, tf.keras.layers.Layer) and layer.trainable_weights}
  last = [layer.name for layer in model.layers if layer.trainable_weights][-1]
  names = [] if layers == NONE else [name.strip() for name in (layers or last).split(',')]
  if wrong := [name for name in names if name not in found]:
    raise ValueError(f'personal_layers={layers!r}: the model has no layer {wrong[0]!r} with weights; it has '
                     f'{", ".join(sorted(found))}.')
  own = {weight.ref() for name in names for weight in found[name].trainable_weights}
  mask = tuple(weight.ref() in own for weight in model.trainable_weights)
  if all(mask):
    raise ValueError(f'personal_layers={layers!r} makes all layers with weights personal ({", ".join(names)}): nothing '
                     'would be shared; name fewer, or choose a model of more layers.')
  return mask
