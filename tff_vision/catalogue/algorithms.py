"""Federated algorithms, client and server optimizers, and schedules of their rates."""

import dataclasses

from tff_vision.catalogue.rows import CLIPPED_GRADIENT, Kind, Limit, Row, Trait

_TWO_QUANTITIES = ('clients send a second quantity beside their update, and the mechanisms here bound and account '
                   'for one')
_MAGNIFIED = 'each model is divided by the share of clients that chose it, which magnifies the rounding of a hidden sum'
_DEVICES = ('its late updates come from devices that come and go, and an epsilon counts on every client being drawn at '
            'the accounted rate')
_PRIVATE = (Trait.CLIENT_LEVEL, Trait.EXAMPLE_LEVEL)
_MEANS = 'its models are the means of their clients'
_HAS_ONE = Limit('personalize_epochs', 'it fine-tunes a shared model, and every client has a model of its own already')

# What clients send beside an update is what its sum is divided by.
_LOSSES = 'it takes the clients\' losses, and private SGD takes steps of its own and covers no losses'
_DIVIDED = {
    Trait.RULE: 'clients send what their updates are divided by, and the rule would take it for a part of them',
    Trait.LIMIT: 'the bound would shorten what an update is divided by together with the update',
    Trait.COMPRESSES: 'rounding would blur what updates are divided by',
    Trait.CHANGES_UPDATES: 'it would multiply what the attacker\'s update is divided by together with the update'}
_WHEN = {'fedbn': 'the same objects look different at different clients: scanners, cameras, hands'}


@dataclasses.dataclass(frozen=True)
class Algorithm(Row):
  """An algorithm.

  Attributes:
    paper: Where it was published.
    when: When to use it.
    sends: How many quantities of the size of the model a client sends; in words if a setting determines it.
    shows: How many such quantities a client receives in addition to the model.
    weighs_itself: Whether it says itself what an update weighs, and `client_weighting` has no effect.
    keeps: The layers that stay on each client unless `personal_layers` names others; empty: the last.
  """
  _: dataclasses.KW_ONLY
  paper: str = ''
  when: str = ''
  sends: str = '1'
  shows: str = '0'
  weighs_itself: bool = False
  keeps: str = ''


_ALL_EXAMPLES = Limit('loss_scale', 'it counts on the gradients of all batches, and a scaled one may be skipped')


def _only(*optimizers):
  return Limit('client_optimizer', f'it is defined for {" and ".join(optimizers)} on clients', optimizers)


def _personal(name, about, **facts):
  return Algorithm(name, about, when=_WHEN.get(name, 'every client is to have its own model'),
                   traits=frozenset((Trait.PERSONAL, Trait.KEEPS_STATE)) | facts.pop('more', frozenset()),
                   limits=(_HAS_ONE, *facts.pop('limits', ())), **facts)


