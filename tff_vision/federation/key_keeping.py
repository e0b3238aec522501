"""The desk of a plan's key holder, from the files of the machine that keeps the key."""

import hashlib
import pathlib
from collections.abc import Mapping

from tff_vision import catalogue
from tff_vision.federation import key_desk
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime import key_calls
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import audit, ciphertexts, signing
from tff_vision.secure.encryption import key_holder, parameters

# Those on test images, and surveys: at the end of a run, and again if it was resumed or lost a site then.
_EVALUATIONS_BESIDE = 6


def desk(plan: plan_lib.Plan, *, folder: pathlib.Path, audit_log: pathlib.Path,
         certificates: Mapping[str, pathlib.Path], cert_file: pathlib.Path, key_file: pathlib.Path, fewest_sites: int,
         spare_rounds: int) -> key_desk.Desk:
  """Returns the desk; makes the key pair if the folder has none.

  Args:
    folder: Of the key pair.
    audit_log: The log; what was opened is read from it.
    certificates: For each site of the plan, the file of its certificate.
    cert_file, key_file: Of the key holder's own certificate.
    fewest_sites: As in `key_desk.Limits`.
    spare_rounds: Sums beyond those of the plan.

  Raises:
    ValueError: The plan names no key holder, a file is missing or wrong, or a key is somebody else's too.
  """
  secure = plan.experiment().secure
  if secure.key_holder is None:
    raise ValueError(f'the plan has secure_sum={secure.secure_sum} and no key_holder; make it with '
                     '--secure_sum=he_keyholder --key_holder=HOST:PORT.')
  names = [site.name for site in plan.sites]
  if missing := [name for name in names if name not in certificates]:
    raise ValueError(f'site_certs lacks {", ".join(missing)}: a sum is over ciphertexts that sites signed.')
  if fewest_sites > len(names):
    raise ValueError(f'fewest_sites={fewest_sites}, and the plan has {len(names)} sites: no sum would be opened.')
  peers = {name: signatures.public_key(certificates[name], 'site_certs') for name in names}
  peers[key_calls.PARTY] = signatures.public_key(cert_file)
  if len(set(peers.values())) < len(peers):
    raise ValueError('site_certs and tls_cert have a key more than once; each party has its own.')
  key = signatures.Key(key_file)
  if key.public != peers[key_calls.PARTY]:
    raise ValueError(f'tls_key={key_file} is not the key of tls_cert={cert_file}.')
  identity = signing.Identity(site=key_calls.PARTY, plan=plan.digest, key=key, peers=peers)
  params = parameters.key_holder_parameters(clients_max=secure.secure_clients_max, value_bits=secure.secure_bits)
  if folder.resolve() == audit_log.resolve().parent:
    raise ValueError(f'audit_log={audit_log} lies in key_holder_dir={folder}, which holds the key pair alone.')
  holder = key_holder.KeyHolder(folder, params)
  limits = key_desk.Limits(fewest_sites=fewest_sites, fewest_clients=fewest_clients(plan),
                           most_openings=_sums(plan) + spare_rounds)
  what = hashlib.sha256(f'{plan.digest} {ciphertexts.digest(holder.public_key)}'.encode()).hexdigest()
  return key_desk.Desk(holder, params, identity=identity, limits=limits, log=audit.Log(audit_log, what))


def fewest_clients(plan: plan_lib.Plan) -> int:
  """Returns the fewest clients over which a sum of the plan may be opened, without building its privacy."""
  config = plan.experiment()
  row = catalogue.KINDS['privacy'].rows[config.privacy.privacy]
  if 'noise_survivors' not in row.reads:
    return 2
  fixed = config.cohort.cohort_size if config.cohort.sampling == 'fixed' else 2
  # An evaluation counts all clients, in parts of equal size, and its noise is not the clients'.
  return max(2, min(config.privacy.noise_survivors or fixed, len(plan.clients) // _parts(plan)))


def _sums(plan):
  evaluations = plan.rounds // plan.config['program']['rounds_per_evaluation'] + _EVALUATIONS_BESIDE
  return plan.rounds + evaluations * _parts(plan)


def _parts(plan):
  """Returns in how many sums all clients are counted."""
  return -(-len(plan.clients) // plan.experiment().secure.secure_clients_max)
