"""Privacy mechanisms, and how clients are drawn for a round, on which their epsilon counts."""

import dataclasses

from tff_vision.catalogue.rows import How, Kind, Limit, Row, Trait

# The fields of the cohort config that make devices come and go.
MEMBERSHIP = ('availability_trace', 'arrival_rounds', 'stay_rounds')
DEVICES = (*MEMBERSHIP, 'day_rounds', 'day_share', 'dropout_before', 'dropout_after', 'over_selection',
           'round_deadline', 'speed_spread')

_NOT_COVERED = 'the report would tell how good the clients\' own models are, and no noise covers that'
_RATE = ('its epsilon counts on every client being drawn at the accounted rate, which devices that come and go do not '
         'keep')
_WEIGHS = ('how much an update weighs would depend on the client\'s data, and the noise is calibrated to clients that '
           'all weigh the same')
_INDEPENDENT = ('its epsilon counts on every client being drawn independently, which a cohort of fixed size is not')
_SEPARATION = ('its noise counts on a known number of rounds between two turns of a client, which no random cohort '
               'keeps')
_SHARES = ('each client adds only a share of the noise, which hides nothing where single updates are seen')
_BY_ITSELF = 'it trains on clients by itself'
_ON_SERVER = 'clients send gradients, and the server takes the step (server_optimizer, server_learning_rate)'
_COMPARES = ('its loss compares the images of a batch, so no clip bounds what one image changes; choose a client-level '
             'mechanism')

_PERSONALIZE = Limit('personalize_epochs', _NOT_COVERED)
_SAME_WEIGHT = Limit('client_weighting', _WEIGHS, (None, 'uniform'))
_DRAWN = Limit('sampling', _INDEPENDENT, ('poisson', 'allocation'), How.NEEDS)
_IN_TURN = Limit('sampling', _SEPARATION, ('round_robin',), How.NEEDS)
_ALWAYS_THERE = tuple(Limit(name, _RATE) for name in DEVICES)

_EVERY = ('clip_norm', 'noise_multiplier', 'target_epsilon', 'delta', 'stop_at_epsilon', 'audit_canaries',
          'audit_confidence')
_METRICS = 'metrics_noise_multiplier'
_EVALUATION = 'evaluation_noise_multiplier'
_PROMISED = frozenset((Trait.PROMISES, Trait.CLIENT_LEVEL))
_CENTRAL = _PROMISED | {Trait.NOISES_SUM}
_SHARED = _CENTRAL | {Trait.CLIENTS_DRAW_NOISE}
_PLANS = 'tff_vision.privacy.mechanisms'


@dataclasses.dataclass(frozen=True)
class Mechanism(Row):
  """A privacy mechanism.

  Attributes:
    protects: The unit whose presence must not be distinguishable.
    against: The parties against whom the guarantee holds.
    noise: Where the noise is drawn.
    needs: The required sampling, in words, for a table.
    payload: What a client sends if no secure sum hides it: `update`, as the compression writes it; `floats`; or
      `steps`, whole numbers of 64 bits.
    more_numbers: How many numbers a client sends in addition to the update.
  """
  _: dataclasses.KW_ONLY
  protects: str = ''
  against: str = ''
  noise: str = ''
  needs: str = ''
  payload: str = 'update'
  more_numbers: int = 0


_CLIENT = 'one client\'s whole data'
_READERS = 'everyone who sees models and metrics'


def _central(name, about, sampling, *, reads=(), limits=(), **facts):
  return Mechanism(name, about, protects=_CLIENT, against=_READERS, noise='on the server', payload='steps',
                   traits=_CENTRAL, reads=(*_EVERY, *reads, _METRICS, _EVALUATION, 'evaluation_most_examples'),
                   requires=('clip_norm',),
                   limits=(*limits, *_ALWAYS_THERE, _SAME_WEIGHT, _PERSONALIZE), needs=sampling, **facts)


def _distributed(name, about):
  return Mechanism(name, about, protects=_CLIENT, against='the server too, which sees the noised sum only',
                   noise='on the clients, a share each', needs='`--secure_sum`, any sampling', payload='steps',
                   traits=_SHARED, reads=(*_EVERY, 'noise_survivors'), requires=('clip_norm',),
                   limits=(Limit('secure_sum', _SHARES, ('masks', 'he', 'he_keyholder'), How.NEEDS),
                           Limit('secure_range', 'the range follows from clip_norm and the noise', (), How.UNREAD),
                           _SAME_WEIGHT, _PERSONALIZE),
                   loads=f'{_PLANS}.distributed_plan:build')


