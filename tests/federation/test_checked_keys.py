"""Sites that check keys: an honest run passes, with a simulated run's weights; a dishonest coordinator gets nothing.

The dishonest one speaks to real guards in front of a real executor; what it does differently is patched in.
"""

import operator
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.federation import checked, guarded
from tff_vision import configs
from tff_vision.federation import rehearsal, words
from tff_vision.runtime import key_calls
from tff_vision.runtime.driver import stub
from tff_vision.runtime.tff_internals import handles
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import ciphertexts
from tff_vision.secure.encryption import bfv, encrypted_sum, joint_key, parameters, reference, site_calls

HE, HELD = {'secure': configs.SecureConfig(secure_sum='he')}, 'he_keyholder'


def test_the_reference_polynomial_without_tensorflow_is_the_workers():
  for length in (20, 10**6):
    params = parameters.threshold_parameters(clients_max=3, value_bits=16, length=length, rounds=10)
    for seed in (0, 5, 2**61 + 3):
      np.testing.assert_array_equal(reference.polynomial(seed, (len(params.primes), params.degree)),
                                    bfv.reference_polynomial(params, tf.constant(seed, tf.int64)))
  assert (site_calls.KEY, site_calls.CIPHERTEXTS, site_calls.HELD) == (
      key_calls.KEY_PHASE, ciphertexts.PHASE, key_calls.PROTOCOL)


def _replacing(patch, phase, changed):
  """Lets the coordinator send something else in a phase: changed(site, content) -> content."""
  ask = site_calls.SiteAttempt._ask

  def other(self, site, asked, content):
    return ask(self, site, asked, changed(site, content) if asked == phase else content)

  patch.setattr(site_calls.SiteAttempt, '_ask', other)


def _own_key(patch, federation):
  make = joint_key.JointKeys.make

  def own(self, parties):
    key, made = make(self, parties), self.reference(tf.constant(3, tf.int64))
    _, share = bfv.key_share(self.params, made, tf.constant(range(8), tf.uint32))
    key.public = np.stack([share, made])
    return key

  patch.setattr(joint_key.JointKeys, 'make', own)


def _without_a_share(patch, federation):
  added = joint_key._added
  patch.setattr(joint_key, '_added', lambda shares, params: added(shares[1:], params))


def _another_reference(patch, federation):
  make = joint_key.JointKeys.make

  def other(self, parties):
    key = make(self, parties)
    key.public[1] = key.public[0]  # Then the two halves of a ciphertext differ by the message.
    return key

  patch.setattr(joint_key.JointKeys, 'make', other)


def _rogue_share(patch, federation):
  """West works with the coordinator, and chooses its share after it has seen the others\'."""
  _west_signs(patch, federation, lambda content: {'share': bytes(len(content['share']))})


def _strange_seed(patch, federation):
  """West signs a seed that no 64 bits hold."""
  _west_signs(patch, federation, lambda content: {'seed': 2**70})


def _west_signs(patch, federation, changed):
  """West signs its share with other content: what `changed` returns, which takes the content."""
  def other(site, content):
    signed = content['signed']
    if signed['site'] != 'west':
      return content
    witness = federation.witnesses[2]
    header = witness._header(witness._current, site_calls.SHARE)
    return {'signed': federation.identity('west').sign(header, signed['content'] | changed(signed['content']))}

  _replacing(patch, site_calls.SHARE, other)


def _forged_share(patch, federation):
  _replacing(patch, site_calls.SHARE, lambda site, content: {'signed': content['signed'] | {
      'content': content['signed']['content'] | {'share': bytes(len(content['signed']['content']['share']))}}})


def _strangers_commitment(patch, federation):
  stranger = federation.folder / 'stranger.key'

  def other(site, content):
    witness = next(one for one in federation.witnesses if one._identity.site == site.name)
    header = witness._header(witness._current, site_calls.COMMITMENT)
    made = {'commitment': 'c'}
    forged = {'site': 'west', 'content': made,
              'signature': signatures.Key(stranger).sign(header.signed('west', made))}
    return {'commitments': [one for one in content['commitments'] if one['site'] != 'west'] + [forged]}

  _replacing(patch, site_calls.REVEAL, other)


