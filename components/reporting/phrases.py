"""What a verdict and a retraining say, in words: the answer in sentences, and numbers as people write them."""

from components.data.drift import FEWEST_ROWS, Drift
from components.data.retraining import Retraining
from components.evaluation.verdict import ArmEffect, Finding, Harm, Interaction, TestScores, Verdict
from components.formatting import in_words
from components.runtime.cells import Diagnosis
from components.stats.learning_curve import LearningCurve
from components.stats.metrics import METRICS
from components.stats.paired_effects import ALPHA, Estimate

MOST_HARMS = 3  # that the answer tells; the others are in the table of harms
MOST_DRIFTED = 3  # values, in a sentence
MOST_DATA = 100  # times as much: a learning curve tells nothing so far out


def sentence(verdict: Verdict) -> str:
    """Return the answer."""
    return " ".join(sentences(verdict))


def sentences(verdict: Verdict) -> list[str]:
    """Return the answer in plain sentences: what was found, what was ruled out, and what is not known."""
    if not verdict.effects:
        return [_without_arms(verdict)]
    by_verdict: dict[str, list[ArmEffect]] = {}
    for effect in verdict.ranked:
        by_verdict.setdefault(effect.verdict, []).append(effect)
    parts = [f"{_with_amounts(by_verdict[word], verdict)} {word}." for word in ("helped", "hurt") if word in by_verdict]
    parts += disagreements(verdict)
    if same := by_verdict.get("no difference"):
        parts.append(
            f"{in_words([e.technique for e in same])} {_make(same)} no difference that matters{_limit(verdict)}."
        )
    if not parts:
        parts.append(f"Nothing is decided with {seeds_as_text(verdict.seeds)}.")
    if leaning := by_verdict.get("leans"):
        parts.append(f"{in_words([_leaning(e) for e in leaning])}: {_chances(leaning, seeds_in_view(verdict))}.")
    if unknown := by_verdict.get("unknown"):
        parts.append(f"Not known: {in_words([f'{e.technique}{between(e, verdict.decided_by)}' for e in unknown])}.")
    parts += failures(verdict)
    if verdict.cheaper:
        saved = f"{100 * verdict.cheaper.saves:.0f} % less time to train"
        parts.append(f"{verdict.cheaper.arm} takes {saved} and makes no difference that matters.")
    if verdict.harms:
        parts.append(f"It hurts some classes: {in_words([harm_as_text(harm) for harm in verdict.harms[:MOST_HARMS]])}.")
    if verdict.curve:
        parts.append(twice_the_data(verdict.curve, verdict.metric))
    return [part[0].upper() + part[1:] for part in parts]


def _with_amounts(effects: list[ArmEffect], verdict: Verdict) -> str:
    """Return techniques with what they bring to the metric that people read, which is named once."""
    metric = METRICS[verdict.metric]
    found = [f"{e.technique} ({number(verdict.on(verdict.metric, e).effect, verdict.metric)}" for e in effects]
    found[0] += f" {metric.unit} of {metric.title}".replace("  ", " ")
    return in_words([f"{of})" for of in found])


def _make(effects: list[ArmEffect]) -> str:
    return "makes" if len(effects) == 1 else "make"


def _limit(verdict: Verdict) -> str:
    """Return what matters, in brackets: ` (less than 1 point of Brier score)`."""
    metric = METRICS[verdict.decided_by]
    if not metric.unit:
        return f" (less than {verdict.matters:.3g} of {metric.title})"
    return f" (less than {100 * verdict.matters:g} point{'s' if verdict.matters != 0.01 else ''} of {metric.title})"


def _leaning(effect: ArmEffect) -> str:
    return f"{effect.technique} leans to {'help' if effect.effect > 0 else 'hurt'}"


def seeds_in_view(verdict: Verdict) -> int:
    """Return the number of further seeds that the chances to decide are about."""
    planned = verdict.planned or 0
    return planned - verdict.seeds if planned > verdict.seeds else verdict.seeds


