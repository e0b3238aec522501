"""A federated reinforcement-learning experiment, as data."""

import dataclasses

from tff_vision import catalogue, configs
from tff_vision.configs import compatibility, option, validate

# Built-in models that can be a policy: all except those of tasks of their own, which return images or masks.
POLICY_MODELS = tuple(name for name in catalogue.models.BUILT_IN if not catalogue.models.MODELS.rows[name].limits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlConfig:
  """The environments, and the settings of policy training."""
  environments: int = option.option(8, 'Clients; each plays in an environment of its own.')
  unseen_environments: int = option.option(4, 'So many more are only evaluated.')
  wind: float = option.option(
      0.5, 'Largest probability with which wind moves the ball in a step; environments draw theirs, and the direction.')
  discount: float = option.option(0.95, 'Factor on a reward for each step that it lies ahead.')
  value_weight: float = option.option(0.5, 'Weight of the critic\'s squared error in the loss.')
  entropy_weight: float = option.option(
      0.01, 'Weight of the policy\'s entropy in the loss, which keeps it trying.')
  evaluation_episodes: int = option.option(500, 'Episodes behind each catch rate.')
  alone: bool = option.option(
      False, 'Whether every client also trains alone, for comparison: as many rounds, nothing shared.')

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

  In `client`, `client_epochs` is the number of updates that a client makes in a round, and `batch_size` is the number
  of episodes that it plays for each update.
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
    if self.client.loss_scale is not None:
      raise ValueError(f'loss_scale={self.client.loss_scale} has no effect: the losses of clients that play are not '
                       'scaled.')
    compatibility.check(*(getattr(self, name) for name in configs.sections(type(self))),
                        more={'a client that plays': (catalogue.Trait.PLAYS,)})
