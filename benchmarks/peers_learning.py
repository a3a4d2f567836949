"""Online learning with a peer's own loop, for `benchmarks.online_learning`.

Runs in the peers' interpreter, which has no rpex_jax, as `peers_learning.py SETTINGS`:
JSON with the fields of `online_learning.Settings`. Prints one JSON row an evaluation.
"""

import importlib
import json
import sys
import time

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise


class Evaluation(BaseCallback):
    """Whole greedy episodes every `evaluate_every` steps, outside the training time."""

    def __init__(self, settings: dict, seed: int):
        super().__init__()
        self.settings, self.seed = settings, seed
        self.episodes = settings["episodes"]
        self.envs = make_vec_env(settings["env"], self.episodes, 1_000_000 + seed)

    def _on_training_start(self) -> None:
        self.start = time.perf_counter()

    def _on_step(self) -> bool:
        # This step's update comes after the callback; the row is one update early.
        if self.num_timesteps % self.settings["evaluate_every"] == 0:
            seconds = time.perf_counter() - self.start
            returns, _ = evaluate_policy(
                self.model, self.envs, self.episodes, return_episode_rewards=True
            )
            row = {
                "seed": self.seed,
                "step": self.num_timesteps,
                "returns": [float(value) for value in returns],
                "seconds": seconds,
            }
            print(json.dumps(row), flush=True)
            self.start = time.perf_counter() - seconds
        return True


def train(settings: dict, seed: int) -> None:
    """One run; what the libraries would set otherwise is passed."""
    library = importlib.import_module(settings["library"])
    env = gymnasium.make(settings["env"])
    extra = {}
    if settings["algorithm"] == "td3":
        deviation = np.full(env.action_space.shape, settings["exploration_noise"])
        extra["action_noise"] = NormalActionNoise(np.zeros_like(deviation), deviation)
    model = getattr(library, settings["algorithm"].upper())(
        "MlpPolicy",
        env,
        learning_rate=settings["learning_rate"],
        buffer_size=settings["steps"],
        learning_starts=settings["warmup"],
        batch_size=settings["batch_size"],
        tau=settings["target_update_rate"],
        gamma=settings["discount"],
        train_freq=1,
        gradient_steps=1,
        policy_kwargs={"net_arch": list(settings["hidden_dims"])},
        seed=seed,
        device="cpu",
        **extra,
    )
    model.learn(settings["steps"], callback=Evaluation(settings, seed))


if __name__ == "__main__":
    SETTINGS = json.loads(sys.argv[1])
    for SEED in SETTINGS["seeds"]:
        train(SETTINGS, SEED)
