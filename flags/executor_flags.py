"""Flags that a coordinator (`RuntimeConfig`) and a worker (`WorkerConfig`) share."""

from absl import flags

from tff_vision.configs import runtime_config

_DEFAULTS = runtime_config.RuntimeConfig()

flags.DEFINE_integer('threads', _DEFAULTS.threads, 'Threads of one operation in an executor started here.')
flags.DEFINE_integer('max_concurrent_clients', _DEFAULTS.max_concurrent_clients,
                     'Clients that an executor started here trains at the same time.')
flags.DEFINE_enum('math', _DEFAULTS.math, runtime_config.MATHS,
                  'bfloat16 is less exact, and has an effect on processors with AMX only: docs/explanation/speed.md.')
flags.DEFINE_string('tls_cert', _DEFAULTS.tls_cert, 'PEM file of the certificate of this side.')
flags.DEFINE_string('tls_key', _DEFAULTS.tls_key, 'PEM file of its private key.')
