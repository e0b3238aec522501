"""Checks of what an owner gives for an approval: until when it holds, over how many sites, the key that signs."""

import datetime
import pathlib
from collections.abc import Iterable
from typing import Protocol

from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.worker import signatures


class Peer(Protocol):
  """A site, as `approval.Peer`."""

  @property
  def site(self) -> str:
    ...

  @property
  def public_key(self) -> bytes:
    ...


def expiry(days: int) -> str:
  """Returns date and time in so many days, ISO 8601; raises ValueError: there is no such date."""
  try:
    found = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
  except OverflowError:
    raise ValueError(f'days={days} lies beyond the last date of the calendar.') from None
  return found.isoformat(timespec='seconds')


def check_fewest(plan: plan_lib.Plan, fewest_sites: int) -> None:
  """Raises ValueError if the plan can have no sum over so many sites, or one of a single site."""
  if not 2 <= fewest_sites <= len(plan.sites):
    raise ValueError(f'fewest_sites must lie in 2..{len(plan.sites)}, found {fewest_sites}: a sum over one site is '
                     'that site\'s, and the plan has no more.')


def signing_key(site: str, peers: Iterable[Peer], key_file: pathlib.Path) -> signatures.Key:
  """Returns the key that signs the approval of a site.

  Raises:
    ValueError: It cannot sign, or is not that of the site's certificate among the peers.
  """
  key = signatures.Key(key_file)
  if any(peer.site == site and peer.public_key != key.public for peer in peers):
    raise ValueError(f'site_certs gives the site {site} another certificate than that of tls_key={key_file}.')
  return key
