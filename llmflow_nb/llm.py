"""`call_llm`: one prompt in, one text out, from the model that the environment names or from an offline stand-in.

The stand-in (`offline.py`) lets every example run with no account, no key and no network.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from openai import OpenAI

from .core.seconds import date_in, number_in, seconds_asked
from .offline import summarise

__all__ = ["call_llm"]

DEFAULT_MODEL = "gpt-4o-mini"
DEFAULT_BASE_URL = "https://api.openai.com/v1"


def call_llm(prompt: str, *, model: str | None = None, timeout: float | None = None) -> str:
    """Answer a prompt with the configured model or, where none is configured, with an offline summary.

    With `OPENAI_API_KEY` or `OPENAI_BASE_URL` in the environment, the prompt goes as one chat completion to that
    OpenAI-compatible endpoint. It is tried once: repeating, waiting and limiting are the node's affair
    (`max_retries`, `wait`, `timeout`, `limiter`), which counts every try. The base URL may carry a login, as in
    `https://user:password@host/v1`; it is sent in the place of the key.

    Neither the key nor the login is in any error or answer: where an endpoint sends them back, it reads "[key]".

    Otherwise the answer is extracted from the prompt itself, and a note on stderr says so, once per process. A prompt
    is read as `instruction: text`; "in 10 words" or "in two sentences" in the instruction bounds the answer, without
    it the answer has at most two sentences. Of Python source only docstrings and comments are read. The function can
    be called from many threads at once.

    Args:
        prompt: What to ask, such as `f"Summarize this chunk in 10 words: {chunk}"`.
        model: The model's name at the endpoint. None: `LLMFLOW_NB_MODEL`, else `OPENAI_MODEL` from the environment,
            else "gpt-4o-mini". The offline summary has no use for it.
        timeout: Seconds for which the endpoint may send nothing at all. None: the SDK's own, 10 minutes. A node's
            `timeout` only goes on without a call that hangs; this one ends it, and so frees its thread and limiter.

    Returns:
        The answer, without white space around it.

    Raises:
        TypeError: The prompt is not a str.
        ValueError: The prompt is empty, the timeout is not above 0, or a variable holds what can be no key or URL.
        ImportError: A package is missing; the message names the extra that installs it.
        RuntimeError: The model answered with no text, or the endpoint with no chat completion.
        openai.OpenAIError: Any other error of the endpoint, of the SDK's own type. Its text says what to do; the SDK's
            frames are taken off its traceback, for they hold the key. Where the endpoint says after how many seconds
            to ask again, the error has them as `retry_after`.

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
    if _setting("OPENAI_API_KEY") or _setting("OPENAI_BASE_URL"):
        model = model or _setting("LLMFLOW_NB_MODEL") or _setting("OPENAI_MODEL") or DEFAULT_MODEL
        return _ask_model(prompt, model, timeout)
    return summarise(prompt)


def _setting(name: str) -> str:
    """An environment variable that is empty counts as not set."""
    return os.environ.get(name, "").strip()


# --- the model -------------------------------------------------------------------------------------------------------
#
# A traceback leads to frames, and some views of it show their variables (IPython's `%xmode Verbose`, a debugger). So no
# error is raised where the key is in reach: it is returned from there, with its traceback and the errors behind it
# taken off, and raised in `_ask_model`, which holds nothing.


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
            "The prompt holds half of a character (a lone surrogate), which cannot be sent; "
            "prompt.encode('utf-8', 'replace').decode() puts a ? in its place."
        ) from None
    answer = _answer_or_error(prompt, model, timeout)
    if isinstance(answer, str):
        return answer
    raise answer


def _answer_or_error(prompt: str, model: str, timeout: float | None) -> str | BaseException:
    key = _setting("OPENAI_API_KEY")
    if not (key.isascii() and key.isprintable()):
        # It would fail as an HTTP header, with the key in the error.
        return ValueError("OPENAI_API_KEY holds a line break or another character that no key has; set it anew.")
    try:
        url, login = _split_login(_setting("OPENAI_BASE_URL") or DEFAULT_BASE_URL)
    except ValueError:
        return ValueError(
            "OPENAI_BASE_URL holds no address that can be asked: it begins with http:// or https:// and ends with a "
            "path, as in http://localhost:8000/v1; in a login, write @ : / ? # as %40 %3A %2F %3F %23."
        )
    secrets = _secrets(key, login)
    try:
        with _client_lock:
            client = _client(url, key or "none", login)
        response = client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": prompt}],
            timeout=client.timeout if timeout is None else timeout,
        )
        answer = _text_of(response.http_response.content, url, model)
        return _hide(answer, [secret for secret in secrets if _is_no_word(secret)])
    except BaseException as exc:
        return _made_safe(exc, secrets, _advice(exc, url, model, key, login))


def _split_login(url: str) -> tuple[str, str]:
    """Take the login off a URL: with it, the URL would be a secret wherever the SDK shows it.

    Raises:
        ValueError: It is no URL that can be asked. The error may quote it.
    """
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    is_http = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0  # raises if it is no number
    # What follows a / ? or # in a password was not taken for a part of it.
    if not is_http or "@" in parts.path or parts.query or parts.fragment:
        raise ValueError(url)
    return f"{parts.scheme}://{host}{parts.path}", unquote(login)


_client_lock = threading.Lock()  # without it, threads that begin together would make one each


