"""Checks what an owner asks to approve, all of it before the rehearsal, which takes minutes."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence

from tff_vision import catalogue
from tff_vision.configs import validate
from tff_vision.federation import approval, approval_inputs, certificates, rehearsal, site_manifest
from tff_vision.federation import plan as plan_lib
from tff_vision.secure.encryption import site_calls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
  """What flags of `pipelines.approve` say.

  Attributes:
    site: The site's name.
    tls_key: The file of the private key that signs.
    out: The file that will be written.
    survey: Whether a survey is approved instead of a run.
    prepared: The folder that `pipelines.prepare` wrote; None: it is not compared.
    examples: The number of training examples of each client, as texts.
    site_certs: SITE=FILE of each site.
    key_holder_cert: The file of the key holder's certificate.
    fewest_sites, days: As in `approval.of`.
    most_epsilon: The most that the plan may cost an example; None: any.
    given: The names of the flags that were given.
  """
  site: str
  tls_key: str
  out: str
  survey: bool = False
  prepared: str | None = None
  examples: Sequence[str] = ()
  site_certs: Sequence[str] = ()
  key_holder_cert: str | None = None
  fewest_sites: int = 2
  days: int = 30
  most_epsilon: float | None = None
  given: Collection[str] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
  """What is left of a request for the rehearsal and the approval."""
  examples: Sequence[int]
  certificates: Mapping[str, pathlib.Path]
  key_holder: pathlib.Path | None


def check(plan: plan_lib.Plan, request: Request) -> Checked:
  """Returns what was asked for, if it can be approved as far as that is known without a rehearsal.

  Raises:
    ValueError: With the flag, and why not.
  """
  approval.site_number(plan, request.site)
  for name, reason in _unread(plan, request).items():
    if name in request.given:
      raise ValueError(f'{name} has no effect: {reason}.')
  files = certificates.of_sites(plan, request.site_certs)
  holder = None if request.key_holder_cert is None else pathlib.Path(request.key_holder_cert)
  peers = approval.peers_of(plan, files)
  approval.key_holder_of(plan, holder, files)
  approval_inputs.check_fewest(plan, request.fewest_sites)
  examples = () if request.survey else _examples(plan, request)
  if request.most_epsilon is not None:
    validate.positive(most_epsilon=request.most_epsilon)
  approval_inputs.expiry(request.days)
  validate.writable_file(out=request.out)
  approval_inputs.signing_key(request.site, peers, pathlib.Path(request.tls_key))
  if request.prepared is not None:
    _check_prepared(plan, request, examples if request.examples else ())
  return Checked(examples=examples, certificates=files, key_holder=holder)


def _unread(plan, request) -> dict[str, str]:
  """Returns flag -> why nothing reads it for this plan."""
  config, found = plan.experiment(), {}
  row = catalogue.chosen('privacy', config.privacy.privacy)
  if row is not None and catalogue.Trait.PROMISES not in row.traits:
    found['most_epsilon'] = 'the plan promises nothing to the people in the images'
  if not (played := approval.played(plan)):
    found |= dict.fromkeys(('site_certs', 'fewest_sites'), f'with secure_sum={config.secure.secure_sum} '
                           'the sites of this plan sign nothing for each other')
  elif played == (site_calls.HELD,):
    found['fewest_sites'] = 'the key holder opens the sums, and has a fewest_sites of its own'
  if request.survey:
    found |= dict.fromkeys(('examples', 'spare_rounds', 'most_epsilon'), 'a survey trains nothing')
  return found


def _examples(plan, request):
  """Returns the number of training examples of each client, which must be known where epsilon depends on it."""
  given = rehearsal.numbers(request.examples)
  row = catalogue.chosen('privacy', plan.experiment().privacy.privacy)
  if not given and row is not None and catalogue.Trait.EXAMPLE_LEVEL in row.traits:
    # Computations are the same for any number, so nobody would notice later that what was signed is not what it costs.
    raise ValueError(f'examples is missing: with privacy={plan.experiment().privacy.privacy} epsilon depends on the '
                     'numbers of training images; give that of every client, in the order of the plan.')
  return rehearsal.counts(plan, given)


def _check_prepared(plan, request, examples):
  prepared = site_manifest.read(request.prepared)
  prepared.check(request.prepared, plan)
  if prepared.site != request.site:
    raise ValueError(f'prepared={request.prepared} was prepared for the site {prepared.site}, not {request.site}.')
  for client in prepared.clients if examples else ():
    if examples[client.number] != client.counts['train']:
      raise ValueError(f'examples has {examples[client.number]} training images of the client {client.name}, and '
                       f'prepared={request.prepared} has {client.counts["train"]}.')
