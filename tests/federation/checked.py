"""Three sites on this machine whose guards check keys and sign ciphertexts, and a key holder of their own."""

import contextlib
import dataclasses

import numpy as np

from tests.federation import guarded
from tff_vision import experiment
from tff_vision.data import images as images_lib
from tff_vision.experiment import planning, training
from tff_vision.federation import joint_site_keys, key_desk, key_service, site_keys
from tff_vision.runtime import key_calls
from tff_vision.runtime.driver import key_holder as connections
from tff_vision.runtime.driver import runtimes
from tff_vision.runtime.worker import certificate_authority, signatures, tls
from tff_vision.runtime.worker.guard import audit, ciphertexts, exchange, recording, service, signing
from tff_vision.secure.encryption import key_holder, parameters


class Federation:
  """Certificates and logs in a folder.

  Attributes:
    witnesses: For each site, its half of the protocol; made by `sites`.
  """

  def __init__(self, folder, plan):
    self.folder = folder
    self.plan = plan
    self.witnesses = []
    certificate_authority.make_authority(folder)
    certificate_authority.make_coordinator(folder)
    for name in (*guarded.SITES, '127.0.0.1', 'stranger'):
      certificate_authority.make_worker(folder, name)
    self.peers = {site: signatures.public_key(folder / f'{site}.crt') for site in guarded.SITES}
    self.peers[key_calls.PARTY] = signatures.public_key(folder / '127.0.0.1.crt')

  def identity(self, site, key_file=None):
    return signing.Identity(site=site, plan=self.plan.digest, peers=self.peers,
                            key=signatures.Key(self.folder / f'{key_file or site}.key'))

  def files(self, name='coordinator'):
    return tls.TlsFiles(ca=str(self.folder / 'ca.crt'), cert=str(self.folder / f'{name}.crt'),
                        key=str(self.folder / f'{name}.key'))

  @contextlib.contextmanager
  def sites(self, address, *, checking=True):
    """Yields the addresses of guards in front of one executor that let any order pass."""
    with contextlib.ExitStack() as stack:
      found, self.witnesses = [], []
      for site in guarded.SITES:
        log = audit.Log(self.folder / f'{site}.jsonl', 'any')
        stack.callback(log.close)
        made = self.witness(site, log) if checking else None
        own = None if made is None else exchange.Exchange(site=site, plan=self.plan.digest,
                                                          plays={made.protocol: made})
        self.witnesses.append(made)
        guard = service.Guard(address, recording.Recording(), site=site, log=log, own=own)
        found.append(f'127.0.0.1:{stack.enter_context(guard.served("127.0.0.1:0"))}')
      yield tuple(found)

  def witness(self, site, log):
    joint = self.plan.experiment().secure.secure_sum == 'he'
    return (joint_site_keys.JointSiteKeys if joint else site_keys.HeldSiteKeys)(self.identity(site), log)

  @contextlib.contextmanager
  def key_holder(self, config, **limits):
    """Yields what connects to a key holder, whatever its address is."""
    params = parameters.key_holder_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
    holder = key_holder.KeyHolder(self.folder / 'keys', params)
    log = audit.Log(self.folder / 'holder.jsonl', ciphertexts.digest(holder.public_key))
    desk = key_desk.Desk(holder, params, identity=self.identity(key_calls.PARTY, '127.0.0.1'), log=log,
                         limits=key_desk.Limits(**{'most_openings': 9, **limits}))
    with key_service.Service(desk).served('127.0.0.1:0', self.files('127.0.0.1'), 'coordinator') as port:
      yield lambda _: connections.KeyHolderConnection(f'127.0.0.1:{port}', self.files(), timeout=10, call_timeout=10)


def with_secure(plan, **changed):
  """Returns a plan whose secure sum is changed."""
  config = dict(plan.config)
  config['secure'] = config['secure'] | changed
  return dataclasses.replace(plan, config=config)


class Coordinator:
  """Trains round by round; a round that fails leaves the state as it was."""

  def __init__(self, prepared, place):
    self.state = prepared.begin()
    self.secure_sum = prepared.secure_sum
    self._prepared = prepared
    self._place = place
    self._round = 0

  def round(self):
    self._round += 1
    with self._place.cohort(range(3), 3):
      self._prepared.data.present(range(3))
    self.state = self._prepared.next(self.state, self._round, range(3)).state

  def weights(self):
    return [np.asarray(one) for one in self._prepared.weights(self.state).trainable]


@contextlib.contextmanager
def coordinator(plan, addresses, folder, *, open_key_holder=None):
  """Yields a `Coordinator` that has no image."""
  (folder / 'plan.json').write_text(plan.to_json())
  runtime = dataclasses.replace(plan.run_by(), workers=addresses)
  made = experiment.from_config(plan.experiment(folder / 'plan.json'), runtime=runtime)
  with runtimes.open_runtime(runtime) as place:
    place.open_key_holder = open_key_holder
    clients = images_lib.CountedClients(copies=made.problem.images.train, counts=guarded.EXAMPLES)
    problem = dataclasses.replace(made.problem, images=dataclasses.replace(made.problem.images, train=clients))
    yield Coordinator(training.Training.prepare(made, planning.plan(made, problem, secret=bytes(32)), place,
                                                folder / 'states'), place)
