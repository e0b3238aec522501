"""The key holder as its owner runs it: a process that is killed forgets nothing."""

import dataclasses
import os
import signal
import socket
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.federation import guarded
from tests.pipelines import conftest
from tff_vision import configs
from tff_vision.experiment import planning
from tff_vision.federation import certificates, key_keeping
from tff_vision.runtime import key_calls
from tff_vision.runtime.driver import key_holder as connections
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker import certificate_authority, signatures, tls
from tff_vision.runtime.worker.guard import ciphertexts, signing
from tff_vision.secure import fixed_point
from tff_vision.secure.encryption import encrypted_sum, key_holder, parameters

PARAMS = parameters.key_holder_parameters(clients_max=16, value_bits=16)
ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)
HELD = configs.SecureConfig(secure_sum='he_keyholder', key_holder='127.0.0.1:9')


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  """A plan and certificates."""
  made = tmp_path_factory.mktemp('federation')
  certificate_authority.make_authority(made)
  certificate_authority.make_coordinator(made)
  for name in (*guarded.SITES, '127.0.0.1'):
    certificate_authority.make_worker(made, name)
  (made / 'plan.json').write_text(guarded.plan(made, secure=HELD).to_json())
  return made


def _flags(folder, port):
  certs = ','.join(f'{site}={folder / site}.crt' for site in guarded.SITES)
  return {'plan': folder / 'plan.json', 'key_holder_dir': folder / 'keys', 'port': port, 'site_certs': certs,
          'audit_log': folder / 'audit.jsonl', 'tls_cert': folder / '127.0.0.1.crt',
          'tls_key': folder / '127.0.0.1.key', 'tls_client_ca': folder / 'ca.crt'}


def _stated(folder, plan, public_key, site, sent, attempt):
  peers = {one: signatures.public_key(folder / f'{one}.crt') for one in guarded.SITES}
  by = signing.Identity(site=site, plan=plan.digest, key=signatures.Key(folder / f'{site}.key'), peers=peers)
  header = by.header(run='run', attempt=attempt, protocol=key_calls.PROTOCOL, phase=ciphertexts.PHASE)
  return by.sign(header, ciphertexts.Stated(site, 1, ciphertexts.digest(public_key),
                                            (ciphertexts.digests(sent),)).content())


@pytest.mark.ci
def test_a_killed_key_holder_opens_nothing_twice(folder):
  plan = guarded.plan(folder, secure=HELD)
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  flags = [f'--{name}={value}' for name, value in _flags(folder, port).items()]
  files = tls.TlsFiles(ca=str(folder / 'ca.crt'), cert=str(folder / 'coordinator.crt'),
                       key=str(folder / 'coordinator.key'))
  values = np.float32([[1.5, -2], [0.25, 1]])

  def started(stack):
    with open(folder / f'log.{stack}', 'w') as log:
      return subprocess.Popen(conftest.command('key_holder', *flags), cwd=conftest.ROOT, stdin=subprocess.DEVNULL,
                              stdout=log, stderr=log)

  process = started(1)
  try:
    asked = connections.KeyHolderConnection(f'127.0.0.1:{port}', files, timeout=120, call_timeout=30)
    public = np.frombuffer(asked.public_key, '<i4').reshape(2, len(PARAMS.primes), PARAMS.degree)
    sent = [encrypted_sum.encrypt_values(PARAMS, ENCODING, tf.constant(one), tf.constant(public)).numpy()
            for one in values]
    stated = [_stated(folder, plan, public, site, one, 1) for site, one in zip(guarded.SITES, sent, strict=False)]
    opened = asked.open('run', 1, stated, sent).reshape(-1, PARAMS.degree)
    found = key_holder.decoded(opened, 2, length=2, params=PARAMS, encoding=ENCODING)
    np.testing.assert_allclose(found, values.sum(0), atol=2 * ENCODING.step)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process = started(2)
    asked.close()
    asked = connections.KeyHolderConnection(f'127.0.0.1:{port}', files, timeout=120, call_timeout=30)
    assert asked.public_key == public.astype('<i4').tobytes()
    for attempt, why in ((1, 'attempt 1 of run run was opened before'), (2, 'a ciphertext was opened before')):
      again = [_stated(folder, plan, public, site, one, attempt)
               for site, one in zip(guarded.SITES, sent, strict=False)]
      with pytest.raises(stub.RefusedByWorker, match=f'the key holder: {why}'):
        asked.open('run', attempt, again, sent)
    asked.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, (folder / 'log.2').read_text()
  finally:
    process.kill()
    process.wait()
  said = (folder / 'log.2').read_text()
  assert '1 opened so far' in said and signatures.fingerprint(signatures.public_key(folder / '127.0.0.1.crt')) in said
  assert oct((folder / 'keys' / 'secret.key').stat().st_mode)[-3:] == '600'
  assert b'begins' in (folder / 'audit.jsonl').read_bytes()


