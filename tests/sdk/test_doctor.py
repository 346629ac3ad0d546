"""What `aforo doctor` says of the frameworks and instrumentations around it, as a command and from inside."""

import json
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from aforo_sdk import frameworks, neighbours
from aforo_sdk.frameworks import FRAMEWORKS, Installed
from aforo_sdk.settings import resolve
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from tests.matrix import instrumentations
from tests.matrix.expectations import EXPECTED, Models, Tools
from tests.sdk.processes import environment, run

NOWHERE = "http://127.0.0.1:9"
RELEASES = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
REPORT = "import json\nfrom aforo_sdk import doctor\nprint(json.dumps(doctor.report()))\n"


def said(program: str, spool: Path, **variables: str) -> dict[str, Any]:
    """What a child that runs `program` prints: one JSON object in its last line."""
    out, _ = run(program, environment(spool, NOWHERE, **variables))
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def install(folder: Path, name: str, release: str, *requirements: str) -> None:
    """Put the metadata of a distribution into a folder."""
    place = folder / f"{name.replace('-', '_')}-{release}.dist-info"
    place.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {release}"]
    (place / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {one}" for one in requirements)]))


def present(folder: Path) -> Installed:
    """The distributions in a folder, by name."""
    return {one.metadata["Name"]: one for one in distributions(path=[str(folder)])}


def test_the_command_names_frameworks_and_imports_none(spool: Path) -> None:
    """Each installed framework has its version, its plugin's range and how it is metered; none is imported,
    and what another process has switched on is not guessed at.
    """
    program = """
from aforo_sdk.cli import main
main(["doctor", "--format", "json"])
import json
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""
    out, _ = run(program, environment(spool, NOWHERE))
    printed, _, imported = out.rstrip().rpartition("\n")
    found = json.loads(printed)
    names = {framework.distribution for framework in FRAMEWORKS}
    assert set(found["frameworks"]) == {name for name in names if name in frameworks.installed()}
    langchain = found["frameworks"]["langchain-core"]
    assert langchain["version"] == version("langchain-core")
    assert (langchain["plugin"], langchain["in_range"], langchain["instrumented"]) == (
        "aforo-langchain", True, None,
    )  # fmt: skip
    assert f"Tested with {langchain['tested']}" in langchain["meaning"]
    assert "calls aforo_langchain.instrument() or uses an AforoCallbackHandler" in langchain["meaning"]
    assert not {name.replace("-", "_") for name in names}.intersection(json.loads(imported))
    assert {entry["active"] for entry in found["instrumentations"].values()} == {None}


@pytest.mark.parametrize(
    ("plugin", "framework"),
    [("aforo_langchain", "langchain-core"), ("aforo_autogen", "autogen-core"), ("aforo_crewai", "crewai")],
)
def test_inside_it_says_what_is_metered_now(plugin: str, framework: str, spool: Path) -> None:
    """From inside a process `report()` tells a plugin that is not imported, one that is in force and one that
    was taken off again apart.
    """
    if find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    program = f"""
import json
from aforo_sdk import doctor
said = lambda: doctor.report()["frameworks"]["{framework}"]
before = said()
import {plugin}
{plugin}.instrument()
during = said()
{plugin}.uninstrument()
print(json.dumps([before, during, said()]))
"""
    before, during, after = said(program, spool)  # type: ignore[misc]
    assert [one["instrumented"] for one in (before, during, after)] == [False, True, False]
    assert f"it has not imported {plugin}" in before["meaning"]
    assert f"Metered: {plugin}.instrument() is in force." in during["meaning"]
    assert f"{plugin}.instrument() is not in force." in after["meaning"]


def test_a_plugin_without_a_switch_says_where_it_meters(spool: Path) -> None:
    """MCP servers are metered piece by piece: nobody claims to know that a process as a whole is."""
    mcp = said(REPORT, spool)["frameworks"]["mcp"]
    assert (mcp["instrumented"], mcp["in_range"]) == (None, True)
    assert "it has not imported aforo_mcp" in mcp["meaning"]
    mcp = said("import aforo_mcp\n" + REPORT, spool)["frameworks"]["mcp"]
    assert mcp["instrumented"] is None
    assert "uses AforoMiddleware, @metered_tool or `aforo mcp-proxy`" in mcp["meaning"]


def test_inside_it_reports_the_settings_of_init(spool: Path) -> None:
    """`report()` shows what `init` was told, not only the environment."""
    found = said("aforo_sdk.init(customer_id='globex')\n" + REPORT, spool)
    assert found["settings"]["customer_id"]["value"] == "globex"
    assert found["collector"]["answers"] is False


def test_what_is_missing_or_out_of_range(tmp_path: Path) -> None:
    """A framework whose plugin is missing says what to install, and a version that the plugin is not tested
    with is named as such.
    """
    install(tmp_path, "crewai", "1.15.30")
    install(tmp_path, "fastmcp", "2.9")
    install(tmp_path, "mcp", "1.27.1")
    install(tmp_path, "openai", "3.1")
    install(tmp_path, "aforo-mcp", "0.1.0", "mcp[cli] (>=1.26)", 'fastmcp<5,>=3.4; extra == "fastmcp"')
    found = frameworks.described(present(tmp_path), inside=False)
    assert list(found) == ["crewai", "mcp", "fastmcp", "openai"]
    assert "Install aforo-crewai and call aforo_crewai.instrument()" in str(found["crewai"]["meaning"])
    assert found["crewai"]["tested"] is None
    assert (found["mcp"]["tested"], found["mcp"]["in_range"]) == (">=1.26", True)
    assert (found["fastmcp"]["tested"], found["fastmcp"]["in_range"]) == (">=3.4,<5", False)
    assert "Not what aforo-mcp is tested with (>=3.4,<5)" in str(found["fastmcp"]["meaning"])
    assert (found["openai"]["plugin"], found["openai"]["instrumented"]) == (None, None)


@given(RELEASES, RELEASES, RELEASES)
def test_ranges_mean_what_they_mean_to_installers(lower: str, upper: str, release: str) -> None:
    """A release is within a range exactly if an installer would take it."""
    for versions in (f">={lower},<{upper}", f"<={upper},>{lower}", f"=={lower}"):
        if ">" + lower in versions and release.startswith(lower):
            continue  # installers give `>1.2` a meaning of its own for what is based on 1.2
        assert frameworks.holds(versions, release) == SpecifierSet(versions).contains(release)


@pytest.mark.skipif(find_spec("openinference") is None, reason="OpenInference is not installed")
def test_an_instrumentation_that_is_switched_on_is_seen(spool: Path) -> None:
    """From inside, OpenTelemetry's instrumentors that are on are told apart from those that are only there."""
    program = """
from openinference.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument()
"""
    found = said(program + REPORT, spool)["instrumentations"]
    assert found["openinference-instrumentation-openai"]["active"] is True
    others = {name: entry for name, entry in found.items() if name != "openinference-instrumentation-openai"}
    assert not any(entry["active"] for entry in others.values())


def test_other_instrumentations_are_found_by_name(tmp_path: Path) -> None:
    """Any instrumentation of the two families is listed, known or not; their libraries and ours are not."""
    for name in (
        "aforo-langchain",
        "openinference-instrumentation",
        "openinference-instrumentation-groq",
        "opentelemetry-instrumentation",
        "opentelemetry-instrumentation-fastapi",
        "langfuse",
        "requests",
    ):
        install(tmp_path, name, "1.0")
    install(tmp_path, "mcp", "1.27.1")
    found = neighbours.others(present(tmp_path), inside=False)
    assert list(found) == [
        "langfuse",
        "openinference-instrumentation-groq",
        "opentelemetry-instrumentation-fastapi",
    ]
    assert "other spans bill nothing" in str(found["opentelemetry-instrumentation-fastapi"]["meaning"])
    assert all(entry["meaning"] for entry in found.values())


def test_what_is_said_of_an_instrumentation_is_what_the_matrix_expects() -> None:
    """A sentence warns of tokens and tools exactly where the bill of the instrumentation alone is flagged."""
    checked = 0
    for framework, own in instrumentations.FRAMEWORK.items():
        for name, target in (own | instrumentations.CLIENT).items():
            expected = EXPECTED[framework].get(name)
            if expected is None or (framework == "autogen" and name not in own):
                continue  # AutoGen's streams lack usage whoever listens
            distribution = target.partition(":")[0].replace(".", "-").replace("_", "-")
            meaning = neighbours.INSTRUMENTATIONS[distribution]
            flagged = expected.models not in (Models.EXACT, Models.UNSEEN)
            assert ("flagged" in meaning) == flagged, (framework, name)
            if framework != "mcp":  # which tells of its tools itself
                assert ("not of tools" in meaning) == (expected.tools is Tools.UNSEEN), (framework, name)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("name", "value", "matters"),
    [
        ("OTEL_SDK_DISABLED", "True", True),
        ("OTEL_SDK_DISABLED", "false", False),
        ("OTEL_TRACES_SAMPLER", "traceidratio", True),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on", False),
        ("OTEL_TRACES_EXPORTER", "none", True),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", False),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", True),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "4", True),
        ("TRACELOOP_TRACE_CONTENT", "false", True),
        ("TRACELOOP_TRACE_CONTENT", "true", False),
        ("CREWAI_DISABLE_TELEMETRY", "", False),
    ],
)
def test_variables_that_matter_are_explained(name: str, value: str, matters: bool) -> None:
    """A variable that changes what others tell is listed, with what it does not do to ours."""
    found = neighbours.variables({name: value}, resolve({}, {}).destination)
    assert (name in found) == matters
    if matters:
        assert str(found[name]["meaning"]).endswith("Ours are not affected.")


