"""The algorithms again, in numpy and float64, from their papers: what `tff_vision.learning` is compared with.

The model is softmax regression; a model is one vector. Every function here returns the model after some rounds.
"""

import numpy as np


class Oracle:
  """One task, its cohorts, and what a client sees.

  Attributes:
    cohorts: Lists of clients, one a round.
  """

  def __init__(self, task, cohorts, *, rate, weighting='examples', clip=None, decay=0.0):
    self.task, self.cohorts, self.rate = task, cohorts, rate
    self.sizes = [task.images.train.num_examples(i) for i in range(len(task.images.train))]
    self.weight = self.sizes if weighting == 'examples' else [1.0] * len(self.sizes)
    self.start = np.concatenate([np.asarray(w, np.float64).ravel() for w in task.initial_weights().trainable])
    self.clip, self.decay = clip, decay

  def batches(self, client, round_num):
    return [(x.reshape(len(x), -1).astype(np.float64), y)
            for x, y in self.task.client_batches(client, round_num).as_numpy_iterator()]

  def gradient(self, w, x, y):
    kernel, bias = w[:-3].reshape(-1, 3), w[-3:]
    logits = x @ kernel + bias
    p = np.exp(logits - logits.max(1, keepdims=True))
    error = p / p.sum(1, keepdims=True) - np.eye(3)[y]
    g = np.concatenate([(x.T @ error / len(x)).ravel(), error.mean(0)])
    if self.clip is not None:
      g = g * min(1, self.clip / np.linalg.norm(g))
    return g + self.decay * w

  def local(self, start, client, round_num, change=lambda g, w: g, momentum=0.0, rate=None):
    """Returns (weights after the local epochs, number of steps)."""
    w, velocity, batches = start.copy(), 0.0, self.batches(client, round_num)
    for x, y in batches:
      velocity = momentum * velocity + change(self.gradient(w, x, y), w)
      w = w - (self.rate if rate is None else rate) * velocity
    return w, len(batches)

  def loss(self, w, client):
    """The mean loss over the client's examples."""
    examples = self.task.images.train.examples(client)
    x = examples.x.reshape(len(examples), -1) * self.task.images.preprocessing.scale
    logits = x @ w[:-3].reshape(-1, 3) + w[-3:]
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), examples.y])

  def mean(self, cohort, values):
    return np.average(values, axis=0, weights=[self.weight[i] for i in cohort])

  def full_gradient(self, w, client, round_num):
    """The gradient over each example once: `round_num`'s batches hold each equally often."""
    x, y = (np.concatenate(part) for part in zip(*self.batches(client, round_num), strict=True))
    return self.gradient(w, x, y)


def fedavg(o, momentum=0.0, rates=None, server_rates=None):
  w = o.start
  for r, cohort in enumerate(o.cohorts, start=1):
    ys = [o.local(w, i, r, momentum=momentum, rate=rates and rates[r - 1])[0] for i in cohort]
    w = w + (server_rates[r - 1] if server_rates else 1.0) * (o.mean(cohort, ys) - w)
  return w


def fedsgd(o, server_rate):
  w = o.start
  for r, cohort in enumerate(o.cohorts, start=1):
    w = w - server_rate * o.mean(cohort, [o.full_gradient(w, i, r) for i in cohort])
  return w


def scaffold(o):
  """Algorithm 1, option II; c as the weighted mean of all c_i, by definition and not by increments."""
  x, controls = o.start, np.zeros((len(o.sizes), len(o.start)))
  for r, cohort in enumerate(o.cohorts, start=1):
    c = np.average(controls, axis=0, weights=o.weight)
    ys, new = [], controls.copy()
    for i in cohort:
      y, steps = o.local(x, i, r, change=lambda g, w, own=controls[i], c=c: g - own + c)
      ys.append(y)
      new[i] = controls[i] - c + (x - y) / (steps * o.rate)
    x, controls = o.mean(cohort, ys), new
  return x, controls


def fednova(o, momentum=0.0, mu=0.0):
  """The coefficients a_i by explicit matrix of the steps' influence."""
  x = o.start
  for r, cohort in enumerate(o.cohorts, start=1):
    normalised, norms = [], []
    for i in cohort:
      y, steps = o.local(x, i, r, change=lambda g, w, x=x: g + mu * (w - x), momentum=momentum)
      a = np.zeros(steps)
      for k in range(steps):  # What a unit gradient in step k alone adds up to.
        moved = velocity = 0.0
        for step in range(steps):
          velocity = momentum * velocity + (step == k) - mu * o.rate * moved
          moved += velocity
        a[k] = moved
      norms.append(a.sum())
      normalised.append((x - y) / a.sum())
    x = x - o.mean(cohort, norms) * o.mean(cohort, normalised)
  return x


def feddyn(o, alpha):
  theta, linear, h = o.start, np.zeros((len(o.sizes), len(o.start))), np.zeros(len(o.start))
  share = np.array(o.weight) / np.sum(o.weight)
  for r, cohort in enumerate(o.cohorts, start=1):
    models = []
    for k in cohort:
      model, _ = o.local(theta, k, r, change=lambda g, w, k=k, t=theta: g - linear[k] + alpha * (w - t))
      models.append(model)
    for k, model in zip(cohort, models, strict=True):
      linear[k] -= alpha * (model - theta)
      h = h - alpha * share[k] * (model - theta)
    theta = o.mean(cohort, models) - h / alpha
  return theta, linear


