"""The digest of the code sees what a module does, not how it is written down."""

from multitudes.study.provenance import canonical_source, code_digest

CODE = '"""A module."""\n\ndef double(x):\n    """Return twice x."""\n    return 2 * x\n'


def test_comments_docstrings_and_layout_do_not_count_and_a_changed_number_does():
    rewritten = '"""Another\nword."""\ndef double( x ):\n    # why\n    return 2*x\n'
    assert canonical_source(CODE) == canonical_source(rewritten)
    assert canonical_source(CODE) != canonical_source(CODE.replace("2 * x", "3 * x"))


def test_it_is_the_same_for_the_same_code():
    code_digest.cache_clear()
    first = code_digest()
    code_digest.cache_clear()
    assert code_digest() == first