@pytest.mark.parametrize(
    ("variables", "is_here"),
    [
        ({}, True),
        ({"AFORO_ENDPOINT": "http://elsewhere:1"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example/"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a.example", "AFORO_ENDPOINT": "https://a.example"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a.example", "AFORO_ENDPOINT": "https://b.example"}, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}, True),
        (
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a.example/v1/traces",
                "AFORO_ENDPOINT": "b.example",
            },
            False,
        ),
    ],
)
def test_where_the_spans_of_others_go(variables: dict[str, str], is_here: bool) -> None:
    """The exporters' address is compared with the collector's: only what comes here can be billed."""
    (entry, *_) = neighbours.variables(variables, resolve({}, variables).destination).values()
    assert ("not here, so they bill nothing" not in str(entry["meaning"])) == is_here


def test_the_table_has_every_heading(spool: Path) -> None:
    """The table shows under each heading what the JSON does."""
    program = "from aforo_sdk.cli import main\nmain(['doctor'])\n"
    out, err = run(program, environment(spool, NOWHERE, OTEL_SDK_DISABLED="true"))
    assert err == ""
    for heading in ("settings", "collector", "spool", "frameworks", "instrumentations", "environment"):
        assert f"\n{heading}\n" in f"\n{out}"
    assert "\n  OTEL_SDK_DISABLED " in out
    assert "\n  langchain-core " in out
