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
        ("A=1\r\nB='2'\r\n\r\nC=\"3\r\n4\"\r\n", {"A": "1", "B": "2", "C": "3\n4"}),
        ("A='1\n # 2\n\n3' # end\nB=4", {"A": "1\n # 2\n\n3", "B": "4"}),
        ('A="1\n\\\\\n\\"B=\\"\n"\nC=4', {"A": '1\n\\\n"B="\n', "C": "4"}),
        ('A={"a": "it\'s"}', {"A": '{"a": "it\'s"}'}),
        ("A=C:\\dir\\\nB=2", {"A": "C:\\dir\\", "B": "2"}),
        ("A='a\u2028b\x85c\x0cd\x1ce'\nB=\xa0x\xa0", {"A": "a\u2028b\x85c\x0cd\x1ce", "B": "\xa0x\xa0"}),
    ],
)
def test_lines(line: str, variables: dict[str, str]) -> None:
    assert parse_env_file(line, ".env") == (variables, [])


PEM = "-----BEGIN PRIVATE KEY-----\nMIIE==\nab/c+d==\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_key_in_quotes_is_read_as_it_is(quote: str) -> None:
    text = f"export KEY={quote}{PEM}{quote}\nLAST={quote}{PEM}\n{quote}"
    assert parse_env_file(text, ".env") == ({"KEY": PEM, "LAST": PEM + "\n"}, [])


def test_every_problem_has_its_line_and_none_shows_a_value() -> None:
    text = 'A=\'hunter2\nhunter2\nB="hunter2\\"\nC D=hunter2\n1X=hunter2\nE="hunter2" hunter2\nF=1'
    variables, problems = parse_env_file(text, ".env")
    assert variables == {"F": "1"}
    form = "is not a variable: write NAME=value, NAME in letters, digits and _"
    assert list(map(str, problems)) == [
        ".env:1 A: has a quote that is never closed",
        f".env:2: {form}",
        ".env:3 B: is not closed before E on line 6: close it, or write its line ends as \\n",
        f".env:4: {form}",
        f".env:5: {form}",
        ".env:6 E: has text after the quote that closes it: close it at its end",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('A="1\nB="2"\n', ".env:1 A: is not closed before B on line 2: close it, or write its line ends as \\n"),
        (
            "A='1\n\n export B = ' \n",
            ".env:1 A: is not closed before B on line 3: close it, or write its line ends as \\n",
        ),
        ('A="1\\\n2"', ".env:1 A: has a backslash at the end of a line: write \\n for a line end, or join the lines"),
        (
            "A=1\rB=2\r",
            ".env:1 A: has a carriage return in it: end lines with LF or CRLF, or write \\r in double quotes",
        ),
        ("A='\n1' 2", ".env:1 A: has text after the quote that closes it on line 2: close it at its end"),
        ("# \nA\n", ".env:2: is not a variable: write NAME=value, NAME in letters, digits and _"),
        ("A: 1", ".env:1: is not a variable: write NAME=value, NAME in letters, digits and _"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(text: str, problem: str) -> None:
    _, problems = parse_env_file(text, ".env")
    assert str(problems[0]) == problem


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
MULTILINE = st.lists(
    st.sampled_from(["\n", "\\", '"', "'", "#", " #", "A=", "B = ", "x", "é", "\r", "\t", "=="]), max_size=8
)
VALUES = TEXT | MULTILINE.map("".join)
ENDS = st.sampled_from(["\n", "\r\n", "\n\n# a comment with a ' and a \"\n", " # end\n", "\t\r\n"])


def _escaped(value: str) -> str:
    for character, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, written)
    return f'"{value}"'


@pytest.mark.invariant("I35")
@given(st.lists(st.tuples(VALUES, ENDS)))
def test_any_value_survives_in_escapes(given: list[tuple[str, str]]) -> None:
    text = "".join(f"V{number}={_escaped(value)}{end}" for number, (value, end) in enumerate(given))
    expected = {f"V{number}": value for number, (value, _) in enumerate(given)}
    assert parse_env_file(text, ".env") == (expected, [])


@pytest.mark.invariant("I35")
@given(VALUES, st.sampled_from("'\""), ENDS)
def test_a_value_in_quotes_is_read_as_it_is_or_refused_but_never_as_another(value: str, quote: str, end: str) -> None:
    value = value.replace(quote, "").replace("\r", "")
    written = value.replace("\\", "\\\\") if quote == '"' else value
    variables, problems = parse_env_file(f"A={quote}{written}{quote}{end}LAST=1\n", ".env")
    assert (variables.get("A") == value) or any("is not closed before" in str(one) for one in problems)
    assert problems or variables == {"A": value, "LAST": "1"}


@pytest.mark.invariant("I35")
@given(st.text(alphabet="A='\"\\\n #\rx", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    variables, problems = parse_env_file(text, ".env")
    assert problems or len(variables) <= text.count("=")
    assert all(1 <= problem.line <= text.count("\n") + 1 for problem in problems)


@pytest.mark.invariant("I35")
@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])))
def test_any_line_of_text_survives_double_quotes(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_env_file(f'A="{quoted}"', ".env") == ({"A": value}, [])
