"""How learning rates change from round to round, as data."""

import dataclasses

from tff_vision.configs import validate

SCHEDULES = ('constant', 'step', 'cosine')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
  """Learning rates by round: the rate of the client or server section times a factor.

  Attributes:
    client_schedule: `step`: times schedule_step_factor after every schedule_step_rounds rounds; `cosine`: from 1 to
      schedule_final over the run, along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983).
    client_warmup_rounds: The rate rises linearly over the first so many rounds, on top of the schedule.
    schedule_step_rounds: Of both schedules. Read with `step`.
    schedule_step_factor: Of both schedules. Read with `step`.
    schedule_final: Of both schedules. Read with `cosine`.
  """
  client_schedule: str = 'constant'
  server_schedule: str = 'constant'
  client_warmup_rounds: int = 0
  server_warmup_rounds: int = 0
  schedule_step_rounds: int = 30
  schedule_step_factor: float = 0.5
  schedule_final: float = 0.0

  def __post_init__(self):
    validate.one_of(SCHEDULES, client_schedule=self.client_schedule)
    validate.one_of(SCHEDULES, server_schedule=self.server_schedule)
    validate.non_negative(client_warmup_rounds=self.client_warmup_rounds,
                          server_warmup_rounds=self.server_warmup_rounds)
    validate.positive(schedule_step_rounds=self.schedule_step_rounds, schedule_step_factor=self.schedule_step_factor)
    validate.fraction(schedule_final=self.schedule_final)
    readers = {'schedule_step_rounds': 'step', 'schedule_step_factor': 'step', 'schedule_final': 'cosine'}
    for field in dataclasses.fields(self):
      reader = readers.get(field.name)
      if reader and getattr(self, field.name) != field.default and reader not in (
          self.client_schedule, self.server_schedule):
        raise ValueError(f'{field.name}={getattr(self, field.name)!r} has no effect without client_schedule={reader} '
                         f'or server_schedule={reader}.')

  def client_is_constant(self) -> bool:
    """Returns whether the clients' rate is the same in every round."""
    return self.client_schedule == 'constant' and not self.client_warmup_rounds

  def server_is_constant(self) -> bool:
    """Returns whether the server's rate is the same in every round."""
    return self.server_schedule == 'constant' and not self.server_warmup_rounds
