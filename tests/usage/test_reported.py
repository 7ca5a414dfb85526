"""`spend(answer)`: the figures of an answer, in the forms of the common SDKs."""

from types import SimpleNamespace

import pytest

from llmflow_nb import Flow, FlowWarning, Node, spend
from llmflow_nb.core.usage import Usage


def reported(answer, **given):
    """What a call reports that was answered like this."""

    class Ask(Node):
        def exec(self, _):
            spend(answer, **given)

    flow = Flow(Ask())
    flow.run({})
    return flow.last_run.visits[0].usage


def as_object(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(item) for name, item in value.items()})
    return value


ANSWERS = {
    "chat completion": (
        {
            "model": "gpt-4o-mini",
            "usage": {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 12}},
        },
        Usage("gpt-4o-mini", 20, 5, 12),
    ),
    "chat completion without details": (
        {"model": "m", "usage": {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": None}},
        Usage("m", 20, 5),
    ),
    "response": (
        {
            "model": "gpt-5",
            "usage": {"input_tokens": 20, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 12}},
        },
        Usage("gpt-5", 20, 5, 12),
    ),
    "Anthropic": (
        {
            "model": "claude-sonnet-4",
            "usage": {
                "input_tokens": 8,
                "output_tokens": 5,
                "cache_read_input_tokens": 12,
                "cache_creation_input_tokens": 100,
            },
        },
        Usage("claude-sonnet-4", 120, 5, 12, cache_written=100),
    ),
    "OpenRouter": (
        {"model": "openai/gpt-4o", "usage": {"prompt_tokens": 20, "completion_tokens": 5, "cost": 0.25}},
        Usage("openai/gpt-4o", 20, 5, cost=0.25),
    ),
    "Google": (
        {
            "model_version": "gemini-2.5-flash",
            "usage_metadata": {
                "prompt_token_count": 20,
                "candidates_token_count": 5,
                "thoughts_token_count": 7,
                "cached_content_token_count": 12,
            },
        },
        Usage("gemini-2.5-flash", 20, 12, 12),
    ),
    "Google as JSON": (
        {"modelVersion": "gemini-2.5-flash", "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 5}},
        Usage("gemini-2.5-flash", 20, 5),
    ),
    "message of LangChain": (
        {
            "response_metadata": {"model_name": "gpt-4o-mini"},
            "usage_metadata": {"input_tokens": 20, "output_tokens": 5, "input_token_details": {"cache_read": 12}},
        },
        Usage("gpt-4o-mini", 20, 5, 12),
    ),
}


@pytest.mark.parametrize("form", [dict, as_object])
@pytest.mark.parametrize("which", ANSWERS)
def test_the_figures_of_an_answer(which, form):
    """As an object of an SDK, and as a dict."""
    answer, expected = ANSWERS[which]
    assert reported(form(answer)) == (expected,)


def test_the_openai_package_has_this_form():
    """Its own classes, not only objects that look like them."""
    chat = pytest.importorskip("openai.types.chat", reason="needs the extra llmflow_nb[openai]")
    answer = chat.ChatCompletion.model_validate(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "choices": [],
            "model": "gpt-4o-mini",
            "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25},
        }
    )
    assert reported(answer) == (Usage("gpt-4o-mini", 20, 5),)


def test_what_is_given_takes_the_place_of_what_is_reported():
    """Such as a model whose name the endpoint changes, or a cost that is known."""
    answer = ANSWERS["chat completion"][0]
    assert reported(answer, model="mine", cost=0.5, provider="x") == (Usage("mine", 20, 5, 12, 0.5, "x"),)


@pytest.mark.parametrize("answer", ["text", {"usage": None}, {"usage": {"prompt_tokens": "many"}}, object(), 4])
def test_an_answer_without_figures_is_warned_of(answer):
    """It is not an error: the answer is paid for."""
    with pytest.warns(FlowWarning, match="that reports no tokens; give input= and output="):
        assert reported(answer) == ()
    assert reported(answer, input=3) == (Usage(input=3),)