_DRAWN_WORDS = '`--sampling=poisson` or `allocation`'
_MOVING_CLIP = 'the clip moves, but the range of hidden updates is fixed; use client_gaussian'
_UNSCALED = Limit('loss_scale', 'it clips the gradient of every example, which must not be scaled, and skips no step')
PRIVACIES = Kind.of('privacy', (
    Mechanism('none', 'nothing is promised', protects='nothing', against='nobody', noise='nowhere',
              needs='nothing', loads='tff_vision.privacy.mechanisms.no_privacy:build'),
    _central('client_gaussian', 'the server clips, adds up and noises updates', _DRAWN_WORDS, limits=(_DRAWN,),
             loads=f'{_PLANS}.sampled_plans:build'),
    _central('client_adaptive', 'the same; the clip norm follows a quantile of the update norms', _DRAWN_WORDS,
             limits=(_DRAWN,), reads=('target_quantile', 'clip_learning_rate', 'count_stddev'), more_numbers=1,
             refuses={Trait.HIDES_UPDATES: _MOVING_CLIP}, loads=f'{_PLANS}.sampled_plans:build'),
    _central('dp_ftrl', 'noise from a tree over the rounds', '`--sampling=round_robin`', limits=(_IN_TURN,),
             reads=('tree_efficient',), loads=f'{_PLANS}.correlated_plans:build'),
    _central('dp_mf', 'correlated noise, by matrix factorisation',
             '`--sampling=round_robin` with `--mf_strategy=blt` or `banded`, `poisson` with `--mf_strategy=amplified`',
             reads=('mf_strategy', 'mf_buffers', 'mf_bands'), loads=f'{_PLANS}.correlated_plans:build'),
    _distributed('distributed_gaussian', 'every client adds a share of Gaussian noise, under a secure sum'),
    _distributed('distributed_skellam', 'every client adds a share of Skellam noise, under a secure sum'),
    Mechanism('example_dp_sgd', 'clients train with DP-SGD', protects='one example of one client',
              against='everyone outside that client, the server too', noise='on the client, each step',
              needs='any sampling',
              traits=frozenset((Trait.PROMISES, Trait.EXAMPLE_LEVEL, Trait.CLIENTS_DRAW_NOISE)),
              reads=(*_EVERY, 'example_sampling', 'example_noise', 'mf_buffers', 'mf_bands', 'example_adaptive_clip',
                     'target_quantile', 'clip_learning_rate', 'count_stddev', 'example_average', 'example_copies',
                     'example_shift', 'example_mirror', _EVALUATION), requires=('clip_norm',),
              refuses={Trait.COMPARES_EXAMPLES: _COMPARES},
              limits=(*(Limit(name, _BY_ITSELF, (), How.UNREAD) for name in (
                  'client_gradient_clip', 'client_weight_decay', 'client_schedule', 'client_warmup_rounds')),
                      Limit('client_weighting', _BY_ITSELF, (None, 'examples'), How.UNREAD), _PERSONALIZE,
                      _UNSCALED,
                      # Every client has its own ledger, of the rounds in which it took part: the probability of being
                      # drawn is not used, and the members are fixed before the run.
                      *(Limit(name, _RATE) for name in DEVICES if name not in MEMBERSHIP)),
              loads=f'{_PLANS}.example_plan:build'),
    Mechanism('example_distributed', 'one step of private SGD a round, on the examples of all clients together; every '
              'client adds a share of the noise, under a secure sum', protects='one example of one client',
              against='the server too, which sees the noised sum only', noise='on the clients, a share each',
              needs='`--secure_sum`, any sampling', payload='steps',
              traits=frozenset((Trait.PROMISES, Trait.EXAMPLE_LEVEL, Trait.NOISES_SUM, Trait.CLIENTS_DRAW_NOISE)),
              reads=('clip_norm', 'noise_multiplier', 'target_epsilon', 'delta', 'stop_at_epsilon', 'noise_survivors'),
              requires=('clip_norm',),
              refuses={Trait.COMPARES_EXAMPLES: _COMPARES},
              limits=(Limit('secure_sum', _SHARES, ('masks', 'he', 'he_keyholder'), How.NEEDS),
                      Limit('secure_range', 'the range follows from clip_norm and the noise', (), How.UNREAD),
                      Limit('aggregator', 'what one example changes would depend on the other examples of its client',
                            ('mean',)),
                      *(Limit(name, _ON_SERVER, (), How.UNREAD) for name in (
                          'client_optimizer', 'client_learning_rate', 'client_epochs', 'client_gradient_clip',
                          'client_weight_decay', 'client_schedule', 'client_warmup_rounds')),
                      _SAME_WEIGHT, _PERSONALIZE, _UNSCALED), loads=f'{_PLANS}.shared_step_plan:build'),
    Mechanism('local_dp', 'every client clips and noises its update by itself', protects=_CLIENT,
              against='everyone outside that client, the server too', noise='on the client, once a round',
              needs='any sampling', payload='floats',
              traits=_PROMISED | {Trait.NOISES_UPDATE, Trait.CLIENTS_DRAW_NOISE}, reads=_EVERY,
              requires=('clip_norm',),
              refuses={Trait.HIDES_UPDATES: 'its promise holds for updates that are seen, and its noise exceeds any '
                                            'range of hidden ones; use client_gaussian'},
              limits=(*_ALWAYS_THERE, _SAME_WEIGHT, _PERSONALIZE), loads=f'{_PLANS}.local_plan:build'),
))

