"""Messages of the sites' own protocols through a guard, their signatures, and values that a site puts in itself."""

import collections
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.guard import protocol
from tff_vision.runtime import messages
from tff_vision.runtime.driver import site_link, stub
from tff_vision.runtime.tff_internals import placeholders, terms
from tff_vision.runtime.worker import certificate_authority, signatures
from tff_vision.runtime.worker.guard import exchange, recording, rules, signing

_ROWS = tff.SequenceType(tff.TensorType(np.uint32, [3]))
KIND = tff.FederatedType(tff.types.to_type(collections.OrderedDict(
    data=tff.types.to_type((np.str_, np.int64)), made_at_site_toy=_ROWS)), tff.CLIENTS)

CONTENT = st.recursive(
    st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3).filter(lambda name: name != '$'),
                                                                inner, max_size=3), max_leaves=8)


@given(content=CONTENT)
def test_a_message_reads_as_it_was_written_and_in_no_other_way(content):
  raw = messages.encode(content)
  assert messages.decode(raw) == content
  loose = json.dumps(json.loads(raw), indent=1).encode()
  if loose != raw:
    with pytest.raises(ValueError, match='written in another way'):
      messages.decode(loose)


@pytest.mark.parametrize('raw', [b'', b'{', b'\xff', b'{"a":1,"a":2}', b'{"a":1.5}', b'{"$":"x"}', b'{"$":3}',
                                 b'[' * 100_000, b'NaN', b'{"b":1,"a":2}', b'{"$":"YQ==="}', b'1e3'])
def test_what_is_no_message_is_refused_in_one_sentence(raw):
  with pytest.raises(ValueError, match=r'^a message .*\.$'):
    messages.decode(raw)


def test_messages_are_limited(monkeypatch):
  monkeypatch.setattr(messages, 'MOST_BYTES', 100)
  for act in (lambda: messages.encode('x' * 99), lambda: messages.decode(b' ' * 101)):
    with pytest.raises(ValueError, match='a message of 101 bytes; 100 are allowed'):
      act()
  for wrong in ({1: 2}, {'$': b''}, 1.5, {'a': object()}):
    with pytest.raises(ValueError, match='a message has a'):
      messages.encode(wrong)


@pytest.fixture(scope='module')
def keys(tmp_path_factory):
  """Name of a site -> its key; one of each kind, and north's as a certificate authority makes it."""
  folder = tmp_path_factory.mktemp('keys')
  certificate_authority.make_authority(folder)
  certificate_authority.make_worker(folder, 'north')
  assert signatures.public_key(folder / 'north.crt') == signatures.Key(folder / 'north.key').public
  for name, key in (('south', ed25519.Ed25519PrivateKey.generate()), ('west', rsa.generate_private_key(65537, 2048)),
                    ('mallory', ec.generate_private_key(ec.SECP256R1()))):
    (folder / f'{name}.key').write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
  return {name: signatures.Key(folder / f'{name}.key') for name in ('north', 'south', 'west', 'mallory')}


def _identities(keys):
  peers = {name: keys[name].public for name in ('north', 'south', 'west')}
  return {name: signing.Identity(site=name, plan='p', key=keys[name], peers=peers) for name in peers}


