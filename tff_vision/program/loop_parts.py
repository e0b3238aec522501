"""What a training loop is given, and how it ends."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow_federated as tff

from tff_vision import configs, protocols, tasks
from tff_vision.learning import contribution as contribution_lib
from tff_vision.learning import evaluation
from tff_vision.learning import personal as personal_lib
from tff_vision.privacy import plan as plan_lib
from tff_vision.program import journal as journal_lib
from tff_vision.program import managers as managers_lib
from tff_vision.program import observer as observer_lib
from tff_vision.program import repetition, round_record
from tff_vision.program import selection as selection_lib

RoundRecord = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
  """How a loop ended.

  Attributes:
    weights: The model that is kept: of the last round, or of the best.
    history: One record for each round, as in the checkpoints; `released.record` selects what may be released.
    interrupted: Whether the loop ended before the last round because a stop was requested.
    evaluated: The evaluation of `weights`, if this process evaluated the last round.
    personal: The evaluation of the clients' own models, if the algorithm has such models.
    best_round: The round of `weights`, where the best model is kept.
    earlier_seconds: The time that earlier processes of the run spent on the rounds in `history`, saving included.
  """
  weights: tff.learning.models.ModelWeights
  history: Sequence[RoundRecord]
  interrupted: bool
  evaluated: Mapping[str, Any] | None
  personal: Mapping[str, Any] | None
  best_round: int | None = None
  earlier_seconds: float = 0.0


Observer = observer_lib.Observer


class Validate(Protocol):
  """Evaluates a model on the clients' validation examples; see `learning.federated_evaluation`.

  Attributes:
    noised: Not None where what is told has noise, so that each evaluation costs.
  """
  @property
  def noised(self) -> Any: ...

  def __call__(self, weights: protocols.Weights, round_num: int) -> Mapping[str, Any]:
    """Returns `evaluation` and the number of `examples`, and more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
  """What is trained, where, and how it is evaluated.

  Attributes:
    client_data: Gives `process.next` its argument for each client.
    place: The open runtime.
    own_models: The clients' own models, if the algorithm has such models.
    observer: The observer of an audit; None: the run is not audited.
    contribution: Says what each client of a round contributed; None: nothing does.
    validate: Evaluates weights on the clients' validation examples; None: there is nothing to choose.
    selection: The rule by which the best model is kept; None: the last one is kept.
  """
  process: protocols.Process
  client_data: protocols.ClientData
  place: protocols.Place
  task: tasks.Task
  plan: plan_lib.PrivacyPlan
  program: configs.ProgramConfig
  traffic: round_record.Traffic
  evaluator: evaluation.Evaluator
  own_models: personal_lib.KeptModels | None = None
  observer: Observer | None = None
  contribution: contribution_lib.Contribution | None = None
  validate: Validate | None = None
  selection: selection_lib.Selection | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Books:
  """Where a run's rounds are recorded, which budgets pay for them, and who is informed of them.

  Attributes:
    journal: The journal of this run; it holds the rounds that an earlier process began and did not finish.
    stop_at_epsilon: The budget of the run. A round can cost more than planned if clients are lost, release something
      twice, or a round is repeated. Then later rounds that no longer fit in the budget are left out. If the budget
      does not pay for a call that must be repeated, the run ends before that round. None: there is no budget.
    charged: Told of a cost above the plan before the release that causes it, so that a run that is killed during the
      release has already paid. If the cost does not fit, the run ends as with `stop_at_epsilon`.
    on_round: Called after the release of each round, with what was released.
    on_evaluated: Called after that, if the round was evaluated.
    stop_requested: Called after each round; True ends the loop with everything saved.
    stop_after: A round after which the loop ends in the same way; None: no such round.
  """
  managers: managers_lib.Managers
  journal: journal_lib.Journal
  on_round: Callable[[RoundRecord], None]
  stop_requested: Callable[[], bool]
  on_evaluated: Callable[[round_record.Standing], None] = lambda standing: None
  stop_at_epsilon: float | None = None
  stop_after: int | None = None
  charged: repetition.Charged = repetition.Uncharged()
