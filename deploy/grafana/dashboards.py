"""Writes the dashboards of this folder: rows of panels, each a few queries and what to read there.

python deploy/grafana/dashboards.py          # writes dashboards/*.json
python deploy/grafana/dashboards.py --check  # says whether they are as this file has them
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
ON = 'instance=~"$instance"'
SCORING = f'{ON},endpoint=~"/score|/filter|.*/rerank"'
RATE = "[$__rate_interval]"
VERSION = "model, version"
WIDTH, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """One picture: its queries with their legends, the unit, and what it says."""

    title: str
    says: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    stacked: bool = False


def quantiles(metric: str, by: str, matchers: str, legend: str) -> tuple[tuple[str, str], ...]:
    """p50, p95 and p99 of a histogram."""
    buckets = f"sum by ({by}, le) (rate({metric}_bucket{{{matchers}}}{RATE}))"
    return tuple(
        (f"histogram_quantile({q}, {buckets})", f"p{round(100 * q)} {legend}".strip())
        for q in (0.5, 0.95, 0.99)
    )


def rate(metric: str, by: str, matchers: str = ON) -> str:
    """Events per second."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}{RATE}))"


def mean(metric: str, by: str) -> str:
    """Mean of a histogram."""
    return f"{rate(f'{metric}_sum', by)} / {rate(f'{metric}_count', by)}"


def share(part: str, by: str, whole: str) -> str:
    """One rate as a share of another, by endpoint."""
    return f"{part} / on (endpoint) group_left () {rate(whole, by, SCORING)}"


def changes(result: str) -> str:
    """Changes of what is served that ended so, in each step of the picture."""
    counter = f'winnow_model_activations_total{{{ON},result="{result}"}}'
    return f"sum by (instance, model, role) (increase({counter}{RATE}))"


def unscored_by_version() -> str:
    """Share of the candidates without a score, of models that have a canary."""
    unscored = rate("winnow_canary_unscored_candidates_total", VERSION)
    return f"{unscored} / ({unscored} + {rate('winnow_scored_candidates_total', VERSION)})"


def other_decisions() -> str:
    """Share of the compared candidates for which the shadow differs, by how it does."""
    metric = "winnow_shadow_candidates_total"
    others = rate(metric, f"{VERSION}, result", f'{ON},result!="same"')
    return f"{others} / on ({VERSION}) group_left () {rate(metric, VERSION)}"


