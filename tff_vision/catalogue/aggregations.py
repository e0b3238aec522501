"""How updates become one: aggregators, compressions and secure sums, and the attacks that they withstand."""

import dataclasses

from tff_vision.catalogue.rows import Kind, Limit, Row, Trait

_RULES = 'tff_vision.aggregation.rules'
_CODECS = 'tff_vision.aggregation.codecs'
_BOUND = ('update_norm_bound',)
_TOLERANCE = ('tolerated_fraction',)
_BITS = ('compression_bits',)
_RULE = frozenset((Trait.RULE,))
_LIMIT = frozenset((Trait.LIMIT,))
_COMPRESSES = frozenset((Trait.COMPRESSES,))


@dataclasses.dataclass(frozen=True)
class SecureSum(Row):
  """A secure sum.

  Attributes:
    opens: Who opens the sum.
    loss: What happens if a client is lost.
  """
  _: dataclasses.KW_ONLY
  opens: str = ''
  loss: str = ''


@dataclasses.dataclass(frozen=True)
class Aggregator(Row):
  """An aggregator.

  Attributes:
    withstands: In words, what it withstands.
    holds: What the server keeps in memory.
    paper: Where it was published.
  """
  _: dataclasses.KW_ONLY
  withstands: str = ''
  holds: str = ''
  paper: str = ''


@dataclasses.dataclass(frozen=True)
class Compression(Row):
  """A compression.

  Attributes:
    unbiased: In words, whether the sent values are correct on average.
    paper: Where it was published.
  """
  _: dataclasses.KW_ONLY
  unbiased: str = ''
  paper: str = ''


def _rule(name, about, withstands, paper, reads=()):
  return Aggregator(name, about, traits=_RULE, reads=reads, loads=f'{_RULES}:build_{name}', withstands=withstands,
                    holds='all updates', paper=paper)


def _limit(name, about, withstands, paper, function):
  return Aggregator(name, about, traits=_LIMIT, reads=_BOUND, requires=_BOUND, holds='one sum', withstands=withstands,
                    paper=paper, loads=f'tff_vision.aggregation.limits:{function}')


def _coded(name, about, unbiased, paper, reads=_BITS, traits=_COMPRESSES):
  return Compression(name, about, unbiased=unbiased, paper=paper, traits=traits, reads=reads, loads=f'{_CODECS}:{name}')


AGGREGATORS = Kind.of('aggregator', (
    Aggregator('mean', 'weighted mean', withstands='nothing: a single update can move it anywhere', holds='one sum',
               paper='McMahan et al. 2017'),
    _limit('norm_clipping', 'weighted mean of updates that are scaled down to update_norm_bound', 'large updates',
           'Sun et al. 2019', 'clip'),
    _limit('zeroing', 'weighted mean; longer updates than update_norm_bound become zero, their weight counts',
           'very large updates', 'TFF\'s `zeroing_factory`', 'zero'),
    _rule('median', 'weighted median of each coordinate', 'less than half of the weight', 'Yin et al. 2018'),
    _rule('trimmed_mean', 'mean of each coordinate without tolerated_fraction of the weight at each end',
          'that share of the weight', 'Yin et al. 2018', _TOLERANCE),
    _rule('krum', 'the one update nearest to its neighbours', 'tolerated_fraction of the clients',
          'Blanchard et al. 2017', _TOLERANCE),
    _rule('multi_krum', 'weighted mean of all but the tolerated, by Krum\'s score', 'the same',
          'Blanchard et al. 2017', _TOLERANCE),
    _rule('geometric_median', 'least weighted sum of distances (smoothed Weiszfeld)', 'less than half of the weight',
          'Pillutla et al. 2022'),
), own=Row('', traits=frozenset((Trait.OWN_FACTORY,))))