MF_STRATEGIES = Kind.of('mf_strategy', (
    Row('blt', 'buffered linear Toeplitz noise', limits=(_IN_TURN,)),
    Row('banded', 'banded noise', limits=(_IN_TURN,)),
    Row('amplified', 'banded noise amplified by sampling', limits=(
        Limit('sampling', 'its epsilon counts on every client of a block being drawn independently', ('poisson',),
              How.NEEDS),)),
))
EXAMPLE_SAMPLINGS = Kind.of('example_sampling', (
    Row('poisson', 'each example independently'),
    Row('shuffled', 'in a random order, batch by batch'),
    Row('balls_in_bins', 'each example in one random step of a pass'),
    Row('cyclic', 'batch by batch, in one random order for all passes of a round'),
))
_ONE_CLIP = Limit('example_adaptive_clip', 'the noise of one step cancels that of others only while the clip stays')
_A_PASS_APART = Limit('example_sampling', 'it counts on a known number of steps between two with the same example',
                      ('cyclic',), How.NEEDS)
EXAMPLE_NOISES = Kind.of('example_noise', (
    Row('independent', 'drawn anew in each step'),
    Row('blt', 'buffered linear Toeplitz noise', limits=(_A_PASS_APART, _ONE_CLIP), reads=('mf_buffers',)),
    Row('banded', 'banded noise', limits=(_A_PASS_APART, _ONE_CLIP), reads=('mf_bands',)),
    Row('amplified', 'banded noise amplified by sampling', reads=('mf_bands',), limits=(
        Limit('example_sampling', 'its epsilon counts on every example of a block being drawn independently',
              ('poisson',), How.NEEDS), _ONE_CLIP)),
))

_SAMPLERS = 'tff_vision.participation.cohort_sampling'
SAMPLINGS = Kind.of('sampling', (
    Row('poisson', 'each client independently with probability cohort_size / population',
        limits=(Limit('over_selection', 'it closes a round after cohort_size updates, and poisson makes cohorts of any '
                      'size; choose fixed'),), loads=f'{_SAMPLERS}:poisson'),
    Row('fixed', 'exactly cohort_size clients, uniformly without replacement', loads=f'{_SAMPLERS}:fixed'),
    Row('round_robin', 'all clients in one random order, the next cohort_size in each round',
        loads=f'{_SAMPLERS}:round_robin'),
    Row('allocation', 'each client in one random round of each pass of population / cohort_size rounds',
        limits=tuple(Limit(name, 'devices that come and go do not take part once in each pass') for name in DEVICES),
        refuses={Trait.HIDES_UPDATES: 'each client takes part once in a pass, whatever size a round gets by that, and '
                                      'a secure sum serves some only; choose sampling=poisson'},
        loads=f'{_SAMPLERS}:allocation'),
))
