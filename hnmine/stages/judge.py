"""`score --judge`: what language models say of the candidates in doubt, as one more column of evidence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from hnmine import prompts
from hnmine.core.evidence import Ints
from hnmine.engines.answers import FOLDER, Answers
from hnmine.engines.asking import Answering, Asker, Kept
from hnmine.engines.chat import Chat
from hnmine.engines.openai_batch import import_results, write_requests
from hnmine.engines.spending import Budget, Pace
from hnmine.errors import UsageError
from hnmine.execute.local import Block, Execution
from hnmine.files.artefact import Artefact, Draft, Json
from hnmine.files.candidates import CandidatesTable, JudgeInfo
from hnmine.files.collection import Collection
from hnmine.files.tables import part_name, write_table
from hnmine.hashing import digest_file, digest_json
from hnmine.options import JudgeOptions, as_plain
from hnmine.schema import RELEVANT_GRADE, Kind, score_column
from hnmine.stages.doubt import Doubt
from hnmine.stages.indexes import check_name
from hnmine.stages.judge_costs import check, costs, prices_of
from hnmine.stages.judge_questions import Questions
from hnmine.stages.judge_word import Hearing, judge_scores
from hnmine.stages.stage import Outcome, Stage, block_size, cut, require_made_from

BLOCK = 256
_SAMPLED = 100


class Judge(Stage):
    """Has language models grade the candidates that may be false negatives; of several, each what the last flagged.

    Answers are kept below `cache` as soon as they are there, so that nothing is asked twice, whatever happens.
    """

    kind = Kind.CANDIDATES
    label = "judge"
    unit = "candidates"

    def __init__(self, collection: Collection, candidates: Artefact, options: JudgeOptions, cache: Path) -> None:
        require_made_from(collection.artefact, candidates)
        check(options)
        self.collection = collection
        self.table = CandidatesTable(candidates)
        self.options = options
        self.prompt = prompts.read(options.prompt, "query", "candidates", optional=("positives",))
        self.block = block_size(BLOCK)
        self.chats = [Chat(spec) for spec in options.judge]
        likelihood = prompts.read_likelihood(options.judge_likelihood) if options.judge_likelihood else None
        self.hearings = [
            Hearing(chat=chat, prices=prices, likelihood=likelihood)
            for chat, prices in zip(self.chats, prices_of(options), strict=True)
        ]
        self._folder = cache / FOLDER
        self.kept = Answers(self._folder)
        self.judges = [
            JudgeInfo(name=check_name(chat.name), model=chat.model, prompt=self.prompt.digest) for chat in self.chats
        ]
        taken = [judge.name for judge in (*self.table.judges, *self.judges)]
        for judge in self.judges:
            if taken.count(judge.name) > 1:
                raise UsageError(f"two judges are called {judge.name!r}", remedy=f"--judge OTHER={judge.model}")
        added = [info for judge in self.judges for info in judge_scores(judge.name)] if likelihood is not None else []
        for info in added:
            if self.table.score(info.name) is not None:
                raise UsageError(f"the candidates have a score called {info.name!r}", remedy="--judge OTHER=URL#MODEL")
        self.scores = [*self.table.scores, *added]
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
        if self.options.judge_likelihood is not None:
            raise UsageError(
                "--judge-export and --judge-likelihood: a batch is of requests to /v1/chat/completions alone",
                remedy="leave one of them out; what a live run asks is kept and not paid for again",
            )
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
        hidden = {"judge", "prompt", "judge_likelihood", "judge_import", "requests_per_minute", "tokens_per_minute"}
        likelihood = self.hearings[0].likelihood
        imported = self.options.judge_import
        return {
            "options": {k: v for k, v in as_plain(self.options).items() if k not in hidden},
            "scores": [score.to_plan() for score in self.scores],
            **self.table.judges_to_plan(*self.judges),
            "rank_by": self.table.artefact.plan["rank_by"],
            "prompt": self.prompt.digest,
            **({"likelihood_prompt": likelihood.digest} if likelihood is not None else {}),
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
        return costs(self.hearings, self.kept, self._questions(table), asked, p, sum(self._doubtful))

    def notes(self) -> Json:
        """Who judges, and where; what was asked now, and what was known already."""
        notes: Json = {}
        prompt = self.hearings[0].likelihood
        likelihood = f", likelihoods by {prompt.name}" if prompt is not None else ""
        for judge, chat in zip(self.judges, self.chats, strict=True):
            where = "imported" if self.options.judge_import else f"at {chat.where}"
            notes[f"judge {judge.name}"] = f"{judge.model} {where}, by the prompt {self.prompt.name}" + likelihood
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
            self._askers = [Asker(one.chat, self.kept, one.prices, self._pace_of(one.chat)) for one in self.hearings]
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
        for hearing, answering in zip(self.hearings, judges, strict=True):
            word = hearing.word(answering, questions, asked, budget)
            counts[f"judge_{word.judge}"] = word.counts
            for name, column in word.columns().items():
                scored = scored.append_column(name, column)
            asked = word.grades >= RELEVANT_GRADE
        nulls = {score.name: scored[score_column(score.name)].null_count for score in self.scores}
        return scored, {
            "queries": questions.count,
            "candidates": table.num_rows,
            "null_scores": nulls,
            **counts,
        }

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
