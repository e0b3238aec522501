"""What config.json says of objects: the same for equal ones, and no secret, pixel or array."""

import dataclasses
import functools
import json
import logging
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tests import forked
from tff_vision import description

FACTOR = 2.0


class Weighted:
  """Holds all kinds of values."""

  def __init__(self, **held):
    vars(self).update(held)

  def scaled(self, x):
    return FACTOR * x


def made_with(gamma):
  return lambda y, logits: gamma * logits


def network(input_shape, num_classes, units=4):
  del input_shape, num_classes
  return units


PAIRS = {
    'captured': (lambda: made_with(1.0), lambda: made_with(2.0)),
    'partial': (lambda: functools.partial(network, units=4), lambda: functools.partial(network, units=8)),
    'attribute': (lambda: Weighted(rate=0.1), lambda: Weighted(rate=0.2)),
    'inner object': (lambda: Weighted(inner=Weighted(rate=0.1)), lambda: Weighted(inner=Weighted(rate=0.2))),
    'inner factory': (lambda: tff.aggregators.MeanFactory(),
                      lambda: tff.aggregators.MeanFactory(
                          tff.aggregators.zeroing_factory(1.0, tff.aggregators.SumFactory()))),
    'optimizer': (lambda: tff.learning.optimizers.build_sgdm(0.1), lambda: tff.learning.optimizers.build_sgdm(0.2)),
    'keras loss': (lambda: tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                   lambda: tf.keras.losses.SparseCategoricalCrossentropy(from_logits=False)),
    'method': (lambda: Weighted(rate=0.1).scaled, lambda: Weighted(rate=0.2).scaled),
    'shape of an array': (lambda: Weighted(a=np.zeros(3)), lambda: Weighted(a=np.zeros(4))),
    'not a number': (lambda: Weighted(a=float('nan')), lambda: Weighted(a=float('inf'))),
}


@pytest.mark.parametrize('name', PAIRS)
def test_equal_objects_are_described_alike_and_others_are_not(name):
  one, other = (json.loads(json.dumps(description.describe(build()))) for build in PAIRS[name])
  assert one == json.loads(json.dumps(description.describe(PAIRS[name][0]())))
  assert one != other


def test_a_constant_that_the_code_reads_counts(monkeypatch):
  before = description.describe(Weighted()), description.describe(Weighted().scaled)
  monkeypatch.setitem(globals(), 'FACTOR', 3.0)
  after = description.describe(Weighted()), description.describe(Weighted().scaled)
  assert before[0] != after[0] and before[1] != after[1]


_RATE = 'import functools\nRATE = {}\n'
_USED = 'class C:\n  def work(self, x):\n    return self.rate\n'


@pytest.mark.parametrize('text', [
    'RATE = ({},)\ndef part():\n  return RATE', 'RATE = [{}]\ndef part():\n  return RATE',
    'RATE = {{"a": {}}}\ndef part():\n  return RATE',
    'import numpy as np\nRATE = np.full(3, {})\ndef part():\n  return RATE',
    'import functools\nRATE = functools.partial(max, {})\ndef part():\n  return RATE()',
    'import tensorflow as tf\nLOSS = tf.keras.losses.Huber({}.0)\ndef part(y, z):\n  return LOSS(y, z)',
    'RATE = range({})\ndef part():\n  return RATE', _RATE + '@functools.lru_cache\ndef part():\n  return RATE',
    'class S:\n  def __init__(self, rate):\n    self.rate = rate\nS1 = S({})\ndef part():\n  return S1.rate',
    _USED + '  rate = {}\npart = C()', _USED + 'C.rate = {}\npart = C()', _RATE + _USED + '  rate = RATE\npart = C()',
    _USED + '  @property\n  def rate(self):\n    return {}\npart = C()',
    _USED + '  @staticmethod\n  def rate():\n    return {}\npart = C()',
    _RATE + _USED + '  @classmethod\n  def rate(cls):\n    return RATE\npart = C()'])
def test_what_code_reads_beside_its_own_text_counts(text, monkeypatch):
  def said(rate):
    module = types.ModuleType('typed_in')
    monkeypatch.setitem(sys.modules, 'typed_in', module)
    exec(text.format(rate), vars(module))
    return description.describe(module.part), description.digests({'part': module.part})

  assert said(2) == said(2) != said(3)


def test_loggers_and_tables_of_libraries_do_not_count():
  held = Weighted(log=logging.getLogger('tests'))
  before = description.describe(held)
  held.log.isEnabledFor(logging.CRITICAL)  # Loggers remember what they were asked.
  assert description.describe(held) == before and len(json.dumps(before)) < 500
  assert 'DISPATCHERS' not in json.dumps(description.describe(tf.keras.losses.Huber(2.0)))


def test_another_base_of_the_same_class_counts():
  def derived(rate):
    class Base:
      def step(self, x, rate=rate):
        return x * rate

    class Mine(Base):
      pass
    return Mine()

  assert description.describe(derived(1.0)) != description.describe(derived(2.0))
  assert description.describe(derived(1.0)) == description.describe(derived(1.0))