def _chances(effects: list[ArmEffect], seeds: int) -> str:
    listed = in_words([chance(effect.chance or 0.0) for effect in effects])
    return f"{seeds} more seeds have a chance of {listed} to decide"


def disagreements(verdict: Verdict) -> list[str]:
    """Return of each technique that is decided where the metric that people read says the opposite, a sentence each."""
    if verdict.metric == verdict.decided_by:
        return []
    found = []
    for effect in verdict.ranked:
        on_metric = verdict.on(verdict.metric, effect)
        if effect.verdict in ("helped", "hurt") and effect.effect * on_metric.effect < 0:
            decider, metric = METRICS[verdict.decided_by].title, METRICS[verdict.metric].title
            by = amount(effect.effect, verdict.decided_by)
            opposite = f"{metric} says the opposite{between(on_metric, verdict.metric)}"
            found.append(f"{effect.technique} {effect.verdict} the probabilities ({by} of {decider}), and {opposite}.")
    return found


def failures(verdict: Verdict) -> list[str]:
    """Return which arms' trainings diverge, and how often, a sentence each."""
    of_arms = [(effect.arm, effect.failures) for effect in verdict.effects]
    return [
        f"{arm} fails in {of.failed} of {of.runs} runs ({100 * of.low:.0f} to {100 * of.high:.0f} %)."
        for arm, of in (("the reference", verdict.failures), *of_arms)
        if of
    ]


def verdict_as_text(effect: ArmEffect, verdict: Verdict) -> str:
    """Return an arm's verdict for a table: `helped`, `leans to help`, `fails 2 of 10`."""
    if effect.failures:
        return f"fails {effect.failures.failed} of {effect.failures.runs}"
    return effect.verdict if effect.verdict != "leans" else f"leans to {'help' if effect.effect > 0 else 'hurt'}"


def _without_arms(verdict: Verdict) -> str:
    recipe = verdict.retrain is not None and verdict.retrain.trained == "recipe"
    alone = "The champion's recipe" if recipe else "The reference, compared with nothing,"
    score = f"a validation {METRICS[verdict.metric].title} of {verdict.reference.mean:.4f}"
    return f"{alone} has {score} with {seeds_as_text(verdict.seeds)}."


def retraining_lines(found: Retraining) -> list[str]:
    """Return what a retraining trains, and why."""
    if found.why == "no champion":
        return ["No version is the champion yet, so the whole study is run."]
    lines = [drift_as_text(found.drift, found.champion)]
    if found.is_studied:
        lines.append(f"A whole study was run on such rows on {found.since}, and its winner was not promoted.")
    version = f"version {found.champion} ({found.arm})"
    trained = {
        "recipe": f"The recipe of {version} is trained again.",
        "drift": "So the whole study is run.",
        "run is gone": f"The run of {version} is gone, and its recipe with it, so the whole study is run.",
        "unfit recipe": f"The recipe of {version} can't be trained here ({found.error}), so the whole study is run.",
    }
    return [*lines, trained[found.why]]


def drift_as_text(found: Drift | None, champion: str | None) -> str:
    """Return how far the data has drifted in one sentence."""
    if found is None:
        return f"How far the data has drifted is not known: nothing was kept of that of version {champion}."
    if not found.new:
        return f"No row is new since version {champion}."
    new = f"{found.new:,} of {found.rows:,} rows are new since version {champion}"
    if found.compared == "all":
        new = f"Rows have come and gone since version {champion}; all {found.rows:,} are compared"
    if found.new == found.rows:
        new = f"No row of today was there for version {champion}; all {found.rows:,} are compared"
    if not found.enough:
        groups = " of different groups" if found.looked_at < found.new else ""
        return f"{new}, too few to tell whether the data has drifted (it takes {FEWEST_ROWS}{groups})."
    moved = [value for value in found.values if value.drifted]
    if moved:
        listed = [f"{of.quantity} ({of.then}, now {of.now}; PSI {of.psi:.2f})" for of in moved[:MOST_DRIFTED]]
        more = f" and {len(moved) - MOST_DRIFTED} more" if len(moved) > MOST_DRIFTED else ""
        return f"{new}, and they have drifted: {', '.join(listed)}{more}."
    most = max(found.values, key=lambda value: value.psi)
    return f"{new}, and they have not drifted: the greatest PSI is {most.psi:.2f} ({most.quantity})."


