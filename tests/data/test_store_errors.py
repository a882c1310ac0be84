"""What a store says becomes one line, whatever names of objects stand in it."""

import pytest
from pyarrow import fs

from multitudes.data.location import RemotePath
from multitudes.errors import UnavailableError, UsageError


class Deaf(fs.FileSystemHandler):  # type: ignore[misc]
    """A store that says one thing to whatever it is asked."""

    def __init__(self, said):
        self._said = said

    def _say(self, *_):
        raise OSError(self._said)

    get_type_name = get_file_info = get_file_info_selector = open_input_file = open_input_stream = _say
    copy_file = create_dir = delete_dir = delete_dir_contents = delete_file = delete_root_dir_contents = _say
    move = normalize_path = open_append_stream = open_output_stream = _say


@pytest.mark.parametrize(
    ("said", "error", "expected"),
    [
        (
            "When getting information for key 'bucket-401' in bucket 'CREDENTIAL': AWS Error NETWORK_CONNECTION during"
            " HeadObject operation: curlCode: 7, Could not connect to server\nmore",
            UnavailableError,
            r"does not answer \(curlCode: 7, Could not connect to server\)",
        ),
        (
            "When listing objects under key 'curl' in bucket 'b': AWS Error INVALID_ACCESS_KEY_ID during ListObjectsV2"
            " operation: The key does not exist. (Request ID: x)",
            UnavailableError,
            r"rejects the credentials \(The key does not exist\)",
        ),
        ("google::cloud::Status(PERMISSION_DENIED: no)", UnavailableError, "rejects the credentials"),
        ("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)", UnavailableError, "does not answer"),
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: x", UsageError, "no such bucket"),
        ("something else", UnavailableError, "cannot be read: something else"),
    ],
)
def test_what_a_store_says_becomes_a_line(said, error, expected):
    deaf = RemotePath("mock://shop", fs.PyFileSystem(Deaf(said)), "shop")
    with pytest.raises(error, match=expected) as refused:
        deaf.is_dir()
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("mock://shop: ")