@lru_cache(maxsize=1)
def _client(base_url: str, api_key: str, login: str) -> OpenAI:
    """Kept between calls: making one costs 30 ms, and the next call finds the connection open."""
    from openai import OpenAI

    headers = {"Authorization": f"Basic {_base64(login)}"} if login else {}
    return OpenAI(base_url=base_url, api_key=api_key, max_retries=0, default_headers=headers)


def _base64(login: str) -> str:
    return b64encode(login.encode("utf-8", "surrogateescape")).decode()


def _text_of(content: bytes, url: str, model: str) -> str:
    """Read the text out of a chat completion, which may have any shape.

    Raises:
        RuntimeError: There is none.
    """
    body = content.decode("utf-8", "replace")  # what was paid for is not lost for one bad byte
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    text = _at(answer, "choices", 0, "message", "content")
    if isinstance(text, str) and text.strip():
        # Half of a character, as JSON can hold it, could be neither printed nor saved nor sent on.
        return text.strip().encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    choices = _at(answer, "choices")
    if not isinstance(choices, list):
        raise RuntimeError(f"{url} answered with no chat completion (is OPENAI_BASE_URL right?): {body!r}")
    reason = f"finish_reason {_at(choices, 0, 'finish_reason')!r}" if choices else "no choices"
    raise RuntimeError(f"The model {model!r} answered with no text ({reason}).")


def _at(value: Any, *path: str | int) -> Any:
    """What is at a place in JSON; None where there is no such place."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


# --- its errors: what to do, and nothing of the key ------------------------------------------------------------------

_ADVICE = {
    401: "{url} refuses {credential}; set it anew",
    403: "{url} forbids this, or the model {model!r}, to {credential}",
    404: "{url} has no model {model!r}, which model=, LLMFLOW_NB_MODEL or OPENAI_MODEL can name, or no such path; "
    "that of OPENAI_BASE_URL often is /v1",
    429: "{url} wants fewer calls{pause}; the node's wait= and limiter= space them",
    500: "the fault is with {url}; the node's max_retries= and wait= ask again",
}


def _advice(exc: Any, url: str, model: str, key: str, login: str) -> str:
    """What to do about an error of the SDK; of others nothing."""
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
    """The seconds after which the endpoint wants to be asked again, from the headers that the SDK reads too."""
    headers = getattr(getattr(exc, "response", None), "headers", {})
    milliseconds = number_in(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    # A date counts from the endpoint's own time, so that the two clocks need not agree.
    return seconds_asked(headers.get("retry-after"), lambda: date_in(headers.get("date", "")) or time.time())


def _made_safe(exc: BaseException, secrets: list[str], advice: str) -> BaseException:
    """Take off an error all that leads to the key, and say what to do. One of the SDK keeps its type."""
    import openai

    if isinstance(exc, openai.OpenAIError):
        _clean(exc, secrets, advice)
    elif type(exc) is RuntimeError:
        exc.args = (_words(str(exc), secrets),)
    elif _is_shown(f"{exc} {exc!r}", secrets):
        exc = RuntimeError(_words(f"{type(exc).__name__}: {exc}", secrets))
    exc.__cause__ = exc.__context__ = None
    exc.__suppress_context__ = False  # what the caller is in the middle of handling may be told
    return exc.with_traceback(None)


def _clean(exc: Any, secrets: list[str], advice: str) -> None:
    response, seconds = getattr(exc, "response", None), _retry_after(exc)
    responses = [] if response is None else [response, *response.history]
    for part in (exc, *responses):
        if getattr(part, "request", None) is not None:
            part.request.headers.pop("Authorization", None)
    shown = [f"{part!r} {part.headers.raw} {part.text}" for part in responses]
    words = _words(str(exc), secrets) + (f" ({_words(advice, secrets)})" if advice else "")
    if any(_is_shown(text, secrets) for text in (f"{exc} {exc!r} {getattr(exc, 'body', None)!r}", *shown)):
        # Only its words are left, and numbers such as the status.
        vars(exc).update({name: None for name, value in vars(exc).items() if not isinstance(value, int)})
        vars(exc)["message"] = words
    if seconds is not None:
        vars(exc)["retry_after"] = seconds
    exc.args = (words,)


def _secrets(key: str, login: str) -> list[str]:
    """What is not to be shown, in every form that comes to mind; none so short that it would be found in any text."""
    user, _, password = login.partition(":")
    told = [login, _base64(login), password or user, key]
    return [
        form for text in told for form in dict.fromkeys((text, quote(text, safe=""), repr(text)[1:-1])) if len(form) > 5
    ]


def _is_no_word(secret: str) -> bool:
    """Tell a key from what servers that want none are given ("ollama", "not-needed"), and which an answer may say."""
    return len(secret) >= 20 or any(character.isdigit() for character in secret)


def _hide(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return text


def _hide_in_error(text: str, secrets: list[str]) -> str:
    """Hide what is secret, and also what endpoints leave of a key where they mask it, as in "sk-ab****yz"."""
    text = _hide(text, secrets)
    for secret in secrets:
        begin, end = re.escape(secret[:3]), re.escape(secret[-2:])
        text = re.sub(rf"(?<![\w-]){begin}[\w-]*(?:\*{{2,}}|•{{2,}}|…|\.{{3}})[\w-]*?{end}(?![\w-])", "[key]", text)
    return text


def _is_shown(text: str, secrets: list[str]) -> bool:
    return _hide_in_error(text, secrets) != text


def _words(text: str, secrets: list[str]) -> str:
    """What an error says: cut only when what is secret is hidden, since half of it would not be found."""
    text = _hide_in_error(text, secrets)
    return text if len(text) <= 600 else f"{text[:600]}…"
