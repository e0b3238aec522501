"""Flags of `DataConfig`."""

from absl import flags

from tff_vision import configs

_DEFAULTS = configs.DataConfig()

flags.DEFINE_string('dataset', _DEFAULTS.dataset, 'Data set; `python -m pipelines.doctor` lists what is here.')
flags.DEFINE_string('data_dir', _DEFAULTS.data_dir, 'Folder that holds the files of the data set.')
flags.DEFINE_enum('partition', _DEFAULTS.partition, configs.PARTITIONS, 'How examples become clients.')
flags.DEFINE_float('partition_alpha', _DEFAULTS.partition_alpha,
                   'Dirichlet concentration of each class over clients; large is near IID.')
flags.DEFINE_integer('num_clients', _DEFAULTS.num_clients, 'Number of clients that a partition or generator makes.')