ALGORITHMS = Kind.of('algorithm', (
    Algorithm('fedavg', 'the mean of what clients have trained', paper='McMahan et al. 2017, algorithm 1',
              when='the first choice; hard to beat when clients are alike',
              loads='tff_vision.learning.algorithm:Algorithm'),
    Algorithm('fedprox', 'clients are drawn back to the model that they were sent', paper='Li et al. 2020, equation 2',
              when='client drift: local models move far apart in many local steps', reads=('proximal_strength',),
              refuses={Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT}, loads='tff_vision.learning.algorithm:FedProx'),
    Algorithm('fedsgd', 'clients send one gradient over all their examples', paper='McMahan et al. 2017, section 2',
              when='a baseline: one exact gradient a round',
              refuses={Trait.EXAMPLE_LEVEL: 'private SGD takes steps of its own on clients, and this algorithm has '
                                            'none'},
              limits=(Limit('client_epochs', 'it takes the gradient over all examples of a client once', (1,)),
                      _ALL_EXAMPLES),
              loads='tff_vision.algorithms.full_gradient:FedSgd'),
    Algorithm('scaffold', 'control variates correct the drift of clients',
              paper='Karimireddy et al. 2020, algorithm 1, option II',
              when='clients differ, and each comes back every few rounds', sends='2', shows='1',
              traits=frozenset((Trait.KEEPS_STATE, Trait.READS_SHARE, Trait.SHOWS_MORE, Trait.SENDS_MORE)),
              refuses={Trait.CLIENT_LEVEL: _TWO_QUANTITIES, Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT},
              limits=(_only('sgd'),), loads='tff_vision.algorithms.scaffold:Scaffold'),
    Algorithm('fednova', 'updates count by the steps behind them', paper='Wang et al. 2020',
              when='clients take very different numbers of steps', sends='1, and one number',
              traits=frozenset((Trait.SENDS_MORE,)), reads=('proximal_strength',),
              refuses={Trait.CLIENT_LEVEL: 'the number of a client\'s steps, which it sends, tells how many examples '
                                           'it has',
                       Trait.EXAMPLE_LEVEL: 'it counts steps that private SGD does not take'},
              limits=(_only('sgd', 'sgdm'),), loads='tff_vision.algorithms.fednova:FedNova'),
    Algorithm('feddyn', 'a dynamic regulariser corrects the drift of clients', paper='Acar et al. 2021, algorithm 1',
              when='as `scaffold`, with half of its traffic', reads=('feddyn_strength',),
              traits=frozenset((Trait.KEEPS_STATE, Trait.READS_SHARE)),
              refuses={Trait.CLIENT_LEVEL: 'its server adds up the updates of all rounds, and with them all their '
                                           'noise',
                       Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT},
              limits=(_only('sgd'), Limit('server_optimizer', 'its drift term cancels the clients\' only if the server '
                                          'takes their mean as it is; choose sgd', ('sgd',))),
              loads='tff_vision.algorithms.feddyn:FedDyn'),
    Algorithm('mime_lite', 'clients step along the momentum of the server',
              paper='Karimireddy et al. 2020 (Mime), algorithm 1', when='clients differ and rarely come back',
              sends='2', shows='1', traits=frozenset((Trait.SHOWS_MORE, Trait.SENDS_MORE)), reads=('mime_momentum',),
              refuses={Trait.CLIENT_LEVEL: _TWO_QUANTITIES, Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT},
              limits=(_only('sgd'), _ALL_EXAMPLES), loads='tff_vision.algorithms.full_gradient:MimeLite'),
    Algorithm('fedbuff', 'updates that come late count less, and are not lost', paper='Nguyen et al. 2022, algorithm 1',
              when='slow devices whose work should not be lost', shows='`max_staleness`',
              traits=frozenset((Trait.LATE, Trait.SHOWS_MORE)), reads=('max_staleness',),
              refuses=dict.fromkeys(_PRIVATE, _DEVICES),
              needs_one_of=(('over_selection', 'round_deadline'), 'it takes updates that come late, and without them '
                            'none does'),
              loads='tff_vision.algorithms.fedbuff:FedBuff'),
    Algorithm('qfedavg', 'clients with a large loss count more, by its power q',
              paper='Li et al. 2020 (q-FFL), algorithm 2', when='the worst client matters, and clients are many',
              sends='1, and one number', traits=frozenset((Trait.SENDS_MORE,)), reads=('qfedavg_q',),
              refuses={**_DIVIDED, Trait.CLIENT_LEVEL: _TWO_QUANTITIES, Trait.EXAMPLE_LEVEL: _LOSSES},
              limits=(_only('sgd'),), loads='tff_vision.algorithms.fair:QFedAvg'),
    Algorithm('afl', 'the worst mixture of clients counts; the server learns it from their losses',
              paper='Mohri et al. 2019, algorithm 1', when='the worst of a few clients matters',
              sends='1, and two numbers for each client and one', shows='one number for each client',
              traits=frozenset((Trait.SENDS_MORE, Trait.SHOWS_MORE)), reads=('afl_rate',), weighs_itself=True,
              refuses={**_DIVIDED, Trait.HIDES_UPDATES: 'the server reads the loss of every single client',
                       Trait.CLIENT_LEVEL: _TWO_QUANTITIES, Trait.EXAMPLE_LEVEL: _LOSSES},
              limits=(Limit('client_weighting', 'its own shares are what clients weigh'),),
              loads='tff_vision.algorithms.fair:Afl'),
    _personal('fedper', 'clients share a body and keep a head', paper='Arivazhagan et al. 2019',
              reads=('personal_layers',), sends='1, without the personal layers',
              more=frozenset((Trait.SENDS_MORE,)), loads='tff_vision.algorithms.personal_head:FedPer'),
    _personal('fedrep', 'as fedper; the head is trained first, then the body',
              paper='Collins et al. 2021, algorithm 1', reads=('personal_layers', 'fedrep_head_epochs'),
              sends='1, without the personal layers', more=frozenset((Trait.SENDS_MORE,)), limits=(_only('sgd'),),
              loads='tff_vision.algorithms.personal_head:FedRep'),
    _personal('fedbn', 'clients share all but the layers that normalise', paper='Li et al. 2021 (FedBN), algorithm 1',
              reads=('personal_layers',), sends='1, without the personal layers', keeps='norm',
              more=frozenset((Trait.SENDS_MORE,)), loads='tff_vision.algorithms.personal_head:FedBn'),
    _personal('ditto', 'a model of one\'s own that is drawn to the shared one', paper='Li et al. 2021, algorithm 1',
              reads=('ditto_strength',), loads='tff_vision.algorithms.personal_models:Ditto'),
    _personal('apfl', 'a model of one\'s own mixed with the shared one', paper='Deng et al. 2020, algorithm 1',
              reads=('apfl_alpha', 'apfl_adaptive'), limits=(_only('sgd'), _ALL_EXAMPLES),
              loads='tff_vision.algorithms.personal_models:Apfl'),
    _personal('ifca', 'several models; a client trains the one that fits it best',
              paper='Ghosh et al. 2020, algorithm 1, option II', reads=('ifca_clusters',),
              sends='`ifca_clusters`, and as many numbers', shows='`ifca_clusters` - 1',
              more=frozenset((Trait.SENDS_MORE,)),
              refuses={Trait.HIDES_UPDATES: _MAGNIFIED, Trait.CLIENT_LEVEL: _TWO_QUANTITIES},
              # With one model, IFCA is FedAvg.
              traits_unless=tuple((trait, 'ifca_clusters', 1) for trait in (Trait.SEVERAL_MODELS, Trait.SHOWS_MORE)),
              limits=(Limit('server_optimizer', f'{_MEANS}: choose sgd and 1', ('sgd',)),
                      Limit('server_learning_rate', f'{_MEANS}: choose sgd and 1', (1.0,)),
                      Limit('server_schedule', f'{_MEANS}: choose constant and 0'),
                      Limit('server_warmup_rounds', f'{_MEANS}: choose constant and 0')),
              loads='tff_vision.algorithms.ifca:Ifca'),
), own=Row('', refuses={Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT}))

