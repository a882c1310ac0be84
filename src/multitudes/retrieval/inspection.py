"""An inspection of a release: its checksums, the recall of its index, the item updates since it was published."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitudes.errors import ArtefactError, MissingError, MultitudesError, UnavailableError, one_line
from multitudes.index.files import read_description, verify
from multitudes.release import delta_log
from multitudes.release.manifest import MANIFEST, Manifest, read_manifest
from multitudes.release.onnx_session import open_tower
from multitudes.release.overlay import net_delta
from multitudes.release.release import CARRIED_LOG, CARRIED_OWNER, ITEM_TOWER, NEIGHBOUR_ARRAYS, USER_TOWER, Release
from multitudes.release.signature import SIGNATURE, check_signature
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.retriever import Retriever, warm_up

Level = Literal["ok", "note", "warning", "damaged", "missing", "unavailable"]
_EXIT_CODE: dict[Level, int] = {
    "damaged": ArtefactError.exit_code,
    "missing": MissingError.exit_code,
    "unavailable": UnavailableError.exit_code,
}
_LEVEL: dict[type[MultitudesError], Level] = {MissingError: "missing", UnavailableError: "unavailable"}


class Finding(NamedTuple):
    """The result of one check."""

    level: Level
    subject: str
    text: str

    @property
    def exit_code(self) -> int:
        """Exit code of a command whose worst finding is this."""
        return _EXIT_CODE.get(self.level, 0)


def inspect_release(store: ReleaseStore, version: str | None = None, trust: Path | None = None) -> list[Finding]:
    """Inspect a version, by default the current one. Damage is a finding and does not end the inspection.

    ``trust`` is a public key, or a folder of them, one of which must have signed the release; None: any key.

    Raises:
        ArtefactError: nothing is released, or there is no current version.
        UsageError: the version does not exist.
    """
    folder = store.folder(version)
    signature = _check_signature(folder, trust)
    if signature.level == "damaged":
        return [signature]
    try:
        manifest = read_manifest(folder)
    except ArtefactError as error:
        return [Finding("damaged", "release", str(error))]
    findings = [_check_release(store, folder, manifest), signature, *_check_files(folder, manifest)]
    try:
        findings += [*_describe_lists(manifest), *_check_index(manifest.index)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"{folder / MANIFEST}: describes the index or the lists wrongly ({one_line(error)})"
        findings.append(Finding("damaged", "release", text))
    findings += _check_items(folder, manifest, trust)
    if any(finding.level == "damaged" for finding in findings):
        return findings
    return [*findings, *_check_opening(folder)]


def _check_signature(folder: Path, trust: Path | None) -> Finding:
    """Say who signed a release, before anything else of it is read."""
    if trust is None and not (folder / SIGNATURE).exists():
        return Finding("note", "signature", "not signed: whoever can write the folder decides what is served")
    try:
        signer = check_signature(folder, trust)
    except MissingError as error:
        if trust is not None:
            raise
        return Finding("note", "signature", f"signed, but not checked: {error}")
    except ArtefactError as error:
        return Finding("damaged", "signature", str(error))
    if trust is None:
        return Finding("note", "signature", f"signed by {signer.fingerprint}; whether to trust it: --trust PUBLIC")
    return Finding("ok", "signature", f"signed by {signer.name} ({signer.fingerprint}): every file is as signed")


def _check_release(store: ReleaseStore, folder: Path, manifest: Manifest) -> Finding:
    try:
        serves = store.current() == folder.name
    except ArtefactError:
        serves = False
    days = (datetime.now(UTC) - manifest.created_at).total_seconds() / 86_400
    age = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
    counts = ", ".join(f"{manifest.counts.get(name, 0):,} {name}" for name in ("users", "items", "topics"))
    return Finding(
        "ok" if serves else "note",
        "release",
        f"version {folder.name} {'serves' if serves else 'does not serve'}; {manifest.method}, {age} old; {counts}",
    )


def _check_files(folder: Path, manifest: Manifest) -> list[Finding]:
    """Compare every file with its checksum."""
    damaged, count, size = [], 0, 0
    entries = {folder / name: entry.model_dump() for name, entry in manifest.files.items()}
    index = folder / "index"
    try:
        entries |= {index / name: entry for name, entry in read_description(index)["files"].items()}
    except ArtefactError as error:
        damaged.append(Finding("damaged", "files", str(error)))
    for path, entry in entries.items():
        try:
            verify(path, entry["xxh3"], entry["bytes"])
        except ArtefactError as error:
            damaged.append(Finding("damaged", "files", str(error)))
        count, size = count + 1, size + entry["bytes"]
    return damaged or [Finding("ok", "files", f"{count} files, {size / 1e6:,.1f} MB: every checksum is right")]


def _describe_lists(manifest: Manifest) -> list[Finding]:
    """Describe what own events propose beside the vectors, and whether answers contain seen items."""
    findings = []
    if manifest.neighbours is not None:
        size = sum(manifest.files[f"{name}.npy"].bytes for name in NEIGHBOUR_ARRAYS) / 1e6
        text = f"own events propose their neighbours, with weight {manifest.neighbours['weight']:.3g}; {size:,.1f} MB"
        findings.append(Finding("ok", "neighbours", text))
    if manifest.repeats is not None:
        returned = not manifest.retrieval.get("exclude_seen", True)
        served = "returned where users are likely to return to them"
        text = f"seen items are {served if returned else 'left out, unless a request says exclude_seen = false'}"
        findings.append(Finding("ok", "repeats", text))
    return findings


def _check_index(info: dict[str, Any]) -> list[Finding]:
    """Describe the index and the recall that it was tuned to."""
    summary = f"{info.get('kind', 'unknown')}, {info.get('items', 0):,} items, {info.get('dimension', 0)} dimensions"
    tuning = info.get("tuning")
    if not tuning or "promise" not in tuning:
        exact = info.get("kind") == "exact"
        return [Finding("ok", "index", summary + ("; every score is computed" if exact else "; nothing was tuned"))]
    target = tuning["promise"]["recall"]
    queries, others = f"{tuning['queries']:,} {tuning['tuned_on']}", f"{tuning['checked_on']:,} others"
    findings = [Finding("ok", "index", f"{summary}; tuned on {queries} to recall {target}, checked on {others}")]
    for level in tuning["levels"]:
        text = f"{level['checked']:.3f} at depth {level['depth']:,}: effort {level['effort']:,},"
        text += f" {level['proposals']:,} proposals"
        findings.append(Finding("ok" if level["checked"] >= target else "warning", "recall", text))
    if tuning.get("topic_recall") is not None:  # else topics are scanned
        findings.append(Finding("ok", "recall", f"{tuning['topic_recall']:.3f} within the largest topics"))
    return findings


def _check_items(folder: Path, manifest: Manifest, trust: Path | None) -> list[Finding]:
    """Describe the item updates since publishing, and how new items get their vectors."""
    descriptions = {
        "tower": "the item tower makes the vectors of new items",
        "embedding": "new items have their own vectors",
        "run": "new items cannot be added: the vectors come from another run",
        "linear": "new items cannot be added: the vectors come from the users of the training data",
    }
    vectors = descriptions[manifest.new_items.vectors]
    file = delta_log.delta_log_file(folder)
    try:
        before = net_delta(delta_log.read_deltas(folder / CARRIED_LOG, CARRIED_OWNER).deltas)
        since = delta_log.DeltaBatch([], 0, 0)
        if file:
            since = delta_log.read_deltas(file, delta_log.release_identity(folder), trust=trust)
    except ArtefactError as error:
        return [Finding("damaged", "items", str(error))]
    net = net_delta(since.deltas)
    texts = [f"{len(net.added):,} added or replaced, {len(net.removed_s):,} removed since", vectors]
    if before.last_row or before.removed_s:
        texts.append(f"taken over: {len(before.added):,} added, {len(before.removed_s):,} removed")
    torn = f"{since.torn_bytes:,} bytes of an unfinished update at the end of {file}; the next update cuts them off"
    return [Finding("ok", "items", "; ".join(texts))] + ([Finding("note", "items", torn)] if since.torn_bytes else [])


def _check_opening(folder: Path) -> list[Finding]:
    """Open what a service opens, read large arrays in full, and answer a few requests."""
    try:
        release = Release.open(folder, whole=True)
        warm_up(Retriever(release))
        towers = [name for name in (USER_TOWER, ITEM_TOWER) if (folder / name).exists()]
        for name in towers:
            open_tower(folder / name)
    except MultitudesError as error:
        return [Finding(_LEVEL.get(type(error), "damaged"), "serving", str(error))]
    with_towers = f" with {' and '.join(towers)}" if towers else ""
    return [Finding("ok", "serving", f"opens{with_towers} and answers; {len(release.index):,} items can be retrieved")]
