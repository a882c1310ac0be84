"""Do two commits give the same results? Records what a fixed set of calls gives on each, and compares the two records.

    python benchmarks/equivalence.py record OLD.json --checkout ../old --python ../old/.venv/bin/python
    python benchmarks/equivalence.py record NEW.json
    python benchmarks/equivalence.py compare OLD.json NEW.json

Recorded are prepared folders, the weights of several methods, evaluations, releases, lists of candidates, answers over
HTTP, a small study and a small simulation: every file as a digest of its bytes, every JSON document field by field. An
ONNX file is compared without its metadata, in which torch's exporter writes the names of modules and functions. Any
difference fails.

The script runs each checkout by its own command line and imports nothing of the library, so it can record commits
that do not have it.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

Json = Any

# Texts that people read, and the schema's names and descriptions in OpenAPI: they may be rewritten.
_PROSE: Final = re.compile(r"/openapi/.*/(description|summary|title|\$ref|examples?)\b|/note$|/message$|/text$")

# Fields whose values differ from call to call: times, durations, sizes of a process, names that are drawn.
_VOLATILE: Final = frozenset([
    "age_days", "at", "began_at", "created_at", "cpu_s", "duration_s", "ended_at", "finished_at", "latency_ms",
    "machine", "memory_mb", "p90_ms", "peak_mb", "published_at", "release_identity", "resident_mb", "seconds",
    "seconds_s", "stage_ms", "started_at", "targets_per_s", "time_s", "timings_ms", "train_s", "versions", "wall_s",
    "xxh3",
])  # fmt: skip
_VOLATILE_ENDINGS: Final = ("_seconds", "_duration", "_elapsed")

_ONNX_DIGEST: Final = """
import hashlib, onnx
model = onnx.load({path!r})
graph = model.graph
del model.metadata_props[:], graph.metadata_props[:]
for node in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, *model.functions]:
    del node.metadata_props[:]
    node.doc_string = ""
print(hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest())
"""

TRAINING: Final = """
[model]
history = 20
width = 32

[train]
epochs = 2
batch_size = 64
window = 20
learning_rate = 0.003
validate_users = 100
eval_k = 50

[execution]
gradient_accumulation = 2
"""

STUDY: Final = """
name = "small"
seeds = [0]
reference = "joint"

[data.movielens]
sample = "movielens-small"
max_users = 150
prepare.split = "user"
prepare.follows_from_share = 0.2

[methods.joint]
[methods.single]

[model]
history = 10
width = 16

[train]
epochs = 1
batch_size = 64
window = 10
in_batch = 64
uniform = 64
learning_rate = 0.003
validate_users = 50

[evaluate]
budgets = [10, 50]

[tuning]
trials = 1
"""

WORLD: Final = """
name = "small"

[world]
users = 200
items = 300
topics = 10
niches = 40

[loop]
past_days = 6
bootstrap_days = 2
days = 3
candidates = 40
slots = 10

[arms.popular]
policy = "popular"

