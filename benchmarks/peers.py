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


def torch_iql_update(problem: dict) -> Update:
    """IQL as lean as PyTorch allows without its compiler, in the order of PEX's code:
    V, then both critics and their targets, then the policy."""

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
    critics, targets = (
        [network(observation_dim + action_dim, 1) for _ in range(2)] for _ in range(2)
    )
    online = [p for critic in critics for p in critic.parameters()]
    slow = [p for critic in targets for p in critic.parameters()]
    value_optimizer, critic_optimizer = adam(value), adam(*critics)
    actor_optimizer = adam(actor)
    actor_optimizer.add_param_group({"params": [log_std]})
    data = {k: torch.tensor(v).to(DEVICE) for k, v in random_rows(problem).items()}

    def update() -> None:
        rows = torch.randint(problem["rows"], (problem["batch_size"],), device=DEVICE)
        batch = {name: values[rows] for name, values in data.items()}
        pairs = torch.cat([batch["observations"], batch["actions"]], -1)
        with torch.no_grad():
            target_q = torch.minimum(*(critic(pairs) for critic in targets))
            next_v = value(batch["next_observations"])
            y = batch["rewards"] + 0.99 * (1 - batch["terminals"]) * next_v
        advantage = target_q - value(batch["observations"])
        expectile = torch.where(advantage > 0, 0.7, 0.3)
        step(value_optimizer, (expectile * advantage.square()).mean())
        loss = sum((critic(pairs) - y).square().mean() for critic in critics)
        step(critic_optimizer, loss)
        with torch.no_grad():
            torch._foreach_lerp_(slow, online, 0.005)
            weight = (3.0 * advantage).exp().clamp(max=100.0).squeeze(-1)
        policy = torch.distributions.Normal(
            actor(batch["observations"]).tanh(),
            log_std.clamp(-5, 2).exp(),
            validate_args=False,
        )
        log_prob = policy.log_prob(batch["actions"]).sum(-1)
        step(actor_optimizer, -(weight * log_prob).mean())

    def run(count: int) -> None:
        for _ in range(count):
            update()

    return run


def make_peers(problem: dict) -> dict[str, tuple[str, Update]]:
    """Name -> (the agent that it is, its updates); an update is a critic's."""
    return {
        "PyTorch": ("iql", torch_iql_update(problem)),
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
