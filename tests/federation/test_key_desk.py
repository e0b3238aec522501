"""A key holder that is a service of its own: an honest round is opened, and whatever else is asked for is not."""

import contextlib
import dataclasses
import re
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf

from tff_vision.configs import runtime_config
from tff_vision.federation import key_desk, key_service
from tff_vision.runtime import key_calls, messages
from tff_vision.runtime.driver import key_holder as connections
from tff_vision.runtime.driver import remote, stub
from tff_vision.runtime.worker import certificate_authority, signatures, tls
from tff_vision.runtime.worker.guard import audit, ciphertexts, rules, signing
from tff_vision.secure import fixed_point
from tff_vision.secure.encryption import encrypted_sum, key_holder, parameters

PARAMS = parameters.key_holder_parameters(clients_max=4, value_bits=16)
ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)
SITES = ('north', 'south', 'west')
LENGTH = 9
VALUES = np.random.default_rng(3).uniform(-2, 2, [3, LENGTH]).astype(np.float32)
PLAN = 'p' * 64


class Federation:
  """Three sites and a key holder, who know each other's certificates; `folder` has the keys."""

  def __init__(self, folder):
    certificate_authority.make_authority(folder)
    certificate_authority.make_coordinator(folder)
    certificate_authority.make_coordinator(folder, 'somebody')
    for name in (*SITES, '127.0.0.1', 'stranger'):
      certificate_authority.make_worker(folder, name)
    self.folder = folder
    self.log = None
    self.peers = {site: signatures.public_key(folder / f'{site}.crt') for site in SITES}
    self.peers[key_calls.PARTY] = signatures.public_key(folder / '127.0.0.1.crt')
    self.holder = key_holder.KeyHolder(folder / 'keys', PARAMS)
    self.ciphertexts = [_encrypted(self.holder, values) for values in VALUES]

  def identity(self, site, key_file=None, plan=PLAN, peers=None):
    return signing.Identity(site=site, plan=plan, key=signatures.Key(self.folder / f'{key_file or site}.key'),
                            peers=peers or self.peers)

  def desk(self, log, **limits):
    """Returns a desk; whoever had this log before was killed."""
    if self.log is not None:
      self.log.close()
    self.log = audit.Log(log, ciphertexts.digest(self.holder.public_key))
    return key_desk.Desk(self.holder, PARAMS, identity=self.identity(key_calls.PARTY, '127.0.0.1'),
                         limits=key_desk.Limits(**{'most_openings': 9, **limits}), log=self.log)

  def stated(self, number, attempt=1, *, run='r', by=None, plan=PLAN, protocol='he_keyholder', key=None, sent=None,
             clients=1):
    """Returns what a site signs about `sent`, by default its own ciphertext."""
    identity = by or self.identity(SITES[number], plan=plan)
    header = identity.header(run=run, attempt=attempt, protocol=protocol, phase=ciphertexts.PHASE)
    pairs = tuple(ciphertexts.digests(one) for one in (sent or [self.ciphertexts[number]]))
    made = ciphertexts.Stated(SITES[number], clients, key or ciphertexts.digest(self.holder.public_key), pairs)
    return identity.sign(header, made.content())


def _encrypted(holder, values):
  return encrypted_sum.encrypt_values(PARAMS, ENCODING, tf.constant(values), tf.constant(holder.public_key)).numpy()


def _bytes(arrays):
  return [one.astype('<i4').tobytes() for one in arrays]


def _read(total, clients):
  return key_holder.decoded(total, clients, length=LENGTH, params=PARAMS, encoding=ENCODING)


@pytest.fixture(name='made', scope='module')
def _made(tmp_path_factory):
  return Federation(tmp_path_factory.mktemp('federation'))