@pytest.mark.parametrize(('held', 'hidden'), [
    ({'weights': np.arange(1000.0)}, '998'), ({'tensor': tf.constant([0.123456, 2.0])}, '0.123456'),
    ({'blob': b'0123456789abcdef'}, '0123'), ({'text': 'lorem ' * 100}, 'lorem lorem'),
    ({'numbers': list(range(5000, 5100))}, '5050'), ({'by_client': {f'client {i}': i for i in range(50)}}, 'client 7'),
    ({'api_key': 'hunter2'}, 'hunter2'), ({'tokens': ['hunter2']}, 'hunter2'),
    ({'credentials': {'me': 'hunter2'}}, 'hunter2'), ({'settings': {'db_password': 'hunter2'}}, 'hunter2'),
    ({'url': 'https://me:hunter2@example.org/x'}, 'hunter2'), ({'pem': '-----BEGIN PRIVATE KEY-----\nabc'}, 'abc'),
    ({'note': 'use sk-abcdefghijklmnop0123456789'}, 'abcdefghijkl')])
def test_arrays_long_values_and_secrets_are_not_written(held, hidden):
  text = json.dumps(description.describe(Weighted(**held)))
  assert hidden not in text and next(iter(held)) in text and len(text) < 600


def test_what_is_named_by_its_size_is_known_by_its_digest_and_a_password_is_not():
  found = description.digests({'algorithm': Weighted(a=np.ones(3), rate=0.1, token='hunter2', text='x' * 300)})
  assert set(found) == {'algorithm.a', 'algorithm.text'}
  other = description.digests({'algorithm': Weighted(a=np.array([1.0, 1.0, 2.0]), text='x' * 300)})
  assert found['algorithm.a'] != other['algorithm.a'] and found['algorithm.text'] == other['algorithm.text']


def test_what_merely_sounds_like_a_secret_is_written():
  held = description.describe(Weighted(tokenizer='words', num_tokens=7, secretary='anna', key='a'))['parameters']
  assert {'tokenizer': 'words', 'num_tokens': 7, 'secretary': 'anna', 'key': 'a'}.items() <= held.items()


def test_what_grows_or_contains_itself_is_described_once_and_for_all():
  held = Weighted(rate=1)
  held.itself = held
  held.traced = tf.function(lambda x: x + 1)
  held.layer = tf.keras.layers.Dense(2)
  before = json.dumps(description.describe(held))
  held.traced(tf.constant(1.0))
  assert json.dumps(description.describe(held)) == before
  own = dataclasses.make_dataclass('Own', [('a', int)], namespace={'describe': lambda self: {'says': self.a}})
  assert description.describe(own(3)) == {'own': f'{own.__module__}.Own', 'says': 3}


def test_a_class_that_was_typed_in_is_known_by_its_code():
  script = ('import json\nfrom tff_vision import description\nclass Typed:\n  def work(self, x):\n    return x * {}\n'
            'print(json.dumps(description.describe(Typed())))')
  say = lambda n: json.loads(forked.run(['-c', script.format(n)], timeout=60).stdout)
  one, same, other = say(2), say(2), say(3)
  assert one == same != other


def test_images_are_shown_by_their_numbers():
  images = tv.testing.tiny_images()
  experiment = tv.Experiment(tv.Task(images, model='linear'))
  for value in (images, images.train, images.test, images.test.examples, images.train.pool, experiment,
                experiment.problem):
    assert 'array(' not in repr(value) and len(repr(value)) < 3000, type(value)
  assert repr(images) == "FederatedImages('tiny': 4 clients, 30 test images of 8x8x1, 3 classes)"
  text = json.dumps(experiment.describe())
  assert 'tiny' in text and len(text) < 8000


def multiplied(factor):
  @tff.tensorflow.computation(np.float32)
  def computed(x):
    return tf.function(lambda y: factor * y)(x)
  return computed


def clipping(norm, inner=None):
  return tff.aggregators.clipping_factory(norm, inner or tff.aggregators.MeanFactory())


@pytest.mark.parametrize(('build', 'others'), [
    (lambda: clipping(1.0), [lambda: clipping(2.0), lambda: tff.aggregators.zeroing_factory(
        1.0, tff.aggregators.MeanFactory()), lambda: clipping(1.0, clipping(3.0))]),
    (lambda: clipping(tff.aggregators.PrivateQuantileEstimationProcess.no_noise(1.0, 0.5, 0.2)),
     [lambda: clipping(tff.aggregators.PrivateQuantileEstimationProcess.no_noise(1.0, 0.6, 0.2))]),
    (lambda: multiplied(2.0), [lambda: multiplied(3.0)])])
def test_constants_within_computations_of_tff_count(build, others):
  known = lambda made: (json.dumps(description.describe({'a': made})), description.digests({'a': made}))
  assert known(build()) == known(build())
  for other in others:
    assert known(build()) != known(other())


@pytest.mark.ci
def test_objects_of_tff_are_described_alike_in_every_process():
  script = ("""import json
import numpy as np, tensorflow as tf, tensorflow_federated as tff
from tff_vision import description
for number in range({}):
  @tff.tensorflow.computation(np.float32)
  def computed(x):
    return tf.function(lambda y: 2.0 * y)(x)
aggregators = tff.aggregators
held = {{'type': aggregators.SumFactory().create(tff.types.to_type(np.float32)), 'computed': computed,
        'clipped': aggregators.clipping_factory(1.0, aggregators.MeanFactory())}}
print(json.dumps([description.describe(held), description.digests(held)]))""")
  # Not forked: such processes have one hash seed.
  one, other = (subprocess.run([sys.executable, '-c', script.format(number)], capture_output=True, check=True,
                               timeout=120, cwd=forked.ROOT, env=os.environ | {'PYTHONHASHSEED': str(number)}).stdout
                for number in (1, 12))
  assert one == other and json.loads(one)[1]
