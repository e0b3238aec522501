"""Flags of `ModelConfig` and `AlgorithmConfig`."""

from absl import flags

from tff_vision.configs import model_config, training_config

_MODEL = model_config.ModelConfig()
_ALGORITHM = training_config.AlgorithmConfig()

flags.DEFINE_string('model', _MODEL.model,
                    f'Architecture: {", ".join(model_config.MODELS)}; or package.module:function of your own, called '
                    'with input_shape and num_classes.')
flags.DEFINE_multi_string('model_option', _MODEL.model_option, 'key=value for the function of --model, repeatable.')
flags.DEFINE_list('imports', _MODEL.imports,
                  'Modules or .py files to import first, such as those with layers of initial_model; also --import.')
flags.DEFINE_alias('import', 'imports')
flags.DEFINE_string('initial_model', _MODEL.initial_model, 'Keras file that model=keras_file begins with.')
flags.DEFINE_string('frozen_layers', _MODEL.frozen_layers,
                    'Names or glob patterns, separated by commas, of layers of initial_model that are not trained.')
flags.DEFINE_string('algorithm', _ALGORITHM.algorithm,
                    f'Federated algorithm: {", ".join(training_config.ALGORITHMS)}; or package.module:Class of your '
                    'own.')
flags.DEFINE_multi_string('algorithm_option', _ALGORITHM.algorithm_option,
                          'key=value for the class of --algorithm, repeatable.')
flags.DEFINE_float('proximal_strength', _ALGORITHM.proximal_strength,
                   'The mu of fedprox; unset: 0.01, and fednova without such a term.')
