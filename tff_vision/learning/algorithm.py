"""What an algorithm defines; everything else of a round (`client_work`, `server_step`, `composition`) is shared.

FedAvg: McMahan et al., AISTATS 2017, algorithm 1. FedProx: Li et al., "Federated Optimization in Heterogeneous
Networks", MLSys 2020, equation 2.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs, tasks
from tff_vision.learning import local_steps

Tensors = tuple[tf.Tensor, ...]
_DEFAULT_STRENGTH = 0.01  # The default strength of FedProx's proximal term.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Client:
  """One client in one round, inside of its TensorFlow computation.

  Attributes:
    optimizer: The client optimizer, with this round's learning rate.
    learning_rate: The learning rate of this round, float32 [].
    change: The change of every gradient before the algorithm's own change: clipping and weight decay.
    server_weights: The model that the server sent to the client.
    dataset: The client's examples, as `task.client_dataset` makes them.
    shown: The part of the server's state that the algorithm sends to its clients.
    brought: The state that the client keeps; it comes with the client's data.
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

    Args: The other arguments are those of `local_steps.descend`.
    """
    def both(carried, gradients, weights, server_weights):
      return change(carried, self.change(gradients, weights), weights, server_weights)
    return local_steps.descend(self.task, self.optimizer, self.server_weights, self.dataset, change=both,
                               carried=carried, start=start, beside=beside, loss=loss)

  def examples(self) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (model input [n, height, width, channels], labels), with every example of the client once."""
    return self.task.batch_reader.open(self.dataset).one_epoch()

  def model_at(self, trainable: Sequence[tf.Tensor]) -> tf.keras.Model:
    """Returns a new model with these trainable weights; call this outside the functions passed to `descend`."""
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
    sent: The value for the aggregator: a structure of float32 tensors.
    kept: The state for the client's next round; None unless the algorithm keeps something.
  """
  trained: local_steps.Trained
  sent: Any
  kept: Any = None


class Algorithm:
  """FedAvg; other algorithms override its methods. Methods without a comment run on the server.

  Attributes:
    keeps: Whether clients keep the state that `brings` describes from round to round.
    reads_share: Whether `step` reads `share`.
    shows: Whether clients receive any part of the server's state.
    personal: Whether a client's own model, `own_model`, differs from the server's model.
    late: Whether `brought` is the delay of the client's update in rounds, int32 [].
    numbered: Whether `brought` is the client's number, int32 []; the number of clients is then part of the process.
  """
  keeps = False
  reads_share = False
  shows = False
  personal = False
  late = False
  numbered = False

  @classmethod
  def from_config(cls, task: tasks.Task, config: configs.AlgorithmConfig, client: configs.ClientConfig) -> 'Algorithm':
    """Returns the algorithm with its settings from a config; built-in algorithms that have settings override this."""
    del task, config, client
    return cls()

  @property
  def row(self) -> catalogue.Row:
    """The algorithm's properties that may be incompatible with other parts of an experiment, as a catalogue row."""
    return catalogue.rows.own_algorithm(type(self).__name__, keeps=self.keeps, reads_share=self.reads_share,
                                        shows=self.shows, personal=self.personal, late=self.late)

  def server_state(self, weights: Tensors) -> Any:
    """Returns the algorithm's part of the server's state before round 1, in the shapes of `weights`.

    The model and the optimizer's state are not part of it.
    """
    del weights
    return ()

  def shown(self, server: Any) -> Any:
    """Returns the part of the server's state that clients receive."""
    del server
    return ()

  def brings(self, weights: Tensors) -> Any:
    """Returns the initial state that comes with a client's data, in the shapes of `weights`; None: no state."""
    del weights
    return None

  def own_model(self, kept: Any, server: Any, weights: tff.learning.models.ModelWeights
                ) -> tff.learning.models.ModelWeights:
    """Returns the model of a client that keeps `kept`, as arrays; runs on the driver, for evaluation.

    Args:
      server: The server's state without model and optimizer, as arrays.
      weights: The server's model, as arrays.
    """
    del kept, server
    return weights

  def joint_model(self, kept: Iterable[Any], weights: tff.learning.models.ModelWeights
                  ) -> tff.learning.models.ModelWeights:
    """Returns the model for clients that never trained, also the exported one; runs on the driver.

    Args:
      kept: What the clients keep that took part; read when it is iterated.
      weights: The server's model.
    """
    del kept
    return weights

  def work(self, client: Client) -> Work:
    """Returns what one client does in a round; runs on the client."""
    trained = client.descend()
    return Work(trained=trained, sent=tuple(trained.update()))

  def step(self, server: Any, mean: Any, share: tf.Tensor, weights: Tensors) -> tuple[Any, Sequence[tf.Tensor]]:
    """Returns the server's next state, and the gradient for its optimizer.

    Args:
      mean: The mean of the values that the clients sent.
      share: The weight of the clients in the mean, divided by the weight of all clients, float32 [].
      weights: The trainable weights at the start of the round.
    """
    del share, weights
    return server, mean


class FedProx(Algorithm):
  """FedAvg whose clients also descend strength / 2 * ||w - w_server||^2.

  TFF has its own client work for FedProx, but in TFF 0.87 the proximal term has the wrong sign: see
  `tests/learning/test_process.py`.
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
