"""Flags of `ModelConfig` and `AlgorithmConfig`."""

from absl import flags

from tff_vision import model_config, training_config

_MODEL = model_config.ModelConfig()
_ALGORITHM = training_config.AlgorithmConfig()

flags.DEFINE_enum('model', _MODEL.model, model_config.MODELS, 'Architecture.')
flags.DEFINE_string('initial_model', _MODEL.initial_model, 'Keras file that model=keras_file begins with.')
flags.DEFINE_string('frozen_layers', _MODEL.frozen_layers,
                    'Names or glob patterns, separated by commas, of layers of initial_model that are not trained.')
flags.DEFINE_enum('algorithm', _ALGORITHM.algorithm, training_config.ALGORITHMS, 'Federated algorithm.')
flags.DEFINE_float('proximal_strength', _ALGORITHM.proximal_strength,
                   'The mu of fedprox; none: 0.01, and fednova without such a term.')
