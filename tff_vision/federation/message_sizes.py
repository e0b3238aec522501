"""How many bytes of messages leave a site beside values: the answers of its protocols in one attempt at a sum, at most.

A guard counts bytes of values by its approval. Answers to messages hold keys, shares of keys, sealed boxes, digests and
signatures. Their sizes are known from the approval and the rehearsal: an answer of the same form is written here.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tff_vision.federation import approval, rehearsal
from tff_vision.runtime import messages
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import ciphertexts, recording
from tff_vision.secure.encryption import parameters, site_calls
from tff_vision.secure.masking import shamir, site_masks

_KEY, _DIGEST, _HEX, _TAG = bytes(32), bytes(32), 64 * 'f', 16
_NUMBER = 2**62
# A site says that its share is not ready yet every few seconds, for as long as a call may take.
_NOT_READY = 1000


def of_attempt(approved: approval.Approval, rehearsed: rehearsal.Rehearsal) -> int:
  """Returns the most bytes of the site's answers in one attempt; 0 if it plays no protocol itself.

  Args:
    rehearsed: The rehearsal from which the approval is.
  """
  found = [{'site': approved.site, 'plan': approved.plan, 'protocols': list(approved.plays)}] if approved.plays else []
  for protocol in approved.plays:
    found += _ANSWERS[protocol](approved, rehearsed)
  return sum(len(messages.encode(one)) for one in found)


def _masks(approved, rehearsed) -> Iterator[Any]:
  del rehearsed
  sites = [peer.site for peer in approved.peers]
  clients = [client for peer in approved.peers for client in peer.clients]
  own = len(_own(approved).clients)
  box = bytes(2 * shamir.SHARE_BYTES * own + _TAG)
  yield {'attempt': _NUMBER}
  yield _signed(approved, {'clients': clients, 'sealing': _KEY, 'masking': own * [_KEY]})
  yield {'boxes': [_signed(approved, {'to': site, 'box': box, 'transcript': _DIGEST})
                   for site in sites if site != approved.site]}
  yield from ({}, {})  # To shares that were delivered, and whether it is present.
  yield _signed(approved, {'uploaded': sites, 'transcript': _DIGEST})
  yield {'shares': len(clients) * [bytes(shamir.SHARE_BYTES)]}


def _joint(approved, rehearsed) -> Iterator[Any]:
  yield from _NOT_READY * [{'ready': False}]
  yield {'ready': True, 'signed': _signed(approved, {'commitment': _HEX})}
  shape = max((one[2:] for site in rehearsed.sites for one in _ciphertexts(site, site_calls.JOINT)),
              key=math.prod, default=(0, 1))
  polynomial = 4 * math.prod(shape)
  yield _signed(approved, {'nonce': _KEY, 'seed': _NUMBER, 'share': bytes(polynomial)})
  yield from len(approved.peers) * [{'complete': False}]
  yield from _held(approved, rehearsed)
  step = max(1, site_calls.MESSAGE_BYTES // polynomial)
  yield from sum(-(-one[0] // step) for site in rehearsed.sites
                 for one in _ciphertexts(site, site_calls.JOINT)) * [{'complete': False}]


def _held(approved, rehearsed) -> Iterator[Any]:
  number = [peer.site for peer in approved.peers].index(approved.site)
  pairs = len(_ciphertexts(rehearsed.sites[number], approved.plays[0])) * ((_HEX, _HEX),)
  clients = len(_own(approved).clients)
  yield _signed(approved, ciphertexts.Stated(approved.site, clients, _HEX, pairs).content())
  yield from ({}, {})  # To a key and to what others signed.


def _ciphertexts(recorded: recording.Recording, protocol: str) -> Sequence[tuple[int, ...]]:
  """Returns the shapes of the ciphertexts that left in that one time of an activity in which most did."""
  rings, found = parameters.rings(protocol), [()]
  for times in recorded.leaving.values():
    for fetched in times:
      shapes = [tuple(map(int, filter(None, re.findall(r'\d+', leaf.kind.partition('[')[2]))))
                for leaves in fetched for leaf in leaves]
      found.append(tuple(shape for shape in shapes if len(shape) == 4 and shape[1] == 2 and shape[2:] in rings))
  return max(found, key=lambda shapes: sum(map(math.prod, shapes)))


def _signed(approved, content):
  return {'site': approved.site, 'content': content,
          'signature': bytes(signatures.longest(_own(approved).public_key))}


def _own(approved):
  return next(peer for peer in approved.peers if peer.site == approved.site)


_ANSWERS: Mapping[str, Callable[[approval.Approval, rehearsal.Rehearsal], Iterator[Any]]] = {
    site_masks.PROTOCOL: _masks, site_calls.JOINT: _joint, site_calls.HELD: _held}
