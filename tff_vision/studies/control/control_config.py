"""A federated reinforcement-learning experiment, as data."""

import dataclasses

from tff_vision import configs
from tff_vision.configs import validate

# Built-in models that a policy's outputs fit: any but the one that returns images.
POLICY_MODELS = tuple(name for name in configs.model_config.BUILT_IN if name != 'autoencoder')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig:
  """The environments, and how a policy learns from playing in them.

  Attributes:
    environments: Clients; each has an environment of its own.
    unseen_environments: So many more are never trained in and only evaluated.
    wind: Largest probability with which the wind moves a ball in a step; environments draw theirs, and the direction.
    discount: Factor on a reward for each step that it lies ahead.
    value_weight: Weight of the critic's squared error in the loss.
    entropy_weight: Weight of the policy's entropy, which keeps it trying.
    evaluation_episodes: Episodes behind each catch rate.
    alone: Whether every client also trains alone, for comparison: as many rounds, nothing shared.
  """
  environments: int = 8
  unseen_environments: int = 4
  wind: float = 0.5
  discount: float = 0.95
  value_weight: float = 0.5
  entropy_weight: float = 0.01
  evaluation_episodes: int = 500
  alone: bool = False

  def __post_init__(self):
    validate.positive(environments=self.environments, evaluation_episodes=self.evaluation_episodes)
    validate.non_negative(unseen_environments=self.unseen_environments, value_weight=self.value_weight,
                          entropy_weight=self.entropy_weight)
    for name in ('wind', 'discount'):
      if not 0 <= getattr(self, name) <= 1:
        raise ValueError(f'{name} must lie in 0..1, found {getattr(self, name)!r}.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlExperiment:
  """Everything that the result of a run depends on.

  Of `client`, `client_epochs` are the updates that a client makes in a round, and `batch_size` the episodes that it
  plays for each of them.
  """
  control: ControlConfig = ControlConfig()
  model: configs.ModelConfig = configs.ModelConfig(model='cnn')
  client: configs.ClientConfig = configs.ClientConfig(
      client_optimizer='adam', client_learning_rate=0.003, client_epochs=4, batch_size=16)
  server: configs.ServerConfig = configs.ServerConfig()
  cohort: configs.CohortConfig = configs.CohortConfig(cohort_size=8)
  secure: configs.SecureConfig = configs.SecureConfig()
  aggregation: configs.AggregationConfig = configs.AggregationConfig()
  program: configs.ProgramConfig = configs.ProgramConfig(rounds=150)

  def __post_init__(self):
    if self.model.model not in POLICY_MODELS:
      raise ValueError(f'model={self.model.model} makes no policy: choose one of {", ".join(POLICY_MODELS)}.')
    if self.aggregation.compression == 'top_k':
      raise ValueError('compression=top_k keeps what a client has not sent beside its examples, and a client that '
                       'plays has none: choose another compression.')
