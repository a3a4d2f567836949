"""What the tables rest on: counts of operations, final returns, messages."""

import itertools
import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks import online_learning, peer_process, updates
from benchmarks.online_loops import Settings
from experiments import operations
from rpex_jax.types import Spec

SPEC = Spec(observation_dim=17, action_dim=6)


def layers(*widths: int) -> int:
    """Multiplications of a network for one row."""
    return sum(a * b for a, b in itertools.pairwise(widths))


def test_operations_of_iql_by_hand():
    value, critic = layers(17, 256, 256, 1), layers(23, 256, 256, 1)
    actor = layers(17, 256, 256, 6)
    # a gradient needs every product twice more, but for the inputs of the first layer
    products = 2 * critic + value  # targets, V of the next state
    products += 3 * value - 17 * 256
    products += 2 * (3 * critic - 23 * 256)
    products += 3 * actor - 17 * 256
    expected = 2 * 256 * products
    assert operations.flops_per_update(*updates.LEARNERS["iql"], SPEC, 256) == expected


def test_operations_of_a_loop_count_each_pass():
    def program(x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ c), None), x, None, 5)[0]

    jaxpr = jax.make_jaxpr(program)(jnp.zeros((3, 3))).jaxpr
    assert operations.matmul_flops(jaxpr) == 5 * 2 * 3**3


def test_final_return_is_the_mean_of_the_last_three_evaluations(tmp_path):
    budget = online_learning.BUDGETS["Hopper-v5"]
    settings = Settings("rpex_jax", "sac", "Hopper-v5", *budget)

    def learn(settings):
        for seed in settings.seeds:
            for step, value in enumerate([0.0, 1.0, 2.0, 3.0]):
                mean_value = value + 10 * seed
                returns = [mean_value - 1, mean_value + 1]
                yield {"seed": seed, "step": step, "returns": returns, "seconds": 0.0}

    online_learning.run_cell(tmp_path, settings, learn)
    cells = online_learning.read_cells(tmp_path)
    # 2, 12 and 22: their deviation is 10, over the root of 3
    assert online_learning.final(cells["sac", "Hopper-v5", "rpex_jax"]) == "12 ± 6"
    assert "| sac | Hopper-v5 | 30000 | 12 ± 6 | sbx | - |" in (
        online_learning.return_table(cells)
    )


def test_a_cell_that_is_done_is_not_trained_again(tmp_path):
    settings = Settings("sbx", "sac", "Hopper-v5", 10, 5, 5)
    (tmp_path / f"{settings.name}.jsonl").write_text(json.dumps({}) + "\n")
    online_learning.run_cell(tmp_path, settings, lambda _: pytest.fail("trained"))


def test_without_peers_it_is_said_how_to_get_them(capsys):
    assert peer_process.find_peers(None) is None
    assert "make peers" in capsys.readouterr().out
