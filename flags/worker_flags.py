"""Flags of a worker, `WorkerConfig`; those that a coordinator has too are in executor_flags."""

import dataclasses

from absl import flags

from flags import executor_flags  # noqa: F401  Defines the shared flags.
from tff_vision.runtime.worker import supervisor

_DEFAULTS = supervisor.WorkerConfig()

flags.DEFINE_string('host', _DEFAULTS.host, 'Address to listen at; 0.0.0.0 means every interface.')
flags.DEFINE_integer('port', _DEFAULTS.port, 'TCP port to listen at.')
flags.DEFINE_string('tls_client_ca', _DEFAULTS.tls_client_ca,
                    'PEM file of the authority that signed the certificate of the coordinator.')
flags.DEFINE_string('tls_client_name', _DEFAULTS.tls_client_name,
                    'The certificate of the coordinator has exactly this subject, after CN=.')
flags.DEFINE_string('data_root', _DEFAULTS.data_root, 'Folder that the executor sees as /data, read-only.')
flags.DEFINE_enum('sandbox', _DEFAULTS.sandbox, supervisor.SANDBOXES,
                  'bubblewrap shuts the executor in; none means that the machine or container does.')
flags.DEFINE_integer('health_port', _DEFAULTS.health_port, 'Port that answers HTTP GET with 200 while it serves.')


def worker_config() -> supervisor.WorkerConfig:
  """Returns the worker that the flags describe.

  Raises:
    ValueError: A value is illegal.
  """
  return supervisor.WorkerConfig(**{field.name: flags.FLAGS[field.name].value
                                    for field in dataclasses.fields(supervisor.WorkerConfig)})