def test_a_signed_message_is_of_one_site_plan_run_attempt_protocol_and_phase(keys):
  sites = _identities(keys)
  header = sites['north'].header(run='r', attempt=3, protocol='toy', phase='advertise')
  for name, site in sites.items():
    message = messages.decode(messages.encode(site.sign(header, {'key': b'\x01'})))
    assert all(one.verified(header, message) == (name, {'key': b'\x01'}) for one in sites.values())
    for other in ({'plan': 'q'}, {'run': 's'}, {'attempt': 4}, {'protocol': 'he'}, {'phase': 'share'}):
      with pytest.raises(rules.Refused, match=f'the site {name} has not signed this for attempt'):
        sites['north'].verified(dataclasses.replace(header, **other), message)
    for changed in ({'site': next(one for one in sites if one != name)}, {'content': {'key': b'\x02'}},
                    {'signature': b''}, {'signature': message['signature'][:-1] + b'\0\0'}):
      with pytest.raises(rules.Refused, match='has not signed this'):
        sites['north'].verified(header, message | changed)
  mallory = signing.Identity(site='east', plan='p', key=keys['mallory'], peers={'east': keys['mallory'].public})
  with pytest.raises(rules.Refused, match="in the name of 'east', which is no site of the plan"):
    sites['north'].verified(header, mallory.sign(header, {}))
  for damaged in (None, [], {'site': 'north'}, {'site': 'north', 'signature': 'x'}):
    with pytest.raises(rules.Refused, match='toy, advertise: a message'):
      sites['north'].verified(header, damaged)
  with pytest.raises(ValueError, match='names another certificate for the site north'):
    signing.Identity(site='north', plan='p', key=keys['mallory'], peers={'north': keys['north'].public})


class _Toy:
  """Gives each client rows of its own, which one call of each kind may use."""

  def __init__(self):
    self.spent = set()

  def answer(self, phase, content):
    if phase == 'lost':
      raise exchange.BeginAgain('the attempt is unknown.')
    if phase == 'away':
      raise rules.Away('the owner of this site has paused.')
    if phase == 'wrong':
      raise rules.Refused('not this.')
    return {'phase': phase, 'double': 2 * messages.part(content, 'number', int)}

  def fill(self, placeholder, names):
    try:
      placeholders.fill(placeholder, np.full([4, 3], len(''.join(names)), np.uint32))
    except ValueError as error:
      raise rules.Refused(str(error)) from None
    return names

  def spend(self, token, key):
    if (token, key) in self.spent:
      raise exchange.BeginAgain('used already.')
    self.spent.add((token, key))


def _rows(value):
  return np.asarray(value, np.uint32)


def _value(*rows, names=protocol.NAMES):
  """Returns a message for clients with these placeholders."""
  return protocol.plain([((name, 1), tf.data.Dataset.from_tensor_slices(_rows(one)))
                         for name, one in zip(names, rows, strict=True)], KIND)


def _in(value):
  """Returns the rows that each client gets."""
  found = []
  for member in value.federated.value:
    graph = tf.compat.v1.GraphDef.FromString(member.struct.element[1].value.sequence.serialized_graph_def)
    found.append(tf.make_ndarray(graph.node[0].attr['value'].tensor))
  return found


@pytest.fixture(scope='module')
def toy():
  """A coordinator in front of a guard of a site that plays a protocol, the executor behind it, and the protocol."""
  own, log = _Toy(), recording.Recording()
  with protocol.executor() as (behind, address):
    made = exchange.Exchange(site='north', plan='p', plays={'toy': own})
    with protocol.guarded(address, log, {}, own=made) as coordinator, log.activity('a round'):
      coordinator.watch = log
      yield coordinator, behind, own


def test_a_site_answers_messages_beside_the_executor(toy):
  coordinator, _, _ = toy
  service = stub.DeadlineStub(coordinator.channel, name='w', call_timeout=5)
  site = site_link.introduced(service.answer, 'w')
  assert (site.name, site.plan, site.plays) == ('north', 'p', ('toy',))
  assert site.ask('toy', 'count', {'number': 21}) == {'phase': 'count', 'double': 42}
  for phase, content, error, said in (
      ('wrong', {}, stub.RefusedByWorker, 'site north: not this'),
      ('count', {}, stub.RefusedByWorker, "a message lacks 'number'"),
      ('count', {'number': True}, stub.RefusedByWorker, "'number' is not of the type"),
      ('lost', {}, stub.BeginAgain, '^site north: the attempt is unknown')):
    with pytest.raises(error, match=said):
      site.ask('toy', phase, content)
  with pytest.raises(stub.RefusedByWorker, match="a protocol 'he', which this site does not play"):
    site.ask('he', 'x', {})
  with pytest.raises(stub.RefusedByWorker, match='a message cannot be read'):
    service.answer(b'{')
  with pytest.raises(stub.WorkerLost, match='has paused'):  # As a worker that is down.
    site.ask('toy', 'away', {})


