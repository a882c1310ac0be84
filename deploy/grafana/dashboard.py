"""``python deploy/grafana/dashboard.py > deploy/grafana/dashboard.json``: the dashboard, written from what it shows.

Each row is a question, and its panels answer it; an operator on call looks at the first row first.
"""

import json
import sys
from typing import Any, NamedTuple

FOUR, WIDE, HEIGHT = 6, 8, 7  # columns of 24, rows


class Panel(NamedTuple):
    """A panel: its expressions, each with the legend of its lines."""

    title: str
    unit: str
    lines: dict[str, str]  # expression by legend
    meaning: str
    kind: str = "timeseries"
    stacked: bool = False


def rate(name: str, by: str, where: str = "") -> str:
    """Return the rate of counters, summed by labels."""
    return f"sum by ({by}) (rate(multitudes_{name}{{{_labels(where)}}}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Return one rate as a share of another."""
    return f"{part} / {whole}"


def quantile(share: float, name: str, by: str = "", where: str = "") -> str:
    """Return a quantile of a histogram."""
    return f"histogram_quantile({share}, {rate(f'{name}_bucket', f'{by}, le' if by else 'le', where)})"


def gauge(how: str, name: str, by: str = "") -> str:
    """Return an aggregate of gauges: their sum, max, min or count."""
    what = f'multitudes_{name}{{job="$job"}}'
    return f"{how} by ({by}) ({what})" if by else f"{how}({what})"


def increase_1h(name: str) -> str:
    """Return the increase of a counter in an hour."""
    return f'sum(increase(multitudes_{name}{{job="$job"}}[1h]))'


def _labels(where: str) -> str:
    return f'job="$job",{where}' if where else 'job="$job"'


