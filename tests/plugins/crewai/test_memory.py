"""What agents remember and know: structure, with the model calls that it takes."""

from typing import Any

import pytest
from crewai import Crew
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.memory.unified_memory import Memory

from tests.fake_openai import FakeOpenAI, Reply, fake_openai
from tests.plugins.crewai.crews import agent, crew, model, task
from tests.plugins.spool import ReadSpans, Spans

INPUT = "gen_ai.usage.input_tokens"


def embed(texts: list[str]) -> list[list[float]]:
    """Give every text the same place."""
    return [[0.1, 0.2, 0.3, 0.4] for _ in texts]


def accounted(server: FakeOpenAI, seen: Spans) -> bool:
    """Whether every chat that was answered is on one span, with its tokens or marked as missing them."""
    chats = [call.prompt_tokens for call in server.answered if call.path == "chat/completions"]
    counted = [span[INPUT] for span in seen if span["aforo.usage.quality"] == "reported"]
    missing = [span for span in seen if span["aforo.usage.quality"] == "missing"]
    return sum(chats) == sum(counted) + 100 * len(missing) and len(chats) == len(counted) + len(missing)


def test_memory(metered: ReadSpans, server: FakeOpenAI) -> None:
    """Memory is structure in the tree of the crew. Its model calls are counted once each and are no final
    answers, though CrewAI loses its place when it cannot read one and reports that twice.
    """
    llm = model(server)
    worker = agent(llm)
    remembering = Memory(llm=llm, embedder=embed)
    Crew(name="keen", agents=[worker], tasks=[task(worker), task(worker)], memory=remembering).kickoff()
    seen = metered()
    assert len({span.trace for span in seen}) == 1
    assert [span.name for span in seen if not span.parent] == ["invoke_workflow keen"]
    assert {"memory query", "memory retrieval", "memory save"} <= {span.name for span in seen}
    assert not [span for span in seen if "Flow" in span.name]
    assert accounted(server, seen)
    finals = [span for span in seen if span["aforo.step.type"] == "FINAL_ANSWER"]
    assert len(finals) == 2
    steps = sorted(span["aforo.step.index"] for span in seen if span["aforo.step.type"])
    assert steps == list(range(len(steps)))


def test_memory_that_understands(metered: ReadSpans) -> None:
    """Where the answers can be read, the tokens billed are those that the server spent on chats."""

    def reply(request: dict[str, Any]) -> Reply:
        shape = request.get("response_format")
        return Reply('{"memories": ["it rains"], "facts": []}' if shape else "done")

    with fake_openai(reply) as server:
        llm = model(server)
        crew(llm, memory=Memory(llm=llm, embedder=embed)).kickoff()
    seen = metered()
    assert len(seen.named("chat stub-1")) > 1
    assert accounted(server, seen)


@pytest.mark.filterwarnings("ignore")  # a warning made an error leaves the crew without knowledge, silently
def test_knowledge(metered: ReadSpans, server: FakeOpenAI) -> None:
    """A search in the crew's knowledge is a retrieval around the model call that words it."""
    place = {"api_key": "none", "api_base": server.url, "model_name": "embed-1"}
    worker = agent(model(server))
    Crew(
        agents=[worker],
        tasks=[task(worker)],
        knowledge_sources=[StringKnowledgeSource(content="it rains")],
        embedder={"provider": "openai", "config": place},
    ).kickoff()
    seen = metered()
    first, last = seen.named("chat stub-1")
    assert "retrieval knowledge" in seen.path(first)
    assert (first["aforo.step.type"], last["aforo.step.type"]) == ("MODEL_CALL", "FINAL_ANSWER")
    assert accounted(server, seen)
