"""Sites that play their half of masked sums, in this process, with a coordinator that asks them phase by phase."""

import types
import uuid

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.federation import mask_site
from tff_vision.runtime import messages
from tff_vision.runtime.driver import stub
from tff_vision.runtime.tff_internals import sending
from tff_vision.runtime.worker import certificate_authority, signatures
from tff_vision.runtime.worker.guard import audit, exchange, signing
from tff_vision.secure.masking import mask_expansion, masked_sum, site_round

KIND = tff.FederatedType(masked_sum.data_with_rows(tff.types.to_type(np.str_)), tff.CLIENTS)
LENGTH = 5


def name(client):
  return f'/data/client_{client:06d}.tfrecord'


class Site:
  """A site with its guard's half, as a coordinator reaches it.

  Attributes:
    down: Whether it does not answer.
  """
  WorkerLost = stub.WorkerLost
  BeginAgain = exchange.BeginAgain
  plan = 'plan'
  plays = ('masks',)

  def __init__(self, site, clients, *, folder, peers, fewest=2):
    self.name = site
    self.down = False
    self.key = peers[site]
    self._made = lambda log: mask_site.MaskSite(
        signing.Identity(site=site, plan=self.plan, key=signatures.Key(folder / f'{site}.key'), peers=peers), log,
        site_of_clients={client: one for one, of_site in clients.items() for client in of_site},
        client_of_names={name(client): client for client in clients[site]}, fewest=fewest, may_begin=lambda: None)
    self._log = folder / f'{site}.{uuid.uuid4()}.jsonl'  # Numbers of objects come again.
    self.log = audit.Log(self._log, 'approval')
    self.restart()

  def restart(self):
    """As a guard that was killed: nothing is left but the log."""
    self.log.close()
    self.log = audit.Log(self._log, 'approval')
    self.own = exchange.Exchange(site=self.name, plan=self.plan, plays={'masks': self._made(self.log)})

  def ask(self, protocol, phase, content):
    if self.down:
      raise stub.WorkerLost(f'{self.name} is down')
    asked = messages.encode({'protocol': protocol, 'phase': phase, 'content': content})
    return messages.decode(self.own.answer(asked)[1])

  def rows(self, *clients, seeds=((0,) * 9,), names=None):
    """Returns what the executor gets in place of the placeholders of these clients, and their tokens."""
    names = [name(client) for client in clients] if names is None else names
    value = sending.serialize_value(
        [(one, tf.data.Dataset.from_tensor_slices(np.asarray(seeds, np.uint32))) for one in names], KIND)[0]
    tokens = self.own.fill(value)
    found = [tf.compat.v1.GraphDef.FromString(member.struct.element[1].value.sequence.serialized_graph_def)
             for member in value.federated.value]
    return [tf.make_ndarray(graph.node[0].attr['value'].tensor) for graph in found], tokens

  def masked(self, client, values):
    """Returns a client's masked values; its masks are used by one call."""
    (rows,), tokens = self.rows(client)
    self.own.spend(tokens, 'train')
    flipped = [np.append(row[:8], row[8] ^ 1).astype(np.uint32) for row in rows]
    return mask_expansion.remove_masks(np.asarray(values, np.uint32), flipped)


def sites(folder, clients, fewest=2):
  """Returns the sites by name; `clients`: name -> the numbers of its clients."""
  certificate_authority.make_authority(folder)
  for one in clients:
    if not (folder / f'{one}.crt').exists():
      certificate_authority.make_worker(folder, one)
  peers = {one: signatures.public_key(folder / f'{one}.crt') for one in clients}
  return {one: Site(one, clients, folder=folder, peers=peers, fewest=fewest) for one in clients}


def parties(found, clients, among=None):
  """Returns the parties of a round over all clients, or over those in `among`."""
  return [types.SimpleNamespace(position=position, client=client, site=found[site])
          for position, (client, site) in enumerate((client, site) for site in clients for client in clients[site]
                                                    if among is None or client in among)]


def begun(found, clients, among=None, run='run'):
  """Returns an attempt of an honest coordinator, whose sites have their masks."""
  return site_round.SiteRound(parties(found, clients, among), run)
