"""Flags of `ScheduleConfig`: how learning rates change from round to round."""

from absl import flags

from tff_vision.configs import schedule_config

_DEFAULTS = schedule_config.ScheduleConfig()

flags.DEFINE_enum('client_schedule', _DEFAULTS.client_schedule, schedule_config.SCHEDULES,
                  'How client_learning_rate changes from round to round.')
flags.DEFINE_enum('server_schedule', _DEFAULTS.server_schedule, schedule_config.SCHEDULES,
                  'How server_learning_rate changes from round to round.')
flags.DEFINE_integer('client_warmup_rounds', _DEFAULTS.client_warmup_rounds,
                     'client_learning_rate rises linearly over the first so many rounds.')
flags.DEFINE_integer('server_warmup_rounds', _DEFAULTS.server_warmup_rounds,
                     'server_learning_rate rises linearly over the first so many rounds.')
flags.DEFINE_integer('schedule_step_rounds', _DEFAULTS.schedule_step_rounds, 'step: rounds between two steps.')
flags.DEFINE_float('schedule_step_factor', _DEFAULTS.schedule_step_factor, 'step: the rate is multiplied by this.')
flags.DEFINE_float('schedule_final', _DEFAULTS.schedule_final, 'cosine: the share of the rate that is left at the end.')
