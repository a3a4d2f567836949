"""Writes torch_values.npz: ten updates of each agent in PyTorch and float64.

    python tests/parity/make_torch_values.py

Run by hand, in an environment with torch==2.13.0 and numpy; it imports nothing of
`rpex_jax`. Losses, weights and the order of steps are written from the papers and the
description of the PEX, RIQL, RPEX, TD3_BC and CORL code. Whatever is random is an
input: weights, batches, Gaussian noise, and the Gumbel noise that decides each choice
of the set. TD3 takes `policy_delay` batches for an update and begins again after the
last.

Weights are stored once. What ten updates do to them is stored as float32 *changes*,
which hold 1e-9 of a parameter and halve the file.
"""

from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import torch
from torch.distributions import Normal

torch.set_default_dtype(torch.float64)  # of Python numbers too

OBSERVATION_DIM, ACTION_DIM, HIDDEN = 5, 3, (16, 8)  # a swapped layer would not fit
NUM_UPDATES, BATCH, MAX_CRITICS = 10, 8, 5
LEARNING_RATE, DISCOUNT, TARGET_RATE = 1e-3, 0.99, 0.005

IQL = {"expectile": 0.7, "beta": 3.0, "num_critics": 2}
RIQL = {"expectile": 0.7, "beta": 3.0, "wide_rewards": 1}
SET = {"inv_temperature": 3.0, "frozen": 1}
TD3 = {"family": "td3", "num_critics": 2, "policy_delay": 2, "alpha": 2.5}
SMOOTHING = {"target_noise": 0.2, "target_noise_clip": 0.3}
CASES = {
    "iql": {"family": "iql", **IQL, "actor_decay_steps": 20.0},
    "iql_align": {"family": "iql", **IQL, "expectile": 0.9, "align": 1.0, "eta": 3.0},
    "riql_knee_100": {
        **{"family": "riql", **RIQL, "actor_decay_steps": 20.0},
        **{"sigma": 0.1, "quantile": 0.25, "num_critics": 5},
    },
    "riql_knee_1": {
        **{"family": "riql", **RIQL},
        **{"sigma": 1.0, "quantile": 0.5, "num_critics": 5},
    },
    "riql_knee_4": {
        **{"family": "riql", **RIQL, "expectile": 0.2},
        **{"sigma": 0.5, "quantile": 0.1, "num_critics": 3},
    },
    "sac": {"family": "sac", "num_critics": 2, "log_temperature": float(np.log(0.5))},
    "awac": {"family": "awac", "num_critics": 2, "beta": 4.0},
    "td3": {**TD3, **SMOOTHING, "bc_weight": 0.0},
    "td3_bc": {**TD3, **SMOOTHING, "bc_weight": 1.0},
    "td3_bc_delay_3": {
        **{**TD3, "num_critics": 3, "policy_delay": 3, "alpha": 0.5},
        **{"target_noise": 0.5, "target_noise_clip": 0.4, "bc_weight": 1.0},
    },
    "pex_iql": {"family": "iql", **IQL, **SET, "kappa": 0.0},
    "rpex_iql": {"family": "iql", **IQL, **SET, "kappa": 0.1},
    "rpex_released_iql": {
        **{"family": "iql", **IQL, **SET, "kappa": 0.1, "online_spread": 1.0},
    },
    "pex_riql": {
        **{"family": "riql", **RIQL, **SET, "kappa": 0.0},
        **{"sigma": 0.5, "quantile": 0.25, "num_critics": 3},
    },
    "rpex_riql_align": {
        **{"family": "riql", **RIQL, **SET, "kappa": 0.1, "align": 1.0, "eta": 3.0},
        **{"sigma": 0.5, "quantile": 0.25, "num_critics": 3},
    },
    "rpex_released_riql": {
        **{"family": "riql", **RIQL, **SET, "kappa": 0.1, "online_spread": 1.0},
        **{"sigma": 0.5, "quantile": 0.25, "num_critics": 3},
    },
    "edac": {
        **{"family": "edac", "num_critics": 5, "eta": 5.0},
        "log_temperature": float(np.log(0.5)),
    },
    "cql": {
        **{"family": "cql", "num_critics": 2, "penalty": 4.0, "num_proposals": 4},
        "policy_learning_rate": 5e-4,
        "log_temperature": float(np.log(0.5)),
    },
}

