"""The desk of a plan's key holder, from the files of the machine that keeps the key."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping

from tff_vision import catalogue
from tff_vision.experiment import planning
from tff_vision.federation import certificates as certificates_lib
from tff_vision.federation import key_desk
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime import key_calls
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import audit, ciphertexts, signing
from tff_vision.secure.encryption import key_holder, parameters

# Those on test images, and surveys: at the end of a run, and again if it was resumed or lost a site then.
_EVALUATIONS_BESIDE = 6


@contextlib.contextmanager
def desk(plan: plan_lib.Plan, *, folder: pathlib.Path, audit_log: pathlib.Path,
         certificates: Mapping[str, pathlib.Path], cert_file: pathlib.Path, key_file: pathlib.Path, fewest_sites: int,
         spare_rounds: int) -> Iterator[key_desk.Desk]:
  """Yields the desk, and keeps folder and log for it alone; makes the key pair if the folder has none.

  Args:
    folder: Of the key pair.
    audit_log: The log; what was opened is read from it.
    certificates: For each site of the plan, the file of its certificate.
    cert_file, key_file: Of the key holder's own certificate.
    fewest_sites: As in `key_desk.Limits`.
    spare_rounds: Sums beyond those of the plan.

  Raises:
    ValueError: The plan names no key holder, a file is missing or wrong, a key is somebody else's too, the log is not
      that of the key pair, or another process has one of them.
  """
  secure = plan.experiment().secure
  if secure.key_holder is None:
    raise ValueError(f'the plan has secure_sum={secure.secure_sum} and no key_holder; make it with '
                     '--secure_sum=he_keyholder --key_holder=HOST:PORT.')
  peers = certificates_lib.public_keys(plan, certificates, key_holder=cert_file, key_holder_flag='tls_cert')
  if fewest_sites > len(plan.sites):
    raise ValueError(f'fewest_sites={fewest_sites}, and the plan has {len(plan.sites)} sites: no sum would be opened.')
  signatures.check_pair(cert_file, key_file)
  key = signatures.Key(key_file)
  identity = signing.Identity(site=key_calls.PARTY, plan=plan.digest, key=key, peers=peers)
  params = parameters.key_holder_parameters(clients_max=secure.secure_clients_max, value_bits=secure.secure_bits)
  if folder.resolve() == audit_log.resolve().parent:
    raise ValueError(f'audit_log={audit_log} lies in key_holder_dir={folder}, which holds the key pair alone.')
  limits = key_desk.Limits(fewest_sites=fewest_sites, fewest_clients=fewest_clients(plan),
                           most_openings=_sums(plan) + spare_rounds)
  with _alone(folder):
    # Before there is a key pair that would belong to no log.
    if not os.access(audit_log if audit_log.exists() else audit_log.resolve().parent, os.W_OK):
      raise ValueError(f'audit_log={audit_log} cannot be written: there is no such folder, or it is closed.')
    is_new = not any(folder.iterdir())
    holder = key_holder.KeyHolder(folder, params)
    digest = ciphertexts.digest(holder.public_key)
    what = hashlib.sha256(f'{plan.digest} {digest}'.encode()).hexdigest()
    if not is_new and not any(one.get('key') == digest or one.get('approval') == what for one in audit.read(audit_log)):
      raise ValueError(f'audit_log={audit_log} is missing, or not the log of the key pair in key_holder_dir={folder}: '
                       'what that opened would be opened again. Give its log, or an empty folder for a new key pair.')
    with contextlib.closing(audit.Log(audit_log, what, key=digest)) as log:
      yield key_desk.Desk(holder, params, identity=identity, limits=limits, log=log)


def fewest_clients(plan: plan_lib.Plan) -> int:
  """Returns the fewest clients over which a sum of the plan may be opened, as its privacy says."""
  config = plan.experiment()
  row = catalogue.KINDS['privacy'].rows[config.privacy.privacy]
  if 'noise_survivors' not in row.reads:  # The server adds the noise, or there is none: two are enough.
    return 2
  # How many examples clients have is not known here, and does not change the number.
  return planning.mechanism(config, population=len(plan.clients), sizes=[1] * len(plan.clients)).fewest_clients


@contextlib.contextmanager
def _alone(folder):
  """Keeps a folder for this process, and makes it first if it is not there."""
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  except OSError as error:
    raise ValueError(f'key_holder_dir={folder} cannot be used: {error.strerror}.') from None
  try:
    try:
      fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f'key_holder_dir={folder} is in use by another key holder: each has a key pair of its own.'
                       ) from None
    except OSError as error:
      raise ValueError(f'key_holder_dir={folder} cannot be kept for one process: {error.strerror}.') from None
    yield
  finally:
    os.close(place)


def _sums(plan):
  evaluations = plan.rounds // plan.config['program']['rounds_per_evaluation'] + _EVALUATIONS_BESIDE
  return plan.rounds + evaluations * _parts(plan)


def _parts(plan):
  """Returns in how many sums all clients are counted."""
  return -(-len(plan.clients) // plan.experiment().secure.secure_clients_max)
