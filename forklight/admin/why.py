"""`GET /why`: one invocation as it is remembered, attempt by attempt. Only on the control socket."""

from collections.abc import Sequence

from aiohttp import web
from msgspec import convert
from msgspec.structs import asdict

from dispatcher.settings import Function
from dispatcher.split import variant_name
from forklight.admin.answers import Refused, as_json
from forklight.observe.entry import Entry, Selection
from forklight.observe.explanation import Explanation, Limits, before, choose, invocations, slowest
from forklight.observe.kept.merge import of_latest_server
from forklight.serving.running import Current


class Why:
    """Explains invocations from what is remembered of them and the dispatcher's reasons; stores nothing itself."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._journal = current().observer.journal

    async def explain(self, request: web.Request) -> web.Response:
        """Explain `?id=`, an id or its end; without it the slowest invocation, of `?function=` if given.

        Ids of different servers may have the same end: the latest server counts, the present one first.
        """
        function, wanted = request.query.get("function"), request.query.get("id")
        selection = Selection(function=function, invocation=wanted or "")
        found = self._journal.latest(selection)
        if not _answers(found, wanted):
            found = of_latest_server(await self._current().observer.history.all(selection))
        try:
            chosen = choose(found, wanted)
        except LookupError as error:
            raise Refused(404, f"{error}{self._quietly()}") from None
        except ValueError as error:
            raise Refused(400, str(error)) from None
        found = await self._all(Selection(function=function, invocation=chosen))
        return as_json([self._explanation(entry, found) for entry in invocations(found)])

    async def _all(self, selection: Selection) -> list[Entry]:
        """Return what is remembered of one invocation; all attempts, also those that an earlier server made."""
        found = self._journal.latest(selection)
        if found and all(entry.attempt <= 1 for entry in found):
            return found
        return [entry for entry in await self._current().observer.history.all(selection) if not entry.started]

    def _explanation(self, entry: Entry, found: Sequence[Entry]) -> Explanation:
        runners = self._current().dispatcher.runners()
        runner = runners.get(variant_name(entry.function, entry.release)) or runners.get(entry.function)
        return Explanation(
            entry=entry,
            limits=None if runner is None else _limits(runner.function),
            reason=None if runner is None else runner.reasons.of(entry.invocation, max(1, entry.attempt)),
            before=before(entry, self._journal.latest(Selection(function=entry.function))),
            lines=sum(not other.outcome for other in found),
        )

    def _quietly(self) -> str:
        return "; with serve --quiet none are" if self._journal.is_quiet else ""


def _answers(found: Sequence[Entry], wanted: str | None) -> bool:
    return bool(invocations(found)) if wanted is not None else slowest(found) is not None


def _limits(function: Function) -> Limits:
    return convert({**asdict(function.pool), "timeout_s": function.spec.timeout_s}, Limits)
