"""Flags of `SecureConfig`."""

from absl import flags

from tff_vision.configs import secure_config

_DEFAULTS = secure_config.SecureConfig()

flags.DEFINE_enum('secure_sum', _DEFAULTS.secure_sum, secure_config.SECURE_SUMS,
                  'How client updates, weights and training metrics are hidden while they are added up. Only he on '
                  'workers hides them from the coordinator: it holds the key of he_keyholder and knows the masks.')
flags.DEFINE_integer('secure_bits', _DEFAULTS.secure_bits, 'Bits of one element of an update in a secure sum.')
flags.DEFINE_integer('secure_clients_max', _DEFAULTS.secure_clients_max, 'Largest cohort of a secure sum.')
flags.DEFINE_float('secure_range', _DEFAULTS.secure_range,
                   'Largest magnitude of one element of an update in a secure sum; clip_norm replaces it.')
flags.DEFINE_integer('secure_statistical_bits', _DEFAULTS.secure_statistical_bits,
                     'secure_sum=he: what joint decryption tells over the whole run is within 2^-bits of nothing.')
flags.DEFINE_string('key_holder_dir', _DEFAULTS.key_holder_dir,
                    'Folder of the key holder for secure_sum=he_keyholder, outside of run_dir. The coordinator\'s '
                    'process reads the secret key there.')
