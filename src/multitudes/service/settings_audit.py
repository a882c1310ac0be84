"""Audits settings: one line for each risk, with what to do about it."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from multitudes.retrieval.inspection import Finding
from multitudes.service.auth import LOOPBACK_HOSTS
from multitudes.service.settings import ServeConfig
from multitudes.threads import available_cores

_LARGE_BODY: Final = 16 << 20  # bytes; 256 requests of a batch with long histories are a few MB
_SLOW_S: Final = 60.0  # for a client to send a head or a body


def audit_settings(settings: ServeConfig, file: Path | None = None, history: int | None = None) -> list[Finding]:
    """Return the risks of settings; one finding of level ``ok`` if there are none.

    Args:
        settings: of the service, with the environment.
        file: the file that they were read from.
        history: events that the release reads of each user, if known.
    """
    findings = [
        *_audit_access(settings),
        *_audit_limits(settings),
        *_audit_deadlines(settings),
        *_audit_stores(settings, file),
    ]
    if history is not None and settings.state.keep < history:
        text = f"[state] keep = {settings.state.keep}, and the release reads {history} events of a user; keep as many"
        findings.append(_warning(text))
    return findings or [Finding("ok", "settings", "nothing risky")]


def _audit_access(settings: ServeConfig) -> Iterator[Finding]:
    host = settings.server.host
    if settings.keys.file is None and settings.keys.open:
        who = "everybody who reaches it" if host not in LOOPBACK_HOSTS else "everybody whom a proxy lets through"
        yield _warning(f"[keys] open = true: {who} may read, write and forget; make keys with `multitudes key`")
    elif settings.keys.file is None and host not in LOOPBACK_HOSTS:
        yield Finding("warning", "settings", f"[server] host = {host!r} without keys: the service will not start")
    if host not in LOOPBACK_HOSTS:
        yield Finding("note", "settings", f"[server] host = {host!r}: plain HTTP; put a proxy with TLS in front of it")
    if "*" in settings.server.proxies.replace(" ", "").split(","):
        yield _warning("[server] proxies = '*': any client may claim any address; give the address of the proxy")
    if settings.keys.file is not None:
        yield from _audit_mode(settings.keys.file, stat.S_IWGRP | stat.S_IWOTH, "others may add their own keys to it")
    if settings.journal.users:
        yield _warning("[journal] users = true: erased users stay in the journal; clean it, or turn this off")


def _audit_limits(settings: ServeConfig) -> Iterator[Finding]:
    http, server = settings.http, settings.server
    if http.body_bytes > _LARGE_BODY:
        yield _warning(
            f"[http] body_bytes = {http.body_bytes:,}: each connection may use as much memory; 1048576 is plenty"
        )
    for name, seconds in (("head_s", http.head_s), ("body_s", http.body_s)):
        if seconds > _SLOW_S:
            yield _warning(
                f"[http] {name} = {seconds:g}: slow clients hold connections for as long; give at most {_SLOW_S:g}"
            )
    cores = available_cores()
    if server.processes > cores:
        yield _warning(f"[server] workers = {server.workers}, and it may use {cores} cores here; give at most as many")


def _audit_deadlines(settings: ServeConfig) -> Iterator[Finding]:
    deadlines, guard = settings.deadlines, settings.guard
    for name in ("default_ms", "batch_ms", "max_ms"):
        given_ms = getattr(deadlines, name)
        if given_ms > settings.server.drain_s * 1e3:
            yield _warning(
                f"[deadlines] {name} = {given_ms} is more than [server] drain_s = {settings.server.drain_s} s:"
                " an answer may be cut off when the service stops"
            )
    if guard.read_s * 1e3 > deadlines.default_ms / 2:
        yield _warning(
            f"[guard] read_s = {guard.read_s:g}: a store that hangs takes more than half of default_ms ="
            f" {deadlines.default_ms}; give less"
        )
    if settings.engine.batch_s * 1e3 > deadlines.default_ms / 2:
        yield _warning(
            f"[engine] batch_s = {settings.engine.batch_s:g}: requests that arrive while a batch runs have less than"
            f" half of default_ms = {deadlines.default_ms} left; give less"
        )
    if settings.releases.vector_cache == 0:
        yield Finding("note", "settings", "[releases] vector_cache = 0: under load there are no cached vectors to use")


def _audit_stores(settings: ServeConfig, file: Path | None) -> Iterator[Finding]:
    url = urlsplit(settings.state.store or "")
    if url.scheme == "redis" and url.hostname not in {*LOOPBACK_HOSTS, None}:
        yield _warning(f"[state] store at {url.hostname}: user states are sent in plain text; use rediss://")
    if url.password and file is not None:
        yield from _audit_mode(
            file, stat.S_IRGRP | stat.S_IROTH, "it contains the password of the store, and others may read it"
        )
    if settings.logs.keep_days == 0 and settings.logs.max_gb == 0:
        yield _warning("[logs] keep_days = 0 and max_gb = 0: the logs grow until the disk is full; limit one of them")


def _audit_mode(file: Path, unwanted: int, why: str) -> Iterator[Finding]:
    try:
        mode = file.stat().st_mode
    except OSError:
        yield _warning(f"{file}: cannot be examined; does it exist?")
        return
    if mode & unwanted:
        yield _warning(f"{file}: {why}; chmod 600")


def _warning(text: str) -> Finding:
    return Finding("warning", "settings", text)
