"""Every mistake in a job file is found at once, at its place, with what is allowed."""

# The tables below read best with a case a line.
# ruff: noqa: E501

import json
import textwrap
import time

import pytest

from p2pnode.core.jobfile import parse
from p2pnode.core.jobfile.problems import PROBLEMS_MAX, FileProblem, JobFileError, Severity

CID = "QmSYE8dVx6RTdDFFhBu51JjFG1fwwPdUJoXZ4ZNXvfoK2V"
HEAD = "Type: batch\nTasks:\n- Engine: {Type: docker, Params: {Image: x}}\n"
IPFS = f"Source: {{Type: ipfs, Params: {{CID: {CID}}}}}"


def problems(text: str | bytes) -> tuple[FileProblem, ...]:
    """All errors and warnings of a file."""
    try:
        return parse(text, "f").warnings
    except JobFileError as refusal:
        return refusal.problems


def lines(text: str | bytes) -> list[str]:
    return [str(problem).removeprefix("f:") for problem in problems(text)]


# Text that follows HEAD, and the place and message expected; line 1 of the text is line 4 of the file.
IN_A_TASK = {
    "Resources: {CPU: 1.5m}": '4:20: error: Tasks[0].Resources.CPU: "1.5m" is not an amount of CPU; allowed: cores',
    "Resources: {Memory: lots}": '4:23: error: Tasks[0].Resources.Memory: "lots" is not a size; allowed: a number',
    "Resources: {Memory: 0}": '4:23: error: Tasks[0].Resources.Memory: "0" is no memory',
    "Resources: {Disk: [1]}": "4:21: error: Tasks[0].Resources.Disk: expected a number with a unit",
    "Resources: {GPU: -1}": '4:20: error: Tasks[0].Resources.GPU: "-1" is not a number of GPUs',
    "Resources: 5": '4:14: error: Tasks[0].Resources: expected a map of CPU, Memory, Disk, GPU; found "5"',
    "Resourses: {}": '4:3: error: Tasks[0].Resourses: unknown field "Resourses"; did you mean Resources?',
    "Resources: {Memmory: 1}": '4:15: error: Tasks[0].Resources.Memmory: unknown field "Memmory"; did you mean Memory?',
    "Resources: {Wheels: 1}": '4:15: error: Tasks[0].Resources.Wheels: unknown field "Wheels"; known here: CPU',
    "name: a\n  NAME: b": '5:3: error: Tasks[0].Name: "NAME" occurs twice',
    'Name: "a\\nb"': '4:9: error: Tasks[0].Name: "a\\nb" contains a control character',
    'Meta: {a: "\\0"}': "4:13: error: Tasks[0].Meta.a: contains a null character",
    "Meta: {a: 1, a: 2}": '4:16: error: Tasks[0].Meta.a: "a" occurs twice',
    "Meta: {a: [1]}": "4:13: error: Tasks[0].Meta.a: expected text, found a list",
    "Meta: [a]": "4:9: error: Tasks[0].Meta: expected a map of names to texts, found a list",
    "Meta: {bacalhau.org/x: 1}": "4:10: warning: Tasks[0].Meta.bacalhau.org/x: ignored",
    "Env: {2A: b}": '4:9: error: Tasks[0].Env.2A: "2A" is not the name of a variable; allowed: a letter',
    "Env: {BACALHAU_X: b}": "4:9: error: Tasks[0].Env.BACALHAU_X: BACALHAU_X is set by the node",
    "Publisher: {Type: s3, Params: {Bucket: b, Key: 'a/{job}'}}": '4:50: error: Tasks[0].Publisher.Params.Key: "{job}" is nothing that is filled in; known: {jobID}, {executionID}, {nodeID}, {date}, {time}',
    "Env: {A: 'env:'}": '4:12: error: Tasks[0].Env.A: "env:" names no variable; env:NAME stands for',
    "Env: {A: 'env:B-C'}": '4:12: error: Tasks[0].Env.A: "env:B-C" names no variable',
    "Publisher: {Type: ipsf}": '4:21: error: Tasks[0].Publisher.Type: "ipsf" is not a type of publisher',
    "Publisher: {Type: s3managed}": "4:21: error: Tasks[0].Publisher.Type: s3managed needs an orchestrator",
    "Publisher: {Params: {}}": "4:14: error: Tasks[0].Publisher.Type: missing: one of ipfs, s3, local, none",
    "Publisher: {Type: s3, Params: {Key: k}}": "4:33: error: Tasks[0].Publisher.Params.Bucket: missing: the bucket's name",
    "Publisher: {Type: noop}": "4:21: warning: Tasks[0].Publisher.Type: noop is called none now",
    "Publisher: {Type: none}\n  ResultPaths: [{Name: o, Path: /o}]": "5:16: warning: Tasks[0].ResultPaths: are not",
    "InputSources: [{Target: /a}]": "4:18: error: Tasks[0].InputSources[0].Source: missing: a map of Type and Params",
    "InputSources: [~]": "4:18: error: Tasks[0].InputSources[0]: an empty member",
    f"InputSources: [{{{IPFS}}}]": "4:18: error: Tasks[0].InputSources[0].Target: missing: where the task finds it",
    f"InputSources: [{{{IPFS}, Target: a/b}}]": 'Tasks[0].InputSources[0].Target: "a/b" must be an absolute path, such as /a/b',
    f"InputSources: [{{{IPFS}, Target: /a/../b}}]": 'Target: "/a/../b" must be a folder or file below /, without ..',
    f"InputSources: [{{{IPFS}, Target: /}}]": 'Target: "/" must be a folder or file below /',
    f"InputSources: [{{{IPFS}, Target: /a}}, {{{IPFS}, Target: /a/}}]": 'InputSources[1].Target: "/a" is already the Target of member 0',
    f"InputSources: [{{{IPFS}, Target: /a, Alias: x}}, {{{IPFS}, Target: /b, Alias: x}}]": 'InputSources[1].Alias: "x" is already',
    "ResultPaths: [{Name: o, Path: /proc/x}]": "Tasks[0].ResultPaths[0].Path: /proc/x lies where every container",
    "ResultPaths: [{Name: o, Path: /dev/null}]": "Tasks[0].ResultPaths[0].Path: /dev/null lies where every container",
    "ResultPaths: [{Name: o, Path: /etc/hosts}]": "Tasks[0].ResultPaths[0].Path: /etc/hosts is a file in every container",
    f"InputSources: [{{{IPFS}, Target: /sys/x}}]": "Tasks[0].InputSources[0].Target: /sys/x lies where every container",
    f"InputSources: [{{{IPFS}, Target: /d}}]\n  ResultPaths: [{{Name: o, Path: /d/o}}]": "warning: Tasks[0].ResultPaths[0].Path: /d/o lies below the input at /d, which is read-only",
    f"InputSources: [{{{IPFS}, Target: /o}}]\n  ResultPaths: [{{Name: o, Path: /o}}]": "Tasks[0].ResultPaths: /o is also the Target",
    "InputSources: [{Target: /a, Source: {Type: ipfs, Params: {CID: Qm1}}}]": '4:66: error: Tasks[0].InputSources[0].Source.Params.CID: "Qm1" is not a CID',
    f"InputSources: [{{Target: /a, Source: {{Type: ipfs, Params: {{CID: {CID}/a/../b}}}}}}]": "Source.Params.CID: the path 'a/../b' has the part ..",
    f"InputSources: [{{Target: /a, Source: {{Type: ipfs, Params: {{CID: {CID}//b}}}}}}]": "has an empty part",
    "InputSources: [{Target: /a, Source: {Type: ipfs, Params: {CDI: Qm1}}}]": 'Params.CDI: unknown field "CDI"; did you mean CID?',
    "InputSources: [{Target: /a, Source: {Type: url}}]": '"url" is not a type of input source; allowed: ipfs, s3, local',
    "InputSources: [{Target: /a, Source: {Type: urlDownload, Params: {URL: ftp://h}}}]": '"ftp://h" is not an http or https URL',
    "InputSources: [{Target: /a, Source: {Type: inline, Params: {URL: 'data:;base64,###'}}}]": '"data:;base64,###" says base64, and its data is none',
    "InputSources: [{Target: /a, Source: {Type: inline, Params: {URL: 'x'}}}]": '"x" is not a data URL',
    "InputSources: [{Target: /a, Source: {Type: local, Params: {SourcePath: x}}}]": '"x" must be an absolute path',
    "InputSources: [{Target: /a, Source: {Type: local, Params: {SourcePath: /x, ReadWrite: maybe}}}]": '"maybe" is not true or false',
    "InputSources: [{Target: /a, Source: {Type: s3, Params: {Bucket: b, Filter: '('}}}]": '"(" is not a regular expression',
    "InputSources: [{Target: /a, Source: {Type: s3, Params: {Bucket: b, Partition: {Type: regex}}}}]": "Partition.Pattern: missing",
    "InputSources: [{Target: /a, Source: {Type: s3, Params: {Bucket: b, Partition: {Type: date}}}}]": "Partition.DateFormat: missing",
    "ResultPaths: [{Name: o}]": "4:17: error: Tasks[0].ResultPaths[0].Path: missing: the folder in the task",
    "ResultPaths: [{Name: o, Path: o}]": '4:33: error: Tasks[0].ResultPaths[0].Path: "o" must be an absolute path, such as /o',
    "ResultPaths: [{Name: a/b, Path: /o}]": 'ResultPaths[0].Name: "a/b" is not the name of a folder',
    "ResultPaths: [{Name: StdOut, Path: /o}]": '"StdOut" is the name of a file that every result has',
    "ResultPaths: [{Name: a, Path: /o}, {Name: a, Path: /p}]": 'ResultPaths[1].Name: "a" is already the Name of member 0',
    "ResultPaths: [{Name: a, Path: /o}, {Name: b, Path: /o}]": 'ResultPaths[1].Path: "/o" is already the Path of member 0',
    "Network: {Type: Fu11}": '4:19: error: Tasks[0].Network.Type: "Fu11" is not a type of network; allowed: None, Host',
    "Network: {Type: Full}": "4:19: warning: Tasks[0].Network.Type: Full is called Host now",
    "Network: {Type: Default}": "4:19: warning: Tasks[0].Network.Type: Default is None here",
    "Network: {Type: HTTP}": "4:12: error: Tasks[0].Network.Domains: missing: Type HTTP needs at least one domain",
    "Network: {Domains: [a.io]}": "4:22: error: Tasks[0].Network.Domains: allowed only with Type: HTTP",
    "Network: {Type: HTTP, Domains: ['http://a.io/x']}": '4:35: error: Tasks[0].Network.Domains[0]: "http://a.io/x" is not a domain',
    "Network: {Type: HTTP, Domains: ['*.a.io']}": "for all below it write .a.io",
    "Network: {Type: HTTP, Domains: [at@.walker]}": '"at@.walker" is not a domain',
    "Network: {Type: HTTP, Domains: [192.168.0.1/32]}": '"192.168.0.1/32" is not a domain',
    "Network: {Type: HTTP, Domains: [300.1.1.1]}": '"300.1.1.1" is not a domain',
    "Network: {Type: HTTP, Domains: ['a.io:443']}": '"a.io:443" is not a domain',
    "Network: {Type: HTTP, Domains: ['münchen.de']}": "xn-- form",
    "Network: {Type: None, Ports: [{Name: a}]}": "Tasks[0].Network.Ports: allowed only with Type: Host or Bridge",
    "Network: {Type: Host, Ports: [{Name: a, Target: 80}]}": "Ports[0].Target: not allowed with Type: Host",
    "Network: {Type: Host, Ports: [{Name: a, Static: 80}]}": '"80" is not a whole number from 1024 to 65535',
    "Network: {Type: Bridge, Ports: [{Name: a}, {Name: a}]}": 'Ports[1].Name: "a" is already the Name of member 0',
    "Network: {Type: Bridge, Ports: [{Name: 1a}]}": '"1a" is not a port name',
    "Network: {Type: Bridge, Ports: [{Name: a, HostNetwork: h}]}": '"h" is not an IP address',
    "Timeouts: {TotalTimeout: -10}": '4:28: error: Tasks[0].Timeouts.TotalTimeout: "-10" is not a duration; allowed: whole',
    "Timeouts: {ExecutionTimeout: 15, QueueTimeout: 20, TotalTimeout: 30}": "TotalTimeout: 30s is less than ExecutionTimeout 15s and QueueTimeout 20s together",
}  # fmt: skip