def test_where_no_protocol_is_played_nobody_introduces_a_site():
  with protocol.executor() as (_, address):
    with protocol.guarded(address, recording.Recording(), {}) as coordinator:
      assert site_link.introduced(stub.DeadlineStub(coordinator.channel, name='w', call_timeout=5).answer, 'w') is None
    with protocol.grpc.insecure_channel(address) as channel:
      assert site_link.introduced(stub.DeadlineStub(channel, name='w', call_timeout=5).answer, 'w') is None


def test_the_sites_values_reach_the_executor_and_the_coordinators_do_not(toy):
  coordinator, behind, _ = toy
  zeros = _value([[0] * 3], [[0] * 3], names=('a', 'bcd'))
  coordinator.value(zeros)
  np.testing.assert_array_equal(_in(behind.values[-1]), [np.full([4, 3], 1), np.full([4, 3], 3)])
  assert terms.of_value(zeros) == terms.of_value(behind.values[-1])  # So the approval holds for both.
  count = len(behind.values)
  for rows in ([[0, 0, 1]], [[0] * 3, [1 << 31, 0, 0]], [[7, 7, 7]]):
    with pytest.raises(protocol.grpc.RpcError, match='sent a value that this site makes itself'):
      coordinator.value(_value([[0] * 3], rows))
  other = _value([[0] * 3], [[0] * 3])
  packed = tf.data.Dataset.from_tensor_slices(_rows([[0] * 3])).repeat(2)
  other.federated.value[1].struct.element[1].value.CopyFrom(protocol.plain(packed, _ROWS))
  for wrong in (other, protocol.plain([((name, 1), tf.data.Dataset.range(3)) for name in protocol.NAMES],
                                      tff.FederatedType(tff.types.to_type(collections.OrderedDict(
                                          data=tff.types.to_type((np.str_, np.int64)),
                                          made_at_site_toy=tff.SequenceType(np.int64))), tff.CLIENTS))):
    with pytest.raises(protocol.grpc.RpcError, match='more than the rows of one constant'):
      coordinator.value(wrong)
  number = protocol.plain((np.float32(1),), tff.types.to_type(collections.OrderedDict(made_at_site_toy=np.float32)))
  with pytest.raises(protocol.grpc.RpcError, match='is no data set'):
    coordinator.value(number)
  assert len(behind.values) == count


def test_a_sites_values_go_into_one_call_however_they_are_packed(toy):
  coordinator, _, own = toy
  function = coordinator.value(protocol.computations()['keys'])
  held = coordinator.value(_value([[0] * 3], [[0] * 3]))
  packed = coordinator.struct(coordinator.value(protocol.STATE), held)
  coordinator.call(function, packed)
  assert {token for token, _ in own.spent} >= {(name,) for name in protocol.NAMES}
  again = coordinator.struct(coordinator.value(protocol.STATE), coordinator.select(packed, 1))
  with pytest.raises(protocol.grpc.RpcError, match='used already'):
    coordinator.call(function, again)


def test_a_sites_values_stay_in_the_round_in_which_they_were_used(toy):
  """Masks that were used twice would tell the difference of what they hid."""
  coordinator, _, own = toy
  held = coordinator.value(_value([[0] * 3], [[0] * 3]))
  first, second = (coordinator.value(protocol.computations()[name]) for name in ('train', 'share'))
  own.spent.clear()
  coordinator.call(first, held)
  coordinator.call(second, held)  # Of the same round, such as the second pass of the same clients.
  own.spent.clear()
  with coordinator.watch.activity('an evaluation'), pytest.raises(protocol.grpc.RpcError, match='was used in another'):
    coordinator.call(second, held)
