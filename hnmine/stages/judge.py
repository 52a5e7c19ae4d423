"""`score --judge`: what language models say of the candidates in doubt, as one more column of evidence each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine import prompts
from hnmine.core.evidence import Bools, Ints
from hnmine.core.judging import grades_of
from hnmine.engines.answers import FOLDER, Answers
from hnmine.engines.asking import Answering, Asker, Kept
from hnmine.engines.chat import Chat
from hnmine.engines.openai_batch import import_results, write_requests
from hnmine.engines.spending import Budget, Pace, Prices, tokens_about
from hnmine.errors import UsageError
from hnmine.execute.local import Block, Execution
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import CandidatesTable, JudgeInfo
from hnmine.files.collection import Collection
from hnmine.files.tables import part_name, write_table
from hnmine.hashing import digest_file, digest_json
from hnmine.options import JudgeOptions, as_plain
from hnmine.schema import GRADES, RELEVANT_GRADE, Kind, grade_column, score_column
from hnmine.stages.doubt import Doubt
from hnmine.stages.indexes import check_name
from hnmine.stages.judge_questions import Questions
from hnmine.stages.stage import Outcome, Stage, block_size, cut, require_made_from

BLOCK = 256
TURNS = 2
"""A candidate that an answer passed over, or graded with nonsense, is asked about once more."""
_SAMPLED = 100
_ANSWER_TOKENS = (100, 12)
"""Of an answer, for an estimate: its reasoning, and each grade."""


class Judge(Stage):
    """Has language models grade the candidates that may be false negatives; of several, each what the last flagged.

    Answers are kept below `cache` as soon as they are there, so that nothing is asked twice, whatever happens.
    """

    kind = Kind.CANDIDATES
    label = "judge"
    unit = "candidates"

    def __init__(self, collection: Collection, candidates: Artefact, options: JudgeOptions, cache: Path) -> None:
        require_made_from(collection.artefact, candidates)
        _check(options)
        self.collection = collection
        self.table = CandidatesTable(candidates)
        self.options = options
        self.prompt = prompts.read(options.prompt, "query", "candidates", optional=("positives",))
        self.block = block_size(BLOCK)
        self.chats = [Chat(spec) for spec in options.judge]
        self.prices = _prices(options)
        self._folder = cache / FOLDER
        self.kept = Answers(self._folder)
        self.judges = [
            JudgeInfo(name=check_name(chat.name), model=chat.model, prompt=self.prompt.digest) for chat in self.chats
        ]
        taken = [judge.name for judge in (*self.table.judges, *self.judges)]
        for judge in self.judges:
            if taken.count(judge.name) > 1:
                raise UsageError(f"two judges are called {judge.name!r}", remedy=f"--judge OTHER={judge.model}")
        self.chosen = self.table.sample(options.limit, options.seed)
        self._doubt = Doubt(collection, candidates, options)
        self._askers: list[Asker] | None = None
        self._imported = Counter[str]()

    def run(self, path: Path, how: Execution) -> Outcome:
        """See `Stage.run`; before it, the results of a batch are kept like any other answers."""
        if self.options.judge_import:
            self._imported = import_results(self.kept, Path(self.options.judge_import))
        return super().run(path, how)

    def export(self, path: Path) -> int:
        """Write the requests whose answers are not kept yet as an OpenAI batch; returns how many, 0 if all are.

        What a second judge is asked, and what is asked once more, depends on the first answers: export, import, and
        export again until nothing is left.
        """
        left = [Kept(self.kept) for _ in self.chats]
        for block in self.blocks():
            self.judged(block, left)
        requests = {key: request for one in left for key, request in one.missing.items()}
        write_requests(path, requests)
        return len(requests)

    def inputs(self) -> Mapping[str, Artefact]:
        """The collection and the candidates."""
        return {"collection": self.collection.artefact, "candidates": self.table.artefact}

    def parameters(self) -> Json:
        """Models by their names, the prompt by its bytes, and what decides who is asked; no address, no key."""
        hidden = {"judge", "prompt", "judge_import", "requests_per_minute", "tokens_per_minute"}
        imported = self.options.judge_import
        return {
            "options": {k: v for k, v in as_plain(self.options).items() if k not in hidden},
            "scores": [score.to_plan() for score in self.table.scores],
            **self.table.judges_to_plan(*self.judges),
            "rank_by": self.table.artefact.plan["rank_by"],
            "prompt": self.prompt.digest,
            "estimate": self._doubt.digest,
            **({"imported": digest_file(Path(imported))} if imported else {}),
            "block": self.block,
        }

    def blocks(self) -> Sequence[Block]:
        """Blocks of 256 queries; sizes count the candidates in doubt."""
        cuts = cut(len(self.chosen), self.block, "judged")
        return [Block(name=b.name, index=b.index, size=size) for b, size in zip(cuts, self._doubtful, strict=True)]

    @cached_property
    def _doubtful(self) -> list[int]:
        """How many candidates of each block are in doubt."""
        blocks = [self._queries(index) for index in range(len(cut(len(self.chosen), self.block)))]
        return [int(self._doubt.of(self.table.read(queries), queries)[0].sum()) for queries in blocks]

    def _questions(self, table: pa.Table) -> Questions:
        return Questions(self.collection, table, self.prompt, self.options.seed)

    def _queries(self, index: int) -> Ints:
        return self.chosen[index * self.block : (index + 1) * self.block]

    def sizes(self) -> Json:
        """Candidates in doubt, requests, tokens and money: from those of a few queries; `at_most` is a bound."""
        return {"queries": len(self.chosen), "candidates": sum(self._doubtful), **self._costs()}

    def _costs(self) -> Json:
        """What the judges will take, by the requests of a few queries."""
        sample = np.linspace(0, len(self.chosen), min(_SAMPLED, len(self.chosen)), endpoint=False).astype(np.int64)
        queries = self.chosen[sample]
        table = self.table.read(queries)
        asked, p = self._doubt.of(table, queries)
        if not asked.any():
            return {}
        questions = self._questions(table)
        found: Json = {}
        scale = sum(self._doubtful) / int(asked.sum())
        flagged = 1.0
        for chat, prices in zip(self.chats, self.prices, strict=True):
            requests = [request for _, request in questions.about(asked, chat.model, 0)]
            kept = sum(self.kept.get(request.key).answer is not None for request in requests)
            read = sum(tokens_about(request.body) for request in requests)
            written = _ANSWER_TOKENS[0] * len(requests) + _ANSWER_TOKENS[1] * int(asked.sum())
            share = scale * flagged
            found[f"{chat.name}: requests"] = round(len(requests) * share)
            found |= {f"{chat.name}: answers_kept_about": round(kept * share)} if kept else {}
            found[f"{chat.name}: input_tokens_about"] = round(read * share)
            if prices != Prices():
                most = sum(prices.most(request.body) for request in requests) * TURNS
                found[f"{chat.name}: cost_about"] = _money(prices.of(read, written) * share)
                found[f"{chat.name}: cost_at_most"] = _money(most * scale)
            flagged = float(p[asked].mean())  # the guard's own guess at what the first judge calls relevant
        return found

    def notes(self) -> Json:
        """Who judges, and where; what was asked now, and what was known already."""
        notes: Json = {}
        for judge, chat in zip(self.judges, self.chats, strict=True):
            where = "imported" if self.options.judge_import else f"at {chat.where}"
            notes[f"judge {judge.name}"] = f"{judge.model} {where}, by the prompt {self.prompt.name}"
        if self._imported:
            notes["results"] = ", ".join(f"{count:,} {what}" for what, count in sorted(self._imported.items()))
        for judge, asker in zip(self.judges, self._askers or (), strict=False):
            for what, count in sorted(asker.counts.items()):
                notes[f"answers of {judge.name} {what}"] = count
        return notes

    @property
    def anew(self) -> str | None:
        """Which rows are in doubt is estimated from all candidates; what was answered is kept in the cache anyway."""
        return "who is in doubt depends on all candidates (answers are kept, and not asked for again)"

    def work(self, block: Block, draft: Draft) -> None:
        """Have the candidates of one block of queries judged."""
        table, counts = self.judged(block, self._answering())
        name = part_name(block.index)
        rows = write_table(draft.path / name, table)
        draft.commit(block.name, {name: rows}, counts)

    def _answering(self) -> Sequence[Answering]:
        if self.options.judge_import:
            return [Kept(self.kept)] * len(self.chats)
        if self._askers is None:
            self._askers = [
                Asker(chat, self.kept, prices, self._pace_of(chat))
                for chat, prices in zip(self.chats, self.prices, strict=True)
            ]
        return self._askers

    def _pace_of(self, chat: Chat) -> Pace:
        name = f"pace-{digest_json([chat.where, chat.model])[:16]}.json"
        asked = self.options
        return Pace(self._folder / name, requests=asked.requests_per_minute, tokens=asked.tokens_per_minute)

    def judged(self, block: Block, judges: Sequence[Answering]) -> tuple[pa.Table, Json]:
        """The table of a block with the judges' columns, and what is counted."""
        queries = self._queries(block.index)
        table = self.table.read(queries)
        asked, _ = self._doubt.of(table, queries)
        questions = self._questions(table)
        budget = Budget(self._share(block))
        scored, counts = table, dict[str, Json]()
        for chat, prices, answering in zip(self.chats, self.prices, judges, strict=True):
            grades, counts[f"judge_{chat.name}"] = self._grades(chat, prices, answering, questions, asked, budget)
            column = pa.array(grades.astype(np.int32), pa.int32(), mask=grades < 0)
            scored = scored.append_column(grade_column(chat.name), column)
            asked = grades >= RELEVANT_GRADE
        nulls = {score.name: table[score_column(score.name)].null_count for score in self.table.scores}
        return scored, {
            "queries": questions.count,
            "candidates": table.num_rows,
            "null_scores": nulls,
            **counts,
        }

    def _grades(
        self, chat: Chat, prices: Prices, answering: Answering, questions: Questions, asked: Bools, budget: Budget
    ) -> tuple[Ints, Json]:
        """What one judge says of each row, -1 where it was not asked or did not say, and what is counted."""
        none = dict.fromkeys(("requests", "input_tokens", "output_tokens", "unanswered"), 0)
        tally = Counter[str]({"candidates": int(asked.sum()), **none})
        grades: Ints = np.full(len(asked), -1, np.int64)
        cost, left = 0.0, asked
        for turn in range(TURNS):
            requests = questions.about(left, chat.model, turn)
            left = np.zeros(len(asked), np.bool_)
            answers = answering.answers([request for _, request in requests], budget)
            for (rows, request), answer in zip(requests, answers, strict=True):
                if answer is None:
                    tally["unanswered"] += len(rows) if turn == 0 else 0
                    continue
                grades[rows] = [-1 if grade is None else grade for grade in grades_of(answer.content, len(rows))]
                left[rows] = grades[rows] < 0
                cost += prices.cost(request.body, answer)
                tally["requests"] += 1
                tally["input_tokens"] += answer.input_tokens or 0
                tally["output_tokens"] += answer.output_tokens or 0
        tally["no_grade"] = int((asked & (grades < 0)).sum()) - tally["unanswered"]
        given = {f"grade_{grade}": int((grades == grade).sum()) for grade in range(len(GRADES))}
        return grades, {**tally, **given, **({"cost": cost} if prices != Prices() else {})}

    @classmethod
    def summarise(cls, draft: Draft, counts: Json) -> Json:
        """Money to a millionth."""
        for judge in draft.plan["judges"]:
            own = counts.get(f"judge_{judge['name']}", {})
            if "cost" in own:
                own["cost"] = round(own["cost"], 6)
        return counts

    def _share(self, block: Block) -> float | None:
        """The block's share of the budget, by its candidates in doubt: no block depends on how others went."""
        total = sum(self._doubtful)
        return None if self.options.budget is None else self.options.budget * block.size / max(total, 1)


