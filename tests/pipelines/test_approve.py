"""Owners approve a plan on the command line, and start their workers with what they approved."""

import dataclasses
import json

import numpy as np
import pytest

from tests.federation import guarded
from tests.runtime import workers
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker import certificate_authority


def test_what_approve_is_not_given_is_one_sentence(run_pipeline, tmp_path):
  (tmp_path / 'plan.json').write_text(guarded.plan(tmp_path).to_json())
  (tmp_path / 'masks.json').write_text(guarded.plan(tmp_path, **guarded.MASKS).to_json())
  masks = f'--plan={tmp_path}/masks.json', '--site=north', '--tls_key=k'
  for arguments, says in (
      (('--site=north', '--tls_key=k'), 'plan is missing'),
      ((f'--plan={tmp_path}/plan.json', '--site=north', '--tls_key=k', '--key_holder_cert=c'),
       'key_holder_cert=c has no effect: the plan names no key_holder'),
      (masks, 'site_certs must name the certificate of each site'), ((*masks, '--site_certs=east=c'), "found 'east=c'"),
      ((f'--plan={tmp_path}/plan.json', '--site=north', '--tls_key=k', '--examples=7,x,9'), "found 'x'")):
    done = run_pipeline('approve', *arguments)
    assert done.code == 1 and says in done.err and len(done.err.strip().splitlines()) == 1, done.err


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_sandbox
def test_a_plan_from_its_approval_to_weights(run_pipeline, tmp_path):
  data = tmp_path / 'data'
  data.mkdir()
  guarded.write_files(data)
  certificate_authority.make_authority(tmp_path)
  certificate_authority.make_coordinator(tmp_path)
  certificate_authority.make_worker(tmp_path, '127.0.0.1')
  key = tmp_path / '127.0.0.1.key'
  plan = guarded.plan('/data', rounds=1)
  two = tuple(dataclasses.replace(site, clients=clients) for site, clients in zip(
      plan.sites, (('north-1',), ('south-1', 'west-1')), strict=False))
  plan = dataclasses.replace(plan, sites=two)
  (tmp_path / 'plan.json').write_text(plan.to_json())
  done = run_pipeline('approve', f'--plan={tmp_path}/plan.json', '--site=east', f'--tls_key={key}')
  assert done.code == 1 and 'site=east is none of the plan' in done.err
  done = run_pipeline('approve', f'--plan={tmp_path}/plan.json', '--site=north', f'--tls_key={key}', '--survey',
                      f'--out={tmp_path}/none.json')  # Nobody is there to be asked.
  assert done.code == 1 and 'Not approved; nothing was written.' in done.out and not (tmp_path / 'none.json').exists()
  assert 'Traceback' not in done.err
  started = []
  try:
    for site in plan.sites:
      done = run_pipeline('approve', f'--plan={tmp_path}/plan.json', f'--site={site.name}', f'--tls_key={key}', '--yes',
                          '--spare_rounds=0', f'--out={tmp_path}/{site.name}.json')
      assert done.code == 0, done.err
      assert 'in the clear: the coordinator reads this site' in done.out and 'float[16,3]' in done.out
      started.append(workers.Worker(
          tmp_path, f'--data_root={data}', f'--approved={tmp_path}/{site.name}.json', f'--tls_key={key}',
          f'--audit_log={tmp_path}/{site.name}.jsonl', f'--tls_cert={key.with_suffix(".crt")}',
          f'--tls_client_ca={tmp_path}/ca.crt'))
    addresses = tuple(worker.wait_until_healthy().address for worker in started)
    tls = {'tls_ca': str(tmp_path / 'ca.crt'), 'tls_cert': str(tmp_path / 'coordinator.crt'),
           'tls_key': str(tmp_path / 'coordinator.key')}
    weights, faults = guarded.trained(plan, addresses, tmp_path, rounds=1, **tls)
    assert not faults and all(np.isfinite(one).all() for one in weights)
    with pytest.raises(stub.RefusedByWorker, match='site .*: a round of training: 1 have begun, and 1 are approved'):
      guarded.trained(plan, addresses, tmp_path, rounds=1, **tls)
    lines = [json.loads(line) for line in (tmp_path / 'south.jsonl').read_text().splitlines()]
    assert sum(line['what'] == 'begins' and line['activity'] == 'a round of training' for line in lines) == 1
  finally:
    for worker in started:
      worker.stop()
