"""What an algorithm defines; everything else of a round (`client_work`, `server_step`, `composition`) is shared.

FedAvg: McMahan et al., AISTATS 2017, algorithm 1. FedProx: Li et al., "Federated Optimization in Heterogeneous
Networks", MLSys 2020, equation 2.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs, tasks
from tff_vision.learning import local_steps

Tensors = tuple[tf.Tensor, ...]
_DEFAULT_STRENGTH = 0.01  # Of FedProx.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
  """One client in one round, inside of its TensorFlow computation.

  Attributes:
    optimizer: Of this round's rate.
    learning_rate: Of this round, float32 [].
    change: What is done to every gradient before the algorithm's own change: clipping and weight decay.
    server_weights: The model that it was sent.
    dataset: As `task.client_dataset` makes it.
    shown: What the algorithm's server shows its clients.
    brought: What comes with the client's data: the state that it keeps.
  """
  task: tasks.Task
  optimizer: tff.learning.optimizers.Optimizer
  learning_rate: tf.Tensor
  change: Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor]], Sequence[tf.Tensor]]
  server_weights: tff.learning.models.ModelWeights
  dataset: tf.data.Dataset
  shown: Any
  brought: Any

  def descend(self, change: local_steps.GradientChange = local_steps.plain_gradient, *, carried: Any = (),
              start: Sequence[tf.Tensor] | None = None,
              beside: local_steps.Beside | None = None,
              loss: local_steps.BatchLoss | None = None) -> local_steps.Trained:
    """Returns the client after its local epochs; `change` adds the algorithm's part to the gradient.

    Args: The others as in `local_steps.descend`.
    """
    def both(carried, gradients, weights, server_weights):
      return change(carried, self.change(gradients, weights), weights, server_weights)
    return local_steps.descend(self.task, self.optimizer, self.server_weights, self.dataset, change=both,
                               carried=carried, start=start, beside=beside, loss=loss)

  def examples(self) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (model input [n, height, width, channels], labels) of every example of the client once."""
    return self.task.batch_reader.open(self.dataset).one_epoch()

  def model_at(self, trainable: Sequence[tf.Tensor]) -> tf.keras.Model:
    """Returns another model, with these trainable weights; call it outside of `descend`'s functions."""
    model = self.task.training_model()
    for weight, value in zip(model.trainable_weights, trainable, strict=True):
      weight.assign(value)
    for weight, value in zip(model.non_trainable_weights, self.server_weights.non_trainable, strict=True):
      weight.assign(value)
    return model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """The result of one client's work in a round.

  Attributes:
    sent: For the aggregator: a structure of float32 tensors.
    kept: For the client's next round; None unless the algorithm keeps something.
  """
  trained: local_steps.Trained
  sent: Any
  kept: Any = None


class Algorithm:
  """FedAvg; other algorithms override its methods. Methods without a comment run on the server.

  Attributes:
    keeps: Whether clients keep what `brings` describes from round to round.
    reads_share: Whether `step` reads `share`.
    shows: Whether clients are shown anything of the server's state.
    personal: Whether a client's own model, `own_model`, is another than the server's.
  """
  keeps = False
  reads_share = False
  shows = False
  personal = False

  @classmethod
  def from_config(cls, task: tasks.Task, config: configs.AlgorithmConfig, client: configs.ClientConfig) -> 'Algorithm':
    """Returns the algorithm with what it reads of a config; one that is built in and reads something overrides this."""
    del task, config, client
    return cls()

  @property
  def row(self) -> catalogue.Row:
    """What it has that other parts of an experiment may not go with, like a row of the catalogue."""
    return catalogue.rows.own_algorithm(type(self).__name__, keeps=self.keeps, reads_share=self.reads_share,
                                        shows=self.shows, personal=self.personal)

  def server_state(self, weights: Tensors) -> Any:
    """Returns the server's state beside model and optimizer before round 1, in the shapes of `weights`."""
    del weights
    return ()

  def shown(self, server: Any) -> Any:
    """Returns what clients are shown of the server's state."""
    del server
    return ()

  def brings(self, weights: Tensors) -> Any:
    """Returns what comes with a client's data at first, in the shapes of `weights`; None for nothing."""
    del weights
    return None

  def own_model(self, kept: Any, server: Any, weights: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Returns the trainable weights of a client that keeps `kept`; on the driver, for evaluation.

    Args:
      server: The server's state beside model and optimizer.
      weights: The server's model.
    """
    del kept, server
    return weights

  def work(self, client: Client) -> Work:
    """Returns what one client does in a round; runs on the client."""
    trained = client.descend()
    return Work(trained=trained, sent=tuple(trained.update()))

  def step(self, server: Any, mean: Any, share: tf.Tensor, weights: Tensors) -> tuple[Any, Sequence[tf.Tensor]]:
    """Returns the server's next state, and what its optimizer descends.

    Args:
      mean: Of what the clients sent.
      share: Of all clients' weight, the part that is in the mean, float32 [].
      weights: The trainable weights that the round began with.
    """
    del share, weights
    return server, mean


class FedProx(Algorithm):
  """FedAvg whose clients also descend strength / 2 * ||w - w_server||^2.

  TFF has a client work for it, in which the term has the wrong sign in 0.87: `tests/learning/test_process.py`.
  """

  def __init__(self, strength: float):
    self._strength = strength

  @classmethod
  def from_config(cls, task, config, client):
    return cls(_DEFAULT_STRENGTH if config.proximal_strength is None else config.proximal_strength)

  def work(self, client):
    trained = client.descend(proximal_gradient(self._strength))
    return Work(trained=trained, sent=tuple(trained.update()))


def proximal_gradient(strength: float) -> local_steps.GradientChange:
  """Returns the change that adds strength * (w - w_server) to a gradient."""
  def change(carried, gradients, weights, server_weights):
    return carried, [g + strength * (w - w0) for g, w, w0 in zip(gradients, weights, server_weights, strict=True)]
  return change
