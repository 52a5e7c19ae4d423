"""Requests to a language model, many at a time: each answered once, kept, and paid for out of a budget."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from hnmine.engines.answers import Answers
from hnmine.engines.chat import Answer, Chat
from hnmine.engines.http_json import Event
from hnmine.engines.spending import Budget, BudgetSpent, Pace, Prices, tokens_about
from hnmine.hashing import digest_json
from hnmine.prompts import most_output

REQUESTS = 16
"""Requests at a time: a server makes its own batches of what waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `turn` tells requests apart that are to be answered anew though they say the same."""

    body: Mapping[str, Any]
    turn: int = 0

    @property
    def key(self) -> str:
        """Under which its answer is kept: a digest of what is asked, of which model; not of where that runs."""
        return digest_json([self.body, self.turn])

    def put_to(self, chat: Chat, heard: Callable[[Event], None]) -> Answer:
        """The model's answer; see `Chat.ask`."""
        return chat.ask(self.body, heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodRequest(Request):
    """One request for the likelihood of a query, which ends the prompt behind the words `behind`."""

    query: str
    behind: str

    @property
    def key(self) -> str:
        """Of what is asked, of which model, and which part of the prompt is the query."""
        return digest_json([self.body, {"likelihood": self.query}])

    def put_to(self, chat: Chat, heard: Callable[[Event], None]) -> Answer:
        """See `Chat.likelihood`."""
        return chat.likelihood(self.body, self.query, self.behind, heard)


class Answering(Protocol):
    """Whoever has answers to requests."""

    def answers(self, requests: Sequence[Request], budget: Budget) -> list[Answer | None]:
        """The answer to each request; None where there is none."""


@dataclass(slots=True)
class Asker:
    """Asks a model what nobody asked it before.

    Requests are begun in their order, each when the budget can bear the most that it and those under way can cost; from
    the first for which that is not so, none is begun, and the answers are None. Which these are depends on the answers
    and not on when they come: what a request held is freed in order too. `counts` tells what was done.
    """

    chat: Chat
    kept: Answers
    prices: Prices
    pace: Pace
    counts: Counter[str] = field(default_factory=Counter)

    def answers(self, requests: Sequence[Request], budget: Budget) -> list[Answer | None]:
        """See `Answering.answers`.

        Raises `StorageError` if the server does not answer after many attempts, `UsageError` if it refuses; what was
        answered until then is kept.
        """
        found: list[Answer | None] = [None] * len(requests)
        under_way: deque[tuple[int, Future[_Outcome]]] = deque()

        def settle() -> None:
            place, outcome = under_way.popleft()
            done = outcome.result()
            budget.settle(done.held, done.spent)
            found[place] = done.answer
            if done.answer is not None:
                self.counts["asked for" if done.is_new else "kept from before"] += 1
            if done.lost:
                self.counts["lost on the way, counted as paid"] += done.lost

        with ThreadPoolExecutor(REQUESTS) as pool:
            try:
                for place, request in enumerate(requests):
                    most = self.prices.most(request.body)
                    if len(under_way) == REQUESTS:
                        settle()
                    while not (fits := budget.hold(most)) and under_way:
                        settle()
                    if not fits:
                        break
                    under_way.append((place, pool.submit(self._ask, request, most, budget)))
                while under_way:
                    settle()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return found

    def _ask(self, request: Request, most: float, budget: Budget) -> _Outcome:
        """One answer: the kept one, else the model's. `most` is held for it; attempts that were lost hold more."""
        held, is_new = most, False
        with self.kept.asking(request.key) as entry:
            if entry.record.answer is None:

                def heard(event: Event) -> None:
                    nonlocal held
                    if event == "sent":
                        needed = most * (entry.record.lost + 1)
                        if needed > held and not budget.hold(needed - held):
                            raise BudgetSpent("the budget may not pay for another attempt")
                        held = max(held, needed)
                        self.pace.wait(tokens_about(request.body) + most_output(request.body))
                    entry.note(event)

                try:
                    entry.keep(request.put_to(self.chat, heard))
                    is_new = True
                except BudgetSpent:
                    pass
            answer, lost = entry.record.answer, entry.record.lost
        spent = most * lost + (self.prices.cost(request.body, answer) if answer is not None else 0.0)
        return _Outcome(answer, held, spent, lost, is_new)


@dataclass(frozen=True, slots=True)
class _Outcome:
    answer: Answer | None
    held: float
    spent: float
    lost: int
    is_new: bool


@dataclass(slots=True)
class Kept:
    """Asks nobody: the answers that are there. `missing` are the requests that had none, by key, in order."""

    kept: Answers
    missing: dict[str, Request] = field(default_factory=dict)

    def answers(self, requests: Sequence[Request], budget: Budget) -> list[Answer | None]:
        """See `Answering.answers`; the budget is left alone."""
        found = []
        for request in requests:
            found.append(self.kept.get(request.key).answer)
            if found[-1] is None:
                self.missing[request.key] = request
        return found
