"""Flags of `ModelConfig` and `AlgorithmConfig`."""

from absl import flags

from tff_vision import model_config, training_config

_MODEL = model_config.ModelConfig()
_ALGORITHM = training_config.AlgorithmConfig()

flags.DEFINE_enum('model', _MODEL.model, model_config.MODELS, 'Architecture.')
flags.DEFINE_enum('algorithm', _ALGORITHM.algorithm, training_config.ALGORITHMS, 'Federated algorithm.')
flags.DEFINE_float('proximal_strength', _ALGORITHM.proximal_strength, 'The mu of fedprox; none: 0.01, and fednova without such a term.')
