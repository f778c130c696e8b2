"""The routes: every one of them, who may use it, and what it calls.

A session is named by its id in the path, and `_talk` finds it among those of the person who is logged in:
another person's is not found, on every route. There is no upload, no address that a client may have us
fetch, and no file but those of `static`, which are named here.
"""

import json
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from codojo.chat.sessions import export_session
from codojo.dojo import changed
from codojo.errors import CodojoError, SettingsError
from codojo.forgetting import said
from codojo.graphs.parts import Parts
from codojo.graphs.rollout import GRAPHS
from codojo.reports.overview import render_stages
from codojo.trajectories.schema import StepRef
from codojo.web.accounts import LIFETIME_S, Accounts, Logins
from codojo.web.pages import Pages
from codojo.web.shield import App, Shield
from codojo.web.talks import NotFound, Talk, Talks
from codojo.web.telling import brief, picture, whole
from codojo.web.wire import encode, stream

COOKIE = "codojo"
STATIC = Path(__file__).parent / "static"
KINDS = {
    "app.js": "text/javascript",
    "cards.js": "text/javascript",
    "draw.js": "text/javascript",
    "login.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
}
MAX_TEXT = 100_000

Route_ = Callable[[Request], Awaitable[Response]]


class Web:
    """The server's routes over one dojo."""

    def __init__(self, talks: Talks, accounts: Accounts) -> None:
        self.talks = talks
        self.accounts = accounts
        self.logins = Logins(talks.dojo.root)
        self.pages = Pages(talks.dojo)

    def app(self, hosts: list[str]) -> App:
        """The application behind its shield."""

        one = "/api/sessions/{id}"
        routes = [
            Route("/", self._home),
            Route("/login", self._login_page),
            Route("/static/{name}", self._static),
            Route("/api/login", _safe(self._login), methods=["POST"]),
            Route("/api/logout", self._known(self._logout), methods=["POST"]),
            Route("/api/me", self._known(self._me)),
            Route("/api/sessions", self._known(self._list)),
            Route("/api/sessions", self._known(self._start), methods=["POST"]),
            Route(one, self._talk(self._whole)),
            Route(f"{one}/events", self._talk(self._events)),
            Route(f"{one}/graph", self._talk(self._graph)),
            Route(f"{one}/export", self._talk(self._export)),
            *(
                Route(f"{one}/{name}", self._talk(getattr(self, f"_{name}")), methods=["POST"])
                for name in POSTS
            ),
            Route("/runs", self._known(self._runs)),
            Route("/runs/{run}", self._known(self._run)),
            Route("/rollouts/{rollout}", self._known(self._rollout)),
            Route("/reports/{run}", self._known(self._report)),
            Route("/adapters", self._known(self._adapters)),
            Route("/memory", self._known(self._memory)),
            Route("/api/improve", self._known(self._improving)),
            Route("/improve.svg", self._known(self._improve)),
        ]
        return Shield(Starlette(routes=routes), hosts)

    def _user(self, request: Request) -> str | None:
        return self.logins.who(request.cookies.get(COOKIE, ""))

    def _known(self, handler: Callable[[Request, str], Awaitable[Response]]) -> Route_:
        """Only for those who are logged in."""

        async def handled(request: Request) -> Response:
            user = self._user(request)
            if user is None:
                return _json({"error": "log in first"}, 401)
            return await handler(request, user)

        return _safe(handled)

    def _talk(self, handler: Callable[[Request, Talk], Awaitable[Response]]) -> Route_:
        """Only for the person whose session the path names."""

        async def handled(request: Request, user: str) -> Response:
            return await handler(request, await self.talks.get(user, request.path_params["id"]))

        return self._known(handled)

    async def _home(self, request: Request) -> Response:
        if self._user(request) is None:
            return RedirectResponse("/login", 303)
        return _file("index.html", "text/html")

    async def _login_page(self, request: Request) -> Response:
        return _file("login.html", "text/html")

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        return _file(name, KINDS[name]) if name in KINDS else _json({"error": "not found"}, 404)

    async def _login(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        wait_s = self.logins.wait_s(address)
        if wait_s:
            answer = _json({"error": f"too many wrong tokens; wait {wait_s:.0f} seconds"}, 429)
            answer.headers["retry-after"] = str(int(wait_s) + 1)
            return answer
        user = self.accounts.who(_text(await _body(request), "token"))
        if user is None:
            self.logins.failed(address)
            return _json({"error": "that is not a token of this dojo"}, 401)
        cookie = self.logins.open(user, request.cookies.get(COOKIE, ""))
        answer = _json({"user": user})
        answer.set_cookie(
            COOKIE, cookie, max_age=int(LIFETIME_S), httponly=True, samesite="strict", path="/"
        )
        return answer

    async def _logout(self, request: Request, user: str) -> Response:
        self.logins.close(request.cookies.get(COOKIE, ""))
        answer = _json({})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
        return answer

    async def _me(self, request: Request, user: str) -> Response:
        dojo = self.talks.dojo
        return _json(
            {
                "user": user,
                "folder": str(self.talks.folder or ""),
                "graphs": [name for name in GRAPHS if name != "edit"],
                "models": ["base", *dojo.registry.names()],
                "engine": dojo.settings.engine.model,
            }
        )

    async def _list(self, request: Request, user: str) -> Response:
        wanted = request.query_params.get("search", "")[:200]
        found = [
            s for s in await self.talks.of(user) if s.turns and (not wanted or s.holds(wanted))
        ]
        return _json([brief(s) for s in sorted(found, key=lambda s: -s.turns[-1].at)])

    async def _start(self, request: Request, user: str) -> Response:
        body = await _body(request)
        talk = await self.talks.start(user, in_folder=bool(body.get("folder")))
        return _json(whole(talk.conversation))

    async def _whole(self, request: Request, talk: Talk) -> Response:
        if request.query_params.get("settled"):
            await talk.settled()
        told = whole(talk.conversation)
        now = {"working": talk.is_working, "problem": talk.problem}
        return _json(told | now | {"events": len(talk.conversation.hub)})

    async def _events(self, request: Request, talk: Talk) -> Response:
        last = request.headers.get("last-event-id", "")
        start = int(last) + 1 if last.isdecimal() and len(last) < 10 else 0
        return StreamingResponse(
            stream(talk.conversation.hub, start), media_type="text/event-stream"
        )

    async def _graph(self, request: Request, talk: Talk) -> Response:
        unused: Any = None
        parts = Parts(
            model=lambda agent: unused,
            judge=unused,
            settings=talk.conversation.dojo.settings,
            person=unused_person,
        )
        drawn = GRAPHS[talk.conversation.graph](parts).get_graph().draw_mermaid()
        return _json(picture(drawn))

    async def _export(self, request: Request, talk: Talk) -> Response:
        await talk.conversation.refresh()
        session = talk.conversation.session
        format = request.query_params.get("format", "markdown")
        text = export_session(session, format)
        ending = "json" if format == "json" else "md"
        headers = {"content-disposition": f'attachment; filename="session-{session.id}.{ending}"'}
        body = text.encode("utf-8", "replace")
        return Response(body, media_type="text/plain; charset=utf-8", headers=headers)

    async def _say(self, request: Request, talk: Talk) -> Response:
        text = _text(await _body(request), "text")
        if not text.strip():
            raise SettingsError("the request is empty; say what you need")
        await talk.begin(talk.conversation.say(text))
        return _json({})

    async def _resume(self, request: Request, talk: Talk) -> Response:
        await talk.begin(talk.conversation.go_on())
        return _json({})

    async def _answer(self, request: Request, talk: Talk) -> Response:
        body = await _body(request)
        if not talk.conversation.is_asking:
            raise SettingsError("nothing is asked any more")
        if "decision" in body:
            given: dict[str, Any] = {
                name: body[name] for name in ("decision", "text", "files") if name in body
            }
            if given["decision"] not in ("approve", "edit", "reject"):
                raise SettingsError("say approve, edit or reject")
            if not isinstance(given.get("text", ""), str) or not _is_files(given.get("files", {})):
                raise SettingsError("text is a text, and files are texts by path")
            talk.conversation.answer(given)
        else:
            talk.conversation.answer(_text(body, "text"))
        return _json({})

    async def _stop(self, request: Request, talk: Talk) -> Response:
        return _json({"stopped": talk.conversation.stop()})

    async def _note(self, request: Request, talk: Talk) -> Response:
        talk.conversation.steer(_text(await _body(request), "text"))
        return _json({})

    async def _rate(self, request: Request, talk: Talk) -> Response:
        body = await _body(request)
        step, choice = body.get("step"), body.get("choice", 0)
        answer = StepRef(step=step, choice=choice) if isinstance(step, str) and step else None
        good, comment, run = bool(body.get("good")), _text(body, "comment"), _text(body, "run")
        return _json({"id": (await talk.conversation.rate(good, comment, answer, run=run)).id})

    async def _correct(self, request: Request, talk: Talk) -> Response:
        body = await _body(request)
        text = _text(body, "text")
        if not text.strip():
            raise SettingsError("a correction has to say what the answer should have been")
        return _json({"id": (await talk.conversation.correct(text, run=_text(body, "run"))).id})

    async def _pick(self, request: Request, talk: Talk) -> Response:
        body = await _body(request)
        index = body.get("index")
        if not isinstance(index, int):
            raise SettingsError("say which candidate, by its number from 0")
        return _json({"id": (await talk.conversation.pick(index, run=_text(body, "run"))).id})

    async def _revoke(self, request: Request, talk: Talk) -> Response:
        id = _text(await _body(request), "id")
        known = {f.id for turn in talk.conversation.session.turns for f in turn.feedback}
        if id not in known:
            raise NotFound
        await talk.conversation.revoke(id)
        return _json({})

    async def _check(self, request: Request, talk: Talk) -> Response:
        body = await _body(request)
        text = _text(body, "tests")
        tests = [line.strip() for line in text.splitlines() if line.strip().startswith("assert ")]
        if text.strip() and not tests:
            raise SettingsError("write a test as a line like: assert f(1) == 2")
        verdict = await talk.conversation.check(tests, run=_text(body, "run"))
        return _json(verdict.model_dump(mode="json"))

    async def _undo(self, request: Request, talk: Talk) -> Response:
        return _json([change.path for change in await talk.conversation.undo()])

    async def _forget(self, request: Request, talk: Talk) -> Response:
        done = await self.talks.forget(talk)
        later = ["out of history and training; its bytes go once no other conversation is at work"]
        return _json({"said": said(done) if done else later})

    async def _set(self, request: Request, talk: Talk) -> Response:
        body, conversation = await _body(request), talk.conversation
        if "graph" in body:
            conversation.set_graph(_text(body, "graph"))
        if "model" in body:
            await conversation.set_adapter(_text(body, "model"))
        if "plan" in body:
            conversation.asks_plan = bool(body["plan"])
        if "budget" in body:
            conversation.set_budget(_number(body, "budget", 10**9))
        for name, setting in (("memory", "memory__enabled"), ("samples", "team__samples")):
            if name in body:
                value = bool(body[name]) if name == "memory" else _number(body, name, 16)
                conversation.dojo.settings = changed(conversation.dojo.settings, {setting: value})
        return _json(whole(conversation)["settings"])

    async def _runs(self, request: Request, user: str) -> Response:
        return _page(await self.pages.runs(user))

    async def _run(self, request: Request, user: str) -> Response:
        return _page(await self.pages.run(user, request.path_params["run"]))

    async def _rollout(self, request: Request, user: str) -> Response:
        return _page(await self.pages.rollout(user, request.path_params["rollout"]))

    async def _report(self, request: Request, user: str) -> Response:
        return _page(await self.pages.report(request.path_params["run"]))

    async def _adapters(self, request: Request, user: str) -> Response:
        return _page(await self.pages.adapters())

    async def _memory(self, request: Request, user: str) -> Response:
        return _page(await self.pages.memory(user))

    async def _improving(self, request: Request, user: str) -> Response:
        title, stages = await self.pages.improving()
        return _json({"title": title, "stages": [stage._asdict() for stage in stages]})

    async def _improve(self, request: Request, user: str) -> Response:
        title, stages = await self.pages.improving()
        return Response(
            render_stages(stages, title),
            media_type="image/svg+xml",
            headers={"content-security-policy": "default-src 'none'"},
        )


POSTS = (
    "say resume answer stop note rate correct pick revoke check undo forget set".split()  # noqa: SIM905  # short
)
"""What a person does in a session; each is a method of that name."""


async def unused_person(question: Any) -> Any:
    """Stands for somebody, so that a graph is drawn with the places where it asks."""
    raise AssertionError("nobody asks a picture")


def _safe(handler: Route_) -> Route_:
    """Errors of ours are answers."""

    @wraps(handler)
    async def handled(request: Request) -> Response:
        try:
            return await handler(request)
        except NotFound:
            return _json({"error": "not found"}, 404)
        except CodojoError as err:
            return _json({"error": str(err)}, 400)

    return handled


async def _body(request: Request) -> dict[str, Any]:
    try:
        read = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as err:
        raise SettingsError("the body is no JSON") from err
    if not isinstance(read, dict):
        raise SettingsError("the body has to be an object")
    return read


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise SettingsError(f"'{name}' has to be a text of at most {MAX_TEXT} characters")
    return value


def _number(body: dict[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise SettingsError(f"'{name}' has to be a whole number from 0 to {most}")
    return value


def _is_files(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(path, str) and isinstance(text, str) for path, text in value.items()
    )


def _json(value: Any, status: int = 200) -> Response:
    return Response(encode(value), status, media_type="application/json")


def _file(name: str, kind: str) -> Response:
    return Response((STATIC / name).read_bytes(), media_type=f"{kind}; charset=utf-8")


def _page(text: str) -> Response:
    """A page of `codojo.reports`, whose own style is allowed by its hash."""
    head = text.partition('http-equiv="Content-Security-Policy" content="')[2]
    policy = head.partition('"')[0].replace("&#39;", "'")
    allowed = f"{policy}; frame-ancestors 'none'"
    return Response(
        text.encode("utf-8", "replace"),
        media_type="text/html; charset=utf-8",
        headers={"content-security-policy": allowed},
    )
