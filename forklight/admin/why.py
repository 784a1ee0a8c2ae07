"""`GET /why`: one invocation as it is remembered, attempt by attempt. Only on the control socket."""

from collections.abc import Sequence

from aiohttp import web
from msgspec import convert
from msgspec.structs import asdict

from dispatcher.runner import Function
from forklight.admin.answers import Refused, as_json
from forklight.observe.entry import Entry, Selection
from forklight.observe.explanation import Explanation, Limits, before, invocations, slowest
from forklight.serving.running import Current

_MOST_NAMED = 5


class Why:
    """Explains invocations from the journal's rings and the dispatcher's reasons; stores nothing itself."""

    def __init__(self, current: Current) -> None:
        self._current = current
        self._journal = current().observer.journal

    async def explain(self, request: web.Request) -> web.Response:
        """Explain `?id=`, an id or its end; without it the slowest invocation, of `?function=` if given."""
        function = request.query.get("function")
        wanted = request.query.get("id") or slowest(self._journal.latest(Selection(function=function)))
        if wanted is None:
            raise Refused(404, f"no invocation is remembered{self._quietly()}")
        found = self._journal.latest(Selection(function=function, invocation=wanted))
        ids = sorted({entry.invocation for entry in invocations(found)})
        if not ids:
            line = f"no remembered invocation has an id that ends in {wanted!r}"
            raise Refused(404, f"{line}: running ones are not listed yet, old ones are forgotten{self._quietly()}")
        if len(ids) > 1:
            named = ", ".join(ids[:_MOST_NAMED]) + (", …" if len(ids) > _MOST_NAMED else "")
            raise Refused(400, f"{len(ids)} ids end in {wanted!r}: {named}")
        return as_json([self._explanation(entry, found) for entry in invocations(found)])

    def _explanation(self, entry: Entry, found: Sequence[Entry]) -> Explanation:
        runner = self._current().dispatcher.runners().get(entry.function)
        return Explanation(
            entry=entry,
            limits=None if runner is None else _limits(runner.function),
            reason=None if runner is None else runner.reasons.of(entry.invocation, max(1, entry.attempt)),
            before=before(entry, self._journal.latest(Selection(function=entry.function))),
            lines=sum(not other.outcome for other in found),
        )

    def _quietly(self) -> str:
        return "; with serve --quiet none are" if self._journal.is_quiet else ""


def _limits(function: Function) -> Limits:
    return convert({**asdict(function.pool), "timeout_s": function.spec.timeout_s}, Limits)