def changes(verdict: Verdict) -> list[str]:
    """Return which techniques help now and did not in the last study, or the other way, a line each."""
    before = verdict.retrain.techniques if verdict.retrain else {}
    return [
        f"{effect.technique}: {then} in the last study, now {effect.verdict}"
        for effect in verdict.effects
        if (then := before.get(effect.technique, effect.verdict)) != effect.verdict
        and "helped" in (then, effect.verdict)
    ]


def twice_the_data(curve: LearningCurve, metric: str) -> str:
    """Return what the learning curve says of twice the rows, as a sentence."""

    def shown(error: float) -> str:
        return f"{100 * (1 - error):.1f} %" if METRICS[metric].unit else f"{error:.3f}"

    sure = ""
    if curve.twice_low is not None and curve.twice_high is not None:
        ends = sorted((shown(curve.twice_low), shown(curve.twice_high)))
        sure = f" ({ends[0]} to {ends[1]})"
    return (
        f"Twice the rows would bring {METRICS[metric].title} from {shown(curve.now)} to about "
        f"{shown(curve.twice)}{sure}, if it goes on as from fewer rows."
    )


def finding_as_text(finding: Finding, seeds: int) -> str:
    """Return a finding of the verdict as one line."""
    cured = f"; not in {in_words(finding.cures, 'or')}" if finding.cures else ""
    return f"{finding.arm}: {diagnosis_as_text(finding.diagnosis)} ({finding.seeds} of {seeds} seeds{cured})"


def looks_as_text(verdict: Verdict) -> str:
    """Return how earlier and later looks bear on the verdicts; nothing where there is but this one."""
    said: list[str] = []
    if exploratory := [effect.technique for effect in verdict.ranked if effect.look.exploratory]:
        listed = "All verdicts are" if len(exploratory) == len(verdict.effects) else f"{in_words(exploratory)}:"
        said.append(
            f"{listed} exploratory: verdicts were given on the same data before, up to all the seeds that were planned "
            f"then. A study of new data must confirm {'it' if len(exploratory) == 1 else 'them'}."
        )
    if any(effect.look.planned > effect.look.seeds or 0 < effect.look.alpha < ALPHA for effect in verdict.effects):
        said.append("Each look spends a part of the 5 %, and its intervals are wider for it.")
    if stopped := [f"{effect.arm} ({effect.look.seeds})" for effect in verdict.ranked if _ended(effect, verdict)]:
        said.append(f"Trained no further, with the number of their seeds: {in_words(stopped)}.")
    return " ".join(said)


def test_looks(test: TestScores) -> str:
    """Return how often the test rows were looked at, for the middle of a sentence."""
    if not test.looks:
        return "looked at for the first time, after the choice"
    times = "once" if test.looks == 1 else f"{test.looks} times"
    return f"looked at after the choice, and {times} before by other runs"


def _ended(effect: ArmEffect, verdict: Verdict) -> bool:
    return effect.look.seeds < verdict.seeds


def diagnosis_as_text(diagnosis: Diagnosis) -> str:
    """Return what was wrong in a training as one line, which begins with its kind and a colon."""
    return f"{diagnosis.kind}: {_facts(diagnosis)}"


