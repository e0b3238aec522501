"""Flags of `DataConfig`."""

from absl import flags

from tff_vision import configs
from tff_vision.configs import data_config

_DEFAULTS = configs.DataConfig()

flags.DEFINE_string('dataset', _DEFAULTS.dataset,
                    'Data set; `python -m pipelines.doctor` lists what is here; or package.module:attribute.')
flags.DEFINE_string('data_dir', _DEFAULTS.data_dir, 'Folder that holds the files of the data set.')
flags.DEFINE_enum('partition', _DEFAULTS.partition, data_config.PARTITIONS, 'How examples become clients.')
flags.DEFINE_float('partition_alpha', _DEFAULTS.partition_alpha,
                   'Dirichlet concentration of dirichlet, dirichlet_equal and quantity; large is near IID.')
flags.DEFINE_integer('num_clients', _DEFAULTS.num_clients,
                     'Clients that train; unset means all of a natural source, and 20 of a partition.')
flags.DEFINE_integer('held_out_clients', _DEFAULTS.held_out_clients,
                     'So many clients more never train and are evaluated on; unset means as the source has it.')
flags.DEFINE_float('client_test_fraction', _DEFAULTS.client_test_fraction,
                   'Share of its own training examples that each client is tested on instead.')
