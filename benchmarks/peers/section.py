"""The section of the benchmarks' page on other libraries."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import format_interval, format_number, format_spread, table

GOAL = 5.0  # targets per second: ours to the fastest peer's, at equal quality
SHOWN = ("hr@10", "hr@100", "ndcg@100", "topics@100")

_TEXT = """Other libraries on the same prepared data, each in its own process (`make bench-peers`). Same width
{width}, history {history}, batch {batch_size} (histories of a step), {negatives} negatives for each target, {blocks}
block(s) with {heads} head(s), {interests} vectors where a method has several, dropout {dropout}, learning rate
{learning_rate}, seed {seed}; at most {epochs} passes over the training events, and no pass begins for a peer after
{cpu_s:g} CPU seconds. These are short runs: who was best after the last pass would still improve. What each finds when
it is trained to the end is in [peers.md](peers.md).

A *target* is one position whose next event is predicted and has a term in the loss; padding is none. Dense training
meets an event at several positions of overlapping windows (of {window}) in one pass, a peer once: *CPU s a pass* is
the time in which every training event was a target at least once. Rates leave out the first pass. Peak memory is that
of training. Our methods also read topics and follows, the peers items alone. Lists leave out the user's past and are
judged by this project's evaluator on first-time targets of validation; everybody is shown after the pass that was
best there, so all figures are a little high, and the test part stays closed."""

_WITHOUT_TEMPERATURE = """Here torch-rechub's models still ran without their temperature, which its release 0.9.0
ignores, so they could hardly learn: see [peers.md](peers.md)."""


_ONE_TARGET = """As above, with one target for each history of a step, as MIND and ComiRec always train:
`python -m benchmarks.peers --window {window} --history {history} --batch-size {batch_size} --epochs {epochs} --methods
single joint --out benchmarks/results/peers-one-target.json`. {negatives} negatives for each target, {interests} vectors
where a method has several. So few passes say nothing of quality. RecTools' SASRec has every event of a history as a
target, and is here for comparison."""


def one_target(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines on the speed with one target for each history."""
    lines = [_ONE_TARGET.format(**figures["sets"][0]["settings"]), ""]
    for compared in figures["sets"]:
        systems = _finished(compared)
        lines += [*_heading(compared), *_speed(systems), _verdict_of_one_target(systems), ""]
    return lines


def _verdict_of_one_target(systems: list[dict[str, Any]]) -> str:
    """Hold ours to the fastest peer that trains with one target for each history too."""
    fastest = max((system for system in systems if system["name"].startswith("torch-rechub")), key=_rate)
    ratios = {system["name"]: _rate(system) / _rate(fastest) for system in systems if system["ours"]}
    found = ", ".join(
        f"{name} {format_number(ratio)} × ({'met' if ratio >= 1 else 'not met'})" for name, ratio in ratios.items()
    )
    return f"Goal: as many targets per CPU second as {fastest['name']}, the faster of the two. Found: {found}."


def section(figures: Mapping[str, Any]) -> list[str]:
    """Return the lines of all sets."""
    settings = figures["sets"][0]["settings"]
    lines = [_TEXT.format(**settings), ""]
    if "temperature" not in settings:  # a record from before that was seen
        lines += [_WITHOUT_TEMPERATURE, ""]
    for compared in figures["sets"]:
        lines += _of_set(compared)
    return lines


def _of_set(compared: Mapping[str, Any]) -> list[str]:
    systems = _finished(compared)
    return [
        *_heading(compared),
        *_speed(systems),
        *_quality(compared, systems),
        *(f"{system['name']} failed: {system['failed']}\n" for system in compared["systems"] if "failed" in system),
        _verdict(compared, systems),
        "",
    ]


def _heading(compared: Mapping[str, Any]) -> list[str]:
    data, asked = compared["data"], compared["asked"]
    sizes = f"{data['users']:,} users, {data['items']:,} items, {data['training_events']:,} training events"
    asked_for = f"{asked['users']:,} users asked for {asked['targets']:,} targets"
    return [f"### {compared['name']}", "", f"{sizes}; {asked_for}.", ""]


