"""`call_llm` and the nodes around it against a real HTTP server on this machine, and all that such a server may do."""

import asyncio
import json
import os
import socket
import threading
import traceback
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llmflow_nb import BatchNode, Flow, Limiter, Node
from llmflow_nb.core.errors import AllFailedError, CallTimeoutError
from llmflow_nb.core.usage import Usage
from llmflow_nb.llm import call_llm
from tests.llm.endpoint import (
    KEY,
    PATIENCE,
    Answer,
    Endpoint,
    choice,
    completion,
    error,
    hang,
    interrupting,
    redirect,
    serving,
    unused_url,
)

openai = pytest.importorskip("openai", reason="the model needs the extra llmflow_nb[openai]")

pytestmark = pytest.mark.usefixtures("endpoint")


class Ask(BatchNode):
    """One call for each question."""

    def prep(self, shared: Any) -> Any:
        return shared["questions"]

    def exec(self, question: str) -> str:
        return call_llm(question)

    def post(self, shared: Any, prep_res: Any, answers: Any) -> None:
        shared["answers"] = answers


class AskInTime(Ask):
    """The same, with a call that gives up by itself."""

    def exec(self, question: str) -> str:
        return call_llm(question, timeout=0.05)


def table(node: Ask) -> list[tuple[str, int, str]]:
    """How each item went: its status, its attempts, and the type of its error."""
    df = node.last_run.batch("Ask" if type(node) is Ask else "AskInTime").df
    return list(zip(df["status"], df["attempts"], df["error_type"].fillna(""), strict=True))


# --- a call ----------------------------------------------------------------------------------------------------------


def test_prompt_goes_to_the_endpoint(endpoint: Endpoint) -> None:
    """The prompt is one user message of one chat completion, and its text is the answer."""
    assert call_llm("What is a hive?") == "An answer."
    assert endpoint.requests == [
        {
            "path": "/v1/chat/completions",
            "key": KEY,
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": "What is a hive?"}],
        }
    ]


@pytest.mark.parametrize(
    ("argument", "environment", "model"),
    [
        ("from-argument", {"LLMFLOW_NB_MODEL": "ours", "OPENAI_MODEL": "theirs"}, "from-argument"),
        (None, {"LLMFLOW_NB_MODEL": "ours", "OPENAI_MODEL": "theirs"}, "ours"),
        (None, {"OPENAI_MODEL": "theirs"}, "theirs"),
        (None, {"LLMFLOW_NB_MODEL": "", "OPENAI_MODEL": " "}, "gpt-4o-mini"),
    ],
)
def test_which_model(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, argument: str | None, environment: dict[str, str], model: str
) -> None:
    """The argument decides, then LLMFLOW_NB_MODEL, then OPENAI_MODEL, then the default."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    call_llm("Hello", model=argument)
    assert endpoint.requests[0]["model"] == model


def test_server_without_a_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of one's own needs only OPENAI_BASE_URL."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert call_llm("Hello") == "An answer."
    assert endpoint.requests[0]["key"] == "none"


def test_empty_variables_count_as_not_set(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are set to nothing leave the offline summary on."""
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("OPENAI_BASE_URL", " ")
    assert call_llm("Summarize: Bees make honey.") == "Bees make honey."
    assert endpoint.requests == []


