"""Templates give what Go's text/template gives, or a located error; environment and -V variables."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pnode.core.jobfile import parse, parse_template
from p2pnode.core.jobfile.problems import PROBLEMS_MAX, JobFileError
from p2pnode.core.jobfile.template.rendering import expand
from p2pnode.core.jobfile.template.variables import parse_assignment, select_environment, spread
from tests.template_cases import GO, REFUSED, VARIABLES

JOB_FILES = Path(__file__).parent / "jobfiles"


def problems(text: str, **variables: str) -> list[str]:
    with pytest.raises(JobFileError) as refusal:
        expand(text, variables or VARIABLES, "job.yaml")
    return [str(problem) for problem in refusal.value.problems]


@pytest.mark.parametrize(("template", "expected"), GO)
def test_a_template_gives_what_go_gives(template: str, expected: str) -> None:
    assert expand(template, VARIABLES, "job.yaml").text == expected


@pytest.mark.parametrize(("template", "place", "message"), REFUSED)
def test_a_wrong_template_is_one_problem_at_its_place(template: str, place: str, message: str) -> None:
    (found,) = problems(template)
    assert found.startswith(f"job.yaml:{place}: error: {message}")


def test_all_missing_variables_are_named_at_once_with_the_flag_to_give() -> None:
    with pytest.raises(JobFileError) as refusal:
        parse_template((JOB_FILES / "daemon.yaml").read_bytes(), {"Query": "x"}, "daemon.yaml")
    found = [str(problem) for problem in refusal.value.problems]
    assert found[0] == (
        "daemon.yaml:74:15: error: the variable query has no value (given: Query); "
        'give it with -V query=..., or make it optional with {{or (index . "query") "default"}}'
    )
    assert [line.split("-V ")[1].split("=")[0] for line in found] == [
        "query", "OpenSearchEndpoint", "AccessLogBucket", "AWSRegion",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["ops", "daemon"])
def test_the_examples_with_templates_are_accepted_with_their_variables(name: str) -> None:
    variables = {"query": "a=b, c", "OpenSearchEndpoint": "o", "AccessLogBucket": "b", "AWSRegion": "r"}
    variables["start-time"] = "10"
    spec = parse_template((JOB_FILES / f"{name}.yaml").read_bytes(), variables, f"{name}.yaml").spec
    assert spec.task.engine.parameters == ("--query", "a=b, c", "--start-time", "10", "--end-time", "")


def test_a_problem_is_at_its_place_in_the_file_as_it_was_written() -> None:
    text = "{{if .a}}\nName: {{.a}}\n{{end}}{{range 3}}\n# {{.}}\n{{end}}Type: {{.b}} # b\nTaks: []\n"
    with pytest.raises(JobFileError) as refusal:
        parse_template(text, {"a": "x", "b": "cron"}, "job.yaml")
    assert [(one.line, one.column, one.path) for one in refusal.value.problems] == [
        (5, 14, "Type"),
        (6, 1, "Taks"),
    ]


def test_warnings_are_at_their_place_as_well() -> None:
    text = (JOB_FILES / "service.yaml").read_text()
    expected = [(one.line, one.column) for one in parse(text, "s").warnings]
    longer = "{{/*\n*/ -}}\n{{range 5}}\n# a comment\n{{end -}}\n" + text
    found = [(one.line - 5, one.column) for one in parse_template(longer, {}, "s").warnings]
    assert found == expected


def test_braces_are_text_where_they_are_said_to_be() -> None:
    text = "Type: batch\nName: a {{.b}}\nTasks: [{Engine: {Type: docker, Params: {Image: x}}}]\n"
    assert parse(text, "job.yaml", literal_braces=True).spec.name == "a {{.b}}"
    assert parse_template(text, {"b": "{{c}}"}, "job.yaml").spec.name == "a {{c}}"
    with pytest.raises(JobFileError, match="-V name=value"):
        parse(text, "job.yaml")


@pytest.mark.parametrize(
    "value", ["a: b", "x #1", "- a", "'", '"', "{a", "\n", "\t", "@", "\\", "é😀", "null", "\u2028", "#"]
)
def test_a_value_in_printf_q_stays_as_it_is_in_yaml(value: str) -> None:
    tasks = "[{Engine: {Type: docker, Params: {Image: x}}}]"
    text = f'Type: batch\nLabels: {{a: {{{{printf "%q" .v}}}} }}\nTasks: {tasks}\n'
    assert parse_template(text, {"v": value}, "job.yaml").spec.labels == {"a": value}


@pytest.mark.parametrize(("value", "is_cut"), [("a #1", True), (" a", True), ("a#1", False), ("a b", False)])
def test_a_value_that_yaml_would_cut_is_warned_of(value: str, is_cut: bool) -> None:
    text = "Type: batch\nNamespace: {{.v}}\nTasks: [{Engine: {Type: docker, Params: {Image: x}}}]\n"
    warnings = [str(one) for one in parse_template(text, {"v": value}, "f").warnings]
    assert [line.partition(",")[0] for line in warnings] == [f'f:2:12: warning: "{value}"'] * is_cut
    quoted = text.replace("{{.v}}", "'{{.v}}'")
    assert parse_template(quoted, {"v": value}, "f").warnings == ()


ARGUMENTS = """Type: batch
Tasks:
- Engine: {Type: docker, Params: {Image: x, Parameters: %s}}
"""


@pytest.mark.parametrize(
    ("parameters", "value", "said"),
    [
        ("[{{.v}}]", "~", 'warning: "~", which {{.v}} puts here, is read as nothing'),
        ('["{{.v}}"]', 'a", "b', "which {{.v}} puts here, is not read as one text"),
        ('["{{.v}}"]', "c:\\new", "is not read as one text"),
        ("[{{.v}}]", "a, b", "is not read as one text"),
        ('["{{.v}}"]', '"', 'as {{.v}} puts """ here; write {{printf "%q" .v}}, without quotes around it'),
        ("[{{.v}}]", "a: b", "found a map, as {{.v}} puts"),
        ("[{{.v}}]", "- a", "error: "),
        ("[{{.v}}]", "[a", "as {{.v}} puts"),
        ("[{{.v}}]", "*a", "alias *a is not allowed; write the value out, as {{.v}} puts"),
        ('[{{or .v "x"}}]', "a: b", 'write {{printf "%q" (or .v "x")}}'),
        ("[{{.v}}]", "https://example.com/?a=b", ""),
        ('["{{.v}}"]', "it's", ""),
        ("[{{.v}}]", "", ""),
    ],
)
def test_what_a_value_does_to_the_file_is_told_with_its_variable(
    parameters: str, value: str, said: str
) -> None:
    text = ARGUMENTS % parameters
    try:
        found = parse_template(text, {"v": value}, "f").warnings
    except JobFileError as refusal:
        found = refusal.problems
    if not said:
        assert found == ()
        return
    (one,) = found
    assert str(one).startswith(f"f:3:{text.splitlines()[2].index('{{') + 1}: ")
    assert said in str(one)