# Both sides of these are met in every case that has them, of the others in some case.
MUST_MEET = (
    *("expectile", "weight cap", "knee", "choice", "noise clip", "action clip"),
    *("first critic is the smallest", "sign of Q", "sample clip"),
    *("log-std floor", "log-std cap"),
)


# Networks: lists of (weight, bias), an ensemble with a leading axis on both.


def draw_layers(rng, in_dim, out_dim, *, num=None, head_scale=1.0):
    widths, layers = (in_dim, *HIDDEN, out_dim), []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        scale = (head_scale if i == len(HIDDEN) else 1.5) / np.sqrt(fan_in)
        lead = () if num is None else (num,)
        layers.append(
            (
                rng.uniform(-scale, scale, (*lead, fan_out, fan_in)),
                rng.uniform(-scale, scale, (*lead, fan_out)),
            )
        )
    return layers


def forward(layers, x):
    for i, (weight, bias) in enumerate(layers):
        x = (weight @ x.unsqueeze(-1)).squeeze(-1) + bias
        if i < len(layers) - 1:
            x = torch.relu(x)
    return x


def forward_ensemble(layers, x):
    members = [[(w[k], b[k]) for w, b in layers] for k in range(len(layers[0][0]))]
    return torch.stack([forward(member, x).squeeze(-1) for member in members])


def gaussian(actor, observations):
    mean = torch.tanh(forward(actor["layers"], observations))
    return Normal(mean, torch.clamp(actor["log_std"][0][0], -5.0, 2.0).exp())


def tanh_gaussian(actor, observations, noise, log_std_min=-20.0):
    hidden = torch.relu(forward(actor["layers"], observations))
    mean = forward(actor["mean"], hidden)
    std = torch.clamp(forward(actor["log_std"], hidden), log_std_min, 2.0).exp()
    u = mean + std * noise
    log_cosh = torch.logaddexp(u, -u) - np.log(2.0)  # d tanh(u)/du = 1 / cosh(u)^2
    log_prob = Normal(mean, std).log_prob(u) + 2.0 * log_cosh
    return torch.tanh(u), log_prob.sum(-1)


# Losses


def expectile_loss(u, expectile):
    return torch.where(u > 0, expectile, 1.0 - expectile) * u**2


def huber(x, sigma):
    b = 1.0 / sigma**2
    return torch.where(x.abs() < b, x**2 / (2.0 * b), x.abs() - b / 2.0)


def policy_weight(advantage, config):
    if config.get("align", 0.0) == 1.0:
        return torch.exp(-config["eta"] * advantage**2)
    return torch.clamp(torch.exp(config["beta"] * advantage), max=100.0)


def pooled(q, config):
    if config["family"] == "riql":
        return torch.quantile(q, config["quantile"], dim=0)
    return q.min(0).values


# One agent


def tensors(net):
    """Every tensor of a network with its name, in the order of its layers."""
    parts = net if isinstance(net, dict) else {"layers": net}
    for part, layers in parts.items():
        for i, layer in enumerate(layers):
            for name, tensor in zip(("weight", "bias"), layer, strict=False):
                yield f"{part}/{i}/{name}", tensor


def copied(net, num=None):
    if isinstance(net, dict):
        return {part: copied(layers) for part, layers in net.items()}
    return [
        tuple(
            torch.tensor(x if num is None else x[:num], requires_grad=True)
            for x in layer
        )
        for layer in net
    ]


def adam(net, learning_rate):
    return torch.optim.Adam([x for _, x in tensors(net)], lr=learning_rate)