def test_a_round_is_opened_over_tls_once_and_the_coordinator_gets_the_sum_alone(made, tmp_path):
  files = lambda name: tls.TlsFiles(ca=str(made.folder / 'ca.crt'), cert=str(made.folder / f'{name}.crt'),
                                    key=str(made.folder / f'{name}.key'))
  desk = made.desk(tmp_path / 'audit.jsonl')
  with key_service.Service(desk).served('127.0.0.1:0', files('127.0.0.1'), 'coordinator') as port:
    address = f'127.0.0.1:{port}'
    asked = connections.KeyHolderConnection(address, files('coordinator'), timeout=10, call_timeout=10)
    np.testing.assert_array_equal(np.frombuffer(asked.public_key, '<i4'), made.holder.public_key.ravel())
    north = made.identity('north')
    header = north.header(run='', attempt=0, protocol=key_calls.PROTOCOL, phase=key_calls.KEY_PHASE)
    assert north.verified(header, asked.stated) == (
        key_calls.PARTY, {'key': ciphertexts.digest(made.holder.public_key)})
    # The second site sends two ciphertexts, of one client each.
    sent = [made.ciphertexts[0], made.ciphertexts[1], made.ciphertexts[2]]
    stated = [made.stated(0), made.stated(1, sent=sent[1:], clients=2)]
    opened = asked.open('r', 1, stated, sent)
    np.testing.assert_allclose(_read(opened.reshape(1, PARAMS.degree), 3), VALUES.sum(0), atol=3 * ENCODING.step)
    with pytest.raises(stub.RefusedByWorker, match='the key holder: attempt 1 of run r was opened before'):
      asked.open('r', 1, stated, sent)
    # A call that sends other messages ends with a reason too.
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(*(
        (made.folder / name).read_bytes() for name in ('ca.crt', 'coordinator.key', 'coordinator.crt')))) as channel:
      for what in ([], [b'x'], [messages.encode({'run': 'r', 'attempt': 'one', 'stated': []})]):
        with pytest.raises(grpc.RpcError, match='cannot be read|lacks|not of the type'):
          channel.stream_unary(f'/{key_calls.SERVICE}/{key_calls.OPEN}')(iter(what))
    asked.close()
    config = runtime_config.RuntimeConfig(runtime='workers', workers=(address,), **{
        f'tls_{name}': path for name, path in dataclasses.asdict(files('coordinator')).items()})
    with contextlib.ExitStack() as stack:  # As a runtime connects.
      found = remote._key_holder(stack, config, files('coordinator'), address)
      assert found.public_key == asked.public_key
    with pytest.raises(ValueError, match='serves the certificate name coordinator only'):
      connections.KeyHolderConnection(address, files('somebody'), timeout=10, call_timeout=10)
  with pytest.raises(ValueError, match='does not answer'):
    connections.KeyHolderConnection(address, files('coordinator'), timeout=0.3, call_timeout=10)
  entries, _ = audit.verified((tmp_path / 'audit.jsonl').read_bytes(), tmp_path / 'audit.jsonl')
  assert [one['activity'] for one in entries if one['what'] == 'sum'] == [
      'attempt 1 of run r: 3 clients of north, south']
  # Everything that it was asked for: the key twice, what was opened before, what cannot be read, and a stranger.
  assert [one['what'] for one in entries if one['what'] != 'begins'] == [
      'approval', 'public key', 'sum', *['refusal'] * 4, 'public key', 'refusal']
  assert [one['refused'] for one in entries if one['what'] == 'refusal'][1:] == [
      'a message cannot be read.', 'a message cannot be read.',
      "a message: 'attempt' is not of the type that it must have.",
      "it serves the certificate name coordinator only, and [b'somebody'] called."]


