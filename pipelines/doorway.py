"""The coordinator's doorway for sites that open their connection outwards; runs until SIGTERM.

    python -m pipelines.doorway --port=443 --tls_cert=pki/coordinator.example.org.crt \\
        --tls_key=pki/coordinator.example.org.key --host_key=pki/doorway \\
        --sites=127.0.0.2:8443=pki/127.0.0.2.dial.pub,127.0.0.3:8443=pki/127.0.0.3.dial.pub

A site runs pipelines.worker --dial=HOST:443; its worker is then at its own loopback address on this machine, for
pipelines.train. A site's key can do nothing else here. docs/how-to/federation.md leads through the whole.
"""

import logging
import signal
import sys
import threading

from absl import flags

from pipelines import launch
from tff_vision.runtime.driver import doorway

_HOST = flags.DEFINE_string('host', '0.0.0.0', 'Address to listen at.')
_PORT = flags.DEFINE_integer('port', 443, 'TCP port to listen at.', lower_bound=1, upper_bound=65535)
_CERT = flags.DEFINE_string('tls_cert', None, 'PEM file of the certificate for the name that sites dial.')
_KEY = flags.DEFINE_string('tls_key', None, 'PEM file of its private key.')
_HOST_KEY = flags.DEFINE_string('host_key', None, 'Private key by which sites recognise this doorway.')
_SITES = flags.DEFINE_list('sites', [], 'ADDRESS=KEYFILE for each site: the loopback address at which it is called '
                           'here, and its public key.')
_SECONDS_BETWEEN_LOOKS = 0.5


def main() -> None:
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  for name in ('tls_cert', 'tls_key', 'host_key'):
    if flags.FLAGS[name].value is None:
      raise ValueError(f'{name} is missing.')
  sites = dict(one.partition('=')[::2] for one in _SITES.value)
  if len(sites) < len(_SITES.value):
    raise ValueError(f'sites names an address twice: {",".join(_SITES.value)}.')
  stopped, present = threading.Event(), []
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.set())
  try:
    with doorway.Doorway(host=_HOST.value, port=_PORT.value, cert=_CERT.value, key=_KEY.value,
                         host_key=_HOST_KEY.value, sites=sites) as served:
      logging.info('serving at %s:%d for %d sites', _HOST.value, _PORT.value, len(sites))
      while not stopped.wait(_SECONDS_BETWEEN_LOOKS):
        served.look()
        if (now := served.present()) != present:
          present = now
          logging.info('present: %s', ', '.join(present) or 'nobody')
  except RuntimeError as error:
    logging.error('%s', error)
    sys.exit(1)
  logging.info('stopped')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
