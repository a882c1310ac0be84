"""An S3 server on this machine with one bucket."""

import logging

import pytest
from pyarrow import fs

from multitudes.data.location import RemotePath, parse_location

BUCKET = "shop"
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request


def address(text):
    found = parse_location(text)
    assert isinstance(found, RemotePath)
    return found


class Store:
    """A running server."""

    def __init__(self):
        moto = pytest.importorskip("moto.server", reason="no S3 server for the tests: pip install 'multitudes[dev]'")
        self._server = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.host = "{}:{}".format(*self._server.get_host_and_port())
        self.files = fs.S3FileSystem(
            access_key="a",
            secret_key="b",
            endpoint_override=self.host,
            scheme="http",
            allow_bucket_creation=True,
            request_timeout=30,
        )
        self.files.create_dir(BUCKET)

    def put(self, path, content):
        with self.files.open_output_stream(f"{BUCKET}/{path}") as stream:
            stream.write(content)

    def upload(self, folder, path):
        """Put all files of a folder under ``path``; return the address."""
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{path}/{file.relative_to(folder)}", file.read_bytes())
        return f"s3://{BUCKET}/{path}"

    def stop(self):
        self._server.stop()
