"""Runs of masked sums over three guarded sites that make their masks themselves."""

import concurrent.futures
import os
import signal
import time

import numpy as np
import pytest

from tests.federation import guarded
from tests.runtime import workers
from tff_vision.experiment import training
from tff_vision.federation import approval, rehearsal, site_protocols, words
from tff_vision.runtime.driver import site_link, stub
from tff_vision.runtime.worker import certificate_authority, processes
from tff_vision.runtime.worker.guard import audit
from tff_vision.secure.masking import site_round


def _worker(folder, site, *options):
  """Starts the worker of a site with its approval, as its owner does."""
  return workers.Worker(
      folder, '--sandbox=none', f'--approved={folder}/{site}.json', f'--audit_log={folder}/{site}.jsonl',
      f'--tls_cert={folder}/{site}.crt', f'--tls_key={folder}/{site}.key', f'--tls_client_ca={folder}/ca.crt', *options)


def _killing_once(monkeypatch, started, folder, lasting):
  """Kills the worker of south when its first masks were agreed on, and starts another one at its port.

  Args: `lasting` starts it: a worker ends with the thread that started it, and a site is asked in a thread of its own.
  """
  ask, old = site_link.SiteLink.ask, started['south']

  def asked(self, protocol, phase, content):
    answer = ask(self, protocol, phase, content)
    if self.name == 'south' and phase == 'deliver' and started['south'] is old:
      os.kill(old.pid, signal.SIGKILL)
      while processes.listens(('127.0.0.1', old.port)):
        time.sleep(0.05)
      started['again'] = old
      started['south'] = lasting.submit(_worker, folder, 'south', f'--port={old.port}').result()
    return answer
  monkeypatch.setattr(site_link.SiteLink, 'ask', asked)


@pytest.mark.ci
@workers.needs_nginx
def test_masks_of_three_workers_give_the_simulated_weights_also_if_one_is_killed(tmp_path, monkeypatch):
  """One build: a simulated run, one over workers with approvals of which one is killed, one with the driver's masks."""
  data = tmp_path / 'data'
  data.mkdir()
  guarded.write_files(data)
  plan = guarded.plan(data, **guarded.MASKS)
  with pytest.raises(ValueError, match='examples is missing: with a secure sum'):
    rehearsal.rehearse(plan)
  rehearsed = rehearsal.rehearse(plan, guarded.EXAMPLES)
  approvals = guarded.approved(plan, rehearsed, tmp_path, spare_rounds=1, host='127.0.0.1')
  said = '\n'.join(words.lines(plan, approvals[0], rehearsed))
  assert 'masked, by masks that this site makes itself' in said and 'Masks are made here: this site' in said
  assert said.count('(this site)') == 1 and 'the coordinator played' not in said
  certificate_authority.make_coordinator(tmp_path)
  tls = {'tls_ca': str(tmp_path / 'ca.crt'), 'tls_cert': str(tmp_path / 'coordinator.crt'),
         'tls_key': str(tmp_path / 'coordinator.key')}
  reports = []
  around = training.Training.around.__func__
  monkeypatch.setattr(training.Training, 'around', classmethod(
      lambda cls, *args, **given: reports.append(made := around(cls, *args, **given)) or made))
  started = {site: _worker(tmp_path, site) for site in guarded.SITES}
  lasting = concurrent.futures.ThreadPoolExecutor(1)
  try:
    with guarded.executor() as address:
      simulated, _ = guarded.trained(plan, guarded.three_names(address), tmp_path)
    assert 'the coordinator played' in reports[-1].secure_sum['simulation']
    addresses = tuple(started[site].wait_until_healthy().address for site in guarded.SITES)
    _killing_once(monkeypatch, started, tmp_path, lasting)
    through, faults = guarded.trained(plan, addresses, tmp_path, **tls)
    assert 'again' in started and all(not fault.clients for fault in faults)
    assert reports[-1].secure_sum['simulation'].startswith('The guards of the sites made keys')
    # The roundings of two runs differ: by one step of the fixed point, or less, a client and round.
    assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(simulated, through, strict=True))
    entries = audit.read(tmp_path / 'south.jsonl')
    # Two rounds, one of them twice, and an evaluation.
    assert [entry['number'] for entry in entries if entry.get('activity') == 'masks'] == [1, 2, 3, 4]
    assert sum(entry['what'] == 'approval' for entry in entries) == 2
    monkeypatch.setattr(site_round, '_plays', lambda party: False)
    with pytest.raises(stub.RefusedByWorker, match='site .*: the coordinator sent a value that this site makes'):
      guarded.trained(plan, addresses, tmp_path, **tls)
  finally:
    for worker in started.values():
      worker.stop()
    lasting.shutdown()


def test_certificates_of_an_approval_belong_to_its_sites(tmp_path):
  certificate_authority.make_authority(tmp_path)
  for site in guarded.SITES:
    certificate_authority.make_worker(tmp_path, site)
  files = {site: tmp_path / f'{site}.crt' for site in guarded.SITES}
  plan = guarded.plan('/data', **guarded.MASKS)
  peers = approval.peers_of(plan, files)
  assert [(peer.site, peer.clients) for peer in peers] == [('north', (0,)), ('south', (1,)), ('west', (2,))]
  with pytest.raises(ValueError, match='gives the sites north and south one key'):
    approval.peers_of(plan, files | {'south': files['north']})
  with pytest.raises(ValueError, match='site_certs=.*west.key holds no certificate in PEM format'):
    approval.peers_of(plan, files | {'west': tmp_path / 'west.key'})
  made = approval.Approval(site='north', plan='p', expires='2031-01-01T00:00:00+00:00', computations=('a',),
                           names=('/data/client_000000.tfrecord', '/data/client_000000.test.tfrecord'), values=(),
                           activities=(), most_clients=1, most_bytes=5, plays=('masks',), peers=peers, fewest_clients=3)
  path = tmp_path / 'approved.json'
  with pytest.raises(ValueError, match='gives the site north another certificate than that of tls_key'):
    approval.write(made, path, tmp_path / 'south.key')
  approval.write(made, path, tmp_path / 'north.key')
  assert approval.read(path, files['north']) == made
  assert set(site_protocols._client_of_names(made).values()) == {0}
