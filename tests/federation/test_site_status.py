"""A site's owner sees what its audit log says, and pauses and leaves between rounds."""

import dataclasses
import datetime
import json

import grpc
import pytest

from tests import forked
from tests.runtime.guard import protocol
from tff_vision.federation import site_page, site_status
from tff_vision.runtime.worker.guard import audit, enforcement


@pytest.fixture(name='made', scope='module')
def _made():
  return protocol.computations()


def test_what_is_shown_is_what_was_asked_and_a_pause_ends_between_rounds(made, tmp_path):
  path = tmp_path / 'audit.jsonl'
  with protocol.executor() as (asked, address):
    ruled = dataclasses.replace(protocol.recorded(address, made), epsilon=((1, 0.5), (2, 0.75)))
    log = audit.Log(path, ruled.digest)
    watch = enforcement.Enforcement(ruled, log, lambda: site_status.held(path))
    with protocol.guarded(address, watch, made, log) as coordinator:
      assert site_status.of(ruled, path).begun == {'a round': (0, 2)}
      held = coordinator.keys()
      coordinator.fetch(coordinator.select(held, 1))
      site_status.hold(path, site_status.PAUSED)
      # The round in progress goes on to its end.
      coordinator.fetch(coordinator.train(), coordinator.round)
      for _ in range(2):
        coordinator.fetch(coordinator.share(held))
      calls = len(asked.asked)
      with pytest.raises(grpc.RpcError) as away:
        coordinator.keys()
      # As a worker that is down, so that others go on.
      assert away.value.code() == grpc.StatusCode.UNAVAILABLE
      assert away.value.details() == 'site north: the owner of this site has paused.'
      assert 'CreateCall' not in asked.asked[calls:]
      found = site_status.of(ruled, path)
      assert found.begun == {'a round': (1, 2)} and found.held == site_status.PAUSED
      assert found.epsilon == 0.5 and found.most_epsilon == 0.75 and found.bytes_out == watch._bytes > 0
      site_status.hold(path, None)
      with pytest.raises(grpc.RpcError):
        coordinator.train(['/etc/passwd', protocol.NAMES[0]])
      coordinator.whole_round()
      site_status.hold(path, site_status.LEFT)
      with pytest.raises(grpc.RpcError, match='the owner of this site has left'):
        coordinator.keys()
  found = site_status.of(ruled, path)
  assert found.begun == {'a round': (2, 2)} and found.refusals == 3 and [text in one[2] for text, one in zip(
      ('has paused', '/etc/passwd', 'has left'), found.refused, strict=True)] == [True] * 3
  site_page.write_html(tmp_path / 'site.html', found, datetime.datetime(2026, 1, 2, 3, 4))
  page, said = (tmp_path / 'site.html').read_text(), '\n'.join(site_page.lines(found))
  for text in ('site north has left', 'a round: 2 of at most 2', 'epsilon 0.750', '/etc/passwd'):
    assert text in said
  assert 'epsilon 0.750' in page and '/etc/passwd' in page and '<script' not in page
  json.dumps(found.to_json())


def test_calls_under_an_earlier_approval_do_not_count_and_a_changed_log_is_refused(made, tmp_path):
  path = tmp_path / 'audit.jsonl'
  log = audit.Log(path, 'earlier')
  log.begin('a round')
  log.close()
  with protocol.executor() as (_, address):
    ruled = protocol.recorded(address, made)
  audit.Log(path, ruled.digest).close()
  found = site_status.of(dataclasses.replace(ruled, epsilon=((2, 0.75),)), path)
  assert found.begun == {'a round': (0, 2)} and found.epsilon == 0 and found.other_rounds == 1 and found.started
  other = site_status.of(dataclasses.replace(ruled, digest='that of another site'), path)
  assert not other.started and 'No worker was started with this approval' in next(site_page.lines(other))
  assert 'No worker was started' not in next(site_page.lines(found))
  assert '1 round of training began under other approvals in this log; what they cost comes on top' in site_page.cost(
      found)
  path.write_text(path.read_text().replace('a round', 'a bound'))
  with pytest.raises(ValueError, match='does not follow from the line before it'):
    site_status.of(ruled, path)
  for line in '{"before":"0"}', '{"before":"0","time":"t","what":"begins"}', '{"before":"0","time":"t","what":7}':
    path.write_text(line.replace('"0"', f'"{"0" * 64}"') + '\n')
    with pytest.raises(ValueError, match='line 1 does not follow'):
      site_status.of(ruled, path)
  assert site_status.of(ruled, tmp_path / 'none').last is None
  (tmp_path / 'none.hold').write_text('nonsense')
  assert site_status.held(tmp_path / 'none') == site_status.PAUSED


def test_a_pause_beside_a_log_that_no_worker_has_is_refused(tmp_path):
  done = forked.run(['-m', 'pipelines.site', f'--audit_log={tmp_path}/none.jsonl', '--tls_cert=north.crt',
                     '--set=pause'], timeout=60)
  assert done.returncode == 1 and f'{tmp_path}/none.jsonl is no file' in done.stderr and done.stderr.count('\n') == 1
  assert not list(tmp_path.iterdir())


def test_a_pause_is_heard_by_whatever_name_the_log_has(tmp_path):
  (tmp_path / 'audit.jsonl').touch()
  (tmp_path / 'link.jsonl').symlink_to('audit.jsonl')
  for told, asked in (('audit', 'link'), ('link', 'audit')):
    site_status.hold(tmp_path / f'{told}.jsonl', site_status.PAUSED)
    assert site_status.held(tmp_path / f'{asked}.jsonl') == site_status.PAUSED
    site_status.hold(tmp_path / f'{told}.jsonl', None)
    assert site_status.held(tmp_path / f'{asked}.jsonl') is None


def test_nothing_is_paused_where_the_page_cannot_be_written(tmp_path):
  (tmp_path / 'audit.jsonl').touch()
  done = forked.run(['-m', 'pipelines.site', f'--audit_log={tmp_path}/audit.jsonl', '--tls_cert=north.crt',
                     '--set=pause', f'--out={tmp_path}'], timeout=60)
  assert done.returncode == 1 and f"out='{tmp_path}' is a folder" in done.stderr and done.stderr.count('\n') == 1
  assert site_status.held(tmp_path / 'audit.jsonl') is None