IN_DOCKER = {
    "": "Tasks[0].Engine.Params.Image: missing: the image to run",
    "Image: 'my image'": '"my image" is not an image',
    "Image: Alpine": '"Alpine" is not an image',
    "Image: ''": '"" is not an image',
    "Image: x, Imgae: y": 'unknown field "Imgae"; did you mean Image?',
    "Image: x, Entrypoint: python": 'Entrypoint: expected a list, found "python"',
    "Image: x, Parameters: [{a: b}]": "Parameters[0]: expected text, found a map",
    "Image: x, WorkingDirectory: w": '"w" must be an absolute path',
    "Image: x, EnvironmentVariables: [A]": 'EnvironmentVariables[0]: "A" has no =; write it as NAME = value',
    "Image: x, EnvironmentVariables: [A=1, ' A =2']": "EnvironmentVariables[1]: A is set twice",
    "Image: x, EnvironmentVariables: [BACALHAU_A=1]": "BACALHAU_A is set by the node",
    "Image: x, EnvironmentVariables: [=1]": '"" is not the name of a variable',
    "Image: x, EnvironmentVariables: {A: 1}": "EnvironmentVariables: expected a list, found a map",
    "Image: x, EnvironmentVariables: [A: 1]": "EnvironmentVariables[0]: expected NAME = value, found a map",
}