def _keeping(patch, phase, part, kept):
  """Lets the coordinator pass on to a site only messages of those for which kept(their site, this site) holds."""
  _replacing(patch, phase, lambda site, content: {part: [one for one in content[part] if kept(one['site'], site.name)]})


def _alone(patch, federation):
  _keeping(patch, site_calls.REVEAL, 'commitments', operator.eq)


def _without_it(patch, federation):
  _keeping(patch, site_calls.REVEAL, 'commitments', operator.ne)


def _twice(patch, federation):
  _replacing(patch, site_calls.REVEAL, lambda site, content: {'commitments': content['commitments'][:2] * 2})


def _no_sum(patch, federation):
  call = handles.Silo.call
  patch.setattr(handles.Silo, 'call', lambda self, made, *given: call(self, made, *(
      (one + 1) % 97 if getattr(one, 'ndim', 0) == 3 else one for one in given)))


def _sites_own(patch, federation):
  """The one that the site sent, as if it were the sum."""
  sent = {}
  stated = site_calls.SiteAttempt.stated

  def kept(self, shape):
    found = stated(self, shape)
    sent['north'] = found[1][0][0]
    return found

  patch.setattr(site_calls.SiteAttempt, 'stated', kept)
  call = handles.Silo.call
  patch.setattr(handles.Silo, 'call', lambda self, made, *given: call(self, made, *(
      sent['north'][:one.shape[0], 1] if getattr(one, 'ndim', 0) == 3 else one for one in given)))


def _not_added_up(patch, federation):
  patch.setattr(site_calls.SiteAttempt, 'add_up', lambda self, shape: self.stated(shape))


def _sum_of_one(patch, federation):
  _keeping(patch, site_calls.STATEMENTS, 'stated', operator.eq)


def _sum_without_it(patch, federation):
  _keeping(patch, site_calls.STATEMENTS, 'stated', operator.ne)


def _one_site_twice(patch, federation):
  _replacing(patch, site_calls.STATEMENTS, lambda site, content: {'stated': content['stated'] + content['stated'][:1]})


def _forged_statement(patch, federation):
  def forged(site, content):
    first = content['stated'][0]
    return {'stated': [first | {'content': first['content'] | {'digests': [['a', 'b']]}}, *content['stated'][1:]]}

  _replacing(patch, site_calls.STATEMENTS, forged)


def _of_another_attempt(patch, federation):
  stated, before = site_calls.SiteAttempt.stated, []

  def older(self, shape):
    found, sent = stated(self, shape)
    before.append(found)
    if len(before) == 1:  # The first one is honest.
      return found, sent
    return [before[0][0], *found[1:]], sent

  patch.setattr(site_calls.SiteAttempt, 'stated', older)


def _another_ciphertext(patch, federation):
  _replacing(patch, site_calls.HALF, lambda site, content: {'polynomials': bytes(len(content['polynomials']))})


def _too_long(patch, federation):
  _replacing(patch, site_calls.HALF, lambda site, content: {'polynomials': 9 * content['polynomials']})


def _opened_twice(patch, federation):
  ask = site_calls.SiteAttempt._ask

  def twice(self, site, asked, content):
    return [ask(self, site, asked, content) for _ in range(2 if asked == site_calls.STATEMENTS else 1)][-1]

  patch.setattr(site_calls.SiteAttempt, '_ask', twice)


def _named(run, number):
  """Attempts that all have one name."""
  def attack(patch, federation):
    patch.setattr(site_calls.Attempts, 'next', lambda self, parties: site_calls.SiteAttempt(
        list({id(party.site): party.site for party in parties}.values()), 'he', run, number))

  return attack