def test_a_change_of_endpoint_is_seen(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another key or endpoint counts from the next call on."""
    call_llm("Hello")
    monkeypatch.setenv("OPENAI_API_KEY", "another-dummy")
    call_llm("Hello")
    assert [request["key"] for request in endpoint.requests] == [KEY, "another-dummy"]


def test_connection_is_kept(endpoint: Endpoint) -> None:
    """Calls one after the other use one connection, where the server keeps it open."""
    endpoint.keeps_open = True
    goodbye = Answer(body=completion().body, headers={"Connection": "close"})
    endpoint.says(completion(), completion(), goodbye)
    for _ in range(3):
        call_llm("Hello")
    assert len(endpoint.requests) == 3
    assert endpoint.connections == 1


@pytest.mark.parametrize(
    ("login", "sent"),
    [("user:sec%40ret-1", "user:sec@ret-1"), ("token-1", "token-1"), (":word-1", ":word-1"), ("ü:ö", "ü:ö")],
)
def test_login_in_the_base_url(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, login: str, sent: str) -> None:
    """A login in the base URL is sent as HTTP's basic authentication, in the place of the key."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("//", f"//{login}@"))
    assert call_llm("Hello") == "An answer."
    kind, _, told = endpoint.headers[0]["authorization"].partition(" ")
    assert kind == "Basic"
    assert b64decode(told).decode() == sent


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "/v1",
        "http:///v1",
        "ftp://localhost/v1",
        "http://localhost:port/v1",
        "http://localhost:0/v1",
        "http://localhost:99999/v1",
        "http://[::1/v1",
        "http://localhost/v1?key=hidden-1",
        "http://localhost/v1#hidden-1",
        "http://user:123/hidden-1@localhost/v1",
        "http://user:hid/den@localhost/v1",
        "http://user:12?hidden-1@localhost/v1",
        "http://user:12#hidden-1@localhost/v1",
    ],
)
def test_base_url_that_is_none(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """What can be no address is refused before anything is asked, and without being shown."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ValueError, match="OPENAI_BASE_URL is not a valid address") as caught:
        call_llm("Hello")
    assert "hid" not in "".join(traceback.format_exception(caught.value))
    assert endpoint.requests == []


@pytest.mark.parametrize("key", ["dummy\nsecond line", "dümmy", "dummy\x01"])
def test_key_that_can_be_none(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A key that no HTTP header can carry is refused without being shown."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match="OPENAI_API_KEY holds a line break or another character") as caught:
        call_llm("Hello")
    assert "my" not in str(caught.value)
    assert endpoint.requests == []


def test_prompt_that_cannot_be_sent(endpoint: Endpoint) -> None:
    """A prompt with half of a character in it is an error that says how to take it out, and this works."""
    prompt = "half of a \ud83d bee"
    with pytest.raises(ValueError, match=r"half of a character .* prompt\.encode\('utf-8', 'replace'\)\.decode\(\)"):
        call_llm(prompt)
    assert endpoint.requests == []
    call_llm(prompt.encode("utf-8", "replace").decode())
    assert endpoint.prompts == ["half of a ? bee"]


def test_any_other_prompt_arrives_as_it_is(endpoint: Endpoint) -> None:
    """Control characters, NUL and a long text reach the endpoint unchanged."""
    prompt = "\x00\x1b[31m\u202e\ufffe\U0001f41d" + "bee " * 200_000
    call_llm(prompt)
    assert endpoint.prompts == [prompt]


# --- errors that say what to do --------------------------------------------------------------------------------------


def test_tried_once(endpoint: Endpoint) -> None:
    """An error of the endpoint is raised as the SDK's own error, after one try: retrying is the node's affair."""
    endpoint.says(error(500))
    with pytest.raises(openai.InternalServerError, match="this is an error"):
        call_llm("Hello")
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (400, "BadRequestError", "was asked for the model 'a-model'"),
        (401, "AuthenticationError", "refuses the key in OPENAI_API_KEY; set it again"),
        (403, "PermissionDeniedError", "forbids this, or the model 'a-model', to the key in OPENAI_API_KEY"),
        (404, "NotFoundError", "has no model 'a-model', which model=, LLMFLOW_NB_MODEL or OPENAI_MODEL can name"),
        (404, "NotFoundError", "or no such path; the path of OPENAI_BASE_URL is often /v1"),
        (429, "RateLimitError", "wants fewer calls; the node's wait= and limiter= space them"),
        (500, "InternalServerError", "the fault is with"),
        (503, "InternalServerError", "retry with the node's max_retries= and wait="),
    ],
)
def test_error_says_what_to_do(endpoint: Endpoint, status: int, kind: str, advice: str) -> None:
    """Each error of the endpoint keeps its type, and its text says who was asked, and what to do."""
    endpoint.says(error(status, "words of the endpoint"))
    with pytest.raises(getattr(openai, kind)) as caught:
        call_llm("Hello", model="a-model")
    assert caught.value.status_code == status
    for part in ("words of the endpoint", endpoint.url, advice):
        assert part in str(caught.value)


def test_who_has_no_key_is_told_so(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 401 without a key names the variable that is missing; with a login in the URL, the variable that holds it."""
    endpoint.says(error(401))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(openai.AuthenticationError, match="wants a key; set OPENAI_API_KEY"):
        call_llm("Hello")
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("//", "//user:word-1@"))
    with pytest.raises(openai.AuthenticationError, match="refuses the login in OPENAI_BASE_URL"):
        call_llm("Hello")


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused connection says what was asked, and why there was no answer."""
    url = unused_url()
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(
        openai.APIConnectionError, match=rf"no answer from {url}; is it up, and is OPENAI_BASE_URL right\? .*refused"
    ):
        call_llm("Hello")


def test_host_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown host name says so. (The name is not looked up: no request leaves the machine.)"""

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://no-such-host.invalid/v1")
    with pytest.raises(openai.APIConnectionError, match=r"from http://no-such-host\.invalid/v1; .*not known"):
        call_llm("Hello")