IN_A_JOB = {
    "Type: batch\nMeta: {p2pnode/retries: often}": '2:25: error: Meta.p2pnode/retries: "often" is not a number of retries',
    "Tipe: batch": '1:1: error: Tipe: unknown field "Tipe"; did you mean Type?',
    "Type: cron": '1:7: error: Type: "cron" is not a type of job; allowed: batch, ops, daemon, service',
    "Type: batch\nCount: -1": '2:8: error: Count: "-1" is not a whole number from 0 to 10000',
    "Type: batch\nCount: 010": '2:8: error: Count: "010" is not a whole number',
    "Type: batch\nCount: two": '2:8: error: Count: "two" is not a whole number',
    "Type: ops\nCount: 2": "2:8: error: Count: ops jobs run once on every suitable peer; leave Count out",
    "Type: daemon\nCount: 1": "2:8: warning: Count: ignored: daemon jobs run once on every suitable peer",
    "Type: batch\nID: j-1": "2:1: error: ID: is given to a job by the network",
    "Type: batch\nmodifytime: 1": "2:1: error: modifytime: is given to a job by the network",
    "Type: batch\nPriority: high": '2:11: error: Priority: "high" is not a whole number',
    "Type: batch\nDeputies: 4": '2:11: error: Deputies: "4" is not a whole number from 0 to 3',
    "Type: batch\nDeputies: -1": '2:11: error: Deputies: "-1" is not a whole number from 0 to 3',
    "Type: batch\nDeputies: two": '2:11: error: Deputies: "two" is not a whole number from 0 to 3',
    "Type: batch\nDeputies: [a]": "2:11: error: Deputies: expected a whole number, found a list",
    "Type: batch\nDeputies: 0": "2:11: warning: Deputies: 0: while the node that looks after it is away, nobody does",
    "Type: batch\nLabels: [a]": "2:9: error: Labels: expected a map of names to texts, found a list",
    "Constraints: {}": "1:14: error: Constraints: expected a list, found a map",
    "Constraints: [{Operator: '='}]": "1:15: error: Constraints[0].Key: missing: the label to look at",
    "Constraints: [{Key: a}]": "Constraints[0].Operator: missing: one of =, !=, in, notin, exists, !, gt, lt, ==",
    "Constraints: [{Key: a, Operator: '~'}]": '1:34: error: Constraints[0].Operator: "~" is not an operator; allowed: =, !=',
    "Constraints: [{Key: a, Operator: not_in}]": "did you mean notin?",
    "Constraints: [{Key: a, Operator: '='}]": 'Constraints[0]: operator "=" needs exactly one of Values, found 0',
    "Constraints: [{Key: a, Operator: gt, Values: [x]}]": 'operator "gt" compares whole numbers, found "x"',
    "Constraints: [{Key: a, Operator: in, Values: x}]": 'Constraints[0].Values: expected a list, found "x"',
    "Constraints: [{Key: ' ', Operator: exists}]": "the Key is blank",
}  # fmt: skip