_again = _named('same', 1)
ATTACKS = {
    'the share of west is for another key': (_strange_seed,),
    'a run has a name of at most 64 characters': (_named('r' * 65, 1), _named('r', 2**53), _named('r', -1)),
    'under another key than the sum of the shares': (_own_key, _without_a_share, _another_reference),
    'the share of west is another than the one that it committed itself to': (_rogue_share,),
    'site north has not signed this for attempt': (_forged_share, _forged_statement, _of_another_attempt),
    'site west has not signed this': (_strangers_commitment,),
    r'a key of 1 site\(s\) is to be made, and 2 are the fewest': (_alone,),
    'a key is to be made without this site.s share': (_without_it,),
    'he, commitment: the site (north|south|west) is there twice': (_twice,),
    'of something else than the sum of the signed ciphertexts': (_no_sum, _sites_own),
    'has not added up what is to be opened': (_not_added_up,),
    r'a sum over 1 site\(s\) is to be opened, and 2 are the fewest': (_sum_of_one,),
    'has not in it what this site sent': (_sum_without_it,),
    'he, ciphertexts: the site (north|south|west) is there twice': (_one_site_twice,),
    'a ciphertext is not the one that (north|south) signed': (_another_ciphertext,),
    'parts of a ciphertext came that are of another size': (_too_long,),
    'were named before; one sum is opened in an attempt': (_opened_twice,),
    'he: attempt 1 of run same came before': (_again,),
}
_FIRST_IS_HONEST = (_of_another_attempt, _again)


def test_a_dishonest_coordinator_is_refused_and_the_next_honest_round_passes(folder, address, tmp_path, monkeypatch):
  """The guards let any order pass here: what is refused, the numbers alone give away."""
  federation = checked.Federation(tmp_path, guarded.plan(folder, **HE))
  with (federation.sites(address) as addresses,
        checked.coordinator(federation.plan, addresses, tmp_path) as coordinator):
    coordinator.round()
    _attack(federation, coordinator, monkeypatch)
    before = coordinator.weights()
    coordinator.round()
    assert any((a != b).any() for a, b in zip(before, coordinator.weights(), strict=True))


def _attack(federation, coordinator, monkeypatch):
  for says, attacks in ATTACKS.items():
    for attack in attacks:
      with monkeypatch.context() as patched:
        attack(patched, federation)
        if attack in _FIRST_IS_HONEST:
          coordinator.round()
        with pytest.raises(stub.RefusedByWorker) as caught:
          coordinator.round()
      assert re.search(says, str(caught.value)), (attack.__name__, str(caught.value))
      assert re.search('site (north|south|west): ', str(caught.value))


@pytest.mark.ci
def test_a_key_holder_opens_what_sites_signed_and_gives_the_weights_of_a_simulated_run(folder, address, tmp_path):
  plan = guarded.plan(folder, secure=configs.SecureConfig(secure_sum=HELD, key_holder='127.0.0.1:9'))
  federation, rehearsed = checked.Federation(tmp_path, plan), rehearsal.rehearse(plan, guarded.EXAMPLES)
  with pytest.raises(ValueError, match='key_holder_cert is missing'):
    guarded.approved(plan, rehearsed, tmp_path)
  with pytest.raises(ValueError, match='has the key of the site south: whoever opens sums is no site'):
    guarded.approved(plan, rehearsed, tmp_path, key_holder=tmp_path / 'south.crt')
  approvals = guarded.approved(plan, rehearsed, tmp_path, key_holder=tmp_path / '127.0.0.1.crt')
  said = '\n'.join(words.lines(plan, approvals[0], rehearsed))
  assert 'encrypt only under the key that the key holder signed' in said and said.count('(this site)') == 1
  assert f'{signatures.fingerprint(federation.peers[key_calls.PARTY])} the key holder' in said
  in_process = checked.with_secure(plan, key_holder=None, key_holder_dir=str(tmp_path / 'own'))
  with federation.sites(address, checking=False) as addresses:
    plain, _ = guarded.trained(in_process, addresses, tmp_path)
    with checked.coordinator(plan, addresses, tmp_path, open_key_holder=lambda _: FakeHolder(plan)) as coordinator:
      with pytest.raises(ValueError, match='key_holder opens what sites sign, and these workers sign nothing'):
        coordinator.round()
    with pytest.raises(ValueError, match='key_holder=127.0.0.1:9 needs tls_ca, tls_cert and tls_key'):
      guarded.trained(plan, addresses, tmp_path)
  for log in tmp_path.glob('*.jsonl'):
    log.unlink()
  watches, logs, own = guarded.enforced(approvals, tmp_path)
  with (federation.key_holder(plan.experiment().secure) as opened,
        guarded.sites(address, watches, logs, own) as addresses,
        checked.coordinator(plan, addresses, tmp_path, open_key_holder=opened) as coordinator):
    for _ in range(2):
      coordinator.round()
    assert all(np.abs(a - b).max() <= 1e-3 for a, b in zip(plain, coordinator.weights(), strict=True))
    assert coordinator.secure_sum['simulation'].startswith('Updates were encrypted at the sites under the key of')


