"""What a study tells its runs: every number that their programs take as input."""

from typing import Any

from ml_collections import ConfigDict

from experiments import study_inputs
from experiments.corruptions import corruption_of
from experiments.perturbations import perturbation
from experiments.study import Run
from rpex_jax.agents import CONFIGS
from rpex_jax.attacks.corruption import corruption
from rpex_jax.behavior_transfer import BTConfig
from rpex_jax.data.balanced_replay import BalanceConfig
from rpex_jax.expansion import ExpansionConfig
from rpex_jax.jsrl import JSRLConfig
from rpex_jax.methods import METHODS
from rpex_jax.training.run import RunConfig
from rpex_jax.value_mix import ValueMixConfig


def offline_run(run: Run) -> RunConfig:
    """What the pretraining that a run starts from is told.

    It holds nothing of the method, so methods that share it have equal ones.
    """
    config = run.config
    damage = corruption_of(config, run.labels["corruption"], "offline")
    agent = agent_config(
        config,
        run.labels["base"],
        actor_decay_steps=config.offline.actor_decay * config.offline.steps,
        bc_weight=config.offline.bc_weight,
    )
    nothing = corruption(())
    seed = run.pretraining["seed"]
    return RunConfig(
        seed=seed,
        agent=agent,
        offline_corruption=damage,
        online_corruption=nothing,
        corrupt_again=0,
        pretraining_seed=seed,
        standardise=config.offline.standardise,
    )


def online_run(run: Run) -> RunConfig:
    """What a run is told online."""
    config, method = run.config, METHODS[run.labels["method"]]
    base, name = run.labels["base"], run.labels["corruption"]
    phase = {"align": config.online.align, "bc_weight": config.online.bc_weight}
    if method.becomes:  # in the pretrained networks
        phase |= {
            name: config.agent[base][name] for name in ("hidden_dims", "num_critics")
        }
        phase["initial_temperature"] = config.online.initial_temperature
    agent = agent_config(config, method.becomes or base, **phase)
    if method.expands:
        kappa = config.expansion.kappa if method.corrects else 0.0
        spread = {"own": 0.0, "online": 1.0}[config.expansion.frozen_spread]
        agent = ExpansionConfig(
            base=agent,
            inv_temperature=config.expansion.inv_temperature,
            kappa=kappa,
            epsilon=config.expansion.epsilon,
            temperature_rate=config.expansion.temperature_rate,
            target_entropy=config.expansion.target_entropy,
            density_floor=config.expansion.density_floor,
            lowest_weight=config.expansion.lowest_weight,
            highest_weight=config.expansion.highest_weight,
            online_spread=1.0 if method.released else spread,
            ipw_form=config.expansion.ipw_form,
            offline_action=config.expansion.offline_action,
        )
    if method.mixes:
        agent = ValueMixConfig(agent, config.mix.weight)
    if method.guided:
        agent = {"jsrl": jsrl_config, "bt": bt_config}[method.guided](config, agent)
    return RunConfig(
        seed=run.labels["seed"],
        agent=agent,
        perturbation=perturbation(config),
        balance=balance_config(config) if method.balances else None,
        offline_corruption=corruption_of(config, name, "offline"),
        online_corruption=corruption_of(config, name, "online"),
        corrupt_again=config.online.corrupt_again,
        pretraining_seed=run.pretraining["seed"],
        standardise=config.offline.standardise,
    )


def agent_config(config: ConfigDict, name: str, **phase: float) -> Any:
    """The config of one agent; of what the phase decides, it takes what it has."""
    fields = CONFIGS[name].__dataclass_fields__
    own = {key: value for key, value in phase.items() if key in fields}
    return CONFIGS[name](**config.agent[name].to_dict() | own)


def jsrl_config(config: ConfigDict, learner: Any) -> JSRLConfig:
    """A schedule of the guide's horizon, as numbers."""
    jsrl = config.jsrl
    numbers: dict[str, float] = {
        "curriculum": {"num_stages": float(jsrl.num_stages)},
        "linear": {"decay_steps": jsrl.decay * config.online.steps},
        "random": {"randomness": 1.0},
    }[jsrl.schedule]
    return JSRLConfig(
        learner,
        horizon=jsrl.horizon or float(study_inputs.make_env(config).time_limit),
        tolerance=jsrl.tolerance,
        window=jsrl.window,
        **numbers,
    )


def bt_config(config: ConfigDict, learner: Any) -> BTConfig:
    """How often and how long the pretrained policy takes over."""
    return BTConfig(learner, config.bt.flight_probability, config.bt.exponent)


def balance_config(config: ConfigDict) -> BalanceConfig:
    """The share of the first batches is reached with the rows of the warm-up."""
    return BalanceConfig(
        temperature=config.balance.temperature,
        learning_rate=config.balance.learning_rate,
        online_share=config.balance.online_share,
        first_rows=float(config.online.warmup),
    )
