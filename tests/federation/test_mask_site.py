"""Sites' half of masked sums: exact sums over honest coordinators, and coordinators that are not."""

import base64
import copy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.federation import mask_sites
from tff_vision.federation import approval, message_sizes
from tff_vision.runtime import messages
from tff_vision.runtime.driver import stub
from tff_vision.runtime.worker.guard import exchange, rules, signing
from tff_vision.secure.masking import mask_round, site_masks

THREE = {'north': (0, 1), 'south': (2,), 'west': (3,)}
FOUR = {'east': (0,), 'north': (1,), 'south': (2,), 'west': (3,)}
VALUES = np.random.default_rng(0).integers(0, 2**32, [40, mask_sites.LENGTH], np.uint32)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('sites')


@pytest.fixture
def three(folder):
  return mask_sites.sites(folder, THREE)


@pytest.fixture
def four(folder):
  return mask_sites.sites(folder, FOUR)


def _sum(found, clients, among):
  uploads = [found[site].masked(client, VALUES[client]) for site in clients for client in clients[site]
             if client in among]
  return np.sum(uploads, axis=0, dtype=np.uint32)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_sums_are_exact_or_nothing_is_opened(folder, data):
  """Over any sites and clients, some of them lost after the masks were agreed on, or before shares are revealed."""
  sizes = data.draw(st.lists(st.integers(1, 3), min_size=2, max_size=6))
  bounds = np.cumsum([0, *sizes])
  clients = {f's{i}': tuple(range(bounds[i], bounds[i + 1])) for i in range(len(sizes))}
  found = mask_sites.sites(folder, clients)
  run = mask_sites.begun(found, clients)
  lost = data.draw(st.sets(st.sampled_from(sorted(clients)), max_size=len(sizes)))
  there = [client for site in clients if site not in lost for client in clients[site]]
  total = _sum(found, clients, there)
  for site in lost:
    found[site].down = True
  late = data.draw(st.sets(st.sampled_from(sorted(clients)), max_size=2)) if not lost else set()
  for site in late:
    found[site].down = True
  enough = len(sizes) - len(lost | late) >= site_masks.threshold(len(sizes))
  if not enough:
    with pytest.raises((mask_round.LostClientsError, stub.WorkerLost)):
      run.unmask(total, len(there))
    return
  np.testing.assert_array_equal(run.unmask(total, len(there)), VALUES[there].sum(0, dtype=np.uint32))


def test_what_is_said_to_leave_in_an_attempt_is_what_leaves(three):
  sent = {}
  for name, site in three.items():
    hello = {'site': name, 'plan': 'plan', 'protocols': ['masks']}
    sent[name] = len(messages.encode(hello))

    def counted(protocol, phase, content, name=name, ask=site.ask):
      answer = ask(protocol, phase, content)
      sent[name] += len(messages.encode(answer))
      return answer
    site.ask = counted
  run = mask_sites.begun(three, THREE)
  run.unmask(_sum(three, THREE, range(4)), 4)
  peers = tuple(approval.Peer(site=site, key=base64.b64encode(three[site].key).decode(), clients=clients)
                for site, clients in THREE.items())
  for site in THREE:
    made = approval.Approval(site=site, plan='plan', expires='', computations=(), names=(), values=(), activities=(),
                             most_clients=1, most_bytes=1, plays=('masks',), peers=peers)
    bound = message_sizes.of_attempt(made, None)
    assert 0.9 * bound < sent[site] <= bound, (site, sent[site], bound)


def test_of_three_sites_none_may_be_missing_and_of_four_one():
  assert [site_masks.threshold(sites) for sites in range(2, 10)] == [2, 3, 3, 4, 5, 5, 6, 7]
  for sites in range(2, 50):  # With fewer traitors than this, two lists would need an honest site that signs both.
    assert 2 * site_masks.threshold(sites) - sites > (sites - 1) // 3


def test_a_round_after_a_lost_one_has_other_masks_and_only_itself_opens(three):
  first = mask_sites.begun(three, THREE)
  before = three['north'].rows(0, 1)[0]
  three['south'].down = True
  with pytest.raises(stub.WorkerLost):
    mask_sites.begun(three, THREE)
  three['south'].down = False
  three['south'].restart()
  again = mask_sites.begun(three, THREE)
  total = _sum(three, THREE, range(4))
  with pytest.raises(rules.Refused, match='attempt 1 is not the one that is in progress here, which is 2'):
    first.unmask(total, 4)
  np.testing.assert_array_equal(again.unmask(total, 4), VALUES[:4].sum(0, dtype=np.uint32))
  assert not set(np.ravel([rows[:, :8] for rows in before])) & set(
      np.ravel(mask_sites.begun(three, THREE) and three['north'].rows(0)[0][0][:, :8]))


