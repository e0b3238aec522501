"""The configuration of learning-rate schedules."""

import dataclasses

from tff_vision.configs import compatibility, option, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
  """Learning rates by round: the rate of the client or server section times a factor.

  Cosine: Loshchilov and Hutter 2017, arXiv:1608.03983.
  """
  client_schedule: str = option.option('constant', 'How client_learning_rate changes from round to round.')
  server_schedule: str = option.option('constant', 'How server_learning_rate changes from round to round.')
  client_warmup_rounds: int = option.option(
      0, 'client_learning_rate rises linearly over the first so many rounds, on top of its schedule.')
  server_warmup_rounds: int = option.option(
      0, 'server_learning_rate rises linearly over the first so many rounds, on top of its schedule.')
  schedule_step_rounds: int = option.option(30, 'step: rounds between two steps, of both schedules.')
  schedule_step_factor: float = option.option(0.5, 'step: the rate is multiplied by this, in both schedules.')
  schedule_final: float = option.option(
      0.0, 'cosine: the share of the rate that is left at the end, of both schedules.')

  def __post_init__(self):
    option.check_choices(self)
    validate.non_negative(client_warmup_rounds=self.client_warmup_rounds,
                          server_warmup_rounds=self.server_warmup_rounds)
    validate.positive(schedule_step_rounds=self.schedule_step_rounds, schedule_step_factor=self.schedule_step_factor)
    validate.fraction(schedule_final=self.schedule_final)
    compatibility.check(self)

  def client_is_constant(self) -> bool:
    """Returns whether the clients' rate is the same in every round."""
    return self.client_schedule == 'constant' and not self.client_warmup_rounds

  def server_is_constant(self) -> bool:
    """Returns whether the server's rate is the same in every round."""
    return self.server_schedule == 'constant' and not self.server_warmup_rounds
