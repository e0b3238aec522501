"""Rounds of masked sums: clients of a simulation, and the server that coordinates and unmasks.

In a simulation both sides live in this process, so it shows the protocol and not secrecy: in a deployment each client's
half runs on its own machine. `MaskServer` holds only what the server of a deployment would.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_vision.secure import fixed_point, refusal
from tff_vision.secure.masking import mask_expansion, mask_graph, mask_protocol, shamir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropouts:
  """Clients, by their position in the cohort, that are lost in a phase and in all later ones.

  Attributes:
    advertise: Never send keys.
    share: Send keys, but no shares.
    upload: Send shares, but no masked update; others have already masked with them.
    reveal: Send their masked update, but no shares for unmasking.
  """
  advertise: Collection[int] = ()
  share: Collection[int] = ()
  upload: Collection[int] = ()
  reveal: Collection[int] = ()


class TooFewClientsError(refusal.RefusedError):
  """Dropouts left too few clients to unmask the sum; nothing was opened."""


class MaskRound:
  """Runs the protocol's phases.

  Attributes:
    uploaders: Positions of the clients whose updates the sum holds, ascending.
  """

  def __init__(self, clients: int, *, round_num: int, dropouts: Dropouts, degree: int | None = None, fewest: int = 2):
    """Runs phases 1 and 2: key agreement and sharing.

    Args:
      fewest: No sum over fewer clients is opened: neither server nor clients go along.

    Raises:
      TooFewClientsError: Too few clients are left.
      ValueError: See `mask_graph.random_graph`.
    """
    graph = mask_graph.random_graph(clients, mask_graph.default_degree(clients) if degree is None else degree)
    self._clients = [mask_protocol.MaskClient(i, round_num=round_num, threshold=graph.threshold, fewest=fewest)
                     for i in range(clients)]
    self._server = MaskServer(graph, round_num=round_num, fewest=fewest)
    advertised = sorted(set(range(clients)) - set(dropouts.advertise))
    self._server.keys = {i: self._clients[i].advertise() for i in advertised}
    sharing = sorted(set(advertised) - set(dropouts.share))
    self._server.check_neighbourhoods(sharing)
    sealed = {i: self._clients[i].share(self._server.neighbour_keys(i)) for i in sharing}
    for i in sharing:
      self._clients[i].receive({j: sealed[j][i] for j in graph.neighbours[i] if j in sealed})
    self._shared = sharing
    self.uploaders: Sequence[int] = sorted(set(sharing) - set(dropouts.upload))
    self._responding = sorted(set(self.uploaders) - set(dropouts.reveal))

  def mask_rows(self, client: int) -> np.ndarray:
    """Returns the mask seeds of one client, to be handed to nobody else."""
    return self._clients[client].mask_rows()

  def unmask(self, masked_sum: np.ndarray) -> np.ndarray:
    """Runs phase 4: returns the sum of the uploaders' values modulo 2**32, [n] uint32.

    Args:
      masked_sum: [n] int32 or uint32, the sum of the uploaders' masked values modulo 2**32.

    Raises:
      TooFewClientsError: Too few clients answer; nothing was opened.
    """
    dropped = sorted(set(self._shared) - set(self.uploaders))
    self._server.check_uploads(self.uploaders, self._shared)
    revealed = {i: self._clients[i].reveal(uploaded=self.uploaders, dropped=dropped) for i in self._responding}
    return self._server.unmask(masked_sum.view(np.uint32), uploaded=self.uploaders, dropped=dropped, revealed=revealed)


class MaskServer:
  """The coordinating server: public keys, sealed boxes in passing, the masked sum, and revealed shares."""

  def __init__(self, graph: mask_graph.MaskGraph, *, round_num: int, fewest: int = 2):
    self._fewest = fewest
    self._graph = graph
    self._round_num = round_num
    self.keys: Mapping[int, mask_protocol.PublicKeys] = {}

  def neighbour_keys(self, client: int) -> dict[int, mask_protocol.PublicKeys]:
    """Returns the keys of those neighbours that advertised some."""
    return {j: self.keys[j] for j in self._graph.neighbours[client] if j in self.keys}

  def check_neighbourhoods(self, sharing: Collection[int]) -> None:
    """Refuses to go on where a client could never be unmasked."""
    alive = set(sharing)
    for i in sharing:
      if 1 + len(alive.intersection(self._graph.neighbours[i])) < self._graph.threshold:
        raise TooFewClientsError(self._few(i))
    if len(alive) < 2:
      raise TooFewClientsError('a masked sum needs at least 2 clients that share their secrets.')

  def check_uploads(self, uploaded: Collection[int], shared: Collection[int]) -> None:
    """Refuses to ask for shares that clients would refuse, or that would open one client's update."""
    if len(uploaded) < 2:
      raise TooFewClientsError('fewer than 2 clients uploaded; their sum stays masked.')
    if len(uploaded) < self._fewest:
      raise TooFewClientsError(refusal.few_clients(len(uploaded), self._fewest))
    for i in shared:
      if len({i, *self._graph.neighbours[i]}.intersection(uploaded)) < self._graph.threshold:
        raise TooFewClientsError(self._few(i))
    if not self._graph.connected(uploaded):
      raise TooFewClientsError('dropouts split the clients into groups whose sums would be opened one by one; nothing '
                               'was opened, run the round again.')

  def unmask(self, masked_sum: np.ndarray, *, uploaded: Sequence[int], dropped: Sequence[int],
             revealed: Mapping[int, Mapping[int, bytes]]) -> np.ndarray:
    """Returns the masked sum without the uploaders' own masks and without masks shared with the dropped.

    Raises:
      TooFewClientsError: A secret has fewer shares than its threshold.
    """
    rows = [mask_protocol.self_row(self._recover(i, revealed)) for i in uploaded]
    for i in dropped:
      key = mask_protocol.private_key(self._recover(i, revealed))
      for j in set(uploaded).intersection(self._graph.neighbours[i]):
        row = mask_protocol.pair_row(key, self.keys[j].masking, me=i, other=j, round_num=self._round_num)
        row[mask_expansion.SEED_WORDS] ^= 1  # As client j added it.
        rows.append(row)
    return mask_expansion.remove_masks(masked_sum, rows)

  def _recover(self, client, revealed):
    shares = {holder: shares[client] for holder, shares in revealed.items() if client in shares}
    if len(shares) < self._graph.threshold:
      raise TooFewClientsError(self._few(client))
    return shamir.join(shares, threshold=self._graph.threshold)

  def _few(self, client):
    return (f'too few neighbours of client {client} are left to unmask the sum ({self._graph.threshold} are needed); '
            'nothing was opened, run the round again.')


