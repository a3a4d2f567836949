"""The agents by name: one file, one paper, the same functions."""

from rpex_jax.agents import iql, riql, sac

AGENTS = {"iql": iql.AGENT, "riql": riql.AGENT, "sac": sac.AGENT}
CONFIGS = {"iql": iql.IQLConfig, "riql": riql.RIQLConfig, "sac": sac.SACConfig}
