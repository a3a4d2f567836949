"""Every setting there is, with the papers' values; a study changes what it needs.

A study's `get_config()` calls `default_config()`, edits and returns it locked.
"""

import dataclasses

from ml_collections import ConfigDict

from rpex_jax.agents import AGENTS, CONFIGS
from rpex_jax.attacks.corruption import ELEMENTS

# What is hit offline, online. Source: RPEX section 7 and appendix C; TRACER Table 1.
CORRUPTIONS = (
    {"clean": ((), ())}
    | {element: ((element,), (element,)) for element in ELEMENTS}
    | {
        f"adversarial-{element}": ((f"adversarial {element}",),) * 2
        for element in ELEMENTS
    }
    | {
        "mixed": (("dynamics",), ("dynamics", "reward")),
        "online-adversarial-dynamics": (("dynamics",), ("adversarial dynamics",)),
        "all": (ELEMENTS, ELEMENTS),
    }
)
SETTINGS = {
    "observation": ("online.align=1.0",),
    "action": ("online.updates_per_step=4",),
    "adversarial-observation": ("online.align=1.0",),
    "adversarial-action": ("online.updates_per_step=4",),
    "mixed": ("expansion.kappa=0.3", "expansion.inv_temperature=10.0"),
}

# Set by the phase that trains, not by the user.
SET_BY_PHASE = ("actor_decay_steps", "align", "bc_weight")


def agent_defaults(name: str) -> ConfigDict:
    """The numbers and sizes of one base agent."""
    fields = dataclasses.asdict(CONFIGS[name]())
    return ConfigDict({k: v for k, v in fields.items() if k not in SET_BY_PHASE})