def test_many_missing_variables_are_cut_to_what_a_person_reads() -> None:
    found = problems("".join(f"{{{{.missing{number}}}}}" for number in range(1_900)))
    assert len(found) == PROBLEMS_MAX


BIG = "{{$x := `" + "a" * 200_000 + "`}}{{range 100000}}"


@pytest.mark.parametrize(
    "text",
    [
        "{{.n}}" * 40_000,
        "{{" * 128_000,
        "{{" + "(" * 250_000,
        "{{if 1}}" * 30_000,
        "{{if 0}}" + "{{else if 0}}" * 15_000 + "{{end}}",
        "{{1" + "|print" * 40_000 + "}}",
        "{{range 1000000}}{{print" + " 1" * 9_000 + "}}{{end}}",
        "{{range 1000000000000}}{{range 1000000}}{{continue}}{{end}}{{end}}",
        '{{$x := "aaaaaaaa"}}{{range 1000}}{{$x = printf "%s%s" $x $x}}{{end}}',
        BIG + "{{if eq $x $x}}{{end}}{{end}}",
        BIG + "{{$y := index $x 1}}{{end}}",
        BIG.replace("a" * 8, "\x01" * 8) + '{{$y := printf "%q" $x}}{{end}}',
        "".join(f"{{{{$x{number} := 1}}}}" for number in range(1_900)) + "{{range 100000}}{{$x1 = 2}}{{end}}",
        "{{range 100000}}{{range $}}{{break}}{{end}}{{end}}",
        '{{"' + "\\" * 250_000,
        "{{" + "9" * 250_000 + "}}",
        "{{- " + " \n" * 120_000 + "}}",
        "{{" + ".a" * 120_000 + "}}",
        "{{range 100000}}" + "x" * 10_000 + "{{end}}",
        "{{" + " /*" * 80_000,
    ],
    ids=range(20),
)
def test_the_worst_template_is_refused_within_a_second(text: str) -> None:
    variables = {f"name{number}": "x" * 100 for number in range(1_000)} | {"n": "1"}
    begin = time.process_time()
    assert problems(text, **variables)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    "text",
    [
        '{{range $i := 9000}}{{printf "%d #" $i}}: x\n{{end}}',
        "{{1}}" + "\n" * 250_000 + "{" + "Taskss: b, " * 900 + "}",
        "{{range 9000}}Taskss: b\n{{end}}",
    ],
    ids=range(3),
)
def test_the_worst_template_of_a_wrong_file_is_explained_within_a_second(text: str) -> None:
    begin = time.process_time()
    with pytest.raises(JobFileError):
        parse_template(text, {}, "job.yaml")
    assert time.process_time() - begin < 1