_CLIENTS = 'tff_vision.learning.optimizers:client_'
_SERVERS = 'tff_vision.learning.optimizers:server_'
_ADAPTIVE = ('server_epsilon',)
CLIENT_OPTIMIZERS = Kind.of('client_optimizer', (
    Row('sgd', 'plain steps', loads=f'{_CLIENTS}sgd'),
    Row('sgdm', 'with momentum', reads=('client_momentum',), loads=f'{_CLIENTS}sgdm'),
    Row('adam', 'adaptive', loads=f'{_CLIENTS}adam'),
), own=Row(''))
SERVER_OPTIMIZERS = Kind.of('server_optimizer', (
    Row('sgd', 'FedAvg with a rate of 1', loads=f'{_SERVERS}sgd'),
    Row('sgdm', 'FedAvgM', reads=('server_momentum',), loads=f'{_SERVERS}sgdm'),
    Row('adam', 'FedAdam', reads=_ADAPTIVE, loads=f'{_SERVERS}adam'),
    Row('yogi', 'FedYogi', reads=_ADAPTIVE, loads=f'{_SERVERS}yogi'),
    Row('adagrad', 'FedAdagrad', reads=_ADAPTIVE, loads=f'{_SERVERS}adagrad'),
    Row('adamw', 'FedAdam whose weight decay is decoupled from its moments',
        reads=('server_weight_decay', *_ADAPTIVE), loads=f'{_SERVERS}adamw'),
), own=Row(''))
_SCHEDULES = (
    Row('constant', 'the same rate in every round', loads='tff_vision.learning.schedules:constant'),
    Row('step', 'times schedule_step_factor after every schedule_step_rounds rounds',
        reads=('schedule_step_rounds', 'schedule_step_factor'), loads='tff_vision.learning.schedules:step'),
    Row('cosine', 'down to schedule_final over the run, along half a cosine', reads=('schedule_final',),
        loads='tff_vision.learning.schedules:cosine'),
)
CLIENT_SCHEDULES = Kind.of('client_schedule', _SCHEDULES)
SERVER_SCHEDULES = Kind.of('server_schedule', _SCHEDULES)