def default_config() -> ConfigDict:
    """The protocol of RPEX, arXiv 2509.24748, Table C.1; not locked yet."""
    config = ConfigDict()
    config.note = ""  # printed first; say here if a budget is not the paper's
    config.study = ""  # "table1", ...: what the report draws; empty: a comparison
    config.env = "Hopper-v4"  # one of ours, or any Gymnasium id
    config.engine = ""  # "mujoco", "mjx", "warp", "gymnasium"; empty: by the device

    config.data = ConfigDict()
    config.data.source = "hopper-medium-replay"  # file, folder, Minari id or built-in
    config.data.action_range = ()  # (low, high) if the file's is not [-1, 1]
    config.data.drop_observation_columns = ()
    # Learned rewards are scale * r + shift; scores stay raw. A scale of 0 is IQL's
    # 1000 / (highest - lowest return of the data). For AntMaze the papers shift by -1.
    config.data.reward_scale = 1.0
    config.data.reward_shift = 0.0

    # The grid: every combination of these, and of "key=value,value" in `axes`.
    config.sweep = ConfigDict()
    config.sweep.base = ("iql", "riql")
    config.sweep.method = ("direct", "pex", "rpex", "rpex-released")
    config.sweep.corruption = ("clean", *ELEMENTS)
    config.sweep.seed = (0, 1, 2, 3, 4)
    config.sweep.axes = ()
    config.sweep.skip = ()  # "method=scratch perturbation.kind=random": no such runs

    # What each corruption of the grid hits in each phase, at the phase's rate and scale
    # unless it says "dynamics rate=0.3 scale=2", and "key=value" where it needs other
    # settings than the rest.
    config.corruptions = ConfigDict()
    for name, (offline, online) in CORRUPTIONS.items():
        config.corruptions[name] = ConfigDict(
            {"offline": offline, "online": online, "settings": SETTINGS.get(name, ())}
        )
    config.attacker = ""  # folder of an EDAC agent; where something is adversarial

    config.agent = ConfigDict({name: agent_defaults(name) for name in AGENTS})

    config.expansion = ConfigDict()
    config.expansion.inv_temperature = 3.0  # RPEX lambda
    config.expansion.kappa = 0.1  # of rpex; pex has 0
    config.expansion.density_floor = 1e-6  # of the density that divides in w
    config.expansion.lowest_weight = -1e4  # w is clipped
    config.expansion.highest_weight = 100.0
    # The frozen policies' densities have their "own" spread, as RPEX prints it, or the
    # "online" policy's, as its released code runs; rpex-released always has "online".
    config.expansion.frozen_spread = "own"
    config.expansion.epsilon = 0.0  # in evaluation; the released code has 0.1
    config.expansion.ipw_form = "logit"  # or "printed"
    config.expansion.offline_action = "mode"  # or "sample"
    config.expansion.online_policy = "fresh"  # or "copied"
    config.expansion.critic_transfer = "full"  # or "target": IQL-RPEX as released
    config.expansion.num_policies = 2  # K; all but one are frozen
    config.expansion.members = "snapshots"  # of pretraining, if K > 2; or "seeds"
    config.expansion.temperature_rate = 0.0  # how fast lambda adapts; 0: not at all
    config.expansion.target_entropy = 0.5  # that it adapts to; 1: all members alike

    config.mix = ConfigDict()  # of the method of that name
    config.mix.weight = 0.5  # of the pretrained value functions

    config.jsrl = ConfigDict()  # of the method of that name; how long the guide acts
    config.jsrl.schedule = "curriculum"  # by returns; "linear", "random"
    config.jsrl.horizon = 0.0  # steps of an episode, at most; 0: its time limit
    config.jsrl.num_stages = 10  # of the curriculum, until it is 0
    config.jsrl.window = 50  # episodes of its mean return; the paper: 5 evaluations
    config.jsrl.tolerance = 0.05  # share of the best mean that may be missing
    config.jsrl.decay = 0.5  # of linear: share of the online steps until it is 0

    config.bt = ConfigDict()  # of the method of that name
    config.bt.flight_probability = 0.01  # that a step begins one; our choice
    config.bt.exponent = 2.0  # of the flights' lengths

    config.balance = ConfigDict()  # of off2on's replay
    config.balance.temperature = 5.0
    config.balance.learning_rate = 3e-4  # of the density ratio
    config.balance.online_share = 0.5  # of the first batches

    config.offline = ConfigDict()
    config.offline.steps = 2_000_000  # updates
    config.offline.chunk = 10_000  # updates between rows, checkpoints and evaluations
    config.offline.batch_size = 256
    config.offline.seed = -1  # of all runs' pretrainings; -1: of each run its own
    config.offline.standardise = 1  # observations, online too; 0: as they are
    config.offline.rate = 0.3  # share of rows hit
    config.offline.scale = 1.0  # of the damage, in deviations
    config.offline.bc_weight = 1.0  # td3's cloning term: TD3+BC
    # Of iql, riql: the policy's rate is a cosine that ends after so many times `steps`.
    config.offline.actor_decay = 1.0

    config.online = ConfigDict()
    config.online.steps = 1_000_000  # environment steps, warm-up included
    config.online.warmup = 5_000  # steps before the first update
    config.online.warmup_actions = "policy"  # or "uniform"
    config.online.chunk = 5_000  # steps between rows, checkpoints and evaluations
    config.online.batch_size = 256
    config.online.offline_ratio = 0.5  # share of the data set in a batch
    config.online.prefill = 0.0  # share of the data set in the replay at the start
    config.online.updates_per_step = 1  # UTD
    config.online.capacity = 1_000_000  # of the replay, at most `steps`
    config.online.rate = 0.5
    config.online.scale = 1.0
    config.online.align = 0.0  # policy weight: 0 AWR, 1 AlignIQL
    config.online.bc_weight = 0.0  # td3's cloning term: dropped
    config.online.initial_temperature = 0.1  # of the method sac, after pretraining
    config.online.corrupt_again = 0  # 0: online batches see pretraining's damage
    config.online.snapshots = ()  # steps after which the agents are kept for good

    # What is executed online (arXiv 2510.13358), and how often it is perturbed. Most of
    # these numbers are lost in the paper; they are our choice.
    config.perturbation = ConfigDict()
    config.perturbation.kind = "none"  # "random", "adversarial", "pgd"
    config.perturbation.bound = 0.3  # epsilon, in (0, 1]
    config.perturbation.attack_set = ""  # a file of them; empty: made here, per run

    config.curriculum = ConfigDict()  # a period is one chunk of online steps
    config.curriculum.kind = "fixed"  # "linear", "adaptive"
    config.curriculum.q = 0.5  # of fixed
    config.curriculum.q_max = 0.5  # of linear; 0: the study's adaptive runs decide
    config.curriculum.smoothing = 0.1  # alpha
    config.curriculum.step_size = 1.0  # eta
    config.curriculum.cap = 1.0  # of a period's adaptive change; 1 is none
    config.curriculum.episodes = 10  # of the evaluation that ends a period
    config.curriculum.condition = "mix"  # of it: "mix" is q; "normal", "adversarial"
    config.curriculum.score_range = ()  # returns that score 0 and 1; empty: D4RL's

    # Differential evolution against the pretrained policy, once to train with and once
    # to evaluate with.
    config.attack = ConfigDict()
    config.attack.searches = 10  # independent; each gives one member of the set
    config.attack.episodes = 1  # whose mean return is the fitness
    config.attack.population_size = 20
    config.attack.generations = 20
    config.attack.mutation_low = 0.5
    config.attack.mutation_high = 1.0
    config.attack.crossover = 0.7
    config.attack.strategy = "best1bin"  # "rand1bin"
    config.attack.outside = "edge"  # of the box, there it stops; "redraw" as in SciPy

    # Descent on the critic in every step, in training and in evaluation.
    config.pgd = ConfigDict()
    config.pgd.num_steps = 10
    config.pgd.step_size = 2.5  # in units of bound / num_steps

    config.evaluation = ConfigDict()
    # And "random", "adversarial", "pgd"; "pgd-own": at the evaluated policy's action.
    config.evaluation.conditions = ("normal",)
    config.evaluation.episodes = 10
    config.evaluation.every = 1  # chunks; the last chunk is always evaluated
    return config