class FakeHolder:
  """Has a public key of the right size."""

  def __init__(self, plan):
    config = plan.experiment().secure
    params = parameters.key_holder_parameters(clients_max=config.secure_clients_max, value_bits=config.secure_bits)
    self.public_key, self.stated = bytes(2 * len(params.primes) * params.degree * 4), {}


def _holders_own_key(patch, federation):
  state = encrypted_sum.key_state
  patch.setattr(encrypted_sum, 'key_state', lambda key: state((np.asarray(key) + 1) % 97))


def _sites_key(patch, federation):
  west = federation.identity('west')
  header = west.header(run='', attempt=0, protocol=HELD, phase=site_calls.KEY)
  _replacing(patch, site_calls.KEY, lambda site, content: {'stated': west.sign(header, content['stated']['content'])})


def _forged_key(patch, federation):
  _replacing(patch, site_calls.KEY, lambda site, content: {'stated': content['stated'] | {'content': {'key': 'k'}}})


def _no_key(patch, federation):
  patch.setattr(site_calls.SiteAttempt, 'take_key', lambda self, stated: None)


def _again_held(patch, federation):
  patch.setattr(site_calls.Attempts, 'next', lambda self, parties: site_calls.SiteAttempt(
      list({id(party.site): party.site for party in parties}.values()), HELD, 'same', 1))


def test_a_coordinator_with_another_key_than_the_key_holder_s_is_refused(folder, address, tmp_path, monkeypatch):
  plan = guarded.plan(folder, secure=configs.SecureConfig(secure_sum=HELD, key_holder='127.0.0.1:9'))
  federation = checked.Federation(tmp_path, plan)
  with (federation.key_holder(plan.experiment().secure, most_openings=2) as opened,
        federation.sites(address) as addresses,
        checked.coordinator(plan, addresses, tmp_path, open_key_holder=opened) as coordinator):
    coordinator.round()
    for says, attack in {
        'no key was agreed on': _no_key,
        'clients are to encrypt under another key than the key holder.s signed one': _holders_own_key,
        'a public key came that west signed, and not the key holder': _sites_key,
        'the site the key holder has not signed this': _forged_key}.items():
      with monkeypatch.context() as patched:
        attack(patched, federation)
        with pytest.raises(stub.RefusedByWorker, match=says):
          coordinator.round()
    with monkeypatch.context() as patched:
      _again_held(patched, federation)
      coordinator.round()
      with pytest.raises(stub.RefusedByWorker, match='he_keyholder: attempt 1 of run same came before'):
        coordinator.round()
    with pytest.raises(stub.RefusedByWorker, match='the key holder: 2 sums were opened, and 2 are allowed'):
      coordinator.round()