def mime_lite(o, beta):
  x, m = o.start, np.zeros(len(o.start))
  for r, cohort in enumerate(o.cohorts, start=1):
    ys = [o.local(x, i, r, change=lambda g, w, m=m: (1 - beta) * g + beta * m)[0] for i in cohort]
    m = (1 - beta) * o.mean(cohort, [o.full_gradient(x, i, r) for i in cohort]) + beta * m
    x = o.mean(cohort, ys)
  return x


def fedbuff(o, begun):
  """`begun[r][i]`: the round in which the client began whose update round r takes."""
  models = [o.start]
  for r, cohort in enumerate(o.cohorts, start=1):
    updates = []
    for i in cohort:
      first = begun[r - 1][i]
      moved = o.local(models[first - 1], i, first)[0] - models[first - 1]
      updates.append(moved / np.sqrt(1 + r - first))
    models.append(models[-1] + o.mean(cohort, updates))
  return models[-1]


HEAD = slice(-3, None)  # Of the flat weights: the bias plays the personal layer.


def fedper(o, head_steps=None):
  """`head_steps`: of a client's number of batches, those that train the head; None: all steps train everything."""
  w, heads = o.start, np.tile(o.start[HEAD], (len(o.sizes), 1))
  for r, cohort in enumerate(o.cohorts, start=1):
    ys = []
    for i in cohort:
      y = w.copy()
      y[HEAD] = heads[i]
      for step, (x, labels) in enumerate(o.batches(i, r)):
        g = o.gradient(y, x, labels)
        if head_steps is not None:
          still = np.ones(len(g), bool)
          still[HEAD] = False
          g = np.where(still == (step >= head_steps(i)), g, 0)
        y = y - o.rate * g
      heads[i] = y[HEAD]
      ys.append(y)
    mean = o.mean(cohort, ys)
    w = np.concatenate([mean[:-3], o.start[HEAD]])
  return w, heads


def ditto(o, strength):
  w, own = o.start, np.tile(o.start, (len(o.sizes), 1))
  for r, cohort in enumerate(o.cohorts, start=1):
    ys = [o.local(w, i, r)[0] for i in cohort]
    for i in cohort:
      own[i], _ = o.local(own[i], i, r, change=lambda g, v, w=w: g + strength * (v - w))
    w = o.mean(cohort, ys)
  return w, own


def apfl(o, alpha, *, adaptive):
  w, own, mixed = o.start, np.tile(o.start, (len(o.sizes), 1)), np.tile(o.start, (len(o.sizes), 1))
  alphas = np.full(len(o.sizes), float(alpha))
  for r, cohort in enumerate(o.cohorts, start=1):
    ys = []
    for i in cohort:
      y = w.copy()
      for step, (x, labels) in enumerate(o.batches(i, r)):
        a = alphas[i]
        g = o.gradient(a * own[i] + (1 - a) * y, x, labels)
        if adaptive and step == 0:
          alphas[i] = np.clip(a - o.rate * (own[i] - y) @ g, 0, 1)
        y, own[i] = y - o.rate * o.gradient(y, x, labels), own[i] - o.rate * a * g
      mixed[i] = alphas[i] * own[i] + (1 - alphas[i]) * y
      ys.append(y)
    w = o.mean(cohort, ys)
  return w, mixed, alphas


def ifca(o, starts):
  """`starts`: the models before round 1."""
  models, chosen = [start.copy() for start in starts], {}
  for r, cohort in enumerate(o.cohorts, start=1):
    for i in cohort:
      chosen[i] = int(np.argmin([o.loss(model, i) for model in models]))
    models = [o.mean(members, [o.local(model, i, r)[0] for i in members])
              if (members := [i for i in cohort if chosen[i] == j]) else model for j, model in enumerate(models)]
  return models, chosen


def qfedavg(o, q):
  """Algorithm 2 as it is written, with L = 1 / rate."""
  w, lipschitz = o.start, 1 / o.rate
  for r, cohort in enumerate(o.cohorts, start=1):
    deltas, curvatures = [], []
    for k in cohort:
      loss, moved = o.loss(w, k), lipschitz * (w - o.local(w, k, r)[0])
      deltas.append(loss ** q * moved)
      curvatures.append(q * loss ** (q - 1) * (moved @ moved) + lipschitz * loss ** q)
    w = w - o.mean(cohort, deltas) / o.mean(cohort, curvatures)
  return w


def afl(o, rate):
  w, shares = o.start, np.full(len(o.sizes), 1 / len(o.sizes))
  for r, cohort in enumerate(o.cohorts, start=1):
    ascended = shares.copy()
    for k in cohort:
      ascended[k] += rate * o.loss(w, k)
    total = shares[cohort].sum()
    w = w + sum(shares[k] * (o.local(w, k, r)[0] - w) for k in cohort) / total if total else w
    shares = nearest_on_simplex(ascended)
  return w, shares


def nearest_on_simplex(point):
  """By bisection for the number that must be subtracted."""
  low, high = point.min() - 1, point.max()
  for _ in range(200):
    middle = (low + high) / 2
    low, high = (middle, high) if np.maximum(point - middle, 0).sum() > 1 else (low, middle)
  return np.maximum(point - low, 0)