COMPRESSIONS = Kind.of('compression', (
    Compression('none', '32 bits a value', unbiased='exact', loads=f'{_CODECS}:plain'),
    _coded('uniform', 'compression_bits a value, the nearest of evenly spaced levels', 'no', 'Suresh et al. 2017'),
    _coded('stochastic', 'compression_bits a value, a neighbouring level at random', 'yes',
           'Suresh et al. 2017, Alistarh et al. 2017'),
    _coded('hadamard', 'as stochastic, after random signs and a Walsh-Hadamard transform', 'yes', 'Suresh et al. 2017'),
    _coded('dft', 'as stochastic, after random phases and a discrete Fourier transform', 'yes',
           'Suresh et al. 2017, complex'),
    _coded('top_k', 'the top_k_fraction largest values, 32 bits each, and their positions',
           'no; the rest is added to the client\'s next update', 'Stich et al. 2018, Karimireddy et al. 2019',
           ('top_k_fraction',), _COMPRESSES | {Trait.DEFERS}),
))

OF_COALITIONS = 'the model of a coalition is the model plus the mean of its members\' updates'
CONTRIBUTIONS = Kind.of('contribution', (
    Row('none', 'it does not'),
    Row('shapley', 'Shapley values of the clients of each round, by models rebuilt from their updates, added up',
        traits=frozenset((Trait.READS_UPDATES,)),
        reads=('contribution_metric', 'contribution_permutations', 'contribution_tolerance'),
        limits=(Limit('server_optimizer', f'{OF_COALITIONS}; choose sgd', ('sgd',)),
                Limit('server_schedule', f'{OF_COALITIONS}, at one rate; choose constant'),
                Limit('server_warmup_rounds', f'{OF_COALITIONS}, at one rate; choose 0')),
        loads='tff_vision.learning.contribution:Contribution'),
))

_HIDES = frozenset((Trait.HIDES_UPDATES,))
SECURE_SUMS = Kind.of('secure_sum', (
    SecureSum('none', 'the server sees updates', opens='nobody: nothing is hidden',
              loss='the sum is over the clients that answered'),
    SecureSum('he', 'additive BFV under a key that the round\'s clients make and hold together', traits=_HIDES,
              opens='all clients together',
              loss='the round starts again with a fresh key, without the missing clients',
              loads='tff_vision.aggregation.secured:joint_key_process'),
    SecureSum('he_keyholder', 'additive BFV under a key pair made by Microsoft SEAL', traits=_HIDES,
              reads=('key_holder_dir', 'key_holder'),
              needs_one_of=(('key_holder', 'key_holder_dir'), 'somebody must hold the key'),
              opens='a key holder: a service of its own (`--key_holder`), or, for simulations, an object of the '
                    'coordinator\'s process (`--key_holder_dir`)',
              loss='the sum is over the clients that answered',
              loads='tff_vision.aggregation.secured:key_holder_process'),
    SecureSum('masks', 'pairwise masks modulo 2^32', traits=_HIDES,
              opens='the server, with shares of a majority of each client\'s neighbours; here the server also plays '
                    'the clients\' part of the key agreement, except where sites approve what runs: there they play '
                    'it, and more than two thirds of a round\'s sites open',
              loss='tolerated up to the threshold; if a worker is lost unnoticed, the round starts again',
              loads='tff_vision.aggregation.secured:masks_process'),
))

_CANARIES = Limit('audit_canaries', 'attackers are chosen among all clients, and the promise is not about what they do '
                                    'to canaries')
ATTACKS = Kind.of('attack', (
    Row('none', 'nobody attacks'),
    Row('label_flip', 'attackers train on class classes - 1 - c in place of c (findings: yes for no)',
        traits=frozenset((Trait.CHANGES_DATA,)), reads=('attack_fraction',),
        limits=(_CANARIES,), loads='tff_vision.data.attacked:flip_labels'),
    Row('sign_flip', 'attackers send their update times -attack_scale', traits=frozenset((Trait.CHANGES_UPDATES,)),
        reads=('attack_fraction', 'attack_scale'), limits=(_CANARIES,),
        loads='tff_vision.learning.attacked_work:sign_flip'),
    Row('scaled_update', 'attackers send their update times attack_scale', traits=frozenset((Trait.CHANGES_UPDATES,)),
        reads=('attack_fraction', 'attack_scale'), limits=(_CANARIES,),
        loads='tff_vision.learning.attacked_work:scaled_update'),
    Row('backdoor_patch', 'attackers put a chequered square on every second image and label it as attack_target',
        traits=frozenset((Trait.CHANGES_DATA,)), reads=('attack_fraction', 'attack_target', 'attack_patch'),
        limits=(_CANARIES,), loads='tff_vision.data.attacked:plant_backdoor'),
))
