"""The storage of files: a folder, or a bucket of an S3-like store.

Each organization has a folder of its own in it, which `file_path` starts from.

A file is opened once, checked, and read through what was opened: what its name leads to later does
not matter.
"""

import os
import stat
import weakref
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from datasources.connections.failures import Code, ConnectionFailure

# What a store answers for an object that is not there; 403 where nobody may list the bucket.
MISSING_STATUSES = (403, 404)


class StoredFile(Protocol):
    """A file that was opened for reading; it is closed when nobody refers to it any more."""

    size: int
    modified_at: datetime

    def read_at(self, start: int, count: int) -> bytes:
        """Read `count` bytes from `start`; fewer at the end. Threads may read at once."""
        ...


class LocalFile:
    """A regular file below the storage's folder."""

    def __init__(self, descriptor: int, path: str) -> None:
        status = os.fstat(descriptor)
        self.path = path
        self.identity = (status.st_dev, status.st_ino)
        self.size = status.st_size
        self.modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def read_at(self, start: int, count: int) -> bytes:
        """Read from where it says, whatever others read meanwhile."""
        return os.pread(self._descriptor, count, start)


class StoredObject:
    """An object of an S3-like store, read by ranges; replaced meanwhile, it is read no further."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        head = client.head_object(Bucket=bucket, Key=key)
        self.size: int = head["ContentLength"]
        self.modified_at: datetime = head["LastModified"]
        self._client = client
        self._request = {"Bucket": bucket, "Key": key, "IfMatch": head["ETag"]}

    def read_at(self, start: int, count: int) -> bytes:
        """Get a range. Raises OSError if the store sends something else."""
        end = min(start + count, self.size)
        if start >= end:
            return b""
        answer = self._client.get_object(**self._request, Range=f"bytes={start}-{end - 1}")
        # A store that knows no ranges would send all of it.
        if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
            raise OSError("The store does not send ranges.")
        data: bytes = answer["Body"].read()
        return data


def path_in_storage(organization_id: int, file_path: str) -> str:
    """Give where the file of an organization is in the storage."""
    return f"{organization_id}/{file_path}"


def open_file(file_path: str, timeout_seconds: int) -> StoredFile:
    """Open a file of the storage; `timeout_seconds` is how long a store may be silent.

    Raises ConnectionFailure if there is none, it is no regular file of this storage, or the store
    is out of reach.
    """
    if file_path.endswith("/") or ".." in file_path.split("/"):
        raise ConnectionFailure(Code.FILE_MISSING)
    if settings.STORAGE_URL:
        bucket, prefix = settings.STORAGE_URL
        return _open_object(bucket, prefix + file_path, timeout_seconds)
    try:
        return _open_local(Path(settings.STORAGE_ROOT), file_path)
    except (OSError, ValueError):  # ValueError: NUL, or what no file system can spell
        raise ConnectionFailure(Code.FILE_MISSING) from None


def _open_local(root: Path, file_path: str) -> LocalFile:
    """Open a regular file of an organization, through links that stay in its folder.

    Raises OSError. O_PATH opens nothing yet: a FIFO does not block, a device notices nothing. What
    it found is checked, and that is opened, not its name again, which may lead elsewhere by now.
    """
    found = os.open(root / file_path, os.O_PATH | os.O_CLOEXEC)
    try:
        path = os.readlink(f"/proc/self/fd/{found}")
        folder = Path(os.path.realpath(root), file_path.partition("/")[0])
        is_below = Path(path).is_relative_to(folder)
        if not is_below or not stat.S_ISREG(os.fstat(found).st_mode):
            raise FileNotFoundError
        return LocalFile(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC), path)
    finally:
        os.close(found)


def _open_object(bucket: str, key: str, timeout_seconds: int) -> StoredObject:
    """Open an object; where the store is, and the keys to it, boto3 reads from its own variables.

    Raises ConnectionFailure if there is no such object, or the store is out of reach.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=timeout_seconds,
        read_timeout=timeout_seconds,
        retries={"total_max_attempts": 2},
        # Not every S3-like store knows the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return StoredObject(boto3.client("s3", config=config), bucket, key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in MISSING_STATUSES:
            raise ConnectionFailure(Code.FILE_MISSING) from None
        raise ConnectionFailure(Code.STORAGE_FAILED) from None
    except BotoCoreError:
        raise ConnectionFailure(Code.STORAGE_FAILED) from None
