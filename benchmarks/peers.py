"""Updates of d3rlpy, Stable-Baselines3, SBX and PyTorch, for `benchmarks.updates`.

Runs in the peers' interpreter, which has no rpex_jax, as `peers.py PROBLEM`: JSON with
`observation_dim`, `action_dim`, `hidden_dims`, `batch_size` and `rows`. It first prints
a line with its versions, its peers' names and which agent each is. Then it answers
every line `NAME COUNT`, once COUNT updates are done, with an empty line. Every update
draws its batch from `rows` rows in memory, as a user's would.
"""

import importlib.metadata
import json
import logging
import os
import sys
from collections.abc import Callable

# Only the protocol may use the standard output; warnings of imports go elsewhere.
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import d3rlpy  # noqa: E402
import gymnasium  # noqa: E402
import numpy as np  # noqa: E402
import sbx  # noqa: E402
import stable_baselines3  # noqa: E402
import structlog  # noqa: E402
import torch  # noqa: E402
from d3rlpy.dataset import TransitionMiniBatch  # noqa: E402
from stable_baselines3.common.logger import Logger  # noqa: E402
from torch import nn  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Update = Callable[[int], None]  # does so many updates


def random_rows(problem: dict) -> dict[str, np.ndarray]:
    """The data set [rows, ...]; the numbers do not matter for speed."""
    rng, rows = np.random.default_rng(0), problem["rows"]
    shapes = {
        "observations": problem["observation_dim"],
        "actions": problem["action_dim"],
        "rewards": 1,
        "next_observations": problem["observation_dim"],
    }
    data = {
        name: rng.uniform(-1, 1, (rows, width)).astype(np.float32)
        for name, width in shapes.items()
    }
    return data | {"terminals": np.zeros((rows, 1), np.float32)}


def d3rlpy_update(config: type, problem: dict) -> Update:
    """`update` on batches indexed from NumPy arrays, which is faster than its sampler.

    The networks' default is 256-256, Adam and 3e-4, as the benchmark's.
    """
    device = "cuda:0" if DEVICE == "cuda" else "cpu:0"
    algorithm = config(batch_size=problem["batch_size"]).create(device=device)
    algorithm.create_impl((problem["observation_dim"],), problem["action_dim"])
    data, rng = random_rows(problem), np.random.default_rng(1)
    intervals = np.ones((problem["batch_size"], 1), np.float32)

    def run(count: int) -> None:
        for _ in range(count):
            rows = rng.integers(problem["rows"], size=problem["batch_size"])
            drawn = {name: values[rows] for name, values in data.items()}
            algorithm.update(
                TransitionMiniBatch(
                    **drawn,
                    next_actions=drawn["actions"],
                    intervals=intervals,
                    transitions=(),
                )
            )

    return run


class Shape(gymnasium.Env):
    """An environment's spaces, which is all that is asked of it."""

    def __init__(self, problem: dict):
        self.observation_space = gymnasium.spaces.Box(
            -1, 1, (problem["observation_dim"],), np.float32
        )
        self.action_space = gymnasium.spaces.Box(
            -1, 1, (problem["action_dim"],), np.float32
        )


def stable_baselines_update(algorithm: type, problem: dict) -> Update:
    """`train` of Stable-Baselines3 or of SBX, from its own filled replay buffer."""
    model = algorithm(
        "MlpPolicy",
        Shape(problem),
        learning_rate=3e-4,
        buffer_size=problem["rows"],
        batch_size=problem["batch_size"],
        policy_kwargs={"net_arch": list(problem["hidden_dims"])},
        device=DEVICE,
    )
    model.set_logger(Logger(None, []))
    for row in zip(*random_rows(problem).values(), strict=True):
        observation, action, reward, next_observation, done = row
        model.replay_buffer.add(
            observation, next_observation, action, reward, done, [{}]
        )
    return lambda count: model.train(count, problem["batch_size"])