class Learner:
    def __init__(self, config, weights):
        self.config, num = config, config["num_critics"]
        self.nets = {
            "critic": copied(weights["critic"], num),
            "target_critic": copied(weights["target_critic"], num),
        }
        if config["family"] in ("sac", "edac", "cql"):
            actor = "edac_actor" if config["family"] == "edac" else "sac_actor"
            self.nets["actor"] = copied(weights[actor])
            start = np.array(config["log_temperature"])
            self.nets["log_temperature"] = copied([(start,)])
        elif config["family"] == "td3":
            self.nets["actor"] = copied(weights["actor"]["layers"])
            self.nets["target_actor"] = copied(weights["online_actor"]["layers"])
        elif config["family"] == "awac":
            self.nets["actor"] = copied(weights["actor"])
        else:
            self.nets["value"] = copied(weights["value"])
            is_set = config.get("frozen", 0)
            actor = weights["online_actor" if is_set else "actor"]
            self.nets["actor"] = copied(actor)
            self.frozen = copied(weights["actor"]) if is_set else None
        slower = config.get("policy_learning_rate", LEARNING_RATE)
        self.adam = {
            name: adam(net, LEARNING_RATE if name == "critic" else slower)
            for name, net in self.nets.items()
            if not name.startswith("target_")
        }
        steps = config.get("actor_decay_steps")
        self.schedule = steps and torch.optim.lr_scheduler.CosineAnnealingLR(
            self.adam["actor"], T_max=int(steps)
        )
        self.calls = 0
        self.seen = {}  # which sides of each knee, cap and clip were met

    def descend(self, name, loss):
        self.adam[name].zero_grad()
        loss.backward()
        self.adam[name].step()

    def moment_norms(self, name):
        """Of Adam's first moments; after one step a tenth of the gradient's norms."""
        moments = self.adam[name].state
        return np.array(
            [moments[x]["exp_avg"].norm() for _, x in tensors(self.nets[name])]
        )

    def saw(self, what, claim):
        before = self.seen.get(what, (False, False))
        self.seen[what] = (
            before[0] or bool((~claim).any()),
            before[1] or bool(claim.any()),
        )

    def q(self, which, observations, actions):
        inputs = torch.cat([observations, actions], -1)
        return forward_ensemble(self.nets[which], inputs)

    def v(self, observations):
        return forward(self.nets["value"], observations).squeeze(-1)

    def soft_update(self, name="critic"):
        with torch.no_grad():
            pairs = zip(
                tensors(self.nets[name]),
                tensors(self.nets[f"target_{name}"]),
                strict=True,
            )
            for (_, new), (_, old) in pairs:
                old.copy_((1.0 - TARGET_RATE) * old + TARGET_RATE * new)

    def update(self, batch, draws):
        if self.config["family"] in ("sac", "td3", "awac", "edac", "cql"):
            return getattr(self, "update_" + self.config["family"])(batch, draws)
        return self.update_iql(batch, draws)

    def update_iql(self, batch, draws):
        config, metrics = self.config, {}
        s, a = batch["observations"], batch["actions"]
        with torch.no_grad():
            target_q = pooled(self.q("target_critic", s, a), config)
            next_v = self.v(batch["next_observations"])

        v = self.v(s)
        advantage = (target_q - v).detach()
        loss = expectile_loss(target_q - v, config["expectile"]).mean()
        self.saw("expectile", advantage > 0)
        metrics |= {"value/loss": loss, "value/mean": v.mean()}
        self.descend("value", loss)

        y = batch["rewards"] + DISCOUNT * (1.0 - batch["terminations"]) * next_v
        q = self.q("critic", s, a)
        if config["family"] == "riql":
            self.saw("target above", y > 1000.0)
            self.saw("target below", y < -100.0)
            y = torch.clamp(y, -100.0, 1000.0)
            self.saw("knee", (y - q).abs() > 1.0 / config["sigma"] ** 2)
            loss = huber(y - q, config["sigma"]).mean()
        else:
            loss = torch.stack([((y - member) ** 2).mean() for member in q]).mean()
        metrics |= {"critic/loss": loss, "critic/mean": q.mean()}
        self.descend("critic", loss)
        self.soft_update()

        if self.frozen is not None:
            a, choice = self.select(s, draws)
            with torch.no_grad():
                q_new = pooled(self.q("target_critic", s, a), config)
                advantage = q_new - self.v(s)
            metrics["selection/online_share"] = (choice == 1).double().mean()
        if not config.get("align"):
            self.saw("weight cap", config["beta"] * advantage > np.log(100.0))
        weight = policy_weight(advantage, config)
        log_prob = gaussian(self.nets["actor"], s).log_prob(a).sum(-1)
        loss = -(weight * log_prob).mean()
        metrics |= {"actor/loss": loss, "actor/weight": weight.mean()}
        self.descend("actor", loss)
        if self.schedule:
            self.schedule.step()
        return metrics

    def select(self, s, draws):
        """PEX and RPEX: the frozen mode against a sample of the policy that learns."""
        config = self.config
        with torch.no_grad():
            old, new = gaussian(self.frozen, s), gaussian(self.nets["actor"], s)
            if config.get("online_spread"):  # the closure that a deep copy keeps
                old = Normal(old.mean, new.stddev)
            proposals = (old.mean, new.mean + new.stddev * draws["online_noise"])
            logits = []
            for policy, proposal in zip((old, new), proposals, strict=True):
                q = pooled(self.q("critic", s, proposal), config)
                density = policy.log_prob(proposal).sum(-1).exp()
                raw = (q - self.v(s)) / (density + 1e-6)
                self.saw("ipw above", raw > 100.0)
                self.saw("ipw below", raw < -10000.0)
                w = torch.clamp(raw, min=-10000.0, max=100.0)
                logits.append(
                    config["inv_temperature"]
                    * (q + config["kappa"] / config["inv_temperature"] * w)
                )
            perturbed = torch.stack(logits, -1) + draws["gumbel"]
            gap = (perturbed[:, 0] - perturbed[:, 1]).abs().min()
            assert gap > 1e-3, f"a choice hangs on {gap}: take another seed"
            choice = perturbed.argmax(-1)
            self.saw("choice", choice == 1)
            return torch.where(
                (choice == 1)[:, None], proposals[1], proposals[0]
            ), choice

    def update_sac(self, batch, draws):
        log_temperature = self.nets["log_temperature"][0][0]
        s, a, s_next = (
            batch[x] for x in ("observations", "actions", "next_observations")
        )
        with torch.no_grad():
            a_next, log_prob = tanh_gaussian(
                self.nets["actor"], s_next, draws["next_noise"]
            )
            q_next = self.q("target_critic", s_next, a_next).min(0).values
            soft_v = q_next - log_temperature.exp() * log_prob
            y = batch["rewards"] + DISCOUNT * (1.0 - batch["terminations"]) * soft_v
        q = self.q("critic", s, a)
        critic_loss = sum(((member - y) ** 2).mean() for member in q)
        metrics = {"critic/loss": critic_loss, "critic/mean": q.mean()}
        self.descend("critic", critic_loss)
        return self.step_policy(s, draws, metrics)

    def update_cql(self, batch, draws):
        """CQL(H): no entropy in the target; then temperature and actor as SAC."""
        s, a, s_next = (
            batch[x] for x in ("observations", "actions", "next_observations")
        )
        actor, num = self.nets["actor"], self.config["num_proposals"]
        with torch.no_grad():
            a_next, _ = tanh_gaussian(actor, s_next, draws["next_noise"])
            y = self.bootstrap(batch, a_next)
            proposed = [(x, -ACTION_DIM * np.log(2.0)) for x in draws["proposals"]]
            proposed += [tanh_gaussian(actor, s, x) for x in draws["here_noise"]]
            proposed += [tanh_gaussian(actor, s_next, x) for x in draws["ahead_noise"]]
        assert len(proposed) == 3 * num
        q, gap = self.q("critic", s, a), 0.0
        for k, member in enumerate(q):
            each = [self.q("critic", s, x)[k] - log_p for x, log_p in proposed]
            soft_maximum = torch.stack(each).exp().sum(0).log()
            gap = gap + (soft_maximum - member).mean()
        fit = sum(torch.nn.functional.mse_loss(member, y) for member in q)
        metrics = {"critic/mean": q.mean(), "critic/gap": gap}
        metrics["critic/loss"] = fit + self.config["penalty"] * gap
        self.descend("critic", metrics["critic/loss"])
        return self.step_policy(s, draws, metrics)

    def step_policy(self, s, draws, metrics):
        """SAC's temperature and actor, then the target critics."""
        log_temperature = self.nets["log_temperature"][0][0]
        action, log_prob = tanh_gaussian(self.nets["actor"], s, draws["actor_noise"])
        metrics["actor/entropy"] = -log_prob.mean()
        target_entropy = -float(ACTION_DIM)
        self.descend(
            "log_temperature",
            -(log_temperature.exp() * (log_prob.detach() + target_entropy)).mean(),
        )
        temperature = log_temperature.exp().detach()
        metrics["temperature"] = temperature
        q = self.q("critic", s, action).min(0).values
        actor_loss = (temperature * log_prob - q).mean()
        metrics["actor/loss"] = actor_loss
        self.descend("actor", actor_loss)
        self.soft_update()
        return metrics

    def update_edac(self, batch, draws):
        """Temperature, actor, critics, each with what was just updated."""
        log_temperature = self.nets["log_temperature"][0][0]
        s, a, s_next = (
            batch[x] for x in ("observations", "actions", "next_observations")
        )
        action, log_prob = self.edac_sample(s, draws["actor_noise"])
        excess = (log_prob.detach() - ACTION_DIM).mean()
        self.descend("log_temperature", -log_temperature.exp() * excess)
        temperature = log_temperature.exp().detach()
        q = self.q("critic", s, action).min(0).values
        actor_loss = (temperature * log_prob - q).mean()
        metrics = {"temperature": temperature, "actor/loss": actor_loss}
        metrics["actor/entropy"] = -log_prob.mean()
        self.descend("actor", actor_loss)

        with torch.no_grad():
            a_next, log_prob = self.edac_sample(s_next, draws["next_noise"])
            y = self.bootstrap(batch, a_next)
            kept = 1.0 - batch["terminations"]
            y -= DISCOUNT * kept * temperature * log_prob
        a = a.clone().requires_grad_()
        q = self.q("critic", s, a)
        fit = sum(torch.nn.functional.mse_loss(member, y) for member in q)
        similarity = self.similarity(q, a)
        metrics |= {"critic/mean": q.mean(), "critic/similarity": similarity}
        metrics["critic/loss"] = fit + self.config["eta"] * similarity
        self.descend("critic", metrics["critic/loss"])
        self.soft_update()
        return metrics

    def edac_sample(self, observations, noise):
        actor = self.nets["actor"]
        with torch.no_grad():
            hidden = torch.relu(forward(actor["layers"], observations))
            log_std = forward(actor["log_std"], hidden)
            self.saw("log-std floor", log_std < -5.0)
            self.saw("log-std cap", log_std > 2.0)
        return tanh_gaussian(actor, observations, noise, log_std_min=-5.0)

    def similarity(self, q, a):
        """The sum over pairs of critics as EDAC's paper writes it, on unit vectors."""
        units = []
        for member in q:
            (g,) = torch.autograd.grad(member.sum(), a, create_graph=True)
            units.append(g / (g.norm(dim=-1, keepdim=True) + 1e-10))
        pairs = permutations(units, 2)
        return sum((x * y).sum(-1) for x, y in pairs).mean() / (len(q) - 1)

    def bootstrap(self, batch, a_next):
        """The TD target with the smallest target critic at the given next action."""
        q_next = self.q("target_critic", batch["next_observations"], a_next)
        kept = 1.0 - batch["terminations"]
        return batch["rewards"] + DISCOUNT * kept * q_next.min(0).values

    def fit_critics(self, batch, y):
        q = self.q("critic", batch["observations"], batch["actions"])
        loss = sum(torch.nn.functional.mse_loss(member, y) for member in q)
        self.descend("critic", loss)
        return {"critic/loss": loss, "critic/mean": q.mean()}

    def update_td3(self, batch, draws):
        """A call of TD3's `train`: actor and targets move on every n-th call."""
        config = self.config
        self.calls += 1
        with torch.no_grad():
            noise = config["target_noise"] * draws["next_noise"]
            limit = config["target_noise_clip"]
            self.saw("noise clip", noise.abs() > limit)
            a_next = torch.tanh(
                forward(self.nets["target_actor"], batch["next_observations"])
            ) + noise.clamp(-limit, limit)
            self.saw("action clip", a_next.abs() > 1.0)
            y = self.bootstrap(batch, a_next.clamp(-1.0, 1.0))
        metrics = self.fit_critics(batch, y)
        if self.calls % config["policy_delay"]:
            return metrics

        s = batch["observations"]
        action = torch.tanh(forward(self.nets["actor"], s))
        q_all = self.q("critic", s, action)
        self.saw("first critic is the smallest", q_all.argmin(0) == 0)
        q = q_all[0]
        self.saw("sign of Q", q > 0.0)
        cloning = torch.nn.functional.mse_loss(action, batch["actions"])
        metrics["actor/cloning"] = cloning
        if config["bc_weight"]:
            loss = -config["alpha"] / q.abs().mean().detach() * q.mean() + cloning
        else:
            loss = -q.mean()
        metrics["actor/loss"] = loss
        self.descend("actor", loss)
        self.soft_update("critic")
        self.soft_update("actor")
        return metrics

    def update_awac(self, batch, draws):
        s, actor = batch["observations"], self.nets["actor"]

        def sample(observations, noise):
            policy = gaussian(actor, observations)
            action = policy.mean + policy.stddev * noise
            self.saw("sample clip", action.abs() > 1.0)
            return action.clamp(-1.0, 1.0)

        with torch.no_grad():
            a_next = sample(batch["next_observations"], draws["next_noise"])
            y = self.bootstrap(batch, a_next)
        metrics = self.fit_critics(batch, y)

        with torch.no_grad():
            own = self.q("critic", s, sample(s, draws["actor_noise"])).min(0).values
            q = self.q("critic", s, batch["actions"]).min(0).values
            weight = torch.exp((q - own) * self.config["beta"])
            self.saw("weight cap", weight > 100.0)
            weight = weight.clamp(max=100.0)
        log_prob = gaussian(actor, s).log_prob(batch["actions"]).sum(-1)
        loss = -(log_prob * weight).mean()
        metrics |= {"actor/loss": loss, "actor/weight": weight.mean()}
        self.descend("actor", loss)
        self.soft_update()
        return metrics


