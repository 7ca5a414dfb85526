"""`call_llm`: one prompt in, one text out, from the model that is set in the environment or from an offline summary.

With the offline summary (`offline.py`) all examples run without an account, a key or a network.
"""

from __future__ import annotations

import json
import os
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from openai import OpenAI

from .core.reported_usage import reported_usage
from .core.seconds import date_in, number_in, seconds_asked
from .core.spend import spend
from .offline import summarise
from .redaction import encode_login, redact_answer, redact_error, secrets_of

__all__ = ["call_llm"]

DEFAULT_MODEL = "gpt-4o-mini"
DEFAULT_BASE_URL = "https://api.openai.com/v1"


def call_llm(prompt: str, *, model: str | None = None, timeout: float | None = None) -> str:
    """Answer a prompt with the configured model or, if none is configured, with an offline summary.

    If the environment has `OPENAI_API_KEY` or `OPENAI_BASE_URL`, the prompt is sent as one chat completion to that
    OpenAI-compatible endpoint. It is sent once: the node retries, waits and limits (`max_retries`, `wait`, `timeout`,
    `limiter`), and counts every attempt. The base URL may contain a login, as in `https://user:password@host/v1`; it
    is sent instead of the key. No error and no answer contains the key or the login: "[key]" replaces them.

    Otherwise the answer consists of sentences of the prompt, and a note on stderr says so, once per process. A prompt
    is read as `instruction: text`. "in 10 words" or "in two sentences" in the instruction limits the answer; the
    default is two sentences. Of Python source only docstrings and comments are read.

    The tokens that the endpoint reports are added to the call that it is made in, see `spend`.

    The function can be called from many threads at once.

    Args:
        prompt: The prompt, such as `f"Summarize this chunk in 10 words: {chunk}"`.
        model: The model's name at the endpoint. None: `LLMFLOW_NB_MODEL`, else `OPENAI_MODEL` from the environment,
            else "gpt-4o-mini". The offline summary ignores it.
        timeout: Seconds without any data from the endpoint after which the call fails. None: the SDK's default, 10
            minutes. A node's `timeout` only stops waiting for a call that hangs. This one ends the call, which releases
            its thread and its limiter.

    Returns:
        The answer, without white space around it.

    Raises:
        TypeError: The prompt is not a str.
        ValueError: The prompt is empty, the timeout is not above 0, or a variable is not a valid key or URL.
        ImportError: A package is missing; the message names the extra that installs it.
        RuntimeError: The model answered with no text, or the endpoint with no chat completion.
        openai.OpenAIError: Any other error of the endpoint, with the SDK's type. Its text says what to do. The SDK's
            frames are removed from its traceback, because they contain the key. If the endpoint asks for a wait, the
            error has the seconds as `retry_after`.

    Example:
        >>> call_llm("Summarize in 4 words: Cats sleep. Cats and dogs sleep long. Rain fell.")
        'Cats sleep.'
    """
    if not isinstance(prompt, str):
        raise TypeError(f"call_llm needs the prompt as a str, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("call_llm got an empty prompt; write what to ask, such as f'Summarize this: {text}'.")
    if timeout is not None and not timeout > 0:
        raise ValueError(f"call_llm(timeout={timeout!r}): timeout must be seconds, more than 0, or None.")
    if _has_endpoint():
        return _ask_model(prompt, model or _default_model(), timeout)
    return summarise(prompt)


def _answers_depend_on() -> tuple[str, ...]:
    """Return the current model and address of `call_llm`. A stored answer of another model is not reused."""
    if not _has_endpoint():
        return ("offline",)
    try:
        url, _ = _split_login(_setting("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
    except ValueError:  # every call fails
        url = ""
    return (_default_model(), url)


call_llm.__fingerprint__ = _answers_depend_on  # type: ignore[attr-defined]


def _has_endpoint() -> bool:
    return bool(_setting("OPENAI_API_KEY") or _setting("OPENAI_BASE_URL"))


def _default_model() -> str:
    return _setting("LLMFLOW_NB_MODEL") or _setting("OPENAI_MODEL") or DEFAULT_MODEL


def _setting(name: str) -> str:
    """Return an environment variable; "" if it is not set."""
    return os.environ.get(name, "").strip()


# --- the model -------------------------------------------------------------------------------------------------------
#
# A traceback refers to frames, and some views of it show their variables (IPython's `%xmode Verbose`, a debugger). So
# no error is raised in a function that has the key. Such a function returns the error, without its traceback and its
# causes, and `_ask_model`, which has no key, raises it.


def _ask_model(prompt: str, model: str, timeout: float | None) -> str:
    try:
        import openai  # noqa: F401
    except ImportError as exc:
        variable = "OPENAI_API_KEY" if _setting("OPENAI_API_KEY") else "OPENAI_BASE_URL"
        raise ImportError(
            f"{variable} is set, but the openai package cannot be imported: "
            f'pip install "llmflow_nb[openai]", or unset {variable} for the offline summary.'
        ) from exc
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise ValueError(
            "The prompt contains half of a character (a lone surrogate), which cannot be sent; "
            "prompt.encode('utf-8', 'replace').decode() puts a ? in its place."
        ) from None
    answer = _answer_or_error(prompt, model, timeout)
    if isinstance(answer, str):
        return answer
    raise answer


def _answer_or_error(prompt: str, model: str, timeout: float | None) -> str | BaseException:
    key = _setting("OPENAI_API_KEY")
    if not (key.isascii() and key.isprintable()):
        # As an HTTP header it would fail with an error that contains the key.
        return ValueError("OPENAI_API_KEY holds a line break or another character that no key has; set it again.")
    try:
        url, login = _split_login(_setting("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
    except ValueError:
        return ValueError(
            "OPENAI_BASE_URL is not a valid address: one begins with http:// or https:// and ends with a "
            "path, as in http://localhost:8000/v1; in a login, write @ : / ? # as %40 %3A %2F %3F %23."
        )
    secrets = secrets_of(key, login)
    try:
        with _client_lock:
            client = _client(url, key or "none", login)
        response = client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            timeout=client.timeout if timeout is None else timeout,
        )
        body = response.http_response.content.decode("utf-8", "replace")  # one bad byte loses no answer
        answer = _json(body)
        usage = reported_usage(answer)
        if usage is not None:
            spend(answer, model=usage.model or model, provider=url)
        return redact_answer(_text_of(answer, body, url, model), secrets)
    except BaseException as exc:
        return _safe_error(exc, secrets, _advice(exc, url, model, key, login))


def _split_login(url: str) -> tuple[str, str]:
    """Return a URL without its login, and the login. The SDK shows the URL in its errors.

    Raises:
        ValueError: It is not a valid HTTP URL. The error may quote it.
    """
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    is_http = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # raises if it is no number
    # A / ? or # in a password ends the login too early.
    if not is_http or "@" in parts.path or parts.query or parts.fragment:
        raise ValueError(url)
    return f"{parts.scheme}://{host}{parts.path}", unquote(login)


_client_lock = threading.Lock()  # otherwise threads that start together would make one each


@lru_cache(maxsize=1)
def _client(base_url: str, api_key: str, login: str) -> OpenAI:
    """Return the client of an endpoint. It is cached: to make one takes 30 ms, and its connection stays open."""
    from openai import OpenAI

    headers = {"Authorization": f"Basic {encode_login(login)}"} if login else {}
    return OpenAI(base_url=base_url, api_key=api_key, max_retries=0, default_headers=headers)


def _json(body: str) -> Any:
    """Return what JSON contains; None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _text_of(answer: Any, body: str, url: str, model: str) -> str:
    """Return the text of a chat completion.

    Raises:
        RuntimeError: There is none.
    """
    text = _at(answer, "choices", 0, "message", "content")
    if isinstance(text, str) and text.strip():
        # JSON may contain half of a character, which could not be printed, saved or sent.
        return text.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    choices = _at(answer, "choices")
    if not isinstance(choices, list):
        raise RuntimeError(f"{url} answered with no chat completion (is OPENAI_BASE_URL right?): {body!r}")
    reason = f"finish_reason {_at(choices, 0, 'finish_reason')!r}" if choices else "no choices"
    raise RuntimeError(f"The model {model!r} answered with no text ({reason}).")


def _at(value: Any, *path: str | int) -> Any:
    """Return the value at a path in JSON; None if there is none."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


# --- errors of the endpoint: what to do about them -------------------------------------------------------------------

_ADVICE = {
    401: "{url} refuses {credential}; set it again",
    403: "{url} forbids this, or the model {model!r}, to {credential}",
    404: "{url} has no model {model!r}, which model=, LLMFLOW_NB_MODEL or OPENAI_MODEL can name, or no such path; "
    "the path of OPENAI_BASE_URL is often /v1",
    429: "{url} wants fewer calls{pause}; the node's wait= and limiter= space them",
    500: "the fault is with {url}; retry with the node's max_retries= and wait=",
}


def _safe_error(exc: BaseException, secrets: list[str], advice: str) -> BaseException:
    """Return an error without the key, with the advice if it is one of the SDK."""
    import openai

    is_of_sdk = isinstance(exc, openai.OpenAIError)
    return redact_error(exc, secrets, advice, is_of_sdk=is_of_sdk, retry_after=_retry_after(exc) if is_of_sdk else None)


def _advice(exc: Any, url: str, model: str, key: str, login: str) -> str:
    """Return what to do about an error of the SDK; "" for other errors."""
    import openai

    if isinstance(exc, openai.APITimeoutError):
        return f"{url} sent nothing in time; timeout= of call_llm says how long to wait"
    if isinstance(exc, openai.APIConnectionError):
        return f"no answer from {url}; is it up, and is OPENAI_BASE_URL right? {exc.__cause__}"
    if not isinstance(exc, openai.APIStatusError):
        return ""
    if exc.status_code == 401 and not (key or login):
        return f"{url} wants a key; set OPENAI_API_KEY"
    seconds = _retry_after(exc)
    return _ADVICE.get(min(exc.status_code, 500), "{url} was asked for the model {model!r}").format(
        url=url,
        model=model,
        credential="the login in OPENAI_BASE_URL" if login else "the key in OPENAI_API_KEY",
        pause="" if seconds is None else f", and none for {seconds:g} seconds",
    )


def _retry_after(exc: Any) -> float | None:
    """Return the seconds that the endpoint asks to wait, from the headers that the SDK reads too."""
    headers = getattr(getattr(exc, "response", None), "headers", {})
    milliseconds = number_in(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    # A date counts from the endpoint's own time, so that the two clocks need not agree.
    return seconds_asked(headers.get("retry-after"), lambda: date_in(headers.get("date", "")) or time.time())
