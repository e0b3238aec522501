"""Runs the key holder of secure_sum=he_keyholder as a service of its own, until SIGTERM.

    python -m pipelines.key_holder --plan=plan.json --key_holder_dir=/var/lib/keys --host=0.0.0.0 --port=8444 \\
        --site_certs=north=north.crt,south=south.crt,west=west.crt \\
        --tls_cert=keys.example.org.crt --tls_key=keys.example.org.key --tls_client_ca=ca.crt

It makes the key pair at its first start, gives out the public key, signed, and opens sums over at least --fewest_sites
sites' signed ciphertexts, each once, and nothing else; --audit_log has a line for every call, also those refused.
Run it on a machine that the coordinator cannot log in to. docs/how-to/federation.md leads through the whole.
"""

import logging
import pathlib
import signal
import threading

from absl import flags

from pipelines import launch
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.worker import signatures

_PLAN = flags.DEFINE_string('plan', None, 'File of the plan, as the sites have it.')
_FOLDER = flags.DEFINE_string('key_holder_dir', None, 'Folder of the key pair; it is made there at the first start.')
_SITE_CERTS = flags.DEFINE_list(
    'site_certs', [], 'SITE=FILE for each site of the plan, PEM files of their certificates.')
_FEWEST_SITES = flags.DEFINE_integer('fewest_sites', 2, 'A sum over fewer sites is not opened.', lower_bound=2)
_SPARE_ROUNDS = flags.DEFINE_integer(
    'spare_rounds', 5, 'Sums that may be opened beyond those of the plan, for rounds that a fault repeats.',
    lower_bound=0)
_AUDIT_LOG = flags.DEFINE_string(
    'audit_log', 'key_holder.jsonl', 'File to which a line is appended for every call; what was opened is read from '
    'it.')
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen at; 0.0.0.0 means every interface.')
_PORT = flags.DEFINE_integer('port', 8444, 'TCP port to listen at.', lower_bound=1, upper_bound=65535)
_CERT = flags.DEFINE_string('tls_cert', None, 'PEM file of the certificate of this service, whose key signs.')
_KEY = flags.DEFINE_string('tls_key', None, 'PEM file of its private key.')
_CLIENT_CA = flags.DEFINE_string(
    'tls_client_ca', None, 'PEM file of the authority that signed the certificate of the coordinator.')
_CLIENT_NAME = flags.DEFINE_string(
    'tls_client_name', 'coordinator', 'The certificate of the coordinator has exactly this subject, after CN=.')


def main() -> None:
  logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')
  for flag in (_PLAN, _FOLDER, _CERT, _KEY, _CLIENT_CA):
    if flag.value is None:
      raise ValueError(f'{flag.name} is missing.')
  signatures.check_authority(pathlib.Path(_CLIENT_CA.value), 'tls_client_ca')  # Before a key pair is made.
  plan = plan_lib.read(_PLAN.value)
  plan.check_software()
  stopped = threading.Event()
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: stopped.set())

  from tff_vision.federation import certificates, key_keeping, key_service  # Late: TensorFlow takes seconds.
  from tff_vision.runtime.worker import tls
  opened = key_keeping.desk(
      plan, folder=pathlib.Path(_FOLDER.value), audit_log=pathlib.Path(_AUDIT_LOG.value),
      certificates=certificates.of_sites(plan, _SITE_CERTS.value), cert_file=pathlib.Path(_CERT.value),
      key_file=pathlib.Path(_KEY.value), fewest_sites=_FEWEST_SITES.value, spare_rounds=_SPARE_ROUNDS.value)
  files = tls.TlsFiles(ca=_CLIENT_CA.value, cert=_CERT.value, key=_KEY.value)
  with opened as desk, key_service.Service(desk).served(f'{_HOST.value}:{_PORT.value}', files, _CLIENT_NAME.value):
    logging.info('serving at %s:%d for CN=%s: sums over %d sites or more, %d opened so far', _HOST.value, _PORT.value,
                 _CLIENT_NAME.value, _FEWEST_SITES.value, desk.opened)
    logging.info('public key of the certificate, for the sites: %s',
                 signatures.fingerprint(signatures.public_key(pathlib.Path(_CERT.value))))
    stopped.wait()
  logging.info('stopped')


if __name__ == '__main__':
  launch.launch(main, flag_groups=())