[arms.followed]
policy = "followed"
"""

REQUESTS: Final[list[tuple[str, str, Json]]] = [
    ("POST", "/v1/recommend", {"user_id": 237, "n": 10, "request_id": "r-1"}),
    ("POST", "/v1/recommend", {"user_id": 4, "n": 20, "request_id": "r-2", "mute_topics": ["Comedy"]}),
    ("POST", "/v1/recommend", {"history": [1, 260, 1196], "followed_topics": ["Comedy"], "n": 8, "request_id": "r-3"}),
    ("POST", "/v1/recommend", {"user_id": 7, "n": 8, "request_id": "r-4", "boost_topics": ["Drama"], "exclude": [1]}),
    ("POST", "/v1/recommend", {"user_id": 999999, "n": 5, "request_id": "r-5"}),
    ("POST", "/v1/recommend", {"history": [424242], "followed_topics": ["Nothing"], "n": 5, "request_id": "r-6"}),
    ("POST", "/v1/recommend", {"user_id": 7, "n": 8, "request_id": "r-7", "mute_interests": ["0"]}),
    ("POST", "/v1/recommend", {"user_id": "7", "request_id": "r-8"}),
    ("POST", "/v1/recommend", {"user_id": 7, "n": 100000, "request_id": "r-9"}),
    ("POST", "/v1/recommend", {"request_id": "r-10"}),
    ("POST", "/v1/recommend", {"user_id": 7, "unknown": 1, "request_id": "r-11"}),
    ("POST", "/v1/recommend/batch", {"requests": [{"user_id": 3, "n": 5, "request_id": "b-1"},
                                                  {"history": [1], "n": 5, "request_id": "b-2"}]}),
    ("POST", "/v1/recommend/batch", {"requests": []}),
    ("POST", "/v1/events", {"events": [{"event_id": "e-1", "user_id": 237, "item_id": 1}]}),
    ("POST", "/v1/events", {"events": [{"event_id": "e-1", "user_id": 237, "item_id": 1}]}),
    ("POST", "/v1/events", {"events": [{"user_id": 237}]}),
    ("POST", "/v1/recommend", {"user_id": 237, "n": 10, "request_id": "r-12"}),
    ("PUT", "/v1/users/237", {"followed_topics": ["Comedy", "Drama"]}),
    ("GET", "/v1/users/237", None),
    ("POST", "/v1/recommend", {"user_id": 237, "n": 10, "request_id": "r-13"}),
    ("DELETE", "/v1/users/237", None),
    ("GET", "/v1/users/237", None),
    ("GET", "/v1/items/1/similar", None),
    ("GET", "/v1/items/424242/similar", None),
    ("GET", "/v1/releases", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/nothing", None),
    ("DELETE", "/v1/recommend", None),
]  # fmt: skip


class Recorder:
    """Runs the calls of one checkout in a scratch folder, and keeps what they gave under a name each."""

    def __init__(self, checkout: Path, python: Path, work: Path) -> None:
        self.found: dict[str, Json] = {}
        self._python, self.work = python, work
        sources = map(str, [checkout / "src", *checkout.glob("packages/*/src")])
        self._env = {
            **os.environ, "PYTHONPATH": os.pathsep.join(sources), "OMP_NUM_THREADS": "1", "COLUMNS": "100",
            "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore",
        }  # fmt: skip

    def call(self, *args: str, keep: str = "") -> str:
        """Run one command; with ``keep`` its last line, a JSON object, is recorded under that name."""
        print("multitudes", *args, file=sys.stderr, flush=True)
        done = subprocess.run([self._python, "-m", "multitudes", *args], cwd=self.work, env=self._env, text=True,
                              capture_output=True, check=False)  # fmt: skip
        if done.returncode:
            raise SystemExit(f"multitudes {' '.join(args)}: exit code {done.returncode}\n{done.stderr}")
        if keep:
            self.found[keep] = steady(json.loads(done.stdout.splitlines()[-1]))
        return done.stdout

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start a command that goes on."""
        return subprocess.Popen([self._python, "-m", "multitudes", *args], cwd=self.work, env=self._env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip

    def python(self, code: str) -> str:
        """Run a line of Python with the library at hand."""
        return subprocess.run([self._python, "-c", code], cwd=self.work, env=self._env, text=True, capture_output=True,
                              check=True).stdout  # fmt: skip

    def files(self, name: str, folder: str) -> None:
        """Record every file of a folder: JSON field by field, Parquet by its columns, all else by its bytes."""
        root = self.work / folder
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix not in {".html", ".log"} and path.name != ".lock":
                self.found[f"{name}/{path.relative_to(root)}"] = self._content(path)

    def _content(self, path: Path) -> Json:
        if path.suffix == ".onnx":
            return self.python(_ONNX_DIGEST.format(path=str(path))).strip()
        if path.suffix == ".json":
            return steady(json.loads(path.read_text()))
        if path.suffix == ".jsonl":
            return [steady(json.loads(line)) for line in path.read_text().splitlines()]
        if path.suffix == ".toml":
            return steady(tomllib.loads(path.read_text()))
        return hashlib.sha256(path.read_bytes()).hexdigest()


def steady(value: Json) -> Json:
    """Return a document without what differs from call to call."""
    if isinstance(value, dict):
        return {
            key: None if key.endswith(".onnx") else steady(item)  # its size and checksum, which the metadata change
            for key, item in value.items()
            if key not in _VOLATILE and not key.endswith(_VOLATILE_ENDINGS)
        }
    return [steady(v) for v in value] if isinstance(value, list) else value


def record(recorder: Recorder) -> dict[str, Json]:
    """Make all calls."""
    for part in (_data, _runs, _release, _service, _experiments):
        part(recorder)
    return recorder.found


def _data(run: Recorder) -> None:
    sample = run.python("from multitudes import sample_path; print(sample_path('movielens-small'))").strip()
    shutil.copytree(sample, run.work / "movielens")
    run.call("synth", "synth", "--events", "20000", "--json", keep="synth")
    run.files("synth", "synth")
    for data in ("movielens", "synth"):
        run.call("prepare", data, "--check", "--json", keep=f"check {data}")
    run.call("prepare", "movielens", "--out", "user", "--split", "user", "--follows-from-share", "0.2", "--json",
             keep="prepare user")  # fmt: skip
    run.call("prepare", "synth", "--out", "time", "--split", "time", "--json", keep="prepare time")
    run.call("prepare", "movielens", "--out", "last", "--split", "leave_one_out", "--json", keep="prepare last")
    for folder in ("user", "time", "last"):
        run.files(f"prepared {folder}", folder)


def _runs(run: Recorder) -> None:
    (run.work / "training.toml").write_text(TRAINING)
    for method in ("joint", "single", "clustering", "conditional", "random_partition", "transformer"):
        run.call("train", "user", "--method", method, "--config", "training.toml", "--out", f"run-{method}", "--json",
                 keep=f"train {method}")  # fmt: skip
        run.files(f"run {method}", f"run-{method}")
    run.call("train", "time", "--method", "joint", "--config", "training.toml", "--out", "run-synth")
    run.files("run synth", "run-synth")
    run.call("train", "user", "--continue", "run-joint", "--out", "run-warm")
    run.files("run warm", "run-warm")
    for method in ("joint", "single"):
        run.call("evaluate", f"run-{method}", "--json", keep=f"evaluate {method}")
    run.call("evaluate", "run-synth", "--json", keep="evaluate synth")


def _release(run: Recorder) -> None:
    run.call("publish", "run-joint", "--to", "releases", "--json", keep="publish")
    run.files("release", "releases")
    ask = ("recommend", "releases", "--n", "20", "--json")
    for user in ("1", "4", "237", "600"):
        run.call(*ask, "--user", user, keep=f"recommend {user}")
    run.call(*ask, "--history", "1,260,1196", "--followed-topics", "Comedy", keep="recommend anonymous")
    run.call("recommend", "releases", "--all", "--n", "20", "--out", "everybody", "--export", "everybody.jsonl")
    run.files("everybody", "everybody")
    run.found["export"] = hashlib.sha256((run.work / "everybody.jsonl").read_bytes()).hexdigest()
    run.call("doctor", "releases", "--json", keep="doctor")
    _pinnersage(run)


def _pinnersage(run: Recorder) -> None:
    run.python(
        "import polars as pl; f = pl.read_parquet('movielens/items.parquet');"
        "g = f['topics'].explode().drop_nulls().unique().sort();"
        "v = pl.concat_list([pl.col('topics').list.contains(x).cast(pl.Float32) for x in g]);"
        "f.with_columns(embedding=v).write_parquet('movielens/items.parquet')"
    )
    run.call("prepare", "movielens", "--out", "embedded", "--split", "user")
    run.call(
        "train", "embedded", "--method", "pinnersage", "--out", "run-pinnersage", "--json", keep="train pinnersage"
    )
    run.files("run pinnersage", "run-pinnersage")
    run.call("evaluate", "run-pinnersage", "--json", keep="evaluate pinnersage")
    run.call("publish", "run-pinnersage", "--to", "releases-pinnersage")
    run.files("release pinnersage", "releases-pinnersage")
    run.call("recommend", "releases-pinnersage", "--user", "237", "--json", keep="recommend pinnersage")


def _service(run: Recorder) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = run.start("serve", "releases", "--port", str(port))
    try:
        _wait_for(port)
        for number, (method, path, body) in enumerate(REQUESTS):
            status, answer = _http(port, method, path, body)
            found = steady(json.loads(answer))
            if isinstance(found, dict) and "error" in found:
                del found["request_id"]  # the service draws it
            run.found[f"http {number} {method} {path}"] = {"status": status, "answer": found}
        run.found["openapi"] = json.loads(_http(port, "GET", "/openapi.json", None)[1])
        page = _http(port, "GET", "/metrics", None)[1]
        run.found["metrics"] = sorted(set(re.findall(r"^(?:# TYPE )?(multitudes_\w+(?:\{[^}]*\})?)", page, re.M)))
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            if _http(port, "GET", "/readyz", None)[0] == 200:
                return
        time.sleep(0.1)
    raise SystemExit("the service does not answer")


def _http(port: int, method: str, path: str, body: Json) -> tuple[int, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json", "x-deadline-ms": "20000"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _experiments(run: Recorder) -> None:
    (run.work / "study.toml").write_text(STUDY)
    run.call("study", "study.toml", "--out", "study", "--json", keep="study")
    run.found["study summary"] = steady(json.loads((run.work / "study" / "summary.json").read_text()))
    (run.work / "world.toml").write_text(WORLD)
    run.call("simulate", "world.toml", "--out", "simulated", "--json", keep="simulate")
    run.files("simulated", "simulated/seed-0/arms")
    run.call("power", "--mean", "2", "--sd", "5", "--effect", "0.01", "--json", keep="power")
    size = {"users": 1_000_000, "items": 1_000_000, "events-per-day": 1_000_000, "qps": 100}
    run.call(
        "plan", *(word for name, value in size.items() for word in (f"--{name}", str(value))), "--json", keep="plan"
    )


def differences(old: Json, new: Json, place: str = "") -> Iterator[str]:
    """Yield where two records differ, a line each."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if key not in old or key not in new:
                yield f"{place}/{key}: only in the {'new' if key in new else 'old'} record"
            else:
                yield from differences(old[key], new[key], f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{place}/{index}")
    elif old != new:
        yield f"{place}: {str(old)[:200]} → {str(new)[:200]}"


def inline(schema: Json, components: dict[str, Json]) -> Json:
    """Return a part of an OpenAPI document with its references resolved: schemas are compared, not their names."""
    if isinstance(schema, list):
        return [inline(one, components) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return inline(components[schema["$ref"].rpartition("/")[2]], components)
    return {key: inline(value, components) for key, value in schema.items() if key != "components"}


def compare(old: Json, new: Json) -> int:
    """Print the differences; return how many there are."""
    for record in (old, new):
        if "openapi" in record:
            record["openapi"] = inline(record["openapi"], record["openapi"]["components"]["schemas"])
    found = list(differences(old, new))
    lines = [line for line in found if not _PROSE.search(line.split(": ")[0])]
    print("\n".join(lines) or f"equal: {len(new)} results, but for {len(found)} texts that people read")
    return len(lines)


def main() -> None:
    """Record one commit, or compare two records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("record")
    one.add_argument("out", type=Path)
    one.add_argument("--checkout", type=Path, default=Path(__file__).parents[1])
    one.add_argument("--python", type=Path, default=Path(sys.executable))
    two = verbs.add_parser("compare")
    two.add_argument("old", type=Path)
    two.add_argument("new", type=Path)
    args = parser.parse_args()
    if args.verb == "compare":
        raise SystemExit(compare(json.loads(args.old.read_text()), json.loads(args.new.read_text())) > 0)
    with tempfile.TemporaryDirectory() as work:
        found = record(Recorder(args.checkout.resolve(), args.python.absolute(), Path(work)))
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False).replace(work, "")
    args.out.write_text(text)


if __name__ == "__main__":
    main()