UNREADABLE: dict[str | bytes, str] = {
    "": "1:1: error: the file is empty",
    "# nothing\n": "1:1: error: the file is empty",
    "just text": '1:1: error: expected a map of Name, Namespace, Type, Priority, Count, Deputies, Meta, Labels, Constraints, Tasks; found "just text"',
    "[]": "1:1: error: expected a map of Name",
    "Type: [batch": "not YAML: while parsing a flow sequence",
    "Type: batch: x": "1:12: error: not YAML: mapping values are not allowed in this context",
    b"Type: b\xff": "1:8: error: not UTF-8 text: byte 0xff",
    "Type: batch\nName: \0": "2:7: error: character U+0000 is not allowed in a job file",
    "Type: \ud800": "1:7: error: character U+D800 is not allowed",
    "Type: &a batch": "1:7: error: anchor &a is not allowed",
    "Type: *a": "1:7: error: alias *a is not allowed",
    "Type: !!python/object:os.system x": "1:7: error: tag tag:yaml.org,2002:python/object:os.system is not allowed",
    "Type: batch\n---\nType: ops": "2:1: error: a second document begins here; a file holds one job",
    "{[a]: b}": "1:2: error: a key must be text, found a list or a map",
    "Name: " + "x" * 300_000: "1:1: error: 300006 bytes, over the limit of 262144",
    "[" * 100: "1:25: error: nested more than 24 deep",
    "- " * 100: "error: nested more than 24 deep",
    "Name: x-{{.name}}": "1:9: error: found the template action {{.name}}; give its variables with -V name=value",
    "Labels:\n  a: {{or 1 2}}": "2:6: error: found the template action {{or 1 2}}",
    "{{if .x}}\nType: batch\n{{end}}": "1:1: error: found the template action {{if .x}}",
    # Braces in a comment, or after the mistake, are not its cause.
    "# {{.x}}\nType: [": "3:1: error: not YAML",
    "Type: &a b\nName: '{{x}}'": "1:7: error: anchor",
}  # fmt: skip


