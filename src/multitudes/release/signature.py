"""Signatures of releases: who published each file, for services that trust a key rather than whoever writes the folder.

``signature.json`` has size and SHA-256 of every other file of a release and an Ed25519 signature over them. Each is
copied into a file without a name, and the copy is hashed and then read: who can write the folder may change a file at
any time, through a mapping even without a new time of change. Keys are PEM files, which OpenSSL reads and writes too.
Item updates are signed one by one (``delta_log``). No signature says which release or item update is the newest.
"""

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from multitudes.atomic import create_text, open_file
from multitudes.errors import ArtefactError, MissingError, UsageError
from multitudes.extras import require_extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PrivateKey: TypeAlias = Any  # an Ed25519PrivateKey; its package is an extra, so other modules do not import it
Trust: TypeAlias = Path | PrivateKey  # a public key, or a folder of them; a private key stands for its public key
SIGNATURE: Final = "signature.json"
_FORMAT: Final = "multitudes-signature-2"  # part of what is signed: no other message of this key is one
_MAX_BYTES: Final = 1 << 20  # of the file of a signature; a release has some 40 files
_REPAIR: Final = "publish the run again with --sign KEY"
_open: Final = partial(open_file, repair=_REPAIR, flags=os.O_NOFOLLOW)  # no link


class Signer(NamedTuple):
    """Whose key signed a release: the name of the trusted file (empty: none was given), and the key's fingerprint."""

    name: str
    fingerprint: str


def make_key_pair(private: Path) -> tuple[Path, str]:
    """Write a new private key, which its owner alone may read, and its public key beside it, with ``.pub`` added.

    Returns the file of the public key, and the fingerprint.

    Raises:
        UsageError: one of the files exists.
        MissingError: the extra ``sign`` is not installed.
    """
    require_extra("sign")
    from cryptography.hazmat.primitives import serialization as forms  # noqa: PLC0415 (an optional extra)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    public = private.with_name(f"{private.name}.pub")
    if private.suffix == ".pub":
        raise UsageError(f"{private}: is the name of a public key; give the file of the private key, without .pub")
    if public.exists():
        raise UsageError(f"{public}: exists, and a key is never replaced; give another name")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    shown = key.public_key().public_bytes(forms.Encoding.PEM, forms.PublicFormat.SubjectPublicKeyInfo)
    for file, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        if not create_text(file, content.decode(), mode):
            raise UsageError(f"{file}: exists, and a key is never replaced; give another name")
    return public, _fingerprint(key.public_key().public_bytes_raw())


def read_private_key(file: Path) -> "Ed25519PrivateKey":
    """Read the private key that signs.

    Raises:
        UsageError: the file is no private key, or other users may read it.
        MissingError: it does not exist, or the extra ``sign`` is not installed.
    """
    require_extra("sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    content = _read_key_file(file)
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"{file}: other users may read this private key; chmod 600")
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError):  # damaged; encrypted
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{file}: not a private Ed25519 key without a password; make one with: multitudes keys pair")
    return key