def _phases(found, told=None, attempt=1, run='run'):
  """Runs the phases by hand; `told`: what each site is told of the participants; returns what was advertised."""
  everyone = sorted({client for site in (THREE if len(found) == 3 else FOUR).values() for client in site})
  return {name: site.ask('masks', 'advertise', {
      'run': run, 'attempt': attempt, 'clients': (told or {}).get(name, everyone)}) for name, site in found.items()}


def _share(site, advertised, attempt=1):
  return site.ask('masks', 'share', {'attempt': attempt, 'advertised': list(advertised.values())})['boxes']


def _boxes(found, advertised, attempt=1):
  boxes = [box for site in found.values() for box in _share(site, advertised, attempt)]
  return {name: [box for box in boxes if box['content']['to'] == name] for name in found}


def _deliver(site, boxes, attempt=1):
  return site.ask('masks', 'deliver', {'attempt': attempt, 'boxes': boxes})


def _ready(found, attempt=1):
  """Runs an honest attempt up to the use of all masks."""
  for name, boxes in _boxes(found, _phases(found, attempt=attempt), attempt).items():
    _deliver(found[name], boxes, attempt)
  for name, clients in (THREE if len(found) == 3 else FOUR).items():
    for client in clients:
      found[name].masked(client, VALUES[client])


def _consent(site, uploaded, attempt=1):
  return site.ask('masks', 'consent', {'attempt': attempt, 'uploaded': uploaded})


def _reveal(site, consents, attempt=1):
  return site.ask('masks', 'reveal', {'attempt': attempt, 'consents': consents})


def test_sites_that_are_told_of_different_participants_stop(three):
  advertised = _phases(three, told={'north': [0, 2, 3]})
  for name in three:
    with pytest.raises(rules.Refused, match='was told of other participants than this one'):
      _share(three[name], advertised)


def test_too_few_clients_or_sites_never_get_masks(folder):
  found = mask_sites.sites(folder, THREE, fewest=3)
  for told, said in (([0], '1 client.s. of 1 site'), ([0, 1], '2 client.s. of 1 site'), ([0, 2], 'than 3 clients'),
                     ([], '0 client'), ([0, 2, 2], 'no ascending list'), ([2, 0, 3], 'no ascending list'),
                     ([0, 2, 9], 'no ascending list'), ([0, 2, True], 'no ascending list'), ([2, 3, '0'], 'no ascend')):
    with pytest.raises(rules.Refused, match=said):
      found['north'].ask('masks', 'advertise', {'run': 'r', 'attempt': 1, 'clients': told})
  other = mask_sites.sites(folder, THREE)
  with pytest.raises(rules.Refused, match='no client of this site is among'):
    other['north'].ask('masks', 'advertise', {'run': 'r', 'attempt': 1, 'clients': [2, 3]})
  assert other['north'].log.attempts('masks') == 0


def test_a_replayed_round_is_refused_also_by_a_guard_that_was_killed(three):
  advertised = _phases(three)
  with pytest.raises(rules.Refused, match='attempt 1 was begun before'):
    _phases(three)
  north = three['north']
  north.restart()
  with pytest.raises(rules.Refused, match='attempt 1 was begun before'):
    _phases({'north': north, 'south': three['south'], 'west': three['west']})
  with pytest.raises(exchange.BeginAgain, match='was restarted, and has no keys of attempt 1'):
    _share(north, advertised)
  second = _phases(three, attempt=2)
  for phase, content in (('share', {'advertised': list(advertised.values())}), ('deliver', {'boxes': []}),
                         ('consent', {'uploaded': []}), ('reveal', {'consents': []})):
    with pytest.raises(rules.Refused, match='attempt 1 is not the one that is in progress'):
      north.ask('masks', phase, {'attempt': 1, **content})
  with pytest.raises(rules.Refused, match='the site south has not signed this for attempt 2'):
    _share(north, second | {'south': advertised['south']}, 2)


