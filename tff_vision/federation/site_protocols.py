"""The protocols that a site plays itself, from its approval, for the guard in front of its worker."""

import base64
import pathlib
import posixpath
from collections.abc import Callable

from tff_vision.data import records
from tff_vision.federation import approval as approval_lib
from tff_vision.federation import joint_site_keys, mask_site, site_keys
from tff_vision.runtime import key_calls
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import audit, exchange, signing

_SPLITS = ('train', 'validation', 'test')


def of(approved: approval_lib.Approval, key_file: pathlib.Path, log: audit.Log, may_begin: Callable[[], None]
       ) -> exchange.Exchange | None:
  """Returns what the guard plays; None: nothing.

  Args:
    key_file: PEM file of the private key of the site's certificate.
    log: The guard's log, which holds what was begun.
    may_begin: As in `mask_site.MaskSite`.

  Raises:
    ValueError: The key cannot sign, or is not that which the approval names for this site.
  """
  if not approved.plays:
    return None
  identity = signing.Identity(site=approved.site, plan=approved.plan, key=signatures.Key(key_file),
                              peers=_peers(approved))
  plays = {}
  if mask_site.NAME in approved.plays:
    plays[mask_site.NAME] = mask_site.MaskSite(
        identity, log, site_of_clients=_site_of_clients(approved), client_of_names=_client_of_names(approved),
        fewest=approved.fewest_clients, fewest_sites=approved.fewest_sites, may_begin=may_begin)
  for kind in (joint_site_keys.JointSiteKeys, site_keys.HeldSiteKeys):
    if kind.protocol in approved.plays:
      plays[kind.protocol] = kind(identity, log, fewest_sites=approved.fewest_sites,
                                  fewest_clients=approved.fewest_clients, may_begin=may_begin)
  return exchange.Exchange(site=approved.site, plan=approved.plan, plays=plays)


def _peers(approved):
  found = {peer.site: peer.public_key for peer in approved.peers}
  if approved.key_holder:
    found[key_calls.PARTY] = base64.b64decode(approved.key_holder)
  return found


def _site_of_clients(approved):
  return {client: peer.site for peer in approved.peers for client in peer.clients}


def _client_of_names(approved):
  """Returns the client of each file that the approval names."""
  own = next(peer.clients for peer in approved.peers if peer.site == approved.site)
  client_of_files = {records.file_name(client, split): client for client in own for split in _SPLITS}
  return {name: client_of_files[posixpath.basename(name)] for name in approved.names}
