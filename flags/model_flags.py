"""Flags of `ModelConfig` and `AlgorithmConfig`."""

from absl import flags

from tff_vision import configs

_MODEL = configs.ModelConfig()
_ALGORITHM = configs.AlgorithmConfig()

flags.DEFINE_enum('model', _MODEL.model, configs.MODELS, 'Architecture.')
flags.DEFINE_enum('algorithm', _ALGORITHM.algorithm, configs.ALGORITHMS, 'Federated algorithm.')
flags.DEFINE_float('proximal_strength', _ALGORITHM.proximal_strength, 'The mu of fedprox.')