def _facts(diagnosis: Diagnosis) -> str:
    numbers, layer = diagnosis.numbers, diagnosis.layer
    rate = f"train.learning_rate (now {numbers.get('learning_rate', 0):g})"
    match diagnosis.kind:
        case "training diverges":
            return f"{_divergence(diagnosis)}; lower {rate}" + (
                "" if "clip_norm" in numbers else " or clip gradients (train.clip_norm)"
            )
        case "units are dead":
            return f"{100 * numbers['share']:.0f} % of layer {layer} are positive for no row of a batch"
        case "units saturate":
            return f"{100 * numbers['share']:.0f} % of the outputs of layer {layer} are at an end"
        case "gradients vanish":
            return f"layer {layer} receives {_short(numbers['share'])} of the last layer's"
        case "gradients explode":
            return f"layer {layer} receives {_short(numbers['times'])} times the last layer's"
        case "updates are too large":
            return f"a step changes layer {layer} by {100 * numbers['share']:.0f} % of its weights; lower {rate}"
        case "updates are too small":
            return f"a step changes no layer by more than {_short(numbers['share'])} of its weights; raise {rate}"


def _divergence(diagnosis: Diagnosis) -> str:
    numbers = diagnosis.numbers
    if "epoch" in numbers:
        told = f"the loss is not a finite number in epoch {numbers['epoch']:.0f} of {numbers['epochs']:.0f}"
    else:
        first, last, guess = (numbers[name] for name in ("first_loss", "last_loss", "loss_of_guessing"))
        told = f"the training loss rose from {first:.3g} to {last:.3g}, and guessing has {guess:.3g}"
    if diagnosis.layer is None:
        return told
    grew = f"from {_short(numbers['first_gradient'])} to {_short(numbers['last_gradient'])}"
    return f"{told} after gradients grew {grew}, in layer {diagnosis.layer} the most"


def _short(value: float) -> str:
    """Return a number of any size with one digit: `3e-12`, `0.2`, `40`."""
    return f"{float(f'{value:.0e}'):g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def harm_as_text(harm: Harm) -> str:
    """Return a harm of the verdict in words: `shift costs class 6 4.1 points`."""
    where = f"{harm.slice.column} {harm.slice.value}"
    return f"{harm.technique} costs {where} {abs(100 * harm.effect):.1f} points"


def interaction_as_text(interaction: Interaction, metric: str) -> str:
    """Return an interaction of the verdict in words: `dropout brings 1.2 points less beside L2 than without it`."""
    first, second = interaction.techniques
    much = amount(abs(interaction.effect), metric).removeprefix("+")
    word = "more" if interaction.effect >= 0 else "less"
    sure = "shown" if interaction.verdict in ("helped", "hurt") else interaction.verdict
    return f"{first} brings {much} {word} beside {second} than without it{between(interaction, metric)}: {sure}"


def between(effect: Estimate, metric: str) -> str:
    """Return the interval of an effect in brackets, with a space before; nothing where there is none."""
    if effect.low is None or effect.high is None:
        return ""
    return f" ({number(effect.low, metric)} to {number(effect.high, metric)})"


def worth_of(effect: ArmEffect, verdict: Verdict) -> str:
    """Return how many times the data a technique is worth, as text: `1.8 x`; only of one that helps or leans so."""
    worth = effect.worth_in_data
    if verdict.on(verdict.metric, effect).effect <= 0:
        return "-"
    return "beyond" if worth is None or worth > MOST_DATA else f"{worth:.1f} x"


def seeds_as_text(seeds: int) -> str:
    """Return how many seeds, as text."""
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def amount(value: float, metric: str) -> str:
    """Return a difference of the metric as text: `+1.4 points` for shares, `+0.021` for the loss."""
    return number(value, metric) + (" points" if METRICS[metric].unit else "")


def number(value: float, metric: str) -> str:
    """Return a difference of the metric without its unit; shares in points."""
    return f"{100 * value:+z.1f}" if METRICS[metric].unit else f"{value:+z.3f}"


def chance(probability: float) -> str:
    """Return a probability as text; what is not certain is not shown as 0 or 100 %."""
    if probability < 0.01:
        return "< 1 %"
    return "> 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
