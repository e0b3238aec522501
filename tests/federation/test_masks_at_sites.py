"""Runs of masked sums over three guarded sites that make their masks themselves."""

import numpy as np
import pytest

from tests.federation import guarded
from tff_vision.experiment import training
from tff_vision.federation import approval, mask_site, rehearsal, site_protocols, words
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker import certificate_authority
from tff_vision.secure.masking import site_round


@pytest.mark.ci
def test_masks_of_the_sites_give_the_simulated_weights_also_if_a_site_is_restarted(
    tmp_path, monkeypatch):
  """One build: an honest run, in which a guard is killed once a round, and a coordinator that makes the masks."""
  guarded.write_files(tmp_path)
  plan = guarded.plan(tmp_path, **guarded.MASKS)
  with pytest.raises(ValueError, match='examples is missing: with a secure sum'):
    rehearsal.rehearse(plan)
  rehearsed = rehearsal.rehearse(plan, guarded.EXAMPLES)
  with pytest.raises(ValueError, match='site_certs must name .* SITE=FILE for north, south, west; missing or unknown'):
    approval.of(plan, 'north', rehearsed, spare_rounds=0, days=1)
  approvals = guarded.approved(plan, rehearsed, tmp_path, spare_rounds=4)
  said = '\n'.join(words.lines(plan, approvals[0], rehearsed))
  assert 'masked, by masks that this site makes itself' in said and 'Masks are made here: this site' in said
  assert said.count('(this site)') == 1 and 'the coordinator played' not in said
  watches, logs, own = guarded.enforced(approvals, tmp_path)
  reports = []
  around = training.Training.around.__func__
  monkeypatch.setattr(training.Training, 'around', classmethod(
      lambda cls, *args, **given: reports.append(made := around(cls, *args, **given)) or made))
  with guarded.executor() as address:
    direct = address, address.replace('127.0.0.1', 'localhost'), address.replace('127.0.0.1', '127.0.1.1')
    plain, _ = guarded.trained(plan, direct, tmp_path)
    assert 'the coordinator played' in reports[-1].secure_sum['simulation']
    with guarded.sites(address, watches, logs, own) as addresses:
      through, faults = guarded.trained(plan, addresses, tmp_path)
      assert not faults and logs[0].attempts('masks') == 3  # Two rounds and an evaluation.
      assert reports[-1].secure_sum['simulation'].startswith('The guards of the sites made keys')
      assert all(watch.begun[rehearsal.ROUND] == 2 for watch in watches)
      # The roundings of two runs differ: by one step of the fixed point, or less, a client and round.
      assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(plain, through, strict=True))

      _restarting_once(monkeypatch, own[1], approvals[1], tmp_path / 'south.key', logs[1], watches[1])
      through, _ = guarded.trained(plan, addresses, tmp_path)
      assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(plain, through, strict=True))
      assert logs[1].attempts('masks') == 7 and watches[0].begun[rehearsal.ROUND] in (4, 5)
      with monkeypatch.context() as patched:
        patched.setattr(site_round, '_plays', lambda party: False)
        with pytest.raises(stub.RefusedByWorker, match='site .*: the coordinator sent a value that this site makes'):
          guarded.trained(plan, addresses, tmp_path)


def _restarting_once(monkeypatch, own, approved, key, log, watch):
  """Lets a guard be started anew, with its log, when its first masks were agreed on."""
  deliver, done = mask_site.MaskSite._deliver, []

  def lost(self, content):
    answer = deliver(self, content)
    if not done and self is own._plays['masks']:
      done.append(self)
      own._plays = site_protocols.of(approved, key, log, watch.may_begin)._plays
    return answer
  monkeypatch.setattr(mask_site.MaskSite, '_deliver', lost)
  for plays in (own._plays['masks'],):
    plays._phases['deliver'] = lambda content: mask_site.MaskSite._deliver(plays, content)


def test_certificates_of_an_approval_belong_to_its_sites(tmp_path):
  certificate_authority.make_authority(tmp_path)
  for site in guarded.SITES:
    certificate_authority.make_worker(tmp_path, site)
  files = {site: tmp_path / f'{site}.crt' for site in guarded.SITES}
  plan = guarded.plan('/data')
  peers = approval._peers(plan, files)
  assert [(peer.site, peer.clients) for peer in peers] == [('north', (0,)), ('south', (1,)), ('west', (2,))]
  with pytest.raises(ValueError, match='gives the sites north and south one key'):
    approval._peers(plan, files | {'south': files['north']})
  with pytest.raises(ValueError, match='site_certs=.*west.key holds no certificate in PEM format'):
    approval._peers(plan, files | {'west': tmp_path / 'west.key'})
  made = approval.Approval(site='north', plan='p', expires='2031-01-01T00:00:00+00:00', computations=('a',),
                           names=('/data/client_000000.tfrecord', '/data/client_000000.test.tfrecord'), values=(),
                           activities=(), most_clients=1, most_bytes=5, plays=('masks',), peers=peers, fewest_clients=3)
  path = tmp_path / 'approved.json'
  with pytest.raises(ValueError, match='gives the site north another certificate than that of tls_key'):
    approval.write(made, path, tmp_path / 'south.key')
  approval.write(made, path, tmp_path / 'north.key')
  assert approval.read(path, files['north']) == made
  assert set(site_protocols._client_of_names(made).values()) == {0}
