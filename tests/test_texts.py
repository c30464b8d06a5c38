"""The code of a Python file: every edit but one of its docstrings is another code."""

import pytest

from workbench.texts import code_hash

SOURCE = '''"""About the file."""
import os

class Rule:
    """Two
    lines, é."""; width = 1

    def step(self, x):
        "One line."
        text = """no docstring"""
        # a comment
        return x + 1, text
'''


@pytest.fixture
def hash_of(tmp_path):
    def found(text):
        path = tmp_path / "module.py"
        path.write_text(text)
        return code_hash(path)

    return found


@pytest.mark.parametrize("old, new", [("About", "On"), ("Two\n    lines, é", "One"), ("One line.", "Another:\n\\n 1")])
def test_a_docstring_is_no_code(hash_of, old, new):
    if "\n" in new:
        old, new = f'"{old}"', f'"""{new}"""'
    assert old in SOURCE and hash_of(SOURCE.replace(old, new)) == hash_of(SOURCE)


@pytest.mark.parametrize(
    "old, new", [("x + 1", "x + 2"), ("no docstring", "other"), ("width = 1", "width = 2"), ("os", "io")]
)
def test_all_else_is(hash_of, old, new):
    assert hash_of(SOURCE.replace(old, new)) != hash_of(SOURCE)


def test_a_file_that_does_not_parse_counts_as_it_is(hash_of):
    assert hash_of('"""a"""\n(') != hash_of('"""b"""\n(')