TOKENS = ["{{", "}}", "{{- ", " -}}", "if ", "else ", "end", "range ", "with ", "break", ".", ".n", "$", "$x"]
TOKENS += [
    ":=",
    "=",
    ",",
    "|",
    "(",
    ")",
    " ",
    '"a"',
    "`",
    "'b'",
    "1",
    "-1",
    "or ",
    "index ",
    "printf ",
    '"%d"',
    "/*",
]
TOKENS += [
    "*/",
    "\n",
    "text",
    "{{if .n}}",
    "{{end}}",
    "{{range $k, $v := .}}",
    "{{else}}",
    '"%5q"',
    "len ",
    "eq ",
]


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from(TOKENS), max_size=40).map("".join))
def test_any_text_gives_text_or_problems(text: str) -> None:
    begin = time.process_time()
    try:
        found = expand(text, VARIABLES, "any")
        lines = found.text.split("\n")
        places = [found.origin(line, len(written) + 1) for line, written in enumerate(lines, start=1)]
    except JobFileError as refusal:
        places = [(problem.line, problem.column) for problem in refusal.problems if problem.message]
    assert places
    assert all((1, 1) <= place <= (text.count("\n") + 1, len(text) + 1) for place in places)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("query=a,b", ("query", "a,b")),
        ("query=a=b", ("query", "a=b")),
        ("start-time= x ", ("start-time", " x ")),
        ("empty=", ("empty", "")),
        (" padded =1", ("padded", "1")),
    ],
)
def test_an_assignment_keeps_its_value_as_it_is(text: str, expected: tuple[str, str]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"a": "1,b=2"}, {"a": "1", "b": "2"}),
        ({"a": "1, b=2,start-time=3,4"}, {"a": "1", "b": "2", "start-time": "3,4"}),
        ({"a": "1,other=2"}, {"a": "1,other=2"}),
        ({"a": "1,b=2", "b": "3"}, {"a": "1,b=2", "b": "3"}),
        ({"a": "SELECT x,y WHERE b=2"}, {"a": "SELECT x,y WHERE b=2"}),
        ({"a": ",b=,b=2"}, {"a": "", "b": "2"}),
    ],
)
def test_pairs_in_one_flag_are_variables_of_their_own_where_the_file_names_them(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    assert spread(given, 'x other= {{.a}} {{ .b }} {{or (index . "start-time") ""}}') == expected


@pytest.mark.parametrize("text", ["query", "", "=x", " =x"])
def test_what_is_no_assignment_is_told_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match="write it as name=value"):
        parse_assignment(text)


ENVIRONMENT = {"ENV_A": "1", "ENV_B": "2", "OTHER_C": "3", "MY_ENV_D": "4", "PATH": "/bin", "ODD": "a\udcff"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", "ENV_A ENV_B OTHER_C MY_ENV_D PATH"),
        ("ENV_*", "ENV_A ENV_B MY_ENV_D"),
        ("^ENV_*", "ENV_A ENV_B"),
        ("ENV_*|OTHER_*", "ENV_A ENV_B OTHER_C MY_ENV_D"),
        ("ENV_A|PATH", "ENV_A PATH"),
        ("V_*$", "ENV_A ENV_B MY_ENV_D"),
        ("^ENV_A$|^PAT$", "ENV_A"),
        ("E*A", "ENV_A"),
        ("^E*_B$", "ENV_B"),
        ("^*D$", "MY_ENV_D"),
        ("A$", "ENV_A"),
        (".*TH", "OTHER_C PATH"),
        ("env", ""),
    ],
)
def test_a_pattern_selects_variables_of_the_environment(pattern: str, names: str) -> None:
    assert list(select_environment(pattern, ENVIRONMENT)) == names.split()


@pytest.mark.parametrize("pattern", ["", " ", "(a+)+", "[A-Z]", "a" * 2_000, "a|" * 200])
def test_a_pattern_that_is_more_than_names_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|allowed"):
        select_environment(pattern, ENVIRONMENT)


def test_a_hostile_pattern_takes_no_time() -> None:
    environment = {"A" * 30_000 + str(number): "x" for number in range(100)}
    begin = time.process_time()
    assert select_environment("*A" * 400 + "*B", environment) == {}
    assert time.process_time() - begin < 1
