"""A coordinator asks sites at the same time, and no answer of a site, whatever its form, ends it but by a sentence."""

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.federation import mask_sites
from tff_vision.runtime import messages
from tff_vision.runtime.driver import site_link, stub
from tff_vision.runtime.worker.guard import exchange
from tff_vision.secure.encryption import site_calls
from tff_vision.secure.masking import site_round

CLIENTS = {'north': (0, 1), 'south': (2,), 'west': (3,)}
PHASES = ('status', 'advertise', 'share', 'deliver', 'consent', 'reveal')
KEY_PHASES = (site_calls.COMMITMENT, site_calls.REVEAL, site_calls.SHARE, site_calls.CIPHERTEXTS,
              site_calls.STATEMENTS, site_calls.HALF)
WRONG = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.text(max_size=5) | st.binary(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(['attempt', 'content', 'signature', 'site', 'to', 'shares', 'boxes', 'ready', 'digests']),
        inner, max_size=3), max_leaves=6)
FUZZED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


MISSING = object()
# Where the change is, from the outside in, as shares of the lengths of what is there; and what stands there then.
CHANGES = st.tuples(st.lists(st.floats(0, 1, exclude_max=True), max_size=4), WRONG | st.just(MISSING))


def changed(value, place, wrong):
  """Returns an answer of which one part, at any depth, is another one or missing."""
  if not place or not isinstance(value, (dict, list)) or not value:
    return {} if wrong is MISSING else wrong
  keys = sorted(value) if isinstance(value, dict) else range(len(value))
  key = keys[int(place[0] * len(keys))]
  parts = dict(value) if isinstance(value, dict) else dict(enumerate(value))
  if len(place) == 1 and wrong is MISSING:
    del parts[key]
  else:
    parts[key] = changed(parts[key], place[1:], wrong)
  return parts if isinstance(value, dict) else list(parts.values())


def one_sentence(error):
  return '\n' not in str(error) and str(error).endswith('.')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('sites')


@FUZZED
@given(liar=st.sampled_from(sorted(CLIENTS)), phase=st.sampled_from(PHASES), change=CHANGES)
def test_masked_sums(folder, liar, phase, change):
  found = mask_sites.sites(folder, CLIENTS)
  ask = found[liar].ask
  found[liar].ask = lambda protocol, asked, content: (
      changed(ask(protocol, asked, content), *change) if asked == phase else ask(protocol, asked, content))
  try:
    run = mask_sites.begun(found, CLIENTS)
    total = np.sum([found[site].masked(client, [client] * mask_sites.LENGTH) for site in CLIENTS
                    for client in CLIENTS[site]], axis=0, dtype=np.uint32)
    run.unmask(total, 4)
  except (ValueError, exchange.BeginAgain, stub.WorkerLost) as error:
    assert one_sentence(error), error


class KeySite:
  """Answers as a site that makes joint keys with others does; nobody reads what it signs."""
  WorkerLost = stub.WorkerLost
  plays = ('he',)

  def __init__(self, name):
    self.name = name
    signed = {'site': name, 'content': {'digests': [['a', 'b']], 'clients': 1}, 'signature': b's'}
    self.answers = {phase: signed for phase in KEY_PHASES} | {
        site_calls.COMMITMENT: {'ready': True, 'signed': signed}, site_calls.SHARE: {'complete': True},
        site_calls.STATEMENTS: {}, site_calls.HALF: {'complete': True}, site_calls.DROP: {}}

  def ask(self, protocol, phase, content):
    return self.answers[phase]

  def listen(self):
    pass

  def heard(self):
    return [(np.zeros([1, 2, 1, 4], np.int32),)]


@FUZZED
@given(number=st.integers(0, 2), phase=st.sampled_from(KEY_PHASES), change=CHANGES)
def test_joint_keys(number, phase, change):
  sites = [KeySite(name) for name in CLIENTS]
  liar = sites[number]
  liar.answers[phase] = changed(liar.answers[phase], *change)
  attempt = site_calls.SiteAttempt(sites, 'he', 'run', 1)
  looks = iter([False] * 20)
  try:
    attempt.agree(lambda: next(looks, True))
    attempt.add_up((2, 1, 4))
  except (ValueError, stub.WorkerLost) as error:
    assert one_sentence(error) and f'site {liar.name}' in str(error), error


@FUZZED
@given(raw=st.binary(max_size=30) | WRONG.map(messages.encode) | st.builds(
    lambda site, plan, plays: messages.encode({'site': site, 'plan': plan, 'protocols': plays}), WRONG, WRONG, WRONG))
def test_the_first_answer_of_a_worker(raw):
  try:
    found = site_link.introduced(lambda message: raw, 'a.example:1')
  except stub.RefusedByWorker as error:
    assert one_sentence(error) and 'worker a.example:1' in str(error)
  else:
    assert isinstance(found.name, str) and all(isinstance(one, str) for one in (found.plan, *found.plays))
  link = site_link.SiteLink(lambda message: raw, name='north', plan='p', plays=('masks',))
  try:
    assert isinstance(link.ask('masks', 'status', {}), dict)
  except stub.RefusedByWorker as error:
    assert one_sentence(error) and 'site north' in str(error)


def test_a_name_of_two_workers_and_a_part_of_another_form_are_named(folder):
  found = mask_sites.sites(folder, CLIENTS)
  twin = mask_sites.sites(folder, CLIENTS)['north']
  parties = mask_sites.parties(found, CLIENTS)
  parties[1].site = twin
  with pytest.raises(ValueError, match='two workers say that they are the site north'):
    site_round.SiteRound(parties, 'run')
  ask = found['south'].ask
  found['south'].ask = lambda protocol, phase, content: (
      {'attempt': '7'} if phase == 'status' else ask(protocol, phase, content))
  with pytest.raises(ValueError, match="site south does not follow its protocol: 'attempt' in its answer to masks/st"):
    mask_sites.begun(found, CLIENTS)


def test_sites_are_asked_at_the_same_time(folder):
  found, together = mask_sites.sites(folder, CLIENTS), threading.Barrier(len(CLIENTS), timeout=10)
  phases = []

  def waiting(site, ask):
    def asked(protocol, phase, content):
      together.wait()
      phases.append((site, phase))
      return ask(protocol, phase, content)
    return asked

  for name, site in found.items():
    site.ask = waiting(name, site.ask)
  run = mask_sites.begun(found, CLIENTS)
  values = [found[site].masked(client, [client] * mask_sites.LENGTH) for site in CLIENTS for client in CLIENTS[site]]
  np.testing.assert_array_equal(run.unmask(np.sum(values, axis=0, dtype=np.uint32), 4), [6] * mask_sites.LENGTH)
  assert len(phases) == len(set(phases)) == len(CLIENTS) * len(PHASES)