def test_connection_that_is_cut(endpoint: Endpoint) -> None:
    """A connection that ends in the middle of the body is an error, and no half of an answer."""
    endpoint.says(Answer(body=completion().body, missing=100))
    with pytest.raises(openai.APIConnectionError, match="peer closed connection without sending complete message"):
        call_llm("Hello")


def test_error_of_the_endpoint_that_is_cut(endpoint: Endpoint) -> None:
    """The same holds for the body of an error."""
    endpoint.says(Answer(500, b'{"error":', missing=100))
    with pytest.raises(openai.APIConnectionError, match="peer closed connection"):
        call_llm("Hello")


def test_error_page_of_a_proxy(endpoint: Endpoint) -> None:
    """An HTML page with an error status is the SDK's error for that status."""
    endpoint.says(Answer(502, b"<html><b>Bad Gateway</b></html>", kind="text/html"))
    with pytest.raises(openai.InternalServerError, match="the fault is with") as caught:
        call_llm("Hello")
    assert caught.value.status_code == 502
    assert caught.value.response.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"id": nope',
        b"<html>Please log in</html>",
        b"null",
        b"3",
        b'"text"',
        b"[1]",
        b"{}",
        b'{"choices": null}',
        b'{"choices": "text"}',
        b'{"choices": {"0": 1}}',
        b'{"error": {"message": "no credit left"}}',
        b"[" * 100_000,
        b"9" * 10_000,
        b"\xff\xfe\x00",
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/html", ""])
def test_answer_that_is_no_completion(endpoint: Endpoint, body: bytes, kind: str) -> None:
    """Whatever else comes with status 200 is an error that shows how it begins, and doubts the base URL."""
    endpoint.says(Answer(body=body, kind=kind))
    with pytest.raises(
        RuntimeError, match=r"answered with no chat completion \(is OPENAI_BASE_URL right\?\)"
    ) as caught:
        call_llm("Hello")
    assert endpoint.url in str(caught.value)
    assert repr(body[:30].decode("utf-8", "replace"))[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ([choice(None, "content_filter")], "finish_reason 'content_filter'"),
        ([choice("")], "finish_reason 'stop'"),
        ([choice(" \n")], "finish_reason 'stop'"),
        ([choice(5)], "finish_reason 'stop'"),
        ([choice([{"type": "text", "text": "parts"}])], "finish_reason 'stop'"),
        ([{"message": None}], "finish_reason None"),
        ([{}], "finish_reason None"),
        ([None], "finish_reason None"),
        ([3], "finish_reason None"),
        ([], "no choices"),
        ([{"finish_reason": "x" * 5000}], "finish_reason 'xxx"),
    ],
)
def test_answer_without_text(endpoint: Endpoint, choices: list[Any], reason: str) -> None:
    """An answer with no text in it is an error that says why."""
    endpoint.says(completion(choices=choices))
    with pytest.raises(RuntimeError, match=rf"The model 'gpt-4o-mini' answered with no text \({reason}") as caught:
        call_llm("Hello")
    assert len(str(caught.value)) < 1000


def test_huge_answer(endpoint: Endpoint) -> None:
    """An answer of megabytes comes whole."""
    endpoint.says(completion("bee " * 2_000_000))
    assert call_llm("Hello") == ("bee " * 2_000_000).strip()


