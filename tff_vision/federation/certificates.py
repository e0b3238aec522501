"""The certificates of a plan's parties: the files that flags name, and the public keys in them, by which they sign."""

import pathlib
from collections.abc import Mapping, Sequence

from tff_vision.federation import plan as plan_lib
from tff_vision.runtime import key_calls
from tff_vision.runtime.worker import signatures


def of_sites(plan: plan_lib.Plan, texts: Sequence[str]) -> Mapping[str, pathlib.Path]:
  """Returns the files that SITE=FILE texts name, by the sites' names.

  Raises:
    ValueError: A text is another, names a site twice, or one that the plan does not have.
  """
  found: dict[str, pathlib.Path] = {}
  for text in texts:
    site, _, path = text.partition('=')
    if not path or site in found or site not in {one.name for one in plan.sites}:
      raise ValueError(f'site_certs must be SITE=FILE, once for each site of the plan, found {text!r}.')
    found[site] = pathlib.Path(path)
  return found


def public_keys(plan: plan_lib.Plan, files: Mapping[str, pathlib.Path], *, key_holder: pathlib.Path | None = None,
                key_holder_flag: str = 'key_holder_cert') -> dict[str, bytes]:
  """Returns the public key of each site of a plan, and of the key holder as `key_calls.PARTY`; see `signatures`.

  Args:
    files: For each site, the file of its certificate.
    key_holder: That of the key holder; None: there is none.
    key_holder_flag: The flag that named it.

  Raises:
    ValueError: A certificate is missing, is none, or has the key of another one.
  """
  names = [site.name for site in plan.sites]
  if other := sorted(set(names) ^ set(files)):
    raise ValueError(f'site_certs must name the certificate of each site of the plan, with which it signs: SITE=FILE '
                     f'for {", ".join(names)}; missing or unknown: {", ".join(other)}.')
  found: dict[str, bytes] = {}
  for name in names:
    key = signatures.public_key(pathlib.Path(files[name]), 'site_certs')
    if twin := [one for one, other in found.items() if other == key]:
      raise ValueError(f'site_certs gives the sites {twin[0]} and {name} one key; each has its own.')
    found[name] = key
  if key_holder is not None:
    key = signatures.public_key(key_holder, key_holder_flag)
    if twin := [one for one, other in found.items() if other == key]:
      raise ValueError(f'{key_holder_flag}={key_holder} has the key of the site {twin[0]}: whoever opens sums is no '
                       'site.')
    found[key_calls.PARTY] = key
  return found
