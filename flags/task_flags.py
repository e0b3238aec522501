"""Flags of `TaskConfig`."""

from absl import flags

from tff_vision.configs import task_config

_DEFAULTS = task_config.TaskConfig()

flags.DEFINE_enum('task', _DEFAULTS.task, task_config.TASKS,
                  'What is learned: classes or findings, what deviates from normal_class, or vectors that tell whether '
                  'two images show the same.')
flags.DEFINE_string('loss', _DEFAULTS.loss,
                    'Of classification: package.module:attribute, a Keras loss or a function of labels and logits; '
                    'unset is cross-entropy.')
flags.DEFINE_multi_string('loss_option', _DEFAULTS.loss_option, 'key=value for --loss, repeatable.')
flags.DEFINE_integer('embedding_size', _DEFAULTS.embedding_size, 'Length of the vectors of task=embedding.')
