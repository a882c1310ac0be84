"""A table has one digest and a changed table another, as a file or as a folder of shards."""

from multitudes.data.tables import table_sha256


def test_the_digest_of_a_folder_depends_on_each_shard_and_on_their_order(tmp_path):
    digests = []
    for number, contents in enumerate((("a", "b"), ("a", "b"), ("b", "a"), ("a", "c"), ("a",))):
        folder = tmp_path / str(number)
        folder.mkdir()
        for place, content in enumerate(contents):
            (folder / f"{place}.parquet").write_text(content)
        (folder / "notes.txt").write_text(str(number))  # no part of the table
        digests.append(table_sha256(folder))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert table_sha256(tmp_path / "0" / "0.parquet") not in digests
