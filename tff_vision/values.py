"""The parts of an experiment as values: `tff_vision.Experiment` takes them, or your own objects in their place.

Each function returns a frozen section of a config, so an experiment built in Python and one built from flags are the
same data. Imports no TensorFlow.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from tff_vision import configs, objective_values
from tff_vision.configs import budget_file_config

Classification = objective_values.Classification
Detection = objective_values.Detection
Embedding = objective_values.Embedding
Segmentation = objective_values.Segmentation


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """A built-in optimizer with its learning rate; a `tff.learning.optimizers.Optimizer` can be used in its place.

  Attributes:
    name: A name from `tff_vision.configs.training_config`.
    learning_rate: The learning rate of one step.
    settings: Further constants by name: `momentum`, `weight_decay`, `epsilon`.
  """
  name: str
  learning_rate: float
  settings: tuple[tuple[str, float], ...] = ()


def sgd(learning_rate: float, *, momentum: float = 0.0) -> Optimizer:
  """Returns SGD; with momentum on the server this is FedAvgM."""
  return Optimizer('sgdm', learning_rate, (('momentum', momentum),)) if momentum else Optimizer('sgd', learning_rate)


def adam(learning_rate: float, *, epsilon: float | None = None) -> Optimizer:
  """Returns Adam; on the server this is FedAdam (Reddi et al. 2021).

  Args:
    learning_rate: The learning rate of one step.
    epsilon: The tau of the paper, for the server only; None: the default of `configs.ServerConfig`.
  """
  return _adaptive('adam', learning_rate, epsilon)


def yogi(learning_rate: float, *, epsilon: float | None = None) -> Optimizer:
  """Returns Yogi, for the server: FedYogi (Reddi et al. 2021). Arguments as in `adam`."""
  return _adaptive('yogi', learning_rate, epsilon)


def adagrad(learning_rate: float, *, epsilon: float | None = None) -> Optimizer:
  """Returns Adagrad, for the server: FedAdagrad (Reddi et al. 2021). Arguments as in `adam`."""
  return _adaptive('adagrad', learning_rate, epsilon)


def adamw(learning_rate: float, *, weight_decay: float = 0.004) -> Optimizer:
  """Returns AdamW, for the server: Adam with decoupled weight decay."""
  return Optimizer('adamw', learning_rate, (('weight_decay', weight_decay),))


def _adaptive(name, learning_rate, epsilon):
  return Optimizer(name, learning_rate, () if epsilon is None else (('epsilon', epsilon),))


# The functions below have capitalised names, because each name reads as the part that the function returns.

def Client(optimizer: Any = Optimizer('sgd', 0.2), *, epochs: int = 3, batch_size: int = 20,
           gradient_clip: float | None = None, weight_decay: float = 0.0,
           loss_scale: str | None = None) -> configs.ClientConfig:
  """Returns how one client trains in a round.

  Args:
    optimizer: From `sgd` or `adam`, or a `tff.learning.optimizers.Optimizer`.
    epochs: Passes over the client's examples.
    batch_size: Examples in one step.
    gradient_clip: L2 bound on the gradient of a batch; None: no bound.
    weight_decay: The weights times this factor are added to each gradient.
    loss_scale: Needed where the runtime has math='float16': 'dynamic', or a power of two as text; None: the loss is
      not scaled.

  Raises:
    ValueError: A value is illegal; the message names it.
  """
  return configs.ClientConfig(**_optimizer('client', optimizer), client_epochs=epochs, batch_size=batch_size,
                              client_gradient_clip=gradient_clip, client_weight_decay=weight_decay,
                              loss_scale=loss_scale)


def Server(optimizer: Any = Optimizer('sgd', 1.0)) -> configs.ServerConfig:
  """Returns how the server applies the mean update.

  Args:
    optimizer: From `sgd`, `adam`, `adamw`, `yogi` or `adagrad`, or a `tff.learning.optimizers.Optimizer`.

  Raises:
    ValueError: A value is illegal; the message names it.
  """
  return configs.ServerConfig(**_optimizer('server', optimizer))


def _optimizer(side, optimizer):
  if not isinstance(optimizer, Optimizer):
    return {f'{side}_optimizer': optimizer}
  settings = {f'{side}_{name}': value for name, value in optimizer.settings}
  known = {field.name for field in dataclasses.fields(configs.sections()[side])}
  if unknown := sorted(set(settings) - known):
    raise ValueError(f'{optimizer.name} on the {side} does not read {", ".join(unknown)}.')
  return {f'{side}_optimizer': optimizer.name, f'{side}_learning_rate': optimizer.learning_rate, **settings}


def Fixed(cohort_size: int) -> configs.CohortConfig:
  """Returns participation of exactly `cohort_size` clients in a round, drawn without replacement."""
  return configs.CohortConfig(sampling='fixed', cohort_size=cohort_size)


def Poisson(cohort_size: int) -> configs.CohortConfig:
  """Returns participation of each client independently, with `cohort_size` clients expected in a round."""
  return configs.CohortConfig(sampling='poisson', cohort_size=cohort_size)


def RoundRobin(cohort_size: int) -> configs.CohortConfig:
  """Returns participation in turns: the next `cohort_size` clients of one random order."""
  return configs.CohortConfig(sampling='round_robin', cohort_size=cohort_size)


def Allocation(cohort_size: int) -> configs.CohortConfig:
  """Returns participation in one random round of each pass; a pass has population / cohort_size rounds, rounded up."""
  return configs.CohortConfig(sampling='allocation', cohort_size=cohort_size)


@dataclasses.dataclass(frozen=True)
class Partition:
  """How a data set is divided among clients: fields of `configs.DataConfig`."""
  fields: tuple[tuple[str, Any], ...]


def Natural() -> Partition:
  """Returns the data set's own clients: writers, hospitals or folders."""
  return Partition((('partition', 'natural'),))