def test_keys_that_no_site_made_for_this_attempt_are_refused(three, folder):
  advertised = _phases(three)
  forged = copy.deepcopy(advertised['south'])
  forged['content']['masking'] = [bytes(31) + b'\x09']
  unsigned = {name: value for name, value in advertised['south'].items() if name != 'signature'}
  stranger = mask_sites.sites(folder, {'mallory': (0,), 'other': (1,)})['mallory']
  header = signing.Header(plan='plan', run='run', attempt=1, protocol='masks', phase='advertise')
  key = stranger.own._plays['masks']._identity
  own = key.sign(header, advertised['south']['content'])
  for message, said in (
      (forged, 'the site south has not signed this'), (unsigned, "lacks 'signature'"),
      (own | {'site': 'south'}, 'the site south has not signed this'), (own, "'mallory', which is no site of the plan"),
      (advertised['west'] | {'site': 'south'}, 'the site south has not signed this'),
      (advertised['west'], 'the site west is there twice'),
      (_phases(mask_sites.sites(folder, THREE), run='other')['south'], 'the site south has not signed this')):
    with pytest.raises(rules.Refused, match=said):
      _share(three['north'], advertised | {'south': message})
  with pytest.raises(rules.Refused, match='messages of exactly the sites north, south, west are needed; those of west'):
    _share(three['north'], {name: advertised[name] for name in ('north', 'south')})
  _share(three['north'], advertised)
  with pytest.raises(rules.Refused, match='shares of attempt 1 were made already'):
    _share(three['north'], advertised)


def _by(site, phase, content, attempt=1):
  """Returns a message that a dishonest site signs."""
  header = signing.Header(plan='plan', run='run', attempt=attempt, protocol='masks', phase=phase)
  return site.own._plays['masks']._identity.sign(header, content)


@pytest.mark.parametrize(('change', 'said'), [
    (lambda said, other: said | {'masking': other['masking']}, 'two participants have the same key'),
    (lambda said, other: said | {'sealing': said['masking'][0]}, 'two participants have the same key'),
    (lambda said, other: said | {'masking': []}, 'something else than one key'),
    (lambda said, other: said | {'masking': [b'short']}, 'something else than one key'),
    (lambda said, other: said | {'masking': 3}, 'not of the type'),
    (lambda said, other: {}, 'other participants'), (lambda said, other: [], 'signed something else')])
def test_a_site_on_the_coordinators_side_cannot_advertise_what_is_no_key_of_its_own(three, change, said):
  advertised = _phases(three)
  content = change(advertised['south']['content'], advertised['west']['content'])
  with pytest.raises(rules.Refused, match=said):
    _share(three['north'], advertised | {'south': _by(three['south'], 'advertise', content)})


def test_a_key_of_low_order_is_refused(three):
  advertised = _phases(three)
  content = advertised['south']['content'] | {'sealing': bytes(32)}
  with pytest.raises(rules.Refused, match='the key of the site south is none'):
    _share(three['north'], advertised | {'south': _by(three['south'], 'advertise', content)})


def test_neighbours_are_all_participants_and_nobody_leaves_one_out(three):
  advertised = _phases(three)
  boxes = _boxes(three, advertised)
  north = three['north']
  with pytest.raises(rules.Refused, match='exactly the sites south, west are needed; those of west are missing'):
    _deliver(north, boxes['north'][:1])
  with pytest.raises(rules.Refused, match='shares of the site south for .west. came here'):
    _deliver(north, [box for box in boxes['west'] if box['site'] == 'south'] + boxes['north'][1:])
  changed = copy.deepcopy(boxes['north'])
  changed[0]['content']['box'] = bytes(148)
  with pytest.raises(rules.Refused, match='has not signed this'):
    _deliver(north, changed)
  resealed = _by(three['south'], 'share', boxes['north'][0]['content'] | {'box': bytes(148)})
  with pytest.raises(rules.Refused, match='were sealed for another key'):
    _deliver(north, [resealed, boxes['north'][1]])
  other = _by(three['south'], 'share', boxes['north'][0]['content'] | {'transcript': bytes(32)})
  with pytest.raises(rules.Refused, match='was told of other keys or participants'):
    _deliver(north, [other, boxes['north'][1]])
  with pytest.raises(exchange.BeginAgain, match='no masks were agreed on'):
    north.rows(0)
  _deliver(north, boxes['north'])
  assert north.rows(0)[0][0].shape == (1 + 3, 9)
  with pytest.raises(rules.Refused, match='out of order'):
    _deliver(north, boxes['north'])