class LostClientsError(TooFewClientsError):
  """Clients were lost inside of the computation that added their masked updates up; the sum stays masked."""


def no_dropouts(round_num: int) -> Dropouts:
  """Loses nobody."""
  del round_num
  return Dropouts()


class MaskDriver:
  """Drives masked sums round by round for `hidden_sum.HiddenSumProcess`: key agreement, seeds, unmasking."""

  def __init__(self, encoding: fixed_point.Encoding, *, fewest: int = 2,
               dropouts: Callable[[int], Dropouts] = no_dropouts):
    """Args: `fewest` as in `MaskRound`; `dropouts` says which clients are lost in the n-th round, counted from 1."""
    self._fewest = fewest
    self._encoding = encoding
    self._dropouts = dropouts
    self._round_num = 0
    self._round: MaskRound | None = None

  def client_data(self, datasets: Sequence[Any]) -> Sequence[tuple[Any, tf.data.Dataset]]:
    """Begins a round: returns the uploaders' datasets, each with its mask seeds.

    Raises:
      TooFewClientsError: Too few clients are left to mask or to unmask.
    """
    self._round_num += 1
    self._round = None
    if not datasets:
      return []
    self._round = MaskRound(len(datasets), round_num=self._round_num, dropouts=self._dropouts(self._round_num),
                            fewest=self._fewest)
    return [(datasets[i], tf.data.Dataset.from_tensor_slices(self._round.mask_rows(i)))
            for i in self._round.uploaders]

  def open_sum(self, masked: np.ndarray, clients: int) -> np.ndarray:
    """Ends the round: returns the sum of the uploaders' values, float32.

    Raises:
      LostClientsError: The sum is not over all uploaders.
      TooFewClientsError: Too few clients answer; the sum stays masked.
    """
    if self._round is None:
      return np.zeros(masked.shape, np.float32)
    if clients != len(self._round.uploaders):
      raise LostClientsError(
          f'the masked sum holds {clients} clients of {len(self._round.uploaders)}: one was lost inside the '
          'computation, and its masks do not cancel; nothing was opened, run the round again.')
    total = self._round.unmask(masked).astype(np.int64)
    return self._encoding.decode(tf.constant(total), tf.constant(clients)).numpy()