# What is written


def draw_weights(rng):
    q_in = OBSERVATION_DIM + ACTION_DIM

    def actor(log_std):
        layers = draw_layers(rng, OBSERVATION_DIM, ACTION_DIM)
        return {"layers": layers, "log_std": [(np.array(log_std),)]}

    sac = draw_layers(rng, OBSERVATION_DIM, ACTION_DIM)
    sac_log_std = draw_layers(rng, OBSERVATION_DIM, ACTION_DIM, head_scale=6.0)
    wide_log_std = [(3.0 * weight, 3.0 * bias) for weight, bias in sac_log_std]
    value = draw_layers(rng, OBSERVATION_DIM, 1, head_scale=3.0)
    value[-1] = (value[-1][0], np.array([-1.0]))  # both signs of the advantage
    return {
        "value": value,
        "critic": draw_layers(rng, q_in, 1, num=MAX_CRITICS, head_scale=10.0),
        "target_critic": draw_layers(rng, q_in, 1, num=MAX_CRITICS, head_scale=10.0),
        "actor": actor([-1.5, 0.2, 2.3]),  # the last is past the clamp at 2
        "online_actor": actor([0.0, 0.0, 0.0]),
        "sac_actor": {
            "layers": sac[:-1],
            "mean": sac[-1:],
            "log_std": sac_log_std[-1:],
        },
        "edac_actor": {
            "layers": sac[:-1],
            "mean": sac[-1:],
            "log_std": wide_log_std[-1:],  # past both of its clamps
        },
    }


