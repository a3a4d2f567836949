"""The paper's claims R1 to R12, each judged in one environment by a stated rule.

In the rules, "clearly" means by more than two standard errors over runs, of the
difference of independent means: sqrt(SE_a^2 + SE_b^2).

Source of the claims: arXiv 2510.13358, sections 5.2 and 5.3, appendices C to E. The
rules are ours.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from experiments.reports.adversarial_columns import (
    ADAPTIVE,
    ADVERSARIAL,
    BC,
    FULLY_ONLINE,
    LINEAR,
    NORMAL,
    OFFLINE,
    PGD,
    RANDOM,
    SAC,
    SHARES,
    at_third,
)
from experiments.study_results import Column, Study, curve, sample
from rpex_jax.results import Summary


class Verdict(NamedTuple):
    """What became of a claim in one environment."""

    holds: bool | None  # None: not tested
    numbers: str  # that decided, or what is missing

    def __str__(self) -> str:
        names = {True: "holds", False: "does not", None: "not tested at this budget"}
        return f"**{names[self.holds]}**: {self.numbers}"


class Missing(ValueError):
    """What a rule needs and the study has not."""


def judge(claim: Callable[[Study], Verdict], study: Study) -> Verdict:
    """The verdict on a claim; not tested where anything is missing."""
    try:
        return claim(study)
    except Missing as missing:
        return Verdict(None, str(missing))


def score(study: Study, column: Column, condition: str) -> Summary:
    """Of all runs of a column.

    Raises:
      Missing: not all are there, or one has failed, or there is only one.
    """
    found = sample(study, column, condition)
    count = len(found.runs) if found else 0
    if not found or count < found.expected:
        expected = len(study.config["sweep"]["seed"])
        raise Missing(
            f"{column.name} under {condition}: {count} of {expected} runs got there"
        )
    if count < 2:
        raise Missing(f"{column.name}: one run has no standard error")
    if math.isnan(found.summary.mean):  # below nothing, and nothing below it
        raise Missing(f"{column.name} under {condition}: a run has failed")
    return found.summary


def clearly_below(a: Summary, b: Summary) -> bool:
    """Whether a is lower than b by more than two standard errors."""
    error = math.hypot(a.standard_error, b.standard_error)
    return b.mean - a.mean > 2 * error


def part(share: float, of: Summary) -> Summary:
    """A share of a score."""
    return Summary(share * of.mean, share * of.standard_error, of.count)


def numbers(**summaries: Summary) -> str:
    """'fixed 81.2 ± 1.0, linear 60.3 ± 2.1'."""
    return ", ".join(
        f"{name.replace('_', ' ')} {s.mean:.1f} ± {s.standard_error:.1f}"
        for name, s in summaries.items()
    )


def task_of(study: Study) -> str:
    """'Hopper' of 'Hopper-v4'."""
    return study.env.split("-")[0]


def r1(study: Study) -> Verdict:
    """Offline policies collapse under adversarial perturbation.

    Rule: the adversarial score of the pretrained policy is clearly below half of its
    normal score.
    """
    normal = score(study, OFFLINE, "normal")
    attacked = score(study, OFFLINE, "adversarial")
    holds = clearly_below(attacked, part(0.5, normal))
    return Verdict(holds, numbers(normal=normal, adversarial=attacked))


def r2(study: Study) -> Verdict:
    """Adversarial fine-tuning beats offline and fully online training under attack.

    Rule: both adversarial scores are clearly below that of adversarial fine-tuning.
    """
    tuned = score(study, ADVERSARIAL, "adversarial")
    offline = score(study, OFFLINE, "adversarial")
    online = score(study, FULLY_ONLINE, "adversarial")
    holds = clearly_below(offline, tuned) and clearly_below(online, tuned)
    found = numbers(fine_tuned=tuned, offline=offline, fully_online=online)
    return Verdict(holds, found)


def r3(study: Study) -> Verdict:
    """Fine-tuning under normal conditions stays brittle.

    Rule: its adversarial score is clearly below half of its normal score.
    """
    normal = score(study, NORMAL, "normal")
    attacked = score(study, NORMAL, "adversarial")
    holds = clearly_below(attacked, part(0.5, normal))
    return Verdict(holds, numbers(normal=normal, adversarial=attacked))


def r4(study: Study) -> Verdict:
    """Adversarially tuned policies keep substantial score under random perturbation.

    Rule: half of the pretrained policy's normal score is clearly below their random
    score.
    """
    offline = score(study, OFFLINE, "normal")
    hit = score(study, ADVERSARIAL, "random")
    holds = clearly_below(part(0.5, offline), hit)
    return Verdict(holds, numbers(random=hit, offline_normal=offline))


def r5(study: Study) -> Verdict:
    """The best score is where fine-tuning and evaluation conditions match.

    Rule: under each condition, the fine-tuning that matches is clearly below neither of
    the other two, and the lowest of them is clearly below it.
    """
    tunings = {"normal": NORMAL, "random": RANDOM, "adversarial": ADVERSARIAL}
    holds, found = True, []
    for condition, matching in tunings.items():
        of_all = {name: score(study, c, condition) for name, c in tunings.items()}
        match = score(study, matching, condition)
        lowest = min(of_all.values(), key=lambda summary: summary.mean)
        holds &= clearly_below(lowest, match)
        holds &= not any(clearly_below(match, other) for other in of_all.values())
        means = ", ".join(f"{name} {s.mean:.1f}" for name, s in of_all.items())
        found.append(f"under {condition}: {means}")
    return Verdict(holds, "; ".join(found))


def r6(study: Study) -> Verdict:
    """Adversarial fine-tuning drops early, and recovers faster than from scratch.

    Rule: its normal score falls clearly below 90 % of the pretrained policy's, comes
    back to it, and does so in fewer steps than fully online training needs.
    """
    for column in (ADVERSARIAL, FULLY_ONLINE):  # both finished
        score(study, column, "normal")
    goal = part(0.9, score(study, OFFLINE, "normal"))
    steps, values = curve(study, ADVERSARIAL, "normal")
    drops = [i for i, value in enumerate(values) if clearly_below(value, goal)]
    if not drops:
        return Verdict(False, f"no drop below {goal.mean:.1f} at any evaluation")
    first = drops[0]
    recovered = _reaches(steps[first:], values[first:], goal.mean)
    learned = _reaches(*curve(study, FULLY_ONLINE, "normal"), goal.mean)
    found = (
        f"{values[first].mean:.1f} at step {steps[first]:,}; {goal.mean:.1f} again at "
        f"{recovered:,}, from scratch at {learned:,}"
    ).replace("at inf", "never")
    return Verdict(recovered < learned, found)


def _reaches(steps: Sequence[int], values: list[Summary], level: float) -> float:
    """The first step whose mean score is at least `level`; infinity if none is."""
    reached = [int(s) for s, v in zip(steps, values, strict=True) if v.mean >= level]
    return reached[0] if reached else math.inf


def r7(study: Study) -> Verdict:
    """Early on, linear is behind in Hopper and Ant, and adaptive is ahead of it.

    Rule: adversarial scores at a third of the budget. Linear is clearly below fixed (in
    HalfCheetah: neither is clearly below the other), and clearly below adaptive.
    """
    fixed, linear, adaptive = (
        score(study, at_third(column, 1), "adversarial")
        for column in (ADVERSARIAL, LINEAR, ADAPTIVE)
    )
    behind = clearly_below(linear, fixed)
    if task_of(study) == "HalfCheetah":
        behind = not behind and not clearly_below(fixed, linear)
    found = numbers(fixed=fixed, linear=linear, adaptive=adaptive)
    return Verdict(behind and clearly_below(linear, adaptive), found)


def r8(study: Study) -> Verdict:
    """In the end linear has lost normal score, and adaptive has not.

    Rule: from a third to the whole budget. Linear's normal score falls clearly,
    adaptive's does not. In Ant also: linear's adversarial score rises clearly, and
    adaptive's is not clearly below it.
    """
    early, late = (
        {
            name: score(study, at_third(column, third), "normal")
            for name, column in (("linear", LINEAR), ("adaptive", ADAPTIVE))
        }
        for third in (1, 3)
    )
    holds = clearly_below(late["linear"], early["linear"])
    holds &= not clearly_below(late["adaptive"], early["adaptive"])
    if task_of(study) == "Ant":
        before = score(study, at_third(LINEAR, 1), "adversarial")
        after = score(study, at_third(LINEAR, 3), "adversarial")
        adaptive = score(study, at_third(ADAPTIVE, 3), "adversarial")
        holds &= clearly_below(before, after) and not clearly_below(adaptive, after)
    found = "; ".join(
        f"{name} normal {early[name].mean:.1f} -> {late[name].mean:.1f} ± "
        f"{late[name].standard_error:.1f}"
        for name in early
    )
    return Verdict(holds, found)


def r9(study: Study) -> Verdict:
    """Little offline data helps Hopper; elsewhere more helps, up to a threshold.

    Rule: final adversarial scores. Hopper: all of the data is clearly below the best
    share of at most 0.1. Else: none is clearly below 0.5, and 0.5 and all do not differ
    clearly. That Hopper's curves fluctuate the most is for the eye.
    """
    of_shares = {s: score(study, c, "adversarial") for s, c in SHARES.items()}
    found = ", ".join(f"{s:g}: {v.mean:.1f}" for s, v in of_shares.items())
    none, half, all_data = (of_shares[share] for share in (0.0, 0.5, 1.0))
    if task_of(study) == "Hopper":
        little = [v for share, v in of_shares.items() if share <= 0.1]
        best = max(little, key=lambda summary: summary.mean)
        return Verdict(clearly_below(all_data, best), found)
    flat = not clearly_below(half, all_data) and not clearly_below(all_data, half)
    return Verdict(clearly_below(none, half) and flat, found)


def r10(study: Study) -> Verdict:
    """Keeping the cloning term slows learning and ends slightly lower.

    Rule: adversarial scores. The mean over all evaluations is lower with the term, and
    the last one is clearly below the last without.
    """
    kept, dropped = (score(study, BC[weight], "adversarial") for weight in (1.0, 0.0))
    mean_kept, mean_dropped = (
        sum(v.mean for v in values) / len(values)
        for _, values in (curve(study, BC[weight], "adversarial") for weight in (1, 0))
    )
    found = f"{numbers(kept=kept, dropped=dropped)}; over training "
    found += f"{mean_kept:.1f} and {mean_dropped:.1f}"
    return Verdict(mean_kept < mean_dropped and clearly_below(kept, dropped), found)


def r11(study: Study) -> Verdict:
    """IQL, then SAC, gains in the same way, and keeps its normal score.

    Rule: the pretrained policy's adversarial score is clearly below that of the end;
    the normal score at the end is not clearly below the pretrained policy's (in Hopper:
    not clearly below 80 % of it). IQL's start against TD3+BC's is not judged.
    """
    before, after = (score(study, c, "adversarial") for c in (OFFLINE, SAC))
    start, end = (score(study, c, "normal") for c in (OFFLINE, SAC))
    kept = 0.8 if task_of(study) == "Hopper" else 1.0
    holds = clearly_below(before, after) and not clearly_below(end, part(kept, start))
    found = f"adversarial {before.mean:.1f} -> {after.mean:.1f} ± "
    found += f"{after.standard_error:.1f}; normal {start.mean:.1f} -> {end.mean:.1f} ± "
    return Verdict(holds, f"{found}{end.standard_error:.1f}")


def r12(study: Study) -> Verdict:
    """Each attack is met best by training with it; PGD costs more normal score.

    Rule: final scores. PGD training is clearly below static-set training under the
    static attack and under normal conditions, and clearly above it under PGD.
    """
    conditions = ("adversarial", "pgd", "normal")
    static = {c: score(study, ADAPTIVE, c) for c in conditions}
    stepwise = {c: score(study, PGD, c) for c in conditions}
    holds = clearly_below(static["pgd"], stepwise["pgd"])
    for condition in ("adversarial", "normal"):
        holds &= clearly_below(stepwise[condition], static[condition])
    found = "; ".join(
        f"under {c}: static {static[c].mean:.1f}, PGD {stepwise[c].mean:.1f}"
        for c in conditions
    )
    return Verdict(holds, found)


CLAIMS = {
    claim.__name__.upper(): claim
    for claim in (r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12)
}
