"""Client and server optimizers by name, with the constants of the federated literature.

Server adaptivity: Reddi et al., "Adaptive Federated Optimization", ICLR 2021: `sgdm` is FedAvgM (momentum
0.9 by default), `adam`, `yogi` and `adagrad` are FedAdam, FedYogi and FedAdagrad with beta = (0.9, 0.99) and, by
default, tau = 1e-3.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import catalogue, configs

_BETA_2 = 0.99


class PlainSgd(tff.learning.optimizers.Optimizer):
  """w - rate * g. `step_in_place` runs it as one fused kernel, without a second copy of the weights."""

  def __init__(self, rate: float):
    self.rate = rate

  def initialize(self, specs):
    del specs
    return collections.OrderedDict()

  def next(self, state, weights, gradients):
    return state, tf.nest.map_structure(lambda w, g: w - self.rate * g, weights, gradients)


def initial_state(optimizer: tff.learning.optimizers.Optimizer, weights: Sequence[tf.Variable]) -> Any:
  """Returns the optimizer's state before the first step; runs on the client."""
  return optimizer.initialize(tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights))


def step_in_place(optimizer: tff.learning.optimizers.Optimizer, state: Any, weights: Sequence[tf.Variable],
                  gradients: Sequence[tf.Tensor]) -> Any:
  """Makes one step, assigns the new weights and returns the optimizer's next state; runs on the client."""
  if isinstance(optimizer, PlainSgd):
    for weight, gradient in zip(weights, gradients, strict=True):
      tf.raw_ops.ResourceApplyGradientDescent(var=weight.handle, alpha=optimizer.rate, delta=gradient)
    return state
  state, updated = optimizer.next(state, tuple(weights), tuple(gradients))
  for weight, value in zip(weights, updated, strict=True):
    weight.assign(value)
  return state


class _Scheduled(tff.learning.optimizers.Optimizer):
  """A user's optimizer whose learning rate is set at initialization; runs where the user's optimizer runs."""

  def __init__(self, optimizer: tff.learning.optimizers.Optimizer, rate: float | tf.Tensor):
    self._optimizer = optimizer
    self._rate = rate

  def initialize(self, specs):
    return self._optimizer.set_hparams(self._optimizer.initialize(specs),
                                       collections.OrderedDict(learning_rate=tf.cast(self._rate, tf.float32)))

  def next(self, state, weights, gradients):
    return self._optimizer.next(state, weights, gradients)


def client_optimizer(rate: float | tf.Tensor, client: configs.ClientConfig, *, scheduled: bool
                     ) -> tff.learning.optimizers.Optimizer:
  """Returns the optimizer of one client in one round.

  Args:
    rate: The learning rate of the round; an optimizer given as an object reads it only if it is `scheduled`.

  Raises:
    ValueError: A schedule changes a learning rate, but the object has none.
  """
  chosen = client.client_optimizer
  if isinstance(chosen, str):
    return CLIENT_OPTIMIZERS[chosen](rate, client)
  return _Scheduled(_with_rate('client', chosen), rate) if scheduled else chosen


def server_optimizer(server: configs.ServerConfig, *, scheduled: bool) -> tff.learning.optimizers.Optimizer:
  """Returns the server's optimizer.

  Raises:
    ValueError: As for `client_optimizer`.
  """
  chosen = server.server_optimizer
  if isinstance(chosen, str):
    return SERVER_OPTIMIZERS[chosen](server.server_learning_rate, server)
  return _with_rate('server', chosen) if scheduled else chosen


def learning_rate(optimizer: Any, configured: float) -> float:
  """Returns the learning rate that a schedule multiplies: `configured` for a name, the object's own for an object.

  For an object without the hyperparameter `learning_rate` the result is 1.
  """
  if isinstance(optimizer, str):
    return configured
  state = optimizer.initialize((tf.TensorSpec((1,), tf.float32),))
  try:
    return float(optimizer.get_hparams(state).get('learning_rate', 1.0))
  except (AttributeError, NotImplementedError):
    return 1.0


def _with_rate(side, optimizer):
  state = optimizer.initialize((tf.TensorSpec((1,), tf.float32),))
  if 'learning_rate' not in optimizer.get_hparams(state):
    raise ValueError(f'{side}_schedule needs a {side}_optimizer with the hyperparameter learning_rate; '
                     f'{type(optimizer).__name__} has {sorted(optimizer.get_hparams(state)) or "none"}.')
  return optimizer


def client_sgd(rate: float | tf.Tensor, client: configs.ClientConfig) -> tff.learning.optimizers.Optimizer:
  """Returns plain SGD."""
  del client
  return PlainSgd(rate)


def client_sgdm(rate: float | tf.Tensor, client: configs.ClientConfig) -> tff.learning.optimizers.Optimizer:
  """Returns SGD with momentum."""
  return tff.learning.optimizers.build_sgdm(rate, momentum=client.client_momentum)


def client_adam(rate: float | tf.Tensor, client: configs.ClientConfig) -> tff.learning.optimizers.Optimizer:
  """Returns Adam."""
  del client
  return tff.learning.optimizers.build_adam(rate)


def server_sgd(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns SGD."""
  del server
  return tff.learning.optimizers.build_sgdm(rate)


def server_sgdm(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns FedAvgM."""
  return tff.learning.optimizers.build_sgdm(rate, momentum=server.server_momentum)


def server_adam(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns FedAdam."""
  return tff.learning.optimizers.build_adam(rate, beta_2=_BETA_2, epsilon=server.server_epsilon)


def server_adamw(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns FedAdam with decoupled weight decay: Loshchilov and Hutter 2019, arXiv:1711.05101."""
  return tff.learning.optimizers.build_adamw(rate, beta_2=_BETA_2, epsilon=server.server_epsilon,
                                             weight_decay=server.server_weight_decay)


def server_yogi(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns FedYogi."""
  return tff.learning.optimizers.build_yogi(rate, beta_2=_BETA_2, epsilon=server.server_epsilon,
                                            initial_preconditioner_value=server.server_epsilon**2)


def server_adagrad(rate: float | tf.Tensor, server: configs.ServerConfig) -> tff.learning.optimizers.Optimizer:
  """Returns FedAdagrad; its epsilon is under the square root."""
  return tff.learning.optimizers.build_adagrad(rate, initial_preconditioner_value=server.server_epsilon**2,
                                               epsilon=server.server_epsilon**2)


# Name -> function from a learning rate, a number or float32 [], and the config's section to an optimizer.
CLIENT_OPTIMIZERS: Mapping[str, Callable[[float, configs.ClientConfig], tff.learning.optimizers.Optimizer]] = (
    catalogue.Loaded('client_optimizer'))
SERVER_OPTIMIZERS: Mapping[str, Callable[[float, configs.ServerConfig], tff.learning.optimizers.Optimizer]] = (
    catalogue.Loaded('server_optimizer'))