def draw_batches(rng):
    n, lead = OBSERVATION_DIM, (NUM_UPDATES, BATCH)
    rewards = rng.normal(0.0, 2.0, lead)
    wide = rewards.copy()
    wide[:, 1], wide[:, 2], wide[:, 3] = 2000.0, -500.0, 300.0
    return {
        "observations": rng.normal(size=(*lead, n)),
        "actions": rng.uniform(-1.0, 1.0, (*lead, ACTION_DIM)),
        "rewards": rewards,
        "wide_rewards": wide,
        "next_observations": rng.normal(size=(*lead, n)),
        "terminations": (rng.uniform(size=lead) < 0.3).astype(np.float64),
    }


def draw_noise(rng):
    shape = (NUM_UPDATES, BATCH, ACTION_DIM)
    draws = {
        name: rng.normal(size=shape)
        for name in ("online_noise", "next_noise", "actor_noise")
    }
    draws["online_noise"][:, :2] *= 3.0  # tails, where the density nears its floor
    draws["gumbel"] = rng.gumbel(size=(NUM_UPDATES, BATCH, 2))
    shape = (NUM_UPDATES, CASES["cql"]["num_proposals"], BATCH, ACTION_DIM)
    draws["here_noise"], draws["ahead_noise"] = rng.normal(size=(2, *shape))
    draws["proposals"] = rng.uniform(-1.0, 1.0, shape)
    return draws