def test_huge_error(endpoint: Endpoint) -> None:
    """An error of megabytes, which looks all over as if the masked key began there, is read and cut."""
    for text in (KEY[:3] * 500_000, f"{KEY[:3]}***" * 200_000, f"{KEY[:3]} " * 500_000, "*" * 2_000_000):
        endpoint.says(error(400, text))
        with pytest.raises(openai.BadRequestError, match="was asked for the model") as caught:
            call_llm("Hello")
        assert len(str(caught.value)) < 1000


def test_answer_of_odd_characters(endpoint: Endpoint) -> None:
    """What is no character becomes U+FFFD, so that an answer can be printed, saved and sent on; the rest stays."""
    endpoint.says(completion("a\ud83d \x00\x1b[31m\u202e\ufffe \ud83d\udc1d"))
    answer = call_llm("Hello")
    assert answer == "a\ufffd \x00\x1b[31m\u202e\ufffe \U0001f41d"
    call_llm(answer)
    assert endpoint.prompts[1] == answer


def test_answer_with_a_bad_byte(endpoint: Endpoint) -> None:
    """An answer that was paid for is not lost for a byte that is no UTF-8."""
    endpoint.says(Answer(body=completion("a~b").body.replace(b"~", b"\xff")))
    assert call_llm("Hello") == "a\ufffdb"


def test_interrupt(endpoint: Endpoint) -> None:
    """An interrupt in the middle of a call comes out as it is, with nothing of the SDK in its traceback."""
    endpoint.answer = interrupting()
    with pytest.raises(KeyboardInterrupt) as caught:
        call_llm("Hello")
    files = {os.path.basename(frame.filename) for frame in traceback.extract_tb(caught.value.__traceback__)}
    assert files == {os.path.basename(__file__), "llm.py"}
    assert caught.value.__context__ is None


def test_error_of_ones_own_is_told_with_it(endpoint: Endpoint) -> None:
    """What the caller was handling when it asked stays behind the error."""
    endpoint.says(error(500))

    def ask() -> str:
        try:
            raise LookupError("not in the cache")
        except LookupError:
            return call_llm("Hello")

    with pytest.raises(openai.InternalServerError) as caught:
        ask()
    assert "not in the cache" in "".join(traceback.format_exception(caught.value))


# --- Retry-After -----------------------------------------------------------------------------------------------------

DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "0"}, 0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "7", "retry_after_ms": "250"}, 0.25),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": DATE}, 30),
        ({"retry_after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": DATE}, 0),
        ({"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT"}, 0),
    ],
)
def test_when_to_ask_again(endpoint: Endpoint, headers: dict[str, str], seconds: float) -> None:
    """The error has the seconds that the endpoint asks for, in its text too; a date counts from the endpoint's own."""
    endpoint.says(error(429, **headers))
    with pytest.raises(openai.RateLimitError, match=f"wants fewer calls, and none for {seconds:g} seconds") as caught:
        call_llm("Hello")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "inf", "1e9", "9" * 400, "Wed, 99 Oct", "٣"])
def test_retry_after_that_is_none(endpoint: Endpoint, value: str) -> None:
    """What is neither seconds nor a date counts as not said."""
    endpoint.says(Answer(503, headers={"Retry-After": value.encode().decode("latin-1")}))
    with pytest.raises(openai.InternalServerError) as caught:
        call_llm("Hello")
    assert not hasattr(caught.value, "retry_after")


def test_node_knows_when_to_ask_again(endpoint: Endpoint) -> None:
    """A fallback can read the seconds. The node itself waits at least that long, and as its `wait` says."""
    waited = []

    class Late(Ask):
        def exec_fallback(self, question: str, exc: Exception) -> str:
            return f"ask again in {exc.retry_after:g} s"

    def wait(attempt: int) -> float:
        waited.append(attempt)
        return 0

    endpoint.says(error(429, retry_after="0.05"))
    node = Late(max_retries=3, wait=wait)
    shared = {"questions": ["bee"]}
    node.run(shared)
    assert shared["answers"] == ["ask again in 0.05 s"]
    assert waited == [1, 2]
    assert len(endpoint.requests) == 3