ONE = 'route="/v1/recommend"'
ROWS: dict[str, list[Panel]] = {
    "Is the service well?": [
        Panel(
            "Answers",
            "reqps",
            {"answers": rate("answers_total", "job")},
            kind="stat",
            meaning="Recommendations per second, all processes together.",
        ),
        Panel(
            "p99 of one answer",
            "s",
            {"p99": quantile(0.99, "request_seconds", where=ONE)},
            kind="stat",
            meaning="99 of 100 single recommendations take at most this long, from head to answer.",
        ),
        Panel(
            "Answers of popular items only",
            "percentunit",
            {"share": share(rate("answers_total", "job", 'degradation="popular"'), rate("answers_total", "job"))},
            kind="stat",
            meaning="Share of the recommendations that know nothing of the user: no history, or no time. It should be"
            " near zero.",
        ),
        Panel(
            "Age of the release",
            "s",
            {"age": f"time() - {gauge('min', 'release_created_timestamp_seconds')}"},
            kind="stat",
            meaning="Time since the release that serves was published. It grows until the next publish; a nightly job"
            " keeps it below a day.",
        ),
    ],
    "Which requests arrive, and how do they end?": [
        Panel(
            "Requests by route",
            "reqps",
            {"{{route}}": rate("requests_total", "route")},
            meaning="Requests per second of each path, whatever came of them.",
        ),
        Panel(
            "Requests that went wrong",
            "reqps",
            {"{{status}} {{route}}": rate("requests_total", "status, route", 'status=~"[45].*"')},
            meaning="Requests per second with status 4xx or 5xx: 4xx is for the client to mend, 500 and 503 for the"
            " operator.",
        ),
        Panel(
            "Rejected: no time",
            "reqps",
            {"{{work}}: {{reason}}": rate("shed_total", "work, reason")},
            meaning="Requests per second that got 429: they would have missed their deadline.",
        ),
        Panel(
            "Rejected for their key",
            "reqps",
            {"{{reason}} {{key}}": rate("rejected_keys_total", "reason, key")},
            meaning="Requests per second without a good key, by reason and by the name of the key.",
        ),
    ],
    "Where does the time go?": [
        Panel(
            "One answer, from head to end",
            "s",
            {
                name: quantile(share, "request_seconds", where=ONE)
                for name, share in {"p50": 0.5, "p90": 0.9, "p99": 0.99}.items()
            },
            meaning="Time of single recommendations: half are faster than p50, 9 of 10 than p90, 99 of 100 than p99.",
        ),
        Panel(
            "p99 by stage",
            "s",
            {"{{stage}}": quantile(0.99, "stage_seconds", "stage")},
            meaning="Where the slowest answers spend their time: user state, waiting, model, search, log.",
        ),
        Panel(
            "Mean by stage",
            "s",
            {"{{stage}}": share(rate("stage_seconds_sum", "stage"), rate("stage_seconds_count", "stage"))},
            "The mean of each stage; stacked, they are the mean of an answer.",
            stacked=True,
        ),
    ],
    "Is it overloaded?": [
        Panel(
            "Answers by how much was done",
            "reqps",
            {"{{degradation}}": rate("answers_total", "degradation")},
            stacked=True,
            meaning="Recommendations per second by degradation; all of them should be full.",
        ),
        Panel(
            "Waiting",
            "short",
            {
                "in the queue": gauge("sum", "queue_length"),
                "in flight": gauge("sum", "requests_in_flight"),
            },
            meaning="Requests that wait for the engine, and all that are inside the service.",
        ),
        Panel(
            "Expected wait, and lag of the event loop",
            "s",
            {
                "queue": gauge("max", "queue_seconds"),
                "event loop": gauge("max", "loop_lag_seconds"),
                "cost: {{degradation}}": gauge("max", "cost_seconds", "degradation"),
            },
            meaning="How long the next request would wait, how late the event loop is, and what one answer costs.",
        ),
        Panel(
            "Late, failed and cancelled",
            "reqps",
            {"{{kind}}": rate("setbacks_total", "kind")},
            meaning="Requests per second that got popular items since they were late or failed, or whose caller left.",
        ),
        Panel(
            "Lookups in the vector cache",
            "reqps",
            {"{{outcome}}": rate("recalls_total", "outcome")},
            meaning="How often a busy service found the vectors of a user's last answer (hit), or did not (miss).",
        ),
        Panel(
            "Users in the vector cache",
            "short",
            {"users": gauge("sum", "remembered_users")},
            meaning="Users whose last vectors are cached, for times of overload.",
        ),
    ],
    "Are the answers good?": [
        Panel(
            "Candidates by source",
            "cps",
            {"{{source}}": rate("candidates_total", "source")},
            stacked=True,
            meaning="Recommended items per second by what found them: the user's interests, the topics they follow,"
            " popularity.",
        ),
        Panel(
            "Less than the full method, by cause",
            "reqps",
            {"{{cause}}": rate("degraded_total", "cause")},
            meaning="Recommendations per second that were made with less: the user is unknown, the store is slow, there"
            " is no time.",
        ),
        Panel(
            "Empty places, and overlap",
            "percentunit",
            {
                "empty places": share(rate("empty_slots_total", "job"), rate("slots_total", "job")),
                "found by implicit and explicit": share(
                    rate("overlapping_candidates_total", "job"),
                    rate("candidates_total", "job", 'source=~"implicit|explicit"'),
                ),
            },
            meaning="Share of the places that stay empty, and of the items that two kinds of interests agree on.",
        ),
        Panel(
            "Candidates that an interest brings (median)",
            "short",
            {"{{kind}}": quantile(0.5, "interest_candidates", "kind")},
            meaning="Half of the interests bring at least so many items to an answer.",
        ),
        Panel(
            "Unknown to the release",
            "cps",
            {
                "items of histories": rate("unknown_items_total", "job"),
                "topics": rate("unknown_topics_total", "job"),
            },
            "Many unknown items: the release is older than what users look at.",
        ),
    ],
    "Do the stores keep up?": [
        Panel(
            "User states: p99 by call",
            "s",
            {"{{call}}": quantile(0.99, "state_seconds", "call")},
            meaning="99 of 100 calls of the store of user states take at most this long.",
        ),
        Panel(
            "User states that fail",
            "reqps",
            {"{{call}}": rate("state_errors_total", "call")},
            meaning="Calls of the store that failed, per second; answers then miss what users did since the release.",
        ),
        Panel(
            "Circuit breaker of the user states (1: open)",
            "short",
            {"{{instance}}": gauge("max", "state_breaker_open", "instance")},
            meaning="1: the store failed so often that it is not asked for a moment.",
        ),
        Panel(
            "Rows logged",
            "cps",
            {"{{log}}": rate("log_rows_total", "log")},
            meaning="Answers and events that were written to the logs, per second.",
        ),
        Panel(
            "Not logged",
            "cps",
            {
                "lost rows: {{log}}": rate("log_lost_rows_total", "log"),
                "torn lines: {{log}}": rate("log_torn_lines_total", "log"),
                "failed segments: {{log}}": rate("log_failures_total", "log"),
                "answers": rate("unlogged_total", "job"),
            },
            meaning="What should have been logged and was not, per second; almost always a full disk.",
        ),
        Panel(
            "Segments made",
            "cps",
            {"{{log}}": rate("log_parts_total", "log")},
            meaning="Files of the logs that were closed and can be read by a training, per second.",
        ),
    ],
    "Which release, on which processes?": [
        Panel(
            "Processes by release",
            "short",
            {"{{release}}": f"{gauge('sum', 'release_info', 'release')} > 0"},
            meaning="How many processes serve each release; two releases for more than minutes: one machine did not"
            " switch.",
        ),
        Panel(
            "Release switches and rejections",
            "short",
            {
                "switches in 1 h": increase_1h("release_switches_total"),
                "rejections in 1 h": increase_1h("release_rejections_total"),
                "rejected: {{instance}}": gauge("max", "release_refused", "instance"),
                "items": gauge("min", "release_items"),
            },
            meaning="Changes to another release, releases that were refused, and the items that can be found.",
        ),
        Panel(
            "Processes",
            "short",
            {
                "{{version}}": gauge("count", "build_info", "version"),
                "serving": gauge("sum", "processes"),
                "started in 1 h": 'sum(changes(multitudes_process_start_timestamp_seconds{job="$job"}[1h]))',
            },
            meaning="Processes by version, those that serve, and how many started in the last hour: many are crashes.",
        ),
        Panel(
            "Memory",
            "bytes",
            {"{{instance}}": gauge("sum", "resident_bytes", "instance")},
            meaning="Memory of all processes of each machine.",
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; on import, Grafana asks for the data source."""
    panels: list[dict[str, Any]] = []
    y = 0
    for question, row in ROWS.items():
        place = {"h": 1, "w": 24, "x": 0, "y": y}
        panels.append({"type": "row", "id": len(panels) + 1, "title": question, "collapsed": False, "gridPos": place})
        y += 1
        width = FOUR if len(row) == 4 else WIDE
        for n, panel in enumerate(row):
            place = {"h": HEIGHT, "w": width, "x": n * width % 24, "y": y + n * width // 24 * HEIGHT}
            panels.append(_panel(len(panels) + 1, panel, place))
        y += -(-len(row) * width // 24) * HEIGHT
    variables = [
        {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "job",
            "label": "Job",
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${source}"},
            "query": {"query": "label_values(multitudes_build_info, job)", "refId": "job"},
            "refresh": 2,
        },
    ]
    return {
        "title": "multitudes",
        "uid": "multitudes",
        "tags": ["multitudes"],
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    custom = {"fillOpacity": 40, "stacking": {"mode": "normal"}} if panel.stacked else {"fillOpacity": 5}
    targets = [
        {"refId": chr(ord("A") + n), "datasource": source, "expr": expression, "legendFormat": legend}
        for n, (legend, expression) in enumerate(panel.lines.items())
    ]
    defaults = {"unit": panel.unit, "min": 0, **({} if panel.kind == "stat" else {"custom": custom})}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    }


if __name__ == "__main__":
    json.dump(dashboard(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