def at(arrays, index):
    return {name: torch.tensor(x[index]) for name, x in arrays.items()}


def flat(net):
    """All of a network as one vector: layer after layer, weight [out, in], bias."""
    return np.concatenate([x.detach().numpy().ravel() for _, x in tensors(net)])


def run(config, weights, batches, draws):
    learner = Learner(config, weights)
    start = {name: flat(net) for name, net in learner.nets.items()}
    out, history = {}, []
    calls = config.get("policy_delay", 1)
    for step in range(NUM_UPDATES):
        told = {}
        for call in range(step * calls, (step + 1) * calls):
            batch = at(batches, call % NUM_UPDATES)
            if config.get("wide_rewards"):
                batch["rewards"] = batch["wide_rewards"]
            metrics = learner.update(batch, at(draws, call % NUM_UPDATES))
            for key, x in metrics.items():
                told.setdefault(key, []).append(x.detach().numpy().item())
        history.append({key: np.mean(x) for key, x in told.items()})
        for name, net in learner.nets.items():
            if step == 0 and name in learner.adam:
                out[f"moment_norm/{name}"] = learner.moment_norms(name)
            change = flat(net) - start[name]
            if not name.startswith("target_"):
                change = change.astype(np.float32)
            elif step == 0:
                continue  # it moves further than Adam, so once and in full
            if step in (0, NUM_UPDATES - 1):
                out[f"change_{step + 1}/{name}"] = change
    for key in history[0]:
        out[f"metrics/{key}"] = np.array([metrics[key] for metrics in history])
    return out, learner.seen


def main():
    rng = np.random.default_rng(1)
    weights, batches, draws = draw_weights(rng), draw_batches(rng), draw_noise(rng)
    arrays = {f"batch/{name}": x for name, x in batches.items()}
    arrays |= {f"draws/{name}": x for name, x in draws.items()}
    for net, layers in weights.items():
        arrays |= {f"initial/{net}/{name}": x for name, x in tensors(layers)}
    seen = {}
    for case, config in CASES.items():
        out, met = run(config, weights, batches, draws)
        arrays |= {f"{case}/{name}": x for name, x in out.items()}
        arrays |= {f"{case}/config/{name}": np.array(x) for name, x in config.items()}
        print(case, met)
        for what, sides in met.items():
            before = seen.get(what, (False, False))
            seen[what] = (before[0] or sides[0], before[1] or sides[1])
        for what in MUST_MEET:
            assert all(met.get(what, (True, True))), f"{case} met one side of {what}"
    assert all(all(sides) for sides in seen.values()), seen
    path = Path(__file__).with_name("torch_values.npz")
    np.savez_compressed(path, **arrays)
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
