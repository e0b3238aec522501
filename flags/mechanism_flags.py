"""Flags of `PrivacyConfig` that one mechanism reads."""

from absl import flags

from tff_vision.configs import privacy_config

_DEFAULTS = privacy_config.PrivacyConfig()

flags.DEFINE_float('target_quantile', _DEFAULTS.target_quantile,
                   'client_adaptive, example_adaptive_clip: fraction of updates that the clip leaves as they are.')
flags.DEFINE_float('clip_learning_rate', _DEFAULTS.clip_learning_rate,
                   'client_adaptive, example_adaptive_clip: how fast the clip moves.')
flags.DEFINE_float('count_stddev', _DEFAULTS.count_stddev,
                   'client_adaptive, example_adaptive_clip: noise on the count of unclipped updates; unset means '
                   'cohort_size / 20, or batch_size / 20.')
flags.DEFINE_bool('tree_efficient', _DEFAULTS.tree_efficient, 'dp_ftrl: estimate tree nodes from their children too.')
flags.DEFINE_enum('mf_strategy', _DEFAULTS.mf_strategy, privacy_config.MF_STRATEGIES,
                  'dp_mf: shape of the correlated noise.')
flags.DEFINE_integer('mf_buffers', _DEFAULTS.mf_buffers, 'dp_mf or example_noise with blt: model-sized buffers.')
flags.DEFINE_integer('mf_bands', _DEFAULTS.mf_bands,
                     'dp_mf or example_noise with banded or amplified: bands; unset means as many as allowed, or the '
                     'best number.')
flags.DEFINE_integer('noise_survivors', _DEFAULTS.noise_survivors,
                     'distributed_*: noise suffices while so many clients of a cohort deliver; unset means all.')
