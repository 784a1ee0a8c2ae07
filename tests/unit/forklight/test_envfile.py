"""Env files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forklight.config.envfile import parse_env_file


@pytest.mark.parametrize(
    ("line", "variables"),
    [
        ("", {}),
        ("  # A=1", {}),
        ("A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A= # nothing", {"A": ""}),
        (" export  A = 1 2 ", {"A": "1 2"}),
        ("A=1#2 # three", {"A": "1#2"}),
        ("A=b=c", {"A": "b=c"}),
        ("A='$x \\n # \"' # end", {"A": '$x \\n # "'}),
        ('A="a\\n\\t\\"\\\\\\$ # "# end', {"A": 'a\n\t"\\$ # '}),
        ("A=${B}", {"A": "${B}"}),
        ("A=1\nA=2\nexport=3", {"A": "2", "export": "3"}),
    ],
)
def test_lines(line: str, variables: dict[str, str]) -> None:
    assert parse_env_file(line, ".env") == (variables, [])


def test_every_problem_has_its_line_and_none_shows_a_value() -> None:
    text = 'A=\'hunter2\nhunter2\nB="hunter2\\"\nC D=hunter2\n1X=hunter2\nE="hunter2" hunter2\nF=1'
    variables, problems = parse_env_file(text, ".env")
    assert variables == {"F": "1"}
    assert [str(problem).partition(": ")[0] for problem in problems] == [
        ".env:1 A",
        ".env:2",
        ".env:3 B",
        ".env:4",
        ".env:5",
        ".env:6 E",
    ]
    assert "hunter2" not in str(problems)


@pytest.mark.invariant("I35")
@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_line_of_text_survives_double_quotes(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_env_file(f'A="{quoted}"', ".env") == ({"A": value}, [])