# --- nodes -----------------------------------------------------------------------------------------------------------

SIDE_BY_SIDE = pytest.mark.parametrize("max_concurrency", [1, 3, None])


@SIDE_BY_SIDE
def test_refused_item_is_a_row(endpoint: Endpoint, max_concurrency: int | None) -> None:
    """A 401 of one item leaves the others alone, is tried as often as the node says, and can be called again."""
    endpoint.answer = lambda prompt: error(401, "no such key") if prompt == "ant" else completion(f"a {prompt}")
    ask = Ask(max_retries=2, on_error="keep", max_concurrency=max_concurrency)
    shared = {"questions": ["bee", "ant", "owl"]}
    ask.run(shared)
    assert shared["answers"] == ["a bee", None, "a owl"]
    assert table(ask) == [("ok", 1, ""), ("failed", 2, "AuthenticationError"), ("ok", 1, "")]
    assert "no such key" in ask.last_run.batch("Ask").df["error"][1]
    assert "refuses the key in OPENAI_API_KEY; set it again" in ask.last_run.batch("Ask").df["error"][1]

    endpoint.answer = lambda prompt: completion("after all")
    ask.last_run.retry_failed()
    assert [row.result for row in ask.last_run.batch("Ask")] == ["a bee", "after all", "a owl"]
    assert sorted(endpoint.prompts) == ["ant", "ant", "ant", "bee", "owl"]


def test_key_that_is_wrong_for_all(endpoint: Endpoint) -> None:
    """Where not one item came through, the error of the batch says what to do too."""
    endpoint.says(error(401))
    with pytest.raises(AllFailedError, match=r"AuthenticationError.*refuses the key in OPENAI_API_KEY"):
        Ask(on_error="keep").run({"questions": ["bee", "ant"]})