def _desk(pki, plan, tmp_path, **changed):
  flags = {'folder': tmp_path / 'keys', 'audit_log': tmp_path / 'audit.jsonl', 'cert_file': pki / '127.0.0.1.crt',
           'certificates': {site: pki / f'{site}.crt' for site in guarded.SITES},
           'key_file': pki / '127.0.0.1.key', 'fewest_sites': 2, 'spare_rounds': 1}
  return key_keeping.desk(plan, **(flags | changed))


def _limits(folder, plan, tmp_path):
  with _desk(folder, plan, tmp_path) as desk:
    return desk._limits


def test_wrong_settings_are_one_sentence_and_limits_are_the_plan_s(folder, tmp_path):
  plan = guarded.plan(folder, secure=HELD, rounds=7)
  limits = _limits(folder, plan, tmp_path)
  assert limits.most_openings == 7 + 0 + 6 + 1 and limits.fewest_clients == 2
  parts = guarded.plan(folder, rounds=20, secure=configs.SecureConfig(
      secure_sum='he_keyholder', key_holder='127.0.0.1:9', secure_clients_max=2), cohort=configs.CohortConfig(
          cohort_size=2))
  assert _limits(folder, parts, tmp_path / 'b').most_openings == 20 + 2 * (2 + 6) + 1
  certs = {site: folder / f'{site}.crt' for site in guarded.SITES}
  for changed, says in (
      ({'certificates': {'north': certs['north']}}, 'site_certs must name .* missing or unknown: south, west'),
      ({'certificates': certs | {'west': certs['north']}}, 'site_certs gives the sites north and west one key'),
      ({'cert_file': certs['south']}, 'tls_cert=.*south.crt has the key of the site south: whoever opens sums is no'),
      ({'certificates': certs | {'west': folder / 'none.crt'}}, 'site_certs=.*none.crt cannot be read'),
      ({'certificates': certs | {'west': folder / 'plan.json'}}, 'site_certs=.*plan.json holds no certificate'),
      ({'key_file': folder / 'north.key'}, r'tls_key=.*north.key is not the key of tls_cert=.*127.0.0.1.crt\.'),
      ({'fewest_sites': 4}, 'fewest_sites=4, and the plan has 3 sites'),
      ({'fewest_sites': 1}, 'fewest_sites must be at least 2'),
      ({'audit_log': tmp_path / 'keys' / 'audit.jsonl'}, 'lies in key_holder_dir')):
    with pytest.raises(ValueError, match=says), _desk(folder, plan, tmp_path, **changed):
      pass
  with (pytest.raises(ValueError, match='the plan has secure_sum=he and no key_holder'),
        _desk(folder, guarded.plan(folder, secure=configs.SecureConfig(secure_sum='he')), tmp_path)):
    pass
  for text in ('north', 'north=', 'east=x', 'north=a,north=b'):
    with pytest.raises(ValueError, match='site_certs must be SITE=FILE, once for each site'):
      certificates.of_sites(plan, text.split(','))
  for wrong, says in ((dict(key_holder='host'), 'key_holder must be host:port'),
                      (dict(key_holder='a:1', key_holder_dir='k'), 'key_holder and key_holder_dir exclude each other'),
                      ({}, 'needs key_holder or key_holder_dir')):
    with pytest.raises(ValueError, match=says):
      configs.SecureConfig(secure_sum='he_keyholder', **wrong)


@pytest.mark.parametrize('cohort, survivors, fewest', [
    # The noise was sized for so many: of a sum over fewer, less was promised.
    ({'cohort_size': 3, 'sampling': 'round_robin'}, None, 3), ({'cohort_size': 3}, None, 3),
    ({'cohort_size': 3}, 2, 2), ({'cohort_size': 2}, None, 2), ({'cohort_size': 3, 'dropout_after': 0.3}, None, 2)])