def sign_release(folder: Path, key: "Ed25519PrivateKey") -> None:
    """Write the signature of a staged release; no file of it may change afterwards."""
    with ExitStack() as stack:
        files = {path: _entry(stack.enter_context(_open(folder / path))) for path in _paths(folder)}
    record = {
        "format": _FORMAT,
        "key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),
        "files": files,
        "signature": base64.b64encode(key.sign(_message(files))).decode(),
    }
    (folder / SIGNATURE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@contextmanager
def signed_files(folder: Path, trust: Trust) -> Iterator[Path]:
    """Yield a folder of links to private copies of the files that a trusted key signed, all of which the block reads.

    Nothing but a descriptor of this process leads to a copy. It takes up room in ``TMPDIR`` as long as it is mapped.

    Raises:
        ArtefactError, UsageError, MissingError: as ``check_signature``.
    """
    with TemporaryDirectory(prefix="multitudes-signed-") as links, ExitStack() as stack:
        _, files = _read_signature(folder, trust)
        for path, copy in _signed_copies(folder, files, stack):
            link = Path(links, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(f"/proc/self/fd/{copy.fileno()}")
        try:
            yield Path(links)
        except ArtefactError as error:
            raise ArtefactError(str(error).replace(links, str(folder))) from None


def check_signature(folder: Path, trust: Trust | None) -> Signer:
    """Check that a key of ``trust``, None: any key, signed exactly the files of a release (``folder``); return whose.

    To read the files afterwards, see ``signed_files``.

    Raises:
        ArtefactError: the release is unsigned, another key signed it, or a file was changed, added or removed.
        UsageError: ``trust`` holds no public key.
        MissingError: ``trust`` does not exist, ``TMPDIR`` has no room, or the extra ``sign`` is not installed.
    """
    signer, files = _read_signature(folder, trust)
    with ExitStack() as stack:
        for _, copy in _signed_copies(folder, files, stack):
            copy.close()
    return signer


def _read_signature(folder: Path, trust: Trust | None) -> tuple[Signer, dict[str, dict[str, Any]]]:
    """Return who signed a release, and what was signed: size and digest of each file, by path."""
    require_extra("sign")
    trusted = None if trust is None else read_public_keys(trust)
    file = folder / SIGNATURE
    if not file.exists():
        raise ArtefactError(f"{file}: missing, so nobody signed this release; {_REPAIR}")
    with _open(file) as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        record = json.loads(content) if len(content) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ArtefactError(f"{file}: not a signature of the format {_FORMAT}; {_REPAIR}")
    try:
        raw, signature = (base64.b64decode(record[name], validate=True) for name in ("key", "signature"))
        files = dict[str, dict[str, Any]](record["files"])
        is_valid = is_signed(_message(files), signature, [raw])
    except (KeyError, TypeError, ValueError):
        is_valid = False
    if not is_valid:
        raise ArtefactError(f"{file}: not a valid signature; {_REPAIR}")
    name = "" if trusted is None else trusted.get(raw)
    if name is None:
        keys = trust if isinstance(trust, Path) else "--sign"
        raise ArtefactError(f"{file}: signed by {_fingerprint(raw)}, not by a key of {keys}; {_REPAIR}")
    return Signer(name, _fingerprint(raw)), files


def is_signed(message: bytes, signature: bytes, keys: Iterable[bytes]) -> bool:
    """Return whether the signature is that of one of the raw public keys."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    for key in keys:
        with suppress(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
            return True
    return False


def read_public_keys(trust: Trust) -> dict[bytes, str]:
    """Read a public key, or all of a folder (``*.pub``); return the names of the files by raw key.

    Raises:
        UsageError: a file is no public key, or the folder has none.
        MissingError: the path does not exist.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    if not isinstance(trust, Path):
        return {trust.public_key().public_bytes_raw(): ""}
    if trust == Path():  # what an unset variable gives would trust whatever lies in the working folder
        raise UsageError("the path of the public key is empty; give the file, or a folder of such by its name")
    names = dict[bytes, str]()
    for file in sorted(trust.glob("*.pub")) if trust.is_dir() else [trust]:
        try:
            key = load_pem_public_key(_read_key_file(file))
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise UsageError(f"{file}: not a public Ed25519 key; give the .pub file of: multitudes keys pair")
        names[key.public_bytes_raw()] = file.stem
    if not names:
        raise UsageError(f"{trust}: has no public key (*.pub), so no release can be trusted")
    return names


def _read_key_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise MissingError(f"{file}: no such key; make a pair with: multitudes keys pair {file}") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read as a key ({error.strerror})") from None


def _message(files: dict[str, dict[str, Any]]) -> bytes:
    """Return the bytes that are signed."""
    return json.dumps({"format": _FORMAT, "files": files}, sort_keys=True, separators=(",", ":")).encode()


def _signed_copies(folder: Path, signed: dict[str, dict[str, Any]], stack: ExitStack) -> Iterator[tuple[str, FileIO]]:
    """Yield the path of each file of a release and a copy, open until the end of a block, if it is as signed."""
    for path in sorted(signed.keys() ^ set(_paths(folder))):
        problem = "was signed and is missing" if path in signed else "was added after the release was signed"
        raise ArtefactError(f"{folder / path}: {problem}; {_REPAIR}")
    for path, entry in sorted(signed.items()):
        copy = stack.enter_context(TemporaryFile(buffering=0))  # noqa: SIM115 (the stack closes it)
        _copy(folder / path, copy, entry["bytes"] + 1)
        if _entry(copy) != entry:
            raise ArtefactError(f"{folder / path}: was changed after the release was signed; {_REPAIR}")
        yield path, copy


def _copy(file: Path, copy: FileIO, max_bytes: int) -> None:
    with _open(file) as stream:
        try:
            while max_bytes and (count := os.sendfile(copy.fileno(), stream.fileno(), None, max_bytes)):
                max_bytes -= count
        except OSError as error:
            problem = f"cannot be copied into {gettempdir()} ({error.strerror}), as a signed release is"
            raise MissingError(f"{file}: {problem}; set TMPDIR to a folder with room for it") from None


def _paths(folder: Path) -> list[str]:
    """Return the path of every file of a release but its signature; a link is an error."""
    paths = []
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            if (Path(place) / name).is_symlink():
                raise ArtefactError(f"{Path(place) / name}: a link; a signed release has none; {_REPAIR}")
        paths += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return [path for path in paths if path != SIGNATURE]


def _entry(stream: BufferedReader | FileIO) -> dict[str, Any]:
    """Return what is signed of a file."""
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": stream.tell(), "sha256": digest}


def _fingerprint(key: bytes) -> str:
    return f"ed25519:{hashlib.sha256(key).hexdigest()[:16]}"
