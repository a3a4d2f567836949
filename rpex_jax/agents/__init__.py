"""The agents by name: one file, one paper, the same functions."""

from rpex_jax.agents import awac, cql, cql_ensemble, edac, iql, riql, sac, td3

AGENTS = {
    "iql": iql.AGENT,
    "riql": riql.AGENT,
    "awac": awac.AGENT,
    "td3": td3.AGENT,
    "sac": sac.AGENT,
    "edac": edac.AGENT,
    "cql": cql.AGENT,
    "cql_ensemble": cql_ensemble.AGENT,
}
CONFIGS = {
    "iql": iql.IQLConfig,
    "riql": riql.RIQLConfig,
    "awac": awac.AWACConfig,
    "td3": td3.TD3Config,
    "sac": sac.SACConfig,
    "edac": edac.EDACConfig,
    "cql": cql.CQLConfig,
    "cql_ensemble": cql_ensemble.CQLEnsembleConfig,
}