def _check(options: JudgeOptions) -> None:
    """Raise `UsageError` with every option that makes no sense."""
    problems = [] if options.judge else ["--judge: nobody to ask"]
    for flag, given in (("--price-input", options.price_input), ("--price-output", options.price_output)):
        if given and len(given) != len(options.judge):
            problems.append(f"{flag}: {len(given)} prices for {len(options.judge)} judges")
        problems += [f"{flag} {price}: not a price" for price in given if not 0 <= price < math.inf]
    if options.budget is not None and not options.budget >= 0:
        problems.append(f"--budget {options.budget}: not an amount")
    if options.budget is not None and not (options.price_input and options.price_output):
        problems.append("--budget: what requests cost is not known; give --price-input and --price-output")
    for flag, limit in (
        ("--judge-top", options.judge_top),
        ("--requests-per-minute", options.requests_per_minute),
        ("--tokens-per-minute", options.tokens_per_minute),
    ):
        if limit is not None and limit < 1:
            problems.append(f"{flag} {limit}: at least 1")
    if problems:
        raise UsageError("\n".join(problems))


def _prices(options: JudgeOptions) -> list[Prices]:
    """The prices of each judge."""
    nothing = (0.0,) * len(options.judge)
    pairs = zip(options.price_input or nothing, options.price_output or nothing, strict=True)
    return [Prices(input=one, output=other) for one, other in pairs]


def _money(amount: float) -> float:
    return float(f"{amount:.3g}")