def _finished(compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [system for system in compared["systems"] if "failed" not in system]


def _speed(systems: list[dict[str, Any]]) -> list[str]:
    head = ["system", "licence", "targets a pass", "targets/s", "targets per CPU s", "CPU s a pass", "peak MiB"]
    rows = [
        [
            _system_name(system),
            system.get("licence", ""),
            f"{system['targets_an_epoch']:,}",
            *(format_spread(system["targets_per_s"][clock]) for clock in ("wall", "cpu")),
            format_spread(system["pass_s"]["cpu"]),
            format_number(system["peak_mib"]),
        ]
        for system in systems
    ]
    return table(head, rows)


def _system_name(system: Mapping[str, Any]) -> str:
    if system["ours"]:
        return f"**{system['name']}**"
    library, number_ = next(iter(system["versions"].items()))
    return f"{system['name']} ({library} {number_})"


def _quality(compared: Mapping[str, Any], systems: list[dict[str, Any]]) -> list[str]:
    by_name = {system["name"]: system for system in systems}
    reference = compared["reference"]
    rows = []
    for name, quality in compared["quality"].items():
        system = by_name.get(name)
        passes = f"{system['best_epoch']} of {system['epochs']}" if system else ""
        spent = format_number(system["course"][system["best_epoch"] - 1]["cpu_s"]) if system else ""
        gain = "" if name == reference else format_interval(compared["reference_minus"][name]["hr@100"])
        shown = f"**{name}**" if system and system["ours"] else name
        rows.append(
            [shown, passes, spent, *(format_interval(quality[figure]) for figure in SHOWN if figure in quality), gain]
        )
    measured = [figure for figure in SHOWN if figure in compared["quality"][reference]]
    return table(["system", "best pass", "CPU s to it", *measured, f"{reference} − it, hr@100"], rows)


def _verdict(compared: Mapping[str, Any], systems: list[dict[str, Any]]) -> str:
    """Hold the reference to the peer of the highest rate: targets, passes, and the cost of that peer's quality."""
    peers = [system for system in systems if not system["ours"]]
    if not peers:
        return "No peer ran."
    own = next(system for system in systems if system["name"] == compared["reference"])
    fastest = max(peers, key=_rate)
    ratio, passes = _rate(own) / _rate(fastest), _pass_s(fastest) / _pass_s(own)
    no_less = compared["reference_minus"][fastest["name"]]["hr@100"]["high"] >= 0
    fast = "Met" if ratio >= GOAL else "Not met"
    verdict = fast if no_less else "Not met"
    if not _has_learnt(compared, fastest):
        why = f"{fastest['name']} was no better than popularity in this time"
        verdict = f"{fast} in speed; equal quality is not shown, since {why}"
    return (
        f"Goal: {GOAL:g} × the fastest peer's targets per CPU second, and no less HR@100. {own['name']} to"
        f" {fastest['name']}: {format_number(ratio)} × the targets, {format_number(passes)} × the passes."
        f" {verdict}. {_cost_of_quality(own, fastest)}"
    )


def _has_learnt(compared: Mapping[str, Any], peer: Mapping[str, Any]) -> bool:
    """Return whether a peer's hit rate lies above the interval of popularity: below it nothing personal is learnt."""
    hit_rate, popular = (compared["quality"][name]["hr@100"] for name in (peer["name"], "popularity"))
    return bool(hit_rate["mean"] > popular["high"])


def _cost_of_quality(own: Mapping[str, Any], peer: Mapping[str, Any]) -> str:
    """Tell after how many seconds each had the lower of their two best hit rates."""
    level = min(max(step["hr@100"] for step in system["course"]) for system in (own, peer))
    spent = [next(s["cpu_s"] for s in system["course"] if s["hr@100"] >= level) for system in (own, peer)]
    return (
        f"To an HR@100 of {level:.3f}, the lower of their two best, {own['name']} took {format_number(spent[0])} CPU s"
        " and"
        f" {peer['name']} {format_number(spent[1])}: {format_number(spent[1] / spent[0])} ×."
    )


def _rate(system: Mapping[str, Any]) -> float:
    rate: float = system["targets_per_s"]["cpu"]["median"]
    return rate


def _pass_s(system: Mapping[str, Any]) -> float:
    seconds: float = system["pass_s"]["cpu"]["median"]
    return seconds