@pytest.mark.parametrize(("extra", "expected"), IN_A_TASK.items())
def test_a_wrong_task_is_one_problem_at_its_place(extra: str, expected: str) -> None:
    found = lines(f"{HEAD}  {extra}")
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(("params", "expected"), IN_DOCKER.items())
def test_wrong_docker_parameters_are_found_before_any_peer_sees_them(params: str, expected: str) -> None:
    found = lines(f"Type: batch\nTasks:\n- Engine: {{Type: docker, Params: {{{params}}}}}\n")
    assert len(found) == 1, found
    assert found[0].startswith("3:")
    assert expected in found[0]


@pytest.mark.parametrize(("head", "expected"), IN_A_JOB.items())
def test_a_wrong_job_is_a_problem_at_its_place(head: str, expected: str) -> None:
    kind = "" if head.startswith("Type") else "\nType: batch"
    found = lines(f"{head}{kind}\nTasks: [{{Engine: {{Type: docker, Params: {{Image: x}}}}}}]\n")
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(("text", "expected"), UNREADABLE.items())
def test_an_unreadable_file_is_one_problem(text: str | bytes, expected: str) -> None:
    found = lines(text)
    assert len(found) == 1, found
    assert expected in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", ["1:1: error: Type: missing: one of batch, ops, daemon, service", "1:1: error: Tasks: missing: a list"]),
        ("{Type: batch, Tasks: []}", ["1:22: error: Tasks: 0 tasks; allowed: exactly one"]),
        ("{Type: batch, Tasks: [{}]}", ["1:23: error: Tasks[0].Engine: missing: a map of Type and Params"]),
        (
            "{Type: batch, Tasks: [{Engine: {Type: dokcer}}]}",
            ['1:39: error: Tasks[0].Engine.Type: "dokcer" is not a type of engine; allowed: docker, wasm, other; did you mean docker?'],
        ),
        (
            "{Type: batch, Tasks: [{Engine: {Type: docker, Params: {Image: x}}}, {Engine: {Type: docker, Params: {Image: x}}}]}",
            ["1:22: error: Tasks: 2 tasks; allowed: exactly one"],
        ),
        (
            "{Type: batch, Tasks: [{Engine: {Type: wasm, Params: {EntryModule: /m.wasm}}, "
            f"InputSources: [{{Target: /a, {IPFS}}}, {{Target: /b, {IPFS}}}]}}]}}",
            [
                "1:67: error: Tasks[0].Engine.Params.EntryModule: /m.wasm is not the Target of an input source, "
                "nor below one; Targets: /a, /b"
            ],
        ),
        (
            "{Type: daemon, Tasks: [{Engine: {Type: docker, Params: {Image: x}}, ResultPaths: [{Name: o, Path: /o}]}]}",
            ["1:82: warning: Tasks[0].ResultPaths: daemon jobs do not end, so what they write there is not published"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_whole_job(text: str, expected: list[str]) -> None:
    found = lines(text)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_all_mistakes_are_found_at_once_in_the_order_of_the_file() -> None:
    text = textwrap.dedent("""
        Type: btach
        Count: many
        Constraints:
          - {Key: zone, Operator: is, Values: [a]}
        Tasks:
          - Engine:
              Type: docker
              Params: {Imagee: x}
            Resources: {CPU: fast, Memory: 1Gb}
            InputSources:
              - Target: data
                Source: {Type: ipfs, Params: {CID: nonsense}}
            Network: {Type: Full, Domains: [a.io]}
            Timeouts: {TotalTimeout: soon}
    """)
    found = problems(text)
    assert [(problem.line, problem.path) for problem in found] == [
        (2, "Type"),
        (3, "Count"),
        (5, "Constraints[0].Operator"),
        (9, "Tasks[0].Engine.Params.Imagee"),
        (10, "Tasks[0].Resources.CPU"),
        (12, "Tasks[0].InputSources[0].Target"),
        (13, "Tasks[0].InputSources[0].Source.Params.CID"),
        (14, "Tasks[0].Network.Type"),
        (14, "Tasks[0].Network.Domains"),
        (15, "Tasks[0].Timeouts.TotalTimeout"),
    ]
    assert [problem.path for problem in found if problem.severity is Severity.WARNING] == [
        "Tasks[0].Network.Type"
    ]


def test_braces_in_quotes_are_text() -> None:
    assert problems("Name: '{{.x}}'\n" + HEAD) == ()


def test_a_module_is_not_missed_because_its_input_is_wrong() -> None:
    source = "{Target: /m.wasm, Source: {Type: ipfs, Params: {CID: x}}}"
    engine = "{Type: wasm, Params: {EntryModule: /m.wasm}}"
    (problem,) = problems(f"{{Type: batch, Tasks: [{{Engine: {engine}, InputSources: [{source}]}}]}}")
    assert problem.path == "Tasks[0].InputSources[0].Source.Params.CID"


def test_a_file_full_of_mistakes_shows_the_first_hundred() -> None:
    found = problems(json.dumps({f"Tasc{number}": number for number in range(9_000)}))
    assert len(found) == PROBLEMS_MAX + 1
    assert "more problems are not shown" in found[-1].message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{" * 200_000,
        "- " * 130_000,
        "? " * 130_000,
        "- \n" * 87_000,
        "[a" + ",a" * 130_000,
        "Labels: {" + "".join(f"{number}: b, " for number in range(9_000)) + "}",
        "Labels: {" + "a: b, " * 9_000 + "}",
        "{" + "Taskss: b, " * 9_000 + "}",
        "Constraints: [" + "{}, " * 900 + "]",
        "Constraints: [" + "{Key: a, Operator: nope, Values: [1]}, " * 999 + "]",
        "Type: batch\nTasks: [" + "{Engine: {Type: docker}}, " * 999 + "]",
        "a: |\n" + " x\n" * 80_000,
        '"' + "\\x41" * 60_000 + '"',
        "'" + "\n" * 250_000,
        "a" * 250_000 + ": b",
        "Type: " + "9" * 250_000,
        "Count: " + "9" * 250_000,
        "{{" * 100_000,
        "#" + "{{" * 100_000 + "\n[",
        "a: &" + "b" * 200_000,
        "%" + "a" * 200_000,
    ],
    ids=range(22),
)
def test_the_worst_text_is_refused_within_a_second(text: str) -> None:
    begin = time.process_time()
    assert problems(text)
    assert time.process_time() - begin < 1