@pytest.mark.parametrize('privacy', ['distributed_gaussian', 'example_distributed'])
def test_the_fewest_clients_of_a_sum_are_those_that_the_noise_was_sized_for(folder, privacy, cohort, survivors, fewest):
  made = configs.PrivacyConfig(privacy=privacy, clip_norm=1.0, noise_multiplier=1.0, noise_survivors=survivors)
  plan = guarded.plan(folder, secure=HELD, privacy=made, cohort=configs.CohortConfig(**cohort), rounds=20)
  assert key_keeping.fewest_clients(plan) == fewest
  rehearsed = planning.mechanism(plan.experiment(), population=3, sizes=guarded.EXAMPLES)
  assert rehearsed.fewest_clients == fewest


def test_a_sum_over_fewer_clients_than_the_noise_needs_is_not_opened_because_evaluations_have_smaller_parts(folder):
  held = configs.SecureConfig(secure_sum='he_keyholder', key_holder='127.0.0.1:9', secure_clients_max=8)
  plan = guarded.plan(folder, secure=held, cohort=configs.CohortConfig(cohort_size=8), privacy=configs.PrivacyConfig(
      privacy='distributed_gaussian', clip_norm=1.0, noise_multiplier=1.0))
  sites = tuple(dataclasses.replace(site, clients=tuple(f'{site.name}-{i}' for i in range(4))) for site in plan.sites)
  assert key_keeping.fewest_clients(dataclasses.replace(plan, sites=sites)) == 8  # Evaluations count 6 + 6.


def test_a_key_pair_without_its_log_is_refused_and_has_one_key_holder(folder, tmp_path):
  plan, log = guarded.plan(folder, secure=HELD), tmp_path / 'audit.jsonl'
  with _desk(folder, plan, tmp_path):
    with (pytest.raises(ValueError, match='key_holder_dir=.*keys is in use by another key holder'),
          _desk(folder, plan, tmp_path, audit_log=tmp_path / 'other.jsonl')):
      pass
    with (pytest.raises(ValueError, match='audit_log=.*audit.jsonl is in use by another process'),
          _desk(folder, plan, tmp_path, folder=tmp_path / 'other keys')):
      pass
  public = (tmp_path / 'keys' / 'public.key').read_bytes()
  with _desk(folder, plan, tmp_path), _desk(folder, plan, tmp_path / 'twin'):
    pass
  with _desk(folder, guarded.plan(folder, secure=HELD, rounds=3), tmp_path):  # Another plan, and the log goes on.
    pass
  kept = log.read_bytes()
  for changed in (None, b'', (tmp_path / 'twin' / 'audit.jsonl').read_bytes()):
    log.unlink(missing_ok=True)
    if changed is not None:
      log.write_bytes(changed)
    with (pytest.raises(ValueError, match='audit_log=.*audit.jsonl is missing, or not the log of the key pair'),
          _desk(folder, plan, tmp_path)):
      pass
    assert (tmp_path / 'keys' / 'public.key').read_bytes() == public
    assert log.exists() == (changed is not None)
  log.write_bytes(kept)
  with _desk(folder, plan, tmp_path):
    pass
  # A start that found no place for its log has made no key pair, which no log would be of.
  away = {'folder': tmp_path / 'new', 'audit_log': tmp_path / 'away' / 'audit.jsonl'}
  with (pytest.raises(ValueError, match='audit_log=.*away/audit.jsonl cannot be written: there is no such folder'),
        _desk(folder, plan, tmp_path, **away)):
    pass
  assert not any((tmp_path / 'new').iterdir())
  (tmp_path / 'away').mkdir()
  with _desk(folder, plan, tmp_path, **away):
    pass
  (tmp_path / 'file').touch()
  with (pytest.raises(ValueError, match='key_holder_dir=.*file/keys cannot be used: Not a directory'),
        _desk(folder, plan, tmp_path, folder=tmp_path / 'file' / 'keys')):
    pass


@pytest.mark.parametrize(('content', 'said'), [(None, 'cannot be read'), ('no PEM', 'holds no certificate')])
def test_an_authority_that_is_none_is_named_before_a_key_pair_is_made(run_pipeline, folder, tmp_path, content, said):
  path = tmp_path / 'authority.crt'
  if content is not None:
    path.write_text(content)
  flags = _flags(folder, 8444) | {'key_holder_dir': tmp_path / 'keys', 'tls_client_ca': path}
  done = run_pipeline('key_holder', *(f'--{name}={value}' for name, value in flags.items()))
  assert done.code == 1 and done.err.startswith(f'key_holder: error: tls_client_ca={path} {said}')
  assert not (tmp_path / 'keys').exists()
