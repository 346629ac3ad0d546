"""The canonical scenario, apart from any framework: its words, its tools' names and the model's answers.

A guide is asked a question. Its first model call asks for two tools in parallel: `research`, which asks a
sub-agent (one model call), and `convert`, which fails. Its second model call is streamed, partly from the
cache and with reasoning, and answers. So: three model calls, two tool calls, one of them successful.
"""

from tests.fake_openai import Json, Reply, Usage

MODEL = "gpt-4o-mini"
GUIDE, ARCHIVIST = "guide", "archivist"
GUIDE_DUTY = "You answer travellers. Use your tools."
ARCHIVIST_DUTY = "You know one fact about everything."
QUESTION = "How deep is the Sognefjord, and what are 7 kroner in euro?"
RESEARCH, CONVERT = "research", "convert"
RESEARCH_USE = "Look a topic up."
CONVERT_USE = "Convert an amount of money."
CONVERT_FAILURE = "there is no rate for today"

FIRST = Usage(prompt_tokens=120, completion_tokens=30)
SUB_AGENT = Usage(prompt_tokens=90, completion_tokens=25)
LAST = Usage(prompt_tokens=260, completion_tokens=50, cached_tokens=80, reasoning_tokens=16)


def answer(request: Json) -> Reply:
    """What the model says to a request, told by what the conversation already holds."""
    if any(message["role"] == "tool" for message in request["messages"]):
        return Reply("It is 1308 m deep; the rate is not known.", usage=LAST)
    if request.get("tools"):
        asked = [("", RESEARCH, {"topic": "Sognefjord"}), ("", CONVERT, {"amount": "7 NOK"})]
        return Reply(tool_calls=asked, usage=FIRST)
    return Reply("The Sognefjord is 1308 m deep.", usage=SUB_AGENT)