def torch_update(problem: dict, *, robust: bool = False, pair: bool = False) -> Update:
    """IQL as lean as PyTorch allows without its compiler, in the order of PEX's code:
    V, then the critics and their targets, then the policy.

    Args:
      problem: sizes.
      robust: RIQL's five critics, quantile and Huber loss instead of IQL's.
      pair: the policy learns from what PEX picks between it and a frozen one.
    """

    def network(width: int, out: int) -> nn.Module:
        layers = []
        for hidden in problem["hidden_dims"]:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, out)).to(DEVICE)

    def adam(*modules: nn.Module) -> torch.optim.Adam:
        parameters = [p for module in modules for p in module.parameters()]
        return torch.optim.Adam(parameters, lr=3e-4, fused=True)

    def step(optimizer: torch.optim.Adam, loss: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    observation_dim, action_dim = problem["observation_dim"], problem["action_dim"]
    value, actor = network(observation_dim, 1), network(observation_dim, action_dim)
    log_std = nn.Parameter(torch.zeros(action_dim, device=DEVICE))
    pretrained = network(observation_dim, action_dim)
    critics, targets = (
        [network(observation_dim + action_dim, 1) for _ in range(5 if robust else 2)]
        for _ in range(2)
    )
    online = [p for critic in critics for p in critic.parameters()]
    slow = [p for critic in targets for p in critic.parameters()]
    value_optimizer, critic_optimizer = adam(value), adam(*critics)
    actor_optimizer = adam(actor)
    actor_optimizer.add_param_group({"params": [log_std]})
    data = {k: torch.tensor(v).to(DEVICE) for k, v in random_rows(problem).items()}

    def lowest(networks: list[nn.Module], pairs: torch.Tensor) -> torch.Tensor:
        q = torch.stack([critic(pairs) for critic in networks])
        return q.quantile(0.1, dim=0) if robust else q.amin(0)

    def picked(
        observations: torch.Tensor, policy: torch.distributions.Normal
    ) -> torch.Tensor:
        """Actions [batch, action_dim], by the values of both policies' proposals."""
        proposals = (pretrained(observations).tanh(), policy.sample())
        q = [lowest(critics, torch.cat([observations, a], -1)) for a in proposals]
        logits = 3.0 * torch.cat(q, -1)
        choice = torch.distributions.Categorical(logits=logits, validate_args=False)
        return torch.where(choice.sample()[:, None] == 0, *proposals)

    def update() -> None:
        rows = torch.randint(problem["rows"], (problem["batch_size"],), device=DEVICE)
        batch = {name: values[rows] for name, values in data.items()}
        observations, actions = batch["observations"], batch["actions"]
        pairs = torch.cat([observations, actions], -1)
        with torch.no_grad():
            target_q = lowest(targets, pairs)
            next_v = value(batch["next_observations"])
            y = batch["rewards"] + 0.99 * (1 - batch["terminals"]) * next_v
        advantage = target_q - value(observations)
        expectile = torch.where(advantage > 0, 0.7, 0.3)
        step(value_optimizer, (expectile * advantage.square()).mean())
        error = nn.functional.huber_loss if robust else nn.functional.mse_loss
        y = y.clamp(-100, 1000) if robust else y
        step(critic_optimizer, sum(error(critic(pairs), y) for critic in critics))
        policy = torch.distributions.Normal(
            actor(observations).tanh(),
            log_std.clamp(-5, 2).exp(),
            validate_args=False,
        )
        with torch.no_grad():
            torch._foreach_lerp_(slow, online, 0.005)
            if pair:
                actions = picked(observations, policy)
                new_pairs = torch.cat([observations, actions], -1)
                advantage = lowest(targets, new_pairs) - value(observations)
            weight = (3.0 * advantage).exp().clamp(max=100.0).squeeze(-1)
        log_prob = policy.log_prob(actions).sum(-1)
        step(actor_optimizer, -(weight * log_prob).mean())

    def run(count: int) -> None:
        for _ in range(count):
            update()

    return run


def make_peers(problem: dict) -> dict[str, tuple[str, Update]]:
    """Name -> (the agent that it is, its updates); an update is a critic's."""
    return {
        "PyTorch IQL": ("iql", torch_update(problem)),
        "PyTorch RIQL": ("riql", torch_update(problem, robust=True)),
        "PyTorch PEX": ("pex", torch_update(problem, pair=True)),
        "d3rlpy IQL": ("iql", d3rlpy_update(d3rlpy.algos.IQLConfig, problem)),
        "d3rlpy SAC": ("sac", d3rlpy_update(d3rlpy.algos.SACConfig, problem)),
        "SB3 SAC": ("sac", stable_baselines_update(stable_baselines3.SAC, problem)),
        "SBX SAC": ("sac", stable_baselines_update(sbx.SAC, problem)),
        "d3rlpy TD3+BC": (
            "td3",
            d3rlpy_update(d3rlpy.algos.TD3PlusBCConfig, problem),
        ),
        "SB3 TD3": ("td3", stable_baselines_update(stable_baselines3.TD3, problem)),
        "SBX TD3": ("td3", stable_baselines_update(sbx.TD3, problem)),
    }


def main() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    peers = make_peers(json.loads(sys.argv[1]))
    packages = ("torch", "d3rlpy", "stable-baselines3", "sbx-rl", "jax")
    greeting = {
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "agents": {name: agent for name, (agent, _) in peers.items()},
    }
    print(json.dumps(greeting), file=ANSWERS, flush=True)
    for line in sys.stdin:
        name, count = line.rsplit(maxsplit=1)
        peers[name][1](int(count))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        print(file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
