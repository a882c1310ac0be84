"""One table has one digest, a changed one another, whether it is a file or a folder of parts."""

from multitudes.data.table_files import table_sha256


def test_a_folder_of_parts_is_told_by_what_is_in_each_and_by_their_order(tmp_path):
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
