"""The key, and the login in a base URL, are shown nowhere: not in an error, not in a table, not in a saved notebook."""

import asyncio
import json
import traceback
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from llmflow_nb import BatchNode, Flow, Node
from llmflow_nb.llm import call_llm
from tests.llm.endpoint import (
    KEY,
    Answer,
    Endpoint,
    completion,
    error,
    hang,
    interrupting,
    redirect,
    unused_url,
)

openai = pytest.importorskip("openai", reason="the model needs the extra llmflow_nb[openai]")

pytestmark = pytest.mark.usefixtures("endpoint")
WORD = "dummy+word/2"  # as in https://user:word@host, where it is percent-encoded
LOGIN = f"user:{WORD}"
SECRETS = {
    "key": KEY,
    "login": LOGIN,
    "word": WORD,
    "quoted": quote(WORD, safe=""),
    "base64": b64encode(LOGIN.encode()).decode(),
}


@pytest.fixture(params=SECRETS)
def secret(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> str:
    """What the endpoint sends back: the key, or a form of the login, which is in the base URL then."""
    if request.param != "key":
        monkeypatch.setenv("OPENAI_BASE_URL", with_login(endpoint.url))
    return SECRETS[request.param]


def with_login(url: str) -> str:
    return url.replace("//", f"//user:{quote(WORD, safe='')}@")


class Ask(BatchNode):
    """One call for each question, through errors that lead from one to the next."""

    def prep(self, shared: Any) -> Any:
        return shared["questions"]

    def exec(self, question: str) -> str:
        try:
            return call_llm(question)
        except RuntimeError as exc:
            raise LookupError(f"nothing on {question}") from exc

    def post(self, shared: Any, prep_res: Any, answers: Any) -> None:
        shared["answers"] = answers


class Tell(Node):
    """One call, whose error ends the run."""

    def exec(self, _: Any) -> str:
        try:
            raise ValueError("not in the cache")
        except ValueError:
            return call_llm("tell")


def error_of(prompt: str) -> BaseException | None:
    """What a call raised, with a traceback that begins here, where nothing holds the key."""
    try:
        call_llm(prompt)
    except BaseException as exc:
        return exc
    return None


def views(exc: BaseException | None) -> Iterator[str]:
    """All that an exception can show, and those that it came from, also where they are not told."""
    while exc is not None:
        yield from (str(exc), repr(exc), repr(exc.args), repr(getattr(exc, "__notes__", "")), repr(vars(exc)))
        yield "".join(traceback.format_exception(exc))
        yield "".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format())
        response = getattr(exc, "response", None)
        for part in (exc, response, *(response.history if response is not None else ())):
            request = getattr(part, "request", None)
            if request is not None:
                yield f"{request.url} {request.headers.raw}"
        if response is not None:
            yield f"{response.url} {response.headers.raw} {response.text}"
        exc = exc.__cause__ or exc.__context__


def shown(run: Any) -> Iterator[str]:
    """All that a record shows."""
    tables = [run.steps, run.errors, *(batch.df for batch in run.batches)]
    for table in tables:
        yield repr(table.to_dict())
        yield table.to_html()
    for view in (run, run.graph(), *run.batches):
        yield repr(view)
        yield json.dumps(view._repr_mimebundle_())
    yield repr((run.problems, run.notes))
    yield from views(run.error)
    for _, _, exc in run.failures:
        yield from views(exc)
    for batch in run.batches:
        yield repr(batch.exceptions)
        yield repr(list(batch))


def walked(stepper: Any) -> Iterator[str]:
    """All that a stepper shows, having come to an error."""
    stepper.run()
    yield repr((stepper, stepper.place, stepper.tree, stepper.notes, stepper.pending))
    yield repr(stepper.history.to_dict())
    yield from views(stepper.error)
    yield from shown(stepper.record)


def assert_nowhere(texts: Iterator[str]) -> int:
    """No form of a secret is in any of the texts. Returns how many there were."""
    told = list(texts)
    for text in told:
        for name, form in SECRETS.items():
            assert form not in text, f"the {name} is shown: ...{text[max(0, text.index(form) - 300) :][:600]}"
    return len(told)