REQUESTS: dict[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel(
            "Requests per second",
            "By endpoint and status code.",
            "reqps",
            (
                (
                    rate("winnow_request_duration_seconds_count", "endpoint, code", SCORING),
                    "{{endpoint}} {{code}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Latency of /score",
            "From the first byte of a request to the last of its answer; 4xx left out.",
            "s",
            (
                *quantiles(
                    "winnow_request_duration_seconds",
                    "endpoint",
                    f'{ON},endpoint="/score",code!~"4.."',
                    "",
                ),
                ("winnow:latency_budget:seconds", "budget of p99"),
            ),
        ),
        Panel(
            "Latency of /filter",
            "From the first byte of a request to the last of its answer; 4xx left out.",
            "s",
            (
                *quantiles(
                    "winnow_request_duration_seconds",
                    "endpoint",
                    f'{ON},endpoint="/filter",code!~"4.."',
                    "",
                ),
                ("winnow:latency_budget:seconds", "budget of p99"),
            ),
        ),
        Panel(
            "Latency of /rerank",
            "A text that is encoded on request takes as long as some hundred stored rows.",
            "s",
            quantiles(
                "winnow_request_duration_seconds",
                "endpoint",
                f'{ON},endpoint=~".*/rerank",code!~"4.."',
                "{{endpoint}}",
            ),
        ),
    ),
    "Where the time goes": (
        Panel(
            "Time per request, by stage",
            "wait = for a request thread; it grows before anything else when CPUs are short.",
            "s",
            ((mean("winnow_stage_duration_seconds", "stage"), "{{stage}}"),),
            stacked=True,
        ),
        Panel(
            "p99 by stage",
            "rows = row cache and store; texts = encoded now; query = query row; head = scores.",
            "s",
            quantiles("winnow_stage_duration_seconds", "stage", ON, "{{stage}}")[2:],
        ),
        Panel(
            "Candidates per request",
            "Latency follows the number of candidates.",
            "short",
            quantiles("winnow_request_candidates", "endpoint", ON, "{{endpoint}}"),
        ),
    ),
    "Whole answers": (
        Panel(
            "Degraded answers, by reason",
            "Share of the answers that have a candidate without a score.",
            "percentunit",
            (
                (
                    share(
                        rate("winnow_degraded_responses_total", "endpoint, reason"),
                        "endpoint",
                        "winnow_request_duration_seconds_count",
                    ),
                    "{{endpoint}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Coverage",
            "Share of the candidates that got a score.",
            "percentunit",
            (
                (
                    f"sum(rate(winnow_scored_candidates_total{{{ON}}}{RATE}))"
                    f" / (sum(rate(winnow_scored_candidates_total{{{ON}}}{RATE}))"
                    f" + sum(rate(winnow_unscored_candidates_total{{{ON}}}{RATE})))",
                    "scored",
                ),
            ),
        ),
        Panel(
            "Unscored candidates per second",
            "missing_product: not in the vector set; the others are faults.",
            "short",
            ((rate("winnow_unscored_candidates_total", "reason"), "{{reason}}"),),
            stacked=True,
        ),
    ),
    "Load": (
        Panel(
            "Candidates scored per second",
            "By model and version: a canary's share, and the moment of a new version.",
            "short",
            (
                (
                    rate("winnow_scored_candidates_total", VERSION),
                    "{{model}} {{version}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Candidates in flight",
            "What the autoscaler looks at; requests are shed at the limit.",
            "short",
            (
                (f"sum by (instance) (winnow_inflight_candidates{{{ON}}})", "{{instance}}"),
                (f"sum(winnow_inflight_candidates_limit{{{ON}}})", "limit of all"),
            ),
        ),
        Panel(
            "Shed requests",
            "Share of the requests that were not admitted.",
            "percentunit",
            (
                (
                    share(
                        rate("winnow_shed_requests_total", "endpoint"),
                        "endpoint",
                        "winnow_request_duration_seconds_count",
                    ),
                    "{{endpoint}}",
                ),
            ),
        ),
    ),
    "What /filter keeps": (
        Panel(
            "Share of a page that is kept",
            "The mean, by sort mode; a jump means another threshold, model or catalogue.",
            "percentunit",
            ((mean("winnow_filter_kept_ratio", "sort"), "{{sort}}"),),
        ),
        Panel(
            "Pages filtered per second",
            "By sort mode.",
            "reqps",
            ((rate("winnow_filter_kept_ratio_count", "sort"), "{{sort}}"),),
            stacked=True,
        ),
    ),
    "At the door": (
        Panel(
            "Requests without a good API key, per second",
            "All 401: no key, none of this service's, or one that has expired.",
            "reqps",
            ((rate("winnow_unauthorized_requests_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Connections that were cut, per second",
            "Requests that trickle, answers nobody takes, headers too large, no HTTP, too many.",
            "short",
            ((rate("winnow_cut_connections_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "API keys",
            "Days until the next one expires; 1 where the file of keys is followed.",
            "none",
            (
                (
                    f"(min(winnow_api_key_expiry_timestamp_seconds{{{ON}}}) - time()) / 86400",
                    "days until one expires",
                ),
                (f"min by (instance) (winnow_api_key_file_readable{{{ON}}})", "{{instance}}"),
            ),
        ),
    ),
}

MODELS: dict[str, tuple[Panel, ...]] = {
    "Models": (
        Panel(
            "Versions in service",
            "Active, canary and shadow: 1 where every worker of the instance can score with it.",
            "none",
            (
                (
                    f"min by (instance, model, version) (winnow_model_ready{{{ON}}})",
                    "{{model}} {{version}} on {{instance}}",
                ),
            ),
            kind="stat",
        ),
        Panel(
            "Workers, by what they say of a model",
            "Anything but ready is a reason why the model can't score.",
            "short",
            (
                (
                    f"sum by (model, state) (winnow_model_workers{{{ON}}})",
                    "{{model}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Winnow's own version",
            "Instances by version of the software.",
            "short",
            ((f"count by (version) (winnow_build_info{{{ON}}})", "{{version}}"),),
            kind="stat",
        ),
    ),
    "Changes of versions": (
        Panel(
            "Versions taken on",
            "By all workers of an instance, as the active version, canary or shadow, or their end.",
            "short",
            ((changes("done"), "{{model}} {{role}} on {{instance}}"),),
        ),
        Panel(
            "Versions refused",
            "The workers went on with what they served; /v1/models says why, in `refused`.",
            "short",
            ((changes("refused"), "{{model}} {{role}} on {{instance}}"),),
        ),
    ),
    "Canary": (
        Panel(
            "Canary: time to the scores",
            "From arrival; of the active version and the canary, while there is one.",
            "s",
            quantiles(
                "winnow_canary_scoring_duration_seconds", VERSION, ON, "{{model}} {{version}}"
            ),
        ),
        Panel(
            "Canary: share of a page that is kept",
            "The mean, of both versions; each by its own thresholds.",
            "percentunit",
            ((mean("winnow_canary_kept_ratio", VERSION), "{{model}} {{version}}"),),
        ),
        Panel(
            "Canary: candidates without a score",
            "Share of the candidates, of both versions.",
            "percentunit",
            ((unscored_by_version(), "{{model}} {{version}}"),),
        ),
    ),
    "Shadow": (
        Panel(
            "Shadow: answers per second",
            "shed: a worker had requests to score; failed: the shadow could not.",
            "reqps",
            (
                (
                    rate("winnow_shadow_requests_total", f"{VERSION}, result"),
                    "{{model}} {{version}} {{result}}",
                ),
            ),
            stacked=True,
        ),
        Panel(
            "Shadow: other decisions",
            "Share of the compared candidates that it alone keeps, removes, scores, or does not.",
            "percentunit",
            ((other_decisions(), "{{model}} {{version}} {{result}}"),),
        ),
        Panel(
            "Shadow: difference of scores",
            "Of an answer: the mean over its candidates, and the greatest, both as means.",
            "short",
            (
                (mean("winnow_shadow_score_difference", VERSION), "{{model}} {{version}} mean"),
                (
                    mean("winnow_shadow_greatest_score_difference", VERSION),
                    "{{model}} {{version}} greatest",
                ),
            ),
        ),
    ),
    "Vector sets": (
        Panel(
            "Products in the live set",
            "A drop after a night's indexing means a broken catalogue.",
            "short",
            (
                (
                    f"min by (model, version) (winnow_vector_set_products{{{ON}}})",
                    "{{model}} {{version}}",
                ),
            ),
        ),
        Panel(
            "Age of the live set",
            "Since it was sealed; the oldest of all workers.",
            "s",
            (
                (
                    "time() - min by (model, version)"
                    f" (winnow_vector_set_sealed_timestamp_seconds{{{ON}}})",
                    "{{model}} {{version}}",
                ),
                ("winnow:vector_set_age_budget:seconds", "budget"),
            ),
        ),
        Panel(
            "Candidates that are not in the set",
            "Share of all candidates.",
            "percentunit",
            (("winnow:missing_candidates:ratio_rate5m", "missing"),),
        ),
    ),
    "Store": (
        Panel(
            "Store up",
            "1 where every worker's last look at the store was answered.",
            "none",
            ((f"min by (instance) (winnow_store_up{{{ON}}})", "{{instance}}"),),
        ),
        Panel(
            "Calls the store did not answer, per second",
            "rows: of requests; live_set: the look for a new set, once a second.",
            "short",
            ((rate("winnow_store_failures_total", "operation"), "{{operation}}"),),
        ),
        Panel(
            "Stored query rows that could not be used, per second",
            "Each costs an encoding and never a request.",
            "short",
            ((rate("winnow_query_row_failures_total", "reason"), "{{reason}}"),),
        ),
    ),
    "Caches": (
        Panel(
            "Row cache: share of rows found",
            "The others are read from the store.",
            "percentunit",
            (
                (
                    f'sum(rate(winnow_row_cache_rows_total{{{ON},result="hit"}}{RATE}))'
                    f" / sum(rate(winnow_row_cache_rows_total{{{ON}}}{RATE}))",
                    "hit",
                ),
            ),
        ),
        Panel(
            "Row cache: rows",
            "Held by all workers; evictions mean that WINNOW_ROW_CACHE_MB is smaller than the set.",
            "short",
            (
                (f"sum(winnow_row_cache_held_rows{{{ON}}})", "held"),
                (f"sum(rate(winnow_row_cache_evictions_total{{{ON}}}{RATE}))", "evicted per s"),
                (
                    f"sum(rate(winnow_row_cache_invalidations_total{{{ON}}}{RATE}))",
                    "forgotten per s",
                ),
            ),
        ),
        Panel(
            "Query rows, by where they came from",
            "cache: this worker's; store: indexed with --queries; encoded: made now.",
            "short",
            ((rate("winnow_query_rows_total", "source"), "{{source}}"),),
            stacked=True,
        ),
    ),
}

DASHBOARDS = {
    "requests": ("Winnow: requests", REQUESTS),
    "models": ("Winnow: models, sets, store", MODELS),
}


def dashboard(uid: str, title: str, rows: dict[str, tuple[Panel, ...]]) -> dict[str, Any]:
    """A dashboard in Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    y = 0
    for name, row in rows.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": name,
                "collapsed": False,
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
                "panels": [],
            }
        )
        width = WIDTH // len(row)
        for column, panel in enumerate(row):
            place = {"h": HEIGHT, "w": width, "x": column * width, "y": y + 1}
            panels.append(picture(len(panels) + 1, panel, place))
        y += 1 + HEIGHT
    return {
        "uid": f"winnow-{uid}",
        "title": title,
        "tags": ["winnow"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [
            {"type": "dashboards", "title": "Winnow", "tags": ["winnow"], "asDropdown": False}
        ],
        "templating": {
            "list": [
                {
                    "name": "instance",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(winnow_build_info, instance)",
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                }
            ]
        },
        "panels": panels,
    }


def picture(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    """A panel in Grafana's JSON."""
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.unit != "none":
        defaults["min"] = 0
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none"}
        fill = 20 if panel.stacked else 0
        defaults["custom"] = {"stacking": stacking, "fillOpacity": fill, "showPoints": "never"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def main() -> None:
    """Writes the files, or with --check says which one differs."""
    for uid, (title, rows) in DASHBOARDS.items():
        path = FOLDER / f"{uid}.json"
        text = json.dumps(dashboard(uid, title, rows), indent=2, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what {Path(__file__).name} writes: run it without --check")


if __name__ == "__main__":
    main()
