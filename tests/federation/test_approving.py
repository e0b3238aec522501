"""What an owner asks to approve is checked before the rehearsal, and what nothing would read is refused."""

import dataclasses

import pytest

from tests.federation import guarded
from tff_vision import configs
from tff_vision.federation import approving, rehearsal, site_manifest

HELD = {'secure': configs.SecureConfig(secure_sum='he_keyholder', key_holder='127.0.0.1:9')}


@pytest.fixture(scope='module')
def pki(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pki')
  guarded.certificates(folder)
  (folder / 'holder').mkdir()
  guarded.certificates(folder / 'holder')
  return folder


def request(pki, **changed):
  return approving.Request(**{'site': 'north', 'tls_key': str(pki / 'north.key'), 'out': str(pki / 'approved.json'),
                              'given': sorted(changed), **changed})


def of_a_sum(pki, **changed):
  certs = [f'{site}={pki}/{site}.crt' for site in guarded.SITES]
  return request(pki, **{'site_certs': certs, 'examples': ['7', '12', '9'], **changed})


@pytest.mark.parametrize('sections, changed, said', [
    ({}, {'site_certs': ['north=c']}, 'site_certs has no effect: with secure_sum=none the sites'),
    ({}, {'fewest_sites': 2}, 'fewest_sites has no effect: with secure_sum=none'),
    ({}, {'key_holder_cert': 'c'}, 'key_holder_cert=c has no effect: the plan names no key_holder'),
    ({}, {'most_epsilon': 1.0}, 'most_epsilon has no effect: the plan promises nothing to the people in the images'),
    ({}, {'survey': True, 'examples': ['1']}, 'examples has no effect: a survey trains nothing'),
    ({}, {'survey': True, 'spare_rounds': True}, 'spare_rounds has no effect: a survey trains nothing'),
    (guarded.EXAMPLE_DP, {'survey': True, 'most_epsilon': 1.0}, 'most_epsilon has no effect: a survey trains nothing'),
    (HELD, {'fewest_sites': 3}, 'fewest_sites has no effect: the key holder opens the sums'),
])
def test_a_flag_that_nothing_reads_is_refused(pki, sections, changed, said):
  given = {name: value for name, value in changed.items() if name != 'spare_rounds'}
  asked = request(pki, **given, given=sorted(changed))
  with pytest.raises(ValueError, match=said):
    approving.check(guarded.plan('/data', **sections), asked)


@pytest.mark.parametrize('sections, changed, said', [
    (guarded.MASKS, {'site_certs': ['north=PKI/north.crt']}, 'must name the certificate of each site of the plan'),
    (guarded.MASKS, {'site_certs': [f'{site}=PKI/none' for site in guarded.SITES]}, 'none cannot be read: No such'),
    (guarded.MASKS, {'site_certs': [f'{site}=PKI/{site}.key' for site in guarded.SITES]}, 'holds no certificate'),
    (guarded.MASKS, {'tls_key': 'PKI/south.key'}, 'gives the site north another certificate than that of tls_key'),
    (guarded.MASKS, {'tls_key': 'PKI/north.crt'}, 'north.crt holds no private key in PEM format'),
    (guarded.MASKS, {'tls_key': 'PKI/none'}, 'tls_key=.*none cannot be read: No such file'),
    (guarded.MASKS, {'fewest_sites': 4}, 'fewest_sites must lie in 2..3, found 4'),
    (guarded.MASKS, {'examples': []}, 'examples is missing: with a secure sum'),
    (guarded.MASKS, {'examples': ['7', '12']}, 'examples has 2 numbers, and the plan has 3 clients'),
    (guarded.MASKS, {'examples': ['7', '-1', '9']}, "examples must be whole numbers, found '-1'"),
    (guarded.MASKS, {'examples': ['0', '0', '0']}, 'examples must have a number above 0'),
    (guarded.MASKS, {'examples': ['7', '12', str(2**31)]}, 'none above 2147483647, found 2147483648'),
    (guarded.MASKS, {'days': 10**7}, 'days=10000000 lies beyond the last date'),
    (guarded.MASKS, {'days': 10**12}, 'days=1000000000000 lies beyond the last date'),
    (guarded.MASKS, {'out': 'PKI'}, "out=.* is a folder, not a file"),
    (guarded.MASKS, {'out': 'PKI/north.key/a.json'}, 'cannot be written: .*north.key is no folder'),
    (guarded.MASKS, {'site': 'east'}, 'site=east is none of the plan.s sites'),
    (guarded.MASKS, {'prepared': 'PKI'}, 'site.json cannot be read: there is no such file'),
    (guarded.EXAMPLE_DP, {'examples': []}, 'examples is missing: with privacy=example_dp_sgd epsilon depends on'),
    (guarded.EXAMPLE_DP, {'most_epsilon': float('nan')}, 'most_epsilon must be positive, found nan'),
    (guarded.EXAMPLE_DP, {'most_epsilon': -1.0}, 'most_epsilon must be positive, found -1.0'),
    (guarded.MASKS, {'key_holder_cert': 'c'}, 'key_holder_cert=c has no effect: the plan names no key_holder'),
    (HELD, {}, 'key_holder_cert is missing'),
    (HELD, {'key_holder_cert': 'PKI/south.crt'}, 'key_holder_cert=.*south.crt has the key of the site south'),
])
def test_what_cannot_be_approved_is_said_before_the_rehearsal(pki, sections, changed, said):
  changed = {name: [one.replace('PKI', str(pki)) for one in value] if isinstance(value, list) else
             value.replace('PKI', str(pki)) if isinstance(value, str) else value for name, value in changed.items()}
  asked = of_a_sum(pki, **changed)
  if sections is guarded.EXAMPLE_DP:
    asked = dataclasses.replace(asked, site_certs=(), given=('most_epsilon',))
  with pytest.raises(ValueError, match=said) as raised:
    approving.check(guarded.plan('/data', **sections), asked)
  assert str(raised.value).endswith('.') and '\n' not in str(raised.value)


def test_what_can_be_approved_is_handed_on(pki):
  found = approving.check(guarded.plan('/data', **guarded.MASKS), of_a_sum(pki, fewest_sites=3))
  assert list(found.examples) == [7, 12, 9] and set(found.certificates) == set(guarded.SITES)
  holder = pki / 'holder' / 'north.crt'
  assert approving.check(guarded.plan('/data', **HELD), dataclasses.replace(
      of_a_sum(pki, key_holder_cert=str(holder)), given=())).key_holder == holder
  assert not approving.check(guarded.plan('/data', **guarded.MASKS), request(
      pki, survey=True, site_certs=of_a_sum(pki).site_certs)).examples
  private = dataclasses.replace(guarded.plan('/data', **guarded.MASKS), most_examples=50)
  with pytest.raises(ValueError, match='examples has no effect: with private_counts'):
    approving.check(private, of_a_sum(pki))
  assert rehearsal.counts(private, ()) == []


def test_the_numbers_of_examples_are_those_that_were_prepared(pki, tmp_path):
  plan = guarded.plan('/data', **guarded.EXAMPLE_DP)
  counted = {'train': 9, 'validation': 0, 'test': 0}
  manifest = site_manifest.SiteManifest(
      plan=site_manifest.data_digest(plan), site='south', files={}, clients=(site_manifest.Client(
          name='south', number=1, counts=counted, patients=counted, classes=dict.fromkeys(counted, (9,))),))
  (tmp_path / site_manifest.NAME).write_text(manifest.to_json())
  asked = request(pki, site='south', prepared=str(tmp_path), examples=['7', '12', '9'])
  with pytest.raises(ValueError, match='examples has 12 training images of the client south, and prepared=.* has 9'):
    approving.check(plan, asked)
  assert approving.check(plan, dataclasses.replace(asked, examples=['7', '9', '9'])).examples == [7, 9, 9]
  # Where nothing depends on them, nobody is asked.
  assert approving.check(guarded.plan('/data'), dataclasses.replace(asked, examples=())).examples