# What an endpoint may do with what it was sent, or a proxy before it.
LEAKS: dict[str, Callable[[str], list[Answer]]] = {
    "message": lambda secret: [error(401, f"Incorrect API key provided: {secret}. Mend it.")],
    "message of a 429": lambda secret: [error(429, f"{secret} asks too much", retry_after="0.05")],
    "fields": lambda secret: [
        Answer(400, json.dumps({"error": dict.fromkeys(("code", "param", "x"), secret)}).encode())
    ],
    "beside the error": lambda secret: [Answer(400, json.dumps({"error": {"message": "no"}, "x": secret}).encode())],
    "name of a header": lambda secret: [Answer(500, headers={secret.strip("=").replace("/", "-"): "x"})],
    "list": lambda secret: [Answer(400, json.dumps([{"error": secret}]).encode())],
    "header": lambda secret: [Answer(500, headers={"X-Request-Id": secret})],
    "page": lambda secret: [Answer(502, f"<html>{secret}</html>".encode(), kind="text/html")],
    "page with status 200": lambda secret: [Answer(body=f"<html>{secret}</html>".encode(), kind="text/html")],
    "wrong shape": lambda secret: [Answer(body=json.dumps({"detail": secret}).encode())],
    "finish_reason": lambda secret: [completion(choices=[{"finish_reason": secret}])],
    "cut": lambda secret: [Answer(body=json.dumps({"id": secret}).encode(), missing=9)],
    "no HTTP": lambda secret: [Answer(raw=f"{secret}\r\n\r\n".encode())],
    "a header that is none": lambda secret: [Answer(raw=f"HTTP/1.0 200 OK\r\n{secret} : x\r\n\r\n".encode())],
    "reason of the status": lambda secret: [Answer(raw=f"HTTP/1.0 500 {secret}\r\n\r\n".encode())],
    "redirect to no URL": lambda secret: [redirect(f"http://127.0.0.1:{secret}/")],
    "redirect to nobody": lambda secret: [redirect(f"{unused_url()}?key={secret}")],
    "redirect to a scheme": lambda secret: [redirect(f"{secret}://127.0.0.1/")],
    "redirect to itself": lambda secret: [redirect(f"/?key={secret}")],
    "redirect to an error": lambda secret: [redirect(f"/?key={secret}"), error(500)] * 9,
    "redirect with a header": lambda secret: [Answer(307, headers={"Location": "/", "X-Key": secret}), error(500)] * 9,
    "answer": lambda secret: [completion(f"You are {secret}.")],
    "answer of parts": lambda secret: [completion([{"type": "text", "text": secret}])],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_secret_that_is_sent_back(endpoint: Endpoint, secret: str, leak: str) -> None:
    """Whatever the endpoint does with a secret, no error has it: in its text, attributes, traceback or chain."""
    endpoint.says(*LEAKS[leak](secret))
    exc = error_of("Hello")
    assert (exc is None) == (leak == "answer")
    assert_nowhere(views(exc))


@pytest.mark.parametrize("answer", [lambda text: error(400, text), lambda text: Answer(body=text.encode())])
def test_secret_where_a_long_error_is_cut(endpoint: Endpoint, answer: Callable[[str], Answer]) -> None:
    """Where the text of an error is cut, no half of a secret is left."""
    for length in range(440, 640, 6):
        endpoint.says(answer("x" * length + KEY + "x" * 1000))
        exc = error_of("Hello")
        assert KEY[:6] not in str(exc)
        assert_nowhere(views(exc))


@pytest.mark.parametrize("secret", ["key", "base64"], indirect=True)  # the two that are sent
@pytest.mark.parametrize("leak", LEAKS)
def test_secret_that_is_sent_back_to_a_flow(endpoint: Endpoint, secret: str, leak: str) -> None:
    """Nor has a table, a summary, a graph or a stepper of a flow that met it, nor a warning."""
    endpoint.says(*LEAKS[leak](secret))
    ask, tell = Ask(on_error="keep", max_retries=2, max_concurrency=2), Tell()
    ask >> tell
    flow = Flow(start=ask)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            flow.run({"questions": ["bee", "ant"]})
        except Exception as exc:
            assert_nowhere(views(exc.with_traceback(None)))
        assert_nowhere(shown(flow.last_run))
        assert_nowhere(walked(flow.stepper({"questions": ["bee", "ant"]})))
        assert_nowhere(walked(tell.stepper({})))
    assert_nowhere(str(warning.message) for warning in warned)


TROUBLES: dict[str, list[Answer]] = {
    "401": [error(401)],
    "429": [error(429, retry_after="0.05")],
    "500": [error(500)],
    "500 after a redirect": [redirect("/v2"), error(500)],
    "cut": [Answer(body=b'{"id":', missing=9)],
    "no JSON": [Answer(body=b"<html>")],
    "no text": [completion(None)],
    "a charset that is none": [Answer(500, b"0", kind="text/html; charset=hex")],
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("login", [False, True])
def test_traceback_with_variables(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, trouble: str, login: bool
) -> None:
    """An error in which the endpoint shows nothing leads to no frame and no request that holds the key either."""
    if login:
        monkeypatch.setenv("OPENAI_BASE_URL", with_login(endpoint.url))
    endpoint.says(*TROUBLES[trouble])
    exc = error_of("Hello")
    assert assert_nowhere(views(exc)) >= 7
    names = [frame.f_code.co_name for frame, _ in traceback.walk_tb(exc.__traceback__)]
    assert names == ["error_of", "call_llm", "_ask_model"]


@pytest.mark.parametrize(
    "url",
    [
        with_login(unused_url()),
        with_login("http://no such host/v1"),
        with_login("http://127.0.0.1:port/v1"),
        with_login("ftp://127.0.0.1/v1"),
        "http://user:dummy+word/2@127.0.0.1/v1",
        f"http://127.0.0.1/v1?key={WORD}",
        with_login("http://[::1/v1"),
        f"http://{KEY}.\N{SNOWMAN}.invalid/v1",
    ],
    ids=[
        "unused port",
        "host with spaces",
        "port in letters",
        "no HTTP",
        "password with a slash",
        "key in the query",
        "half an address",
        "host beyond ASCII",
    ],
)
def test_base_url_that_leads_nowhere(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A URL that cannot be asked, or where nobody answers, is not shown with its login."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert assert_nowhere(views(error_of("Hello"))) >= 7


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_variable_that_holds_something_else(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A variable that is refused before anything is asked is not shown."""
    monkeypatch.setenv(name, f"{KEY}\n\x01 {WORD}")
    exc = error_of("Hello")
    assert isinstance(exc, ValueError)
    assert_nowhere(views(exc))


def test_timeout(endpoint: Endpoint) -> None:
    """A call that gave up shows nothing."""
    endpoint.says(hang())

    def ask() -> BaseException:
        try:
            call_llm("Hello", timeout=0.05)
        except openai.APITimeoutError as exc:
            return exc
        raise AssertionError

    assert_nowhere(views(ask()))


def test_interrupt(endpoint: Endpoint) -> None:
    """Nor does an interrupt, in a view of the traceback with variables."""
    endpoint.answer = interrupting()
    exc = error_of("Hello")
    assert isinstance(exc, KeyboardInterrupt)
    assert_nowhere(views(exc))


@pytest.mark.parametrize("mask", ["***", "*" * 30, "...", "…", "••••"])
def test_masked_key(endpoint: Endpoint, mask: str) -> None:
    """What an endpoint leaves of a key when it masks it is hidden too, and the error keeps its type."""
    endpoint.says(error(401, f"Incorrect API key provided: {KEY[:8]}{mask}{KEY[-4:]}. Mend it."))
    exc = error_of("Hello")
    assert isinstance(exc, openai.AuthenticationError)
    assert "Incorrect API key provided: [key]. Mend it." in str(exc)
    assert all(KEY[:8] not in text and KEY[-4:] not in text for text in views(exc))


@pytest.mark.parametrize(
    "text", ["a task... of yours", "dum***", "du***-1", "dummy***-1x", "xdummy***-1", "dummy*-1", "dummy -1"]
)
def test_what_only_looks_like_a_masked_key(endpoint: Endpoint, text: str) -> None:
    """Other words with stars or dots stay as they are."""
    endpoint.says(error(401, text))
    assert text in str(error_of("Hello"))


@pytest.mark.parametrize(("status", "kind"), [(401, "AuthenticationError"), (429, "RateLimitError")])
def test_error_that_shows_the_key_keeps_its_type(endpoint: Endpoint, status: int, kind: str) -> None:
    """Only the words of such an error are left, its status, and when to ask again."""
    endpoint.says(error(status, f"No, {KEY}.", retry_after="0.05"))
    exc: Any = error_of("Hello")
    assert type(exc) is getattr(openai, kind)
    assert "No, [key]." in str(exc)
    assert (exc.status_code, exc.retry_after, exc.response, exc.body) == (status, 0.05, None, None)


@pytest.mark.parametrize("key", ["x", "none", "EMPTY", "ollama", "lm-studio", "not-needed", "sk-no-key-required"])
def test_word_in_the_place_of_a_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A word that stands in for a key, at a server that needs none, is not taken out of an answer."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    endpoint.says(completion(f"Then write {key}, or exit."))
    assert call_llm("Hello") == f"Then write {key}, or exit."
    endpoint.says(error(400, "exit"))
    assert "exit" in str(error_of("Hello"))


NOTEBOOK = [
    "%xmode Verbose",
    """\
from llmflow_nb import BatchNode, Flow, Node
from llmflow_nb.llm import call_llm

class Ask(BatchNode):
    def prep(self, shared):
        return ["bee", "ant"]
    def exec(self, question):
        return call_llm(question)

class Tell(Node):
    def exec(self, _):
        return call_llm("tell")

ask, tell = Ask(on_error="keep", max_concurrency=2), Tell()
ask >> tell
flow = Flow(start=ask)
flow""",
    'call_llm("401")',
    'call_llm("echo")',
    'call_llm("cut")',
    'call_llm("page")',
    'call_llm("answer")',
    "flow.run({})",
    "flow.last_run",
    "flow.last_run.steps",
    "flow.last_run.errors",
    'flow.last_run.batch("Ask")',
    'flow.last_run.batch("Ask").df',
    'flow.last_run.batch("Ask").exceptions',
    "[vars(exc) for *_, exc in flow.last_run.failures]",
    "flow.last_run.graph()",
    "tell.run({})",
    "%tb",
    "%xmode Context\n%tb",
    "tell.last_run",
    "stepper = flow.stepper({})\nstepper",
    "stepper.run()",
    "stepper.history",
    "import traceback; traceback.print_exception(stepper.error)",
    "%whos",
]
"""What a user does with calls that fail, and what is then in the notebook: outputs, tracebacks, widgets."""


def test_saved_notebook(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A notebook that was run in a real kernel, with every kind of failure, has no key and no login in its file."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("WITH_LOGIN", with_login(endpoint.url))

    def answer(prompt: str) -> Answer:
        sent = endpoint.requests[-1]["key"].removeprefix("Basic ")
        answers = {
            "401": error(401),
            "echo": error(401, f"Incorrect API key provided: {sent}"),
            "cut": Answer(body=b'{"id":', missing=9),
            "page": Answer(body=f"<html>{sent}</html>".encode()),
            "answer": completion(f"You are {sent}."),
            "bee": completion("A bee."),
            "ant": error(429, f"{sent} asks too much"),
            "tell": error(500, f"{sent} broke it"),
        }
        return answers[prompt]

    endpoint.answer = answer
    use_login = "import os; os.environ['OPENAI_BASE_URL'] = os.environ.pop('WITH_LOGIN')"
    cells = [*NOTEBOOK, use_login, *NOTEBOOK]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True)
    asyncio.run(client.async_execute(cwd=str(tmp_path)))
    saved = nbformat.writes(notebook)
    assert_nowhere(iter([saved]))

    asked = {
        (request["key"].removeprefix("Basic "), request["messages"][0]["content"]) for request in endpoint.requests
    }
    prompts = {"401", "echo", "cut", "page", "answer", "bee", "ant", "tell"}
    assert asked == {(sent, prompt) for sent in (KEY, SECRETS["base64"]) for prompt in prompts}
    for cells in (notebook.cells[: len(NOTEBOOK)], notebook.cells[-len(NOTEBOOK) :]):
        errors = [output["ename"] for cell in cells for output in cell.outputs if output.output_type == "error"]
        assert errors[:4] == ["AuthenticationError", "AuthenticationError", "APIConnectionError", "RuntimeError"]
        assert "InternalServerError" in errors
    assert saved.count("[key]") > 20
    assert "widgets" in notebook.metadata