def _attempts(made, stranger):
  """Returns what a dishonest coordinator asks for: reason -> (statements, ciphertexts)."""
  one, two, three = made.ciphertexts
  honest = [made.stated(0), made.stated(1)]
  negative = np.where(np.arange(one.size).reshape(one.shape) == 5, -1, one).astype(np.int32)
  forged = made.stated(1) | {'site': 'west'}
  changed = made.stated(1, clients=1)
  changed = changed | {'content': changed['content'] | {'clients': 2}}
  alone = made.identity('south', 'stranger', peers=made.peers | {'south': signatures.public_key(
      made.folder / 'stranger.crt')})
  return {
      r'a sum over 1 site\(s\) is to be opened, and 2 are the fewest': ([made.stated(0)], [one]),
      r'a sum over 0 site\(s\)': ([], []),
      'the site north is there twice': ([made.stated(0), made.stated(0, sent=[two])], [one, two]),
      'site west has not signed this for attempt 1': ([made.stated(0), forged], [one, two]),
      'site south has not signed this for attempt 1 of this run': ([made.stated(0), changed], [one, two]),
      'south has not signed': ([made.stated(0), made.stated(1, by=alone)], [one, two]),
      'the site south has not': ([made.stated(0), made.stated(1, attempt=2)], [one, two]),
      'site south has not signed this': ([made.stated(0), made.stated(1, run='other')], [one, two]),
      'the site south has not signed': ([made.stated(0), made.stated(1, plan='q' * 64)], [one, two]),
      'south has not signed this': ([made.stated(0), made.stated(1, protocol='he')], [one, two]),
      'in the name of .east., which is no site': ([made.stated(0), made.stated(1) | {'site': 'east'}], [one, two]),
      'in the name of the key holder': ([made.stated(0), made.stated(1, by=made.identity(
          key_calls.PARTY, '127.0.0.1'))], [one, two]),
      'the ciphertexts of south are under another key': ([made.stated(0), made.stated(1, key='k')], [one, two]),
      'a sum over 5 clients is to be opened, and 4 are the most': ([made.stated(0, clients=4), honest[1]], [one, two]),
      'a ciphertext is in a sum twice': ([made.stated(0, sent=[one, one]), honest[1]], [one, one, two]),
      'a ciphertext is not the one that its site signed': (honest, [one, three]),
      'is not the one that its site signed': (honest, [two, one]),
      'a ciphertext of 0 bytes came, or none': (honest, [one]),
      'a ciphertext of 4 bytes came': (honest, [one, np.int32([1])]),
      'more ciphertexts came than were signed': (honest, [one, two, three]),
      'residues below zero': ([made.stated(0, sent=[negative]), honest[1]], [negative, two]),
      'or another length': ([made.stated(0, sent=[np.concatenate([one, two])]), honest[1]],
                            [np.concatenate([one, two]), two]),
      'a ciphertext is not under its key': ([made.stated(0, sent=[stranger]), honest[1]], [stranger, two]),
      'has no clients': ([made.stated(0, clients=0), honest[1]], [one, two]),
      'lacks': ([made.stated(0), {'site': 'south'}], [one, two]),
  }


def test_whatever_else_is_asked_for_is_refused_with_a_reason(made, tmp_path):
  stranger = key_holder.KeyHolder(tmp_path / 'stranger', PARAMS)
  for number, (reason, (stated, sent)) in enumerate(_attempts(made, _encrypted(stranger, VALUES[0])).items()):
    desk = made.desk(tmp_path / f'{number}.jsonl')
    with pytest.raises(rules.Refused) as caught:
      desk.open('r', 1, stated, _bytes(sent))
    assert re.search(reason, str(caught.value)), (reason, caught.value)
    assert str(caught.value).endswith('.') and '\n' not in str(caught.value)
    if 'not under its key' not in reason:
      assert not desk.opened
      desk.open('r', 1, [made.stated(0), made.stated(1)], _bytes(made.ciphertexts[:2]))  # Nothing was used up.
  read = []
  desk = made.desk(tmp_path / 'last.jsonl')
  with pytest.raises(rules.Refused):
    desk.open('r', 1, [made.stated(0)], (read.append(one) for one in made.ciphertexts))
  assert not read, 'ciphertexts were read before the statements were in order'
  with pytest.raises(ValueError, match='fewest_sites must be at least 2, found 1'):
    key_desk.Limits(fewest_sites=1, most_openings=1)


def test_a_sum_over_fewer_clients_than_the_noise_was_sized_for_is_not_opened(made, tmp_path):
  desk = made.desk(tmp_path / 'audit.jsonl', fewest_clients=3)
  with pytest.raises(rules.Refused, match=r'a sum over 2 client\(s\) is to be opened, and 3 are the fewest'):
    desk.open('r', 1, [made.stated(0), made.stated(1)], _bytes(made.ciphertexts[:2]))
  assert desk.opened == 0