def Iid(clients: int) -> Partition:
  """Returns random parts of equal size."""
  return Partition((('partition', 'iid'), ('num_clients', clients)))


def Dirichlet(alpha: float, *, clients: int) -> Partition:
  """Returns clients with shares of each class from a Dirichlet distribution; a large alpha is near IID."""
  return Partition((('partition', 'dirichlet'), ('partition_alpha', alpha), ('num_clients', clients)))


def Shards(classes_per_client: int, *, clients: int) -> Partition:
  """Returns clients with examples of at most `classes_per_client` classes."""
  return Partition((('partition', 'shards'), ('classes_per_client', classes_per_client), ('num_clients', clients)))


@dataclasses.dataclass(frozen=True)
class Task:
  """Images, model and objective.

  Attributes:
    images: `data.FederatedImages`, from `data.from_arrays`, `data.from_client_data` or `data.load`; or a
      `configs.DataConfig`, which is loaded when it is needed.
    model: A built-in name, or a function (input_shape, num_classes) -> Keras model of logits, or a
      `configs.ModelConfig`.
    objective: `Classification`, `Detection`, `Embedding` or `Segmentation`, or an object with the methods of
      `objectives.Objective`, or a `configs.TaskConfig`.
  """
  images: Any
  model: str | configs.ModelConfig | Callable[[tuple[int, int, int], int], Any] = 'mlp'
  objective: Any = Classification()

  def sections(self, seed: int) -> dict[str, Any]:
    """Returns the sections `data`, `model` and `task` of the config of an experiment with this seed."""
    return {'data': self._data(seed), 'task': objective_values.section(self.objective),
            'model': self.model if isinstance(self.model, configs.ModelConfig) else configs.ModelConfig(
                model=self.model)}

  def _data(self, seed):
    if isinstance(self.images, configs.DataConfig):
      return self.images
    if (origin := getattr(self.images, 'origin', None)) is not None and origin.seed == seed:
      return origin.config  # The config loads the same images.
    return configs.DataConfig(dataset=self.images)


def BudgetFile(path: str, *, epsilon: float | None = None, delta: float | None = None, unit: str | None = None
               ) -> budget_file_config.BudgetFileConfig:
  """Returns the privacy budget over several runs to which an experiment is charged.

  Args:
    path: The file; the first run creates it.
    epsilon: The total cost allowed for all runs on the same data; read when the file is created.
    delta: The delta of that epsilon; None: the first run's.
    unit: `client` or `example`; None: the first run's.

  Raises:
    ValueError: A value is illegal; the message names it.
  """
  return budget_file_config.BudgetFileConfig(budget_file=path, budget_epsilon=epsilon, budget_delta=delta,
                                             budget_unit=unit)
