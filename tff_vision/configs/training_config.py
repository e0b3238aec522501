"""The configuration of algorithm, local training and server optimizer."""

import dataclasses
from typing import Any

from tff_vision import catalogue, plugins
from tff_vision.configs import compatibility, option, validate

CLIENT_WEIGHTINGS = ('examples', 'uniform')
_OF_ONE = 'Algorithm and optimizers: what single ones read'
_FAIR = 'The worst client'
_PERSONAL = 'Models of the clients\' own'
_MOST_Q = 20  # The paper goes up to 15. Larger powers of a loss leave the range of float32, and nothing is trained.
_MOST_RATE = 1e6
_LOSS_SCALES = (None, 'dynamic', *(str(2**power) for power in range(25)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlgorithmConfig:
  """Which federated algorithm; docs/reference/algorithms.md tells them apart.

  `algorithm` may also be a `learning.algorithm.Algorithm`, or a reference to one, to its class or to a function that
  makes one.
  """
  algorithm: Any = option.option('fedavg', 'Federated algorithm.', own='package.module:Class of your own')
  algorithm_option: tuple[str, ...] = option.option((), 'key=value for the class of --algorithm, repeatable.')
  client_weighting: str | None = option.option(
      None, 'What an update weighs in the mean: the examples seen (the default but for the privacy of clients), or the '
      'same for every client.', choices=CLIENT_WEIGHTINGS, topic=_OF_ONE)
  proximal_strength: float | None = option.option(
      None, 'The mu of fedprox, weight of the squared distance to the model of the round; unset: 0.01, and fednova '
      'without such a term.')
  feddyn_strength: float = option.option(
      0.1, 'The alpha of feddyn, weight of its dynamic regulariser.', topic=_OF_ONE)
  mime_momentum: float = option.option(
      0.9, 'The beta of mime_lite: share of the old momentum in the new.', topic=_OF_ONE)
  max_staleness: int = option.option(
      4, 'fedbuff: an update that arrives more rounds late is lost; the server keeps so many old models.',
      topic=_OF_ONE)
  qfedavg_q: float = option.option(
      1.0, 'The q of qfedavg: the larger, the more a large loss counts; 0: fedavg.', topic=_FAIR)
  afl_rate: float = option.option(
      0.1, 'afl: the step by which a client\'s share in the mixture grows with its loss.', topic=_FAIR)
  personal_layers: str = option.option(
      '', 'fedper, fedrep, fedbn: layers that stay on each client: names or glob patterns separated by commas, norm '
      'for all that normalise, or none; empty: the last, and of fedbn norm.',
      topic=_PERSONAL)
  fedrep_head_epochs: int | None = option.option(
      None, 'fedrep: local epochs for the head; the others are the body\'s. Unset: all but the last.', topic=_PERSONAL)
  ditto_strength: float = option.option(
      0.1, 'The lambda of ditto: how strongly a personal model is drawn to the shared one; 0: not at all.',
      topic=_PERSONAL)
  apfl_alpha: float = option.option(
      0.5, 'apfl: the share of a client\'s own model in what it uses; at first, if apfl_adaptive.', topic=_PERSONAL)
  apfl_adaptive: bool = option.option(False, 'apfl: whether each client learns that share.', topic=_PERSONAL)
  ifca_clusters: int = option.option(2, 'ifca: the number of models.', topic=_PERSONAL)
  personalize_epochs: int = option.option(
      0, 'After the last round, compare the shared model with one trained on for so many epochs by each client, on the '
      'client\'s own test examples; 0: do not.', topic=_PERSONAL)
  personalize_learning_rate: float | None = option.option(
      None, 'The learning rate of these epochs; unset: client_learning_rate.', topic=_PERSONAL)

  def __post_init__(self):
    option.check_choices(self)
    check_options('algorithm', self.algorithm, self.algorithm_option)
    validate.non_negative(proximal_strength=self.proximal_strength or 0.0)
    validate.positive(feddyn_strength=self.feddyn_strength, max_staleness=self.max_staleness,
                      ifca_clusters=self.ifca_clusters)
    validate.positive(afl_rate=self.afl_rate)
    validate.at_most(_MOST_Q, qfedavg_q=self.qfedavg_q)
    validate.at_most(_MOST_RATE, afl_rate=self.afl_rate)
    validate.non_negative(qfedavg_q=self.qfedavg_q, ditto_strength=self.ditto_strength,
                          personalize_epochs=self.personalize_epochs)
    if not 0 <= self.apfl_alpha <= 1:
      raise ValueError(f'apfl_alpha must lie in 0..1, found {self.apfl_alpha!r}.')
    if self.fedrep_head_epochs is not None:
      validate.positive(fedrep_head_epochs=self.fedrep_head_epochs)
    validate.fraction(mime_momentum=self.mime_momentum)
    if (rate := self.personalize_learning_rate) is not None:
      validate.positive(personalize_learning_rate=rate)
      if not self.personalize_epochs:
        raise ValueError(f'personalize_learning_rate={rate:g} has no effect without personalize_epochs.')
    compatibility.check(self)

  @property
  def by_examples(self) -> bool:
    """Whether updates weigh by examples where the aggregator takes weights."""
    row = catalogue.chosen('algorithm', self.algorithm)
    return self.client_weighting != 'uniform' and not getattr(row, 'weighs_itself', False)

  @property
  def kept_layers(self) -> str | None:
    """The layers that stay on each client, as in `personal_layers`; None: the algorithm keeps no layers."""
    row = catalogue.chosen('algorithm', self.algorithm)
    if row is None or 'personal_layers' not in row.reads:
      return None
    return self.personal_layers or getattr(row, 'keeps', '')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClientConfig:
  """What one client does in one round.

  `client_optimizer` may also be a `tff.learning.optimizers.Optimizer`, whose own learning rate is then used; a schedule
  needs its hyperparameter `learning_rate`. `client_gradient_clip` does not bound the terms that an algorithm adds to a
  gradient.
  """
  client_optimizer: Any = option.option('sgd', 'Optimizer on clients.')
  client_learning_rate: float = option.option(0.2, 'Learning rate on clients.')
  client_epochs: int = option.option(3, 'Local epochs in a round.')
  batch_size: int = option.option(20, 'Batch size on clients.')
  client_momentum: float = option.option(0.9, 'Momentum of client_optimizer=sgdm.', topic=_OF_ONE)
  client_gradient_clip: float | None = option.option(
      None, 'L2 bound on the gradient of a batch on clients; unset: no bound.', topic=_OF_ONE)
  client_weight_decay: float = option.option(
      0.0, 'Adds so much of the weights to each gradient on clients.', topic=_OF_ONE)
  loss_scale: str | None = option.option(
      None, 'Needed for math=float16: dynamic, or a power of two that multiplies the loss before its gradient is '
      'taken; a step whose gradient is not finite is skipped and counted. Unset: the loss is not scaled, and nothing '
      'is skipped.', topic=_OF_ONE)

  def __post_init__(self):
    _check_optimizer(self, client_optimizer=self.client_optimizer)
    validate.positive(client_learning_rate=self.client_learning_rate, client_epochs=self.client_epochs,
                      batch_size=self.batch_size)
    validate.open_unit(client_momentum=self.client_momentum)
    validate.non_negative(client_weight_decay=self.client_weight_decay)
    if self.client_gradient_clip is not None:
      validate.positive(client_gradient_clip=self.client_gradient_clip)
    if self.loss_scale not in _LOSS_SCALES:
      raise ValueError(f'loss_scale must be dynamic or a power of two from 1 to {_LOSS_SCALES[-1]}, found '
                       f'{self.loss_scale!r}.')
    compatibility.check(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
  """How the server applies the aggregated update. `server_optimizer` may also be an object, as `client_optimizer`."""
  server_optimizer: Any = option.option(
      'sgd', 'Optimizer on the server; sgdm, adam, yogi, adagrad make FedAvgM, FedAdam, FedYogi, FedAdagrad.')
  server_learning_rate: float = option.option(1.0, 'Learning rate on the server.')
  server_momentum: float = option.option(0.9, 'Momentum of server_optimizer=sgdm.', topic=_OF_ONE)
  server_weight_decay: float = option.option(
      0.004, 'Weight decay of server_optimizer=adamw, decoupled from its moments.', topic=_OF_ONE)
  server_epsilon: float = option.option(
      1e-3, 'The tau of adaptive server optimizers, which bounds their steps.', topic=_OF_ONE)

  def __post_init__(self):
    _check_optimizer(self, server_optimizer=self.server_optimizer)
    validate.positive(server_learning_rate=self.server_learning_rate, server_epsilon=self.server_epsilon)
    validate.open_unit(server_momentum=self.server_momentum)
    validate.non_negative(server_weight_decay=self.server_weight_decay)
    compatibility.check(self)


def check_options(field: str, choice: Any, given: tuple[str, ...]) -> None:
  """Refuses options unless the choice is a reference: a built-in name reads fields, and an object has its parameters.

  Raises:
    ValueError: Names the field.
  """
  plugins.options(given, field=f'{field}_option')
  names = catalogue.names(field) if field in catalogue.KINDS else ()
  if given and not (plugins.is_reference(choice) and choice not in names):
    raise ValueError(f'{field}_option={",".join(given)} has no effect without {field}=package.module:attribute.')


def _check_optimizer(section, **named):
  option.check_choices(section)
  for name, value in named.items():
    if not isinstance(value, str) and not all(callable(getattr(value, method, None))
                                              for method in ('initialize', 'next')):
      raise ValueError(f'{name} must be one of {", ".join(catalogue.names(name))} or a '
                       f'tff.learning.optimizers.Optimizer, found {value!r}.')