def test_what_was_opened_is_not_forgotten_by_a_restart_or_a_crash(made, tmp_path, monkeypatch):
  log, both = tmp_path / 'audit.jsonl', [made.stated(0), made.stated(1)]
  made.desk(log).open('r', 1, both, _bytes(made.ciphertexts[:2]))
  again = made.desk(log)
  assert again.opened == 1
  with pytest.raises(rules.Refused, match='attempt 1 of run r was opened before'):
    again.open('r', 1, [made.stated(0, sent=[made.ciphertexts[2]]), made.stated(1)], [])
  # The same ciphertext beside another one: the difference of two sums would be one update. Half of it is enough.
  half = np.stack([made.ciphertexts[2][:, 0], made.ciphertexts[0][:, 1]], 1)
  for sent in (made.ciphertexts[0], half):
    with pytest.raises(rules.Refused, match='a ciphertext was opened before'):
      again.open('r', 2, [made.stated(0, 2, sent=[sent]), made.stated(2, 2)], [])

  def killed(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(key_holder.KeyHolder, 'decrypted', killed)
    with pytest.raises(KeyboardInterrupt):
      again.open('s', 1, [made.stated(1, run='s', sent=[made.ciphertexts[2]]),
                          made.stated(2, run='s', sent=[half + 1])], _bytes([made.ciphertexts[2], half + 1]))
  with pytest.raises(rules.Refused, match='attempt 1 of run s was opened before'):
    made.desk(log).open('s', 1, [made.stated(0, run='s'), made.stated(1, run='s')], _bytes(made.ciphertexts[:2]))
  few = made.desk(log, most_openings=2)
  with pytest.raises(rules.Refused, match='2 sums were opened, and 2 are allowed'):
    few.open('t', 1, [made.stated(0, run='t', sent=[half + 2]), made.stated(1, run='t', sent=[half + 3])], [])
  changed = log.read_text().replace('attempt 1 of run r', 'attempt 9 of run r', 1)
  log.write_text(changed)
  with pytest.raises(ValueError, match='the log was changed'):
    made.desk(log)


def test_who_sends_slowly_keeps_nobody_else_waiting(made, tmp_path):
  desk, begun, go_on, slow = made.desk(tmp_path / 'audit.jsonl'), threading.Event(), threading.Event(), []

  def slowly():
    yield _bytes(made.ciphertexts[:1])[0]
    begun.set()
    assert go_on.wait(30)
    yield _bytes(made.ciphertexts[1:2])[0]

  def ask():
    with pytest.raises(rules.Refused) as caught:  # By then the other has opened one of its ciphertexts.
      desk.open('slow', 1, [made.stated(0, run='slow'), made.stated(1, run='slow')], slowly())
    slow.append(str(caught.value))

  def ask_too():
    desk.open('fast', 1, [made.stated(1, run='fast'), made.stated(2, run='fast')], _bytes(made.ciphertexts[1:]))

  threads = [threading.Thread(target=ask, daemon=True), threading.Thread(target=ask_too, daemon=True)]
  threads[0].start()
  assert begun.wait(30)
  threads[1].start()
  threads[1].join(30)
  assert not threads[1].is_alive() and desk.opened == 1
  go_on.set()
  threads[0].join(30)
  assert slow == ['a ciphertext was opened before.'] and desk.opened == 1


def test_a_name_that_is_none_and_an_error_that_nobody_foresaw_are_refused_and_in_the_log(made, tmp_path):
  log = tmp_path / 'audit.jsonl'
  desk = made.desk(log)
  for run, attempt in (('r' * 65, 1), ('r', -1), ('r', 2**53), ('r', 10**400)):
    with pytest.raises(rules.Refused, match='a run has a name of at most 64 characters'):
      desk.open(run, attempt, [made.stated(0), made.stated(1)], _bytes(made.ciphertexts[:2]))

  def lost():
    yield _bytes(made.ciphertexts[:1])[0]
    raise grpc.RpcError('who called is gone, and told secrets')

  with pytest.raises(rules.Refused) as caught:
    desk.open('r', 1, [made.stated(0), made.stated(1)], lost())
  assert str(caught.value) == 'it led to an error that was not foreseen (RpcError).'
  refused = [one['refused'] for one in audit.read(log) if one['what'] == 'refusal']
  assert len(refused) == 5 and refused[-1] == str(caught.value) and log.stat().st_size < 3000
  made.stated(0, attempt=2**53 - 1, run='r' * 64)


def test_two_who_ask_at_once_get_one_sum(made, tmp_path):
  desk, results = made.desk(tmp_path / 'audit.jsonl'), []

  def ask():
    try:
      results.append(desk.open('r', 1, [made.stated(0), made.stated(1)], _bytes(made.ciphertexts[:2])))
    except rules.Refused as error:
      results.append(str(error))

  threads = [threading.Thread(target=ask) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(isinstance(one, str) for one in results) == [False, True, True, True]
