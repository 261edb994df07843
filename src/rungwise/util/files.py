"""Files that appear whole or not at all, JSON that is read with care, tensors with a checksum, and a lock.

Nothing here is ever pickled, and whatever a file holds, reading it ends with a value or with one clear UserError.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rungwise.errors import UserError

LOCK = ".lock"
LOCKED = 1
"""Bytes of it that the lock is on, which on Windows nobody else may read; behind them, the holder's id."""
WAITS = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds for which a reader may hold up who writes, one after the other."""
METADATA = "rungwise"
"""The entry of a safetensors file's metadata that is ours."""


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """An OSError within is a UserError: what cannot be done, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot {what}: {error.strerror or error}.") from None


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to the path that this yields; it takes `path`'s place, whole and on disk, when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with doing(f"write {path}"):
            yield temporary
            _sync(temporary)
            replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill the directory that this yields; it becomes `folder`, whole and on disk, when the block ends well.

    A `folder` that holds anything is refused before.
    """
    import shutil

    if folder.exists() and not folder.is_dir():
        raise UserError(f"Cannot write to {folder}: File exists.")
    if folder.exists() and contents(folder):
        raise UserError(f"{folder} is not empty; give another --out, or remove it.")
    make_folder(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        with doing(f"write {folder}"):
            temporary.mkdir()
            yield temporary
            for path in temporary.iterdir():
                _sync(path)
            if folder.exists():
                folder.rmdir()
            replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace(new: Path, path: Path) -> None:
    """`new` takes the place of `path`, on disk. Windows refuses that while somebody reads `path`: wait a little."""
    for wait in WAITS if sys.platform == "win32" else ():
        with contextlib.suppress(PermissionError):
            new.replace(path)
            break
        time.sleep(wait)
    else:
        new.replace(path)
    with contextlib.suppress(OSError):  # a rename is on disk when its folder is; not every system can sync folders
        _sync(path.parent, os.O_RDONLY)


def _sync(path: Path, how: int = os.O_RDWR) -> None:
    """Wait until the disk has it. Windows takes no handle that only reads."""
    handle = os.open(path, how)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def portable(text: str) -> str:
    """What was typed, or a path, as text that means the same in every locale.

    Python keeps bytes that its locale cannot read as surrogate escapes: where they are UTF-8 they become characters,
    and what is no UTF-8 (a path may hold any bytes) stays an escape. local() is the way back.
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that is no byte of anybody's
        return text


def local(text: str) -> str:
    """The path here, under this locale, that a portable() text names. A path that can be used here is left alone."""
    try:
        os.fsencode(text)
        return text
    except UnicodeEncodeError:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def require_utf8(path: Path, who: str) -> None:
    """Other people's libraries do not take every path that a system has."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"{who} takes no path that is not UTF-8, such as {path}: give another --out.") from None


def utf8(text: str) -> bytes:
    r"""Text as every file of ours holds it. A path's byte that is no UTF-8 is written \udcXX, which JSON reads back."""
    return text.encode("utf-8", "backslashreplace")


def write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(utf8(text))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line in a single write, on a line of its own even after a torn one, and wait for the disk."""
    line = utf8(json.dumps(value, ensure_ascii=False) + "\n")
    with doing(f"write {path}"), path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a torn line (a write that was cut short) is ignored."""
    return [value for _, value in numbered_lines(path)]


def numbered_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The same, each with its number, from 1."""
    found, text = [], ""
    with doing(f"read {path}"), contextlib.suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): a word may hold other line separators
        with contextlib.suppress(ValueError, RecursionError):  # no JSON, a number of 5,000 digits, endless nesting
            if isinstance(value := json.loads(line), dict):
                found.append((number, value))
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of a run or climb."""
    try:
        return read_object(path, json.loads)
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a run directory: {path.name} is missing.") from None
    except NotADirectoryError:
        raise UserError(f"{path.parent} is not a run directory: it is a file.") from None


def read_object(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """The object that `parse` makes of a file's text. That there is no file is left to the caller to tell."""
    try:
        value = parse(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except RecursionError:
        raise UserError(f"{path} cannot be read: nested too deep.") from None
    except (OSError, ValueError) as error:  # not JSON, not UTF-8, a path with a zero byte
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold an object with fields.")
    return value


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None) -> None:
    """Arrays as safetensors, `about` as JSON in its metadata, and a SHA-256 of both, so that damage is seen."""
    from safetensors.numpy import save

    told = json.dumps(dict(about or {}), ensure_ascii=False)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    about_both = json.dumps({"about": told, "sha256": _checksum(tensors, told)})
    packed = save(tensors, {METADATA: about_both})  # one entry: safetensors writes several in random order
    with atomic(path) as temporary:
        temporary.write_bytes(packed)  # by Python, so that a full disk is an OSError like any other


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What write_tensors() wrote. FileNotFoundError is left to the caller, who knows what it means."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        told = metadata.get("about", "")
        if metadata.get("sha256") != _checksum(tensors, told):
            raise UserError(f"{path} is damaged: its checksum does not fit.")
        return tensors, json.loads(told)
    except (UserError, FileNotFoundError):
        raise
    except MemoryError:
        raise
    except Exception as error:  # of safetensors, of JSON, of metadata of another shape
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged: {first_line}.") from None


def _checksum(tensors: Mapping[str, np.ndarray], told: str) -> str:
    digest = hashlib.sha256(told.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).data)
    return digest.hexdigest()


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold a directory: a second process that wants it is refused. The system lets go when the holder dies.

    What a killed holder left half-written is cleared away.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    with doing(f"write {path}"):
        try:
            held = FileLock(path, timeout=0).acquire()
        except Timeout:
            with path.open("rb") as file:
                file.seek(LOCKED)
                holder = file.read(32).decode(errors="replace").strip() or "?"
            raise UserError(f"Another process (id {holder}) is at work in {folder}; wait for it, or stop it.") from None
    with held:
        with doing(f"write {path}"), path.open("r+b") as file:
            file.seek(LOCKED)
            file.truncate()
            file.write(f"{os.getpid()}\n".encode())
        for leftover in folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        yield


def contents(folder: Path) -> set[str]:
    """Names of what a directory holds, less the lock and what a killed process left half-written."""
    with doing(f"read {folder}"):
        names = {path.name for path in folder.iterdir()}
    return {name for name in names if name != LOCK and not (name.startswith(".") and name.endswith(".tmp"))}


def make_folder(folder: Path) -> None:
    try:
        with doing(f"write to {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
    except UserError:
        raise
    except ValueError as error:  # a path with a zero byte
        raise UserError(f"Cannot write to {str(folder)!r}: {error}.") from None