def test_right_key_after_a_wrong_one(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is set anew counts at once, and only what failed is called again."""
    endpoint.answer = lambda prompt: error(401) if endpoint.requests[-1]["key"] == KEY else completion()
    ask = Ask()
    flow = Flow(start=ask)
    with pytest.raises(openai.AuthenticationError):
        flow.run({"questions": ["bee", "ant"]})
    monkeypatch.setenv("OPENAI_API_KEY", "another-dummy-1")
    flow.last_run.retry_failed()
    assert [row.status for row in flow.last_run.batch("Ask")] == ["ok", "pending"]
    assert endpoint.prompts == ["bee", "bee"]


@SIDE_BY_SIDE
def test_fault_that_passes(endpoint: Endpoint, max_concurrency: int | None) -> None:
    """A 500 is tried again after the node's wait, and leaves no trace but the attempts."""
    failed: set[str] = set()
    waited = []

    def answer(prompt: str) -> Answer:
        if prompt in failed:
            return completion(f"a {prompt}")
        failed.add(prompt)
        return error(500)

    def wait(attempt: int) -> float:
        waited.append(attempt)
        return 0

    endpoint.answer = answer
    ask = Ask(max_retries=3, wait=wait, max_concurrency=max_concurrency)
    shared = {"questions": ["bee", "ant"]}
    ask.run(shared)
    assert shared["answers"] == ["a bee", "a ant"]
    assert table(ask) == [("ok", 2, "InternalServerError")] * 2
    assert waited == [1, 1]


@pytest.mark.parametrize(
    "trouble",
    [
        error(429),
        error(503),
        Answer(body=b'{"id":', missing=9),
        Answer(body=b"<html>"),
        completion(None),
        redirect("/"),
    ],
)
def test_trouble_that_passes(endpoint: Endpoint, trouble: Answer) -> None:
    """Whatever went wrong with a call, the next attempt is not touched by it."""
    endpoint.says(trouble, completion("An answer."))
    if trouble.headers:
        endpoint.says(trouble, error(500), completion("An answer."))
    ask = Ask(max_retries=2)
    shared = {"questions": ["bee"]}
    ask.run(shared)
    assert shared["answers"] == ["An answer."]
    assert [(row.status, row.attempts) for row in ask.last_run.batch("Ask")] == [("ok", 2)]


def test_hang_ends_by_the_timeout_of_the_node(endpoint: Endpoint) -> None:
    """The node goes on without a call that hangs, counts it as abandoned, and can call the item again."""
    endpoint.says(hang())
    ask = Ask(timeout=0.05, max_retries=2)
    with pytest.raises(CallTimeoutError, match=r"Ask: exec took longer than 0\.05 s"):
        ask.run({"questions": ["bee"]})
    assert ask.last_run.abandoned == 2
    assert table(ask) == [("failed", 2, "CallTimeoutError")]

    endpoint.says(completion())
    ask.timeout = None
    ask.last_run.retry_failed()
    assert table(ask)[0][:2] == ("ok", 3)


def test_hang_ends_by_the_timeout_of_the_call(endpoint: Endpoint) -> None:
    """`call_llm(timeout=)` ends the call itself: nothing is abandoned, and the error says what the seconds are."""
    endpoint.says(hang())
    ask = AskInTime(max_retries=2, max_concurrency=2, on_error="raise")
    with pytest.raises(openai.APITimeoutError, match=f"{endpoint.url} sent nothing in time; timeout= of call_llm"):
        ask.run({"questions": ["bee"]})
    assert ask.last_run.abandoned == 0
    assert table(ask) == [("failed", 2, "APITimeoutError")]


def test_call_that_ends_frees_the_limiter(endpoint: Endpoint) -> None:
    """A call that gave up by itself leaves its place in the limiter to the next one."""
    endpoint.says(hang())
    ask = AskInTime(on_error="keep", max_concurrency=None, limiter=Limiter(max_concurrency=1))
    with pytest.raises(AllFailedError):
        ask.run({"questions": ["bee", "ant", "owl"]})
    assert sorted(endpoint.prompts) == ["ant", "bee", "owl"]


@pytest.mark.parametrize(("timeout", "told"), [(None, 600), (7.5, 7.5)])
def test_how_long_a_call_waits(endpoint: Endpoint, timeout: float | None, told: float) -> None:
    """Without a timeout it is the SDK's own, ten minutes; it says to the endpoint how long it is going to wait."""
    call_llm("Hello", timeout=timeout)
    if "x-stainless-read-timeout" not in endpoint.headers[0]:
        pytest.skip("this version of the SDK does not say how long it waits")
    assert float(endpoint.headers[0]["x-stainless-read-timeout"]) == told


def test_many_at_once(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of many items are all under way at once, share one client, and each gets its own answer."""
    made = []

    class Counted(openai.OpenAI):
        def __init__(self, **settings: Any) -> None:
            made.append(settings)
            super().__init__(**settings)

    monkeypatch.setattr(openai, "OpenAI", Counted)
    together = threading.Barrier(32)

    def answer(prompt: str) -> Answer:
        together.wait(PATIENCE)
        return completion(f"{prompt}!")

    endpoint.answer = answer
    questions = [str(number) for number in range(64)]
    shared: dict[str, Any] = {"questions": questions}
    Ask(max_concurrency=32).run(shared)
    assert shared["answers"] == [f"{question}!" for question in questions]
    assert len(made) == 1


def test_many_threads_of_ones_own(endpoint: Endpoint) -> None:
    """Threads that the package knows nothing of can call too, and none gets the error of another."""
    endpoint.answer = lambda prompt: completion(prompt) if int(prompt) % 2 else error(400, f"<{prompt}>")

    def ask(number: int) -> str:
        try:
            return call_llm(str(number))
        except openai.BadRequestError as exc:
            return str(exc)

    with ThreadPoolExecutor(8) as executor:
        for number, answer in enumerate(executor.map(ask, range(40))):
            assert (answer == str(number)) if number % 2 else (f"<{number}>" in answer)


def test_awaited_hooks(endpoint: Endpoint) -> None:
    """A node that is run from an event loop keeps failures in the same way."""
    endpoint.answer = lambda prompt: error(429, retry_after="0.05") if prompt == "ant" else completion()
    ask = Ask(on_error="keep", max_concurrency=2)
    asyncio.run(ask.run_async({"questions": ["bee", "ant"]}))
    assert table(ask) == [("ok", 1, ""), ("failed", 1, "RateLimitError")]
    assert ask.last_run.batch("Ask").exceptions[1].retry_after == 0.05


def test_step_that_failed_is_tried_again(endpoint: Endpoint) -> None:
    """In a stepper, a call that failed is made again by the next step, and what went well is not."""

    class Both(Node):
        def exec(self, _: Any) -> str:
            return call_llm("one")

    first, second = Both(name="first"), Both(name="second")
    first >> second
    endpoint.says(completion(), error(500), completion("after all"))
    stepper = Flow(start=first).stepper({})
    stepper.run()
    assert "InternalServerError" in str(stepper.place)
    stepper.run()
    assert stepper.place.is_end
    assert stepper.called == 3
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_odd_answers_are_shown(endpoint: Endpoint, max_concurrency: int) -> None:
    """Answers of odd characters, and of megabytes, come through a node into a table and a summary that can be saved."""
    odd = ["a\ud83d", "\x00\x1b[31m", "\u202eabc", "\ufffe", "<script>alert(1)</script>", "A" * 5_000_000]
    endpoint.answer = lambda prompt: completion(odd[int(prompt)])
    ask = Ask(max_concurrency=max_concurrency)
    ask.run({"questions": [str(number) for number in range(len(odd))]})
    batch = ask.last_run.batch("Ask")
    assert list(batch.df["result"][[0, 4]]) == ["a\ufffd", "<script>alert(1)</script>"]
    for shown in (ask.last_run._repr_mimebundle_(), batch._repr_mimebundle_()):
        assert len(json.dumps(shown, ensure_ascii=False).encode()) < 500_000
        assert "<script>" not in shown["text/html"]


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["", "user:word-1@"])
def test_redirect_to_another_host(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    """A redirect is followed, but neither the key nor the login goes along to another host."""
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("//", f"//{login}"))
    with serving() as other:
        endpoint.says(redirect(f"{other.url}/elsewhere"))
        assert call_llm("Hello") == "An answer."
    assert endpoint.requests[0]["key"] != ""
    assert [(request["path"], request["key"]) for request in other.requests] == [("/v1/elsewhere", "")]
    assert other.prompts == ["Hello"]


def test_redirect_to_another_path(endpoint: Endpoint) -> None:
    """On the same host the key goes along."""
    endpoint.says(redirect("/v2/chat/completions", 308), completion())
    assert call_llm("Hello") == "An answer."
    assert [(request["path"], request["key"]) for request in endpoint.requests] == [
        ("/v1/chat/completions", KEY),
        ("/v2/chat/completions", KEY),
    ]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/v1/chat/completions", "Exceeded maximum allowed redirects"),
        ("http://127.0.0.1:port/", "Invalid URL in location header"),
        ("ftp://127.0.0.1/", "unsupported protocol"),
    ],
)
def test_redirect_to_nowhere(endpoint: Endpoint, location: str, reason: str) -> None:
    """A redirect that leads nowhere says so."""
    endpoint.says(redirect(location))
    with pytest.raises(openai.APIConnectionError, match=reason):
        call_llm("Hello")


def test_redirect_to_a_page(endpoint: Endpoint) -> None:
    """A redirect to a login page, as a proxy makes it, is told from an answer."""
    endpoint.says(redirect("/login", 302), Answer(body=b"<html>Please log in</html>", kind="text/html"))
    with pytest.raises(RuntimeError, match=r"no chat completion .*Please log in"):
        call_llm("Hello")


def test_the_tokens_of_an_answer_are_reported(endpoint):
    """Also of an answer without a text; the address tells the provider, so a local model is not priced as another."""

    usage = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 12}}
    model = "gpt-4o-mini-2024-07-18"
    endpoint.says(
        completion(model=model, usage=usage),
        completion("", model=model, usage=usage),
        completion(usage={"prompt_tokens": "many", "completion_tokens": -3}),
    )
    flow = Flow(Ask(on_error="keep"))
    flow.run({"questions": ["a", "b", "c"]})
    first, second, third = flow.last_run.batch("Ask")
    reported = Usage(model, 20, 5, 12, provider=endpoint.url)
    assert first.usage == second.usage == (reported,)
    assert second.status == "failed"
    assert third.usage == ()
    assert flow.last_run.usage.unpriced == (model,)
