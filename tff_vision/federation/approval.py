"""What the owner of a site approved: `approved.json`, signed with the key of the site's certificate."""

import base64
import dataclasses
import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.configs import typed
from tff_vision.federation import approval_inputs, approved_costs, mask_site, reading, rehearsal
from tff_vision.federation import certificates as certificates_lib
from tff_vision.federation import plan as plan_lib
from tff_vision.program import json_file, whole_file
from tff_vision.runtime import key_calls
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import rules
from tff_vision.secure.encryption import site_calls

VERSION = 3
# What is asked for beside rounds, such as numbers of images: for each round, and for each time that a run begins anew.
_ASKED_BESIDE = 100
# At the end of a run, and of one that was resumed then; a survey, and again if a site was lost in it.
_TESTS = 3
# More than what was rehearsed: a scalar has another length in another round.
_BYTES_FACTOR = 1.05


# Secure sums of which a site plays its clients' half itself; one with a key holder only if that is a service.
PLAYED = (mask_site.NAME, site_calls.JOINT, site_calls.HELD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
  """A site of the plan, as this one will know its messages.

  Attributes:
    site: Its name.
    key: The public key of its certificate, DER (SubjectPublicKeyInfo) in base64.
    clients: The numbers of its clients.
  """
  site: str
  key: str
  clients: tuple[int, ...]

  @property
  def public_key(self) -> bytes:
    """The key as `signatures.public_key` returns it."""
    return base64.b64decode(self.key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Approval:
  """An approval.

  Attributes:
    site: The site's name.
    plan: The digest of the plan.
    expires: Date and time, ISO 8601.
    plays: The protocols of which the site plays its clients' half itself.
    peers: The sites of the plan, this one included, whose signed messages count; empty if it plays nothing.
    fewest_clients: A sum over fewer clients is not opened where the site plays its half.
    fewest_sites: The same of sites, where they check keys or make masks.
    key_holder: The public key of the key holder's certificate, as of a `Peer`; '': there is none.
    examples: The number of training examples of each of the site's clients, in the order of the plan, with which
      computations and `epsilon` were computed; empty: neither depends on them.
    computations, names, values, activities, most_clients, most_bytes, epsilon: As in `rules.Rules`.
  """
  version: int = VERSION
  site: str
  plan: str
  expires: str
  computations: tuple[str, ...]
  names: tuple[str, ...]
  values: tuple[str, ...]
  activities: tuple[rules.Activity, ...]
  most_clients: int
  most_bytes: int
  epsilon: tuple[tuple[int, float], ...] = ()
  examples: tuple[int, ...] = ()
  plays: tuple[str, ...] = ()
  peers: tuple[Peer, ...] = ()
  fewest_clients: int = 2
  fewest_sites: int = 2
  key_holder: str = ''

  def content(self) -> bytes:
    """Returns the canonical JSON that is signed."""
    found = dataclasses.asdict(self) | {'activities': [rules.to_json(one) for one in self.activities]}
    return json.dumps(found, sort_keys=True, separators=(',', ':')).encode()

  def rules(self) -> rules.Rules:
    """Returns what a guard holds to."""
    return rules.Rules(
        site=self.site, digest=hashlib.sha256(self.content()).hexdigest(), computations=frozenset(self.computations),
        names=frozenset(self.names), values=frozenset(self.values), activities=self.activities,
        most_clients=self.most_clients, most_bytes=self.most_bytes,
        expires=datetime.datetime.fromisoformat(self.expires).timestamp(), epsilon=self.epsilon)


def of(plan: plan_lib.Plan, site: str, rehearsed: rehearsal.Rehearsal, *, spare_rounds: int, days: int,
       certificates: Mapping[str, pathlib.Path] | None = None, key_holder: pathlib.Path | None = None,
       fewest_sites: int = 2) -> Approval:
  """Returns what would be approved.

  Args:
    spare_rounds: Rounds beyond those of the plan, for rounds that a fault repeats.
    days: After which nothing passes any more.
    certificates: For each site of the plan, the file of its certificate; needed where sites sign messages for each
      other (`PLAYED`).
    key_holder: The file of the key holder's certificate, where it is a service.
    fewest_sites: As in `Approval`.

  Raises:
    ValueError: The plan has no such site, or names other computations than this installation builds; a certificate is
      missing.
  """
  number = site_number(plan, site)
  check_computations(plan, rehearsed)
  recorded, here = rehearsed.sites[number], approved_costs.rounds_here(plan, number, rehearsed)
  approval_inputs.check_fewest(plan, fewest_sites)
  activities = tuple(_activity(plan, number, name, steps, here, spare_rounds)
                     for name, steps in recorded.activities.items())
  size = sum(recorded.most_bytes(one.name) * one.most for one in activities)
  return Approval(
      site=site, plan=plan.digest, expires=approval_inputs.expiry(days),
      computations=tuple(sorted(recorded.computations)), names=rehearsal.names(plan, number, recorded.activities),
      values=tuple(sorted(recorded.values)), activities=activities, most_clients=recorded.most_clients,
      most_bytes=int(size * _BYTES_FACTOR), epsilon=approved_costs.epsilon(
          plan, number, rehearsed, here, spare_rounds),
      examples=approved_costs.examples(plan, number, rehearsed),
      plays=played(plan), peers=peers_of(plan, certificates or {}),
      fewest_clients=2 if rehearsed.privacy is None else rehearsed.privacy.fewest_clients, fewest_sites=fewest_sites,
      key_holder=key_holder_of(plan, key_holder, certificates or {}))


def played(plan: plan_lib.Plan) -> tuple[str, ...]:
  """Returns the protocols of which a site that approves the plan plays its clients' half itself."""
  secure = plan.experiment().secure
  if secure.secure_sum == site_calls.HELD and secure.key_holder is None:
    return ()
  return tuple({secure.secure_sum} & set(PLAYED))


def check_computations(plan: plan_lib.Plan, rehearsed: rehearsal.Rehearsal) -> None:
  """Raises ValueError if the plan names other computations than were rehearsed here; a plan names those of a
  run, or none.
  """
  if not plan.computations or rehearsed.privacy is None:
    return
  if other := set(plan.computations) ^ set(rehearsed.computations):
    raise ValueError(f'{len(other)} of the plan\'s {len(plan.computations)} computations differ from those that this '
                     f'installation builds from it, the first {min(other)[:16]}: the plan was changed, or made with '
                     'other software or other numbers of examples.')


def site_number(plan: plan_lib.Plan, site: str) -> int:
  """Returns the number of a site in its plan."""
  names = [one.name for one in plan.sites]
  if site not in names:
    raise ValueError(f'site={site} is none of the plan\'s sites, which are {", ".join(names)}.')
  return names.index(site)


def write(approval: Approval, path: pathlib.Path, key_file: pathlib.Path) -> None:
  """Writes the signed approval.

  Raises:
    ValueError: The key cannot sign, is not that of the site's certificate, or the file cannot be written.
  """
  signature = approval_inputs.signing_key(approval.site, approval.peers, key_file).sign(approval.content())
  text = json.dumps({'approval': json.loads(approval.content()), 'signature': base64.b64encode(signature).decode()},
                    indent=1)
  whole_file.write(path, text + '\n')


def read(path: pathlib.Path, certificate_file: pathlib.Path) -> Approval:
  """Returns the approval in a file.

  Raises:
    ValueError: The file is missing, damaged, or not signed with the key of the certificate.
  """
  content = json_file.load(path, f'approved={path}', made_by='python -m pipelines.approve makes it')
  whole = reading.Part(f'approved={path}', content, ('approval', 'signature'))
  found = _of_json(whole.mapping('approval'), f'approved={path}')
  try:
    signature = base64.b64decode(whole.text('signature'), validate=True)
  except ValueError as error:
    raise ValueError(f'approved={path}: signature is not written in base64: {error}.') from None
  if not signatures.is_signed(certificate_file, found.content(), signature):
    raise ValueError(f'approved={path} is not signed with the key of tls_cert={certificate_file}: it was changed, or '
                     'made with another key.')
  return found


def _of_json(content: Mapping[str, Any], what: str) -> Approval:
  part = reading.versioned(what, content, Approval, VERSION, made_by='python -m pipelines.approve')
  return Approval(
      site=part.text('site'), plan=part.text('plan'), expires=part.text('expires'),
      computations=part.texts('computations'), names=part.texts('names'), values=part.texts('values'),
      activities=tuple(_activity_of(one, what) for one in part.list('activities')),
      most_clients=part.whole('most_clients'), most_bytes=part.whole('most_bytes'),
      epsilon=tuple(_cost_of(one, what) for one in part.list('epsilon')),
      examples=part.wholes('examples'), plays=part.texts('plays'),
      peers=tuple(_peer(one, what) for one in part.list('peers')),
      fewest_clients=part.whole('fewest_clients'), fewest_sites=part.whole('fewest_sites'),
      key_holder=part.text('key_holder'))


def _activity_of(content, what):
  try:
    return rules.of_json(content)
  except ValueError as error:
    raise ValueError(f'{what}: activities: {error}') from None


def _cost_of(pair, what):
  if not (isinstance(pair, list) and len(pair) == 2 and typed.is_whole(pair[0]) and typed.is_number(pair[1])):
    raise ValueError(f'{what}: epsilon must be a list of pairs of rounds and epsilon, found {pair!r:.60}.')
  return pair[0], float(pair[1])


def _peer(content, what):
  part = reading.Part(f'peers of {what}', content, [field.name for field in dataclasses.fields(Peer)])
  return Peer(site=part.text('site'), key=part.text('key'), clients=part.wholes('clients'))


def peers_of(plan: plan_lib.Plan, certificates: Mapping[str, pathlib.Path]) -> tuple[Peer, ...]:
  """Returns the sites with their keys, where they sign messages for each other; elsewhere nothing.

  Args:
    certificates: As in `of`.

  Raises:
    ValueError: As `certificates.public_keys`.
  """
  if not played(plan):
    return ()
  keys = certificates_lib.public_keys(plan, certificates)
  return tuple(
      Peer(site=site.name, key=base64.b64encode(keys[site.name]).decode(),
           clients=tuple(client for client, of_site in enumerate(plan.site_of_clients) if of_site == number))
      for number, site in enumerate(plan.sites))


def key_holder_of(plan: plan_lib.Plan, path: pathlib.Path | None, certificates: Mapping[str, pathlib.Path]) -> str:
  """Returns the public key of the key holder, as in `Approval`.

  Args:
    path: The file of its certificate.
    certificates: Those of the sites.

  Raises:
    ValueError: It is missing, or has no effect; or as `certificates.public_keys`.
  """
  if plan.experiment().secure.key_holder is None:
    if path is not None:
      raise ValueError(f'key_holder_cert={path} has no effect: the plan names no key_holder.')
    return ''
  if path is None:
    raise ValueError('key_holder_cert is missing: the certificate of the key holder, whose public key is checked.')
  return base64.b64encode(certificates_lib.public_keys(plan, certificates, key_holder=path)[key_calls.PARTY]).decode()


def _activity(plan: plan_lib.Plan, site: int, name: str, times: Sequence[Sequence[rules.Step]],
              here: int, spare_rounds: int) -> rules.Activity:
  # In the order in which they were rehearsed, each once.
  orders = tuple(dict.fromkeys(rules.shortened(steps) for steps in times))
  rounds = plan.rounds + spare_rounds
  evaluations = rounds // plan.config['program']['rounds_per_evaluation'] + 3
  most = {rehearsal.ROUND: here + spare_rounds, rehearsal.VALIDATION: evaluations,
          rehearsal.TEST: _TESTS, rehearsal.SURVEY: _TESTS}
  return rules.Activity(name=name, orders=orders, most=most.get(name, rounds + _ASKED_BESIDE),
                        trains=name == rehearsal.ROUND, names=rehearsal.names(plan, site, (name,)))