def test_masks_go_into_one_computation_of_their_client_and_seeds_of_the_coordinator_into_none(three):
  mask_sites.begun(three, THREE, among=(0, 2, 3))
  north = three['north']
  for seeds in (((0,) * 8 + (1,),), ((0,) * 9, (5,) * 9)):
    with pytest.raises(rules.Refused, match='sent a value that this site makes itself, such as the seeds'):
      north.rows(0, seeds=seeds)
  for names in ([''], ['/data/client_000002.tfrecord'], ['/elsewhere']):
    with pytest.raises(rules.Refused, match='not those of one client of this site'):
      north.rows(0, names=names)
  with pytest.raises(rules.Refused, match='client 1 takes no part in attempt 1'):
    north.rows(1)
  _, tokens = north.rows(0)
  with pytest.raises(exchange.BeginAgain, match='has had its masks of attempt 1 already'):
    north.rows(0)
  with pytest.raises(exchange.BeginAgain, match='not every client of this site has used'):
    _consent(north, ['north', 'south', 'west'])
  north.own.spend(tokens, 'train')
  north.own.spend(tokens, 'the next pass')
  with pytest.raises(exchange.BeginAgain, match='has used its masks of attempt 1 already'):
    north.own.spend(tokens, 'train')
  _consent(north, ['north', 'south', 'west'])
  with pytest.raises(exchange.BeginAgain, match='attempt 1 is over'):
    north.own.spend(tokens, 'other')


def test_one_list_of_uploads_an_attempt_with_this_site_in_it_and_shares_once(four):
  _ready(four)
  everyone = ['east', 'north', 'south', 'west']
  north = four['north']
  for listed, said in ((['east', 'south', 'west'], 'named as one that was lost, and it was not'),
                       (['east', 'north'], '2 client.s. of 2 site.s., and .* is opened over 2 clients of 3'),
                       (['north'], '1 client'), (['north', 'moon', 'west'], 'no ascending list'),
                       (['west', 'north', 'east'], 'no ascending list'), ([['north']], 'no ascending list')):
    with pytest.raises(rules.Refused, match=said):
      _consent(north, listed)
  with pytest.raises(rules.Refused, match='before this site agreed'):
    _reveal(north, [])
  consents = [_consent(four[name], everyone) for name in everyone]
  with pytest.raises(rules.Refused, match='has signed a list of attempt 1 already, and signs one'):
    _consent(north, ['east', 'north', 'south'])
  for wrong, said in ((consents[:2], '2 site.s. have signed .*, and 3 are needed'), (consents[:2] * 2, 'there twice'),
                      ([*consents[:3], consents[0] | {'site': 'west'}], 'the site west has not signed this')):
    with pytest.raises(rules.Refused, match=said):
      _reveal(north, wrong)
  assert len(_reveal(north, consents)['shares']) == 4
  left = north.own._plays['masks']._attempt
  assert not any((left.masking, left.seeds, left.rows, left.kept, left.held))
  with pytest.raises(rules.Refused, match='has revealed shares of attempt 1 already'):
    _reveal(north, consents)
  north.restart()
  with pytest.raises(exchange.BeginAgain, match='was restarted, and has no keys of attempt 1'):
    _reveal(north, consents)


def test_a_client_is_not_named_lost_to_one_site_and_live_to_another_not_even_with_a_traitor(four):
  """West signs whatever the coordinator likes; both secrets of east need two lists, each with three signatures."""
  _ready(four)
  with_east, without = ['east', 'north', 'west'], ['north', 'south', 'west']
  header = {'transcript': four['north'].own._plays['masks']._attempt.transcript}
  traitor = [_by(four['west'], 'consent', {'uploaded': listed, **header}) for listed in (with_east, without)]
  east, north = _consent(four['east'], with_east), _consent(four['north'], with_east)
  south = _consent(four['south'], without)
  assert len(_reveal(four['east'], [east, north, traitor[0]])['shares']) == 4
  for found in ([south, traitor[1]], [south, traitor[1], traitor[1]]):
    with pytest.raises(rules.Refused, match='2 site.s. have signed|is there twice'):
      _reveal(four['south'], found)
  with pytest.raises(rules.Refused, match='has agreed to another list of sites in the sum'):
    _reveal(four['south'], [south, north, traitor[1]])
  foreign = _by(four['east'], 'consent', {'uploaded': without, **header})
  with pytest.raises(rules.Refused, match='has agreed to another list'):
    _reveal(four['south'], [south, foreign, traitor[1]])


def test_the_coordinator_says_which_plans_and_workers_do_not_go_together(three):
  three['south'].plan = 'other'
  with pytest.raises(ValueError, match='approved 2 different plans: north plan; south other; west plan'):
    mask_sites.begun(three, THREE)
  three['south'].plays = ()
  with pytest.raises(ValueError, match='some sites make their masks themselves, and the worker of client 2 does not'):
    mask_sites.begun(three, THREE)
  with pytest.raises(rules.Refused, match="masks has no phase 'other'"):
    three['north'].ask('masks', 'other', {})
