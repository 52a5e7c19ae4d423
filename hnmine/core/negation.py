"""Says the opposite of a sentence: takes its negation out, or puts one in behind (or before) its auxiliary verb.

A word list a language, and no parser. The lists hold the frequent auxiliaries alone, so that a sentence without one
stays as it is: better no change than one that changes nothing, or leaves no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, kw_only=True)
class Negation:
    """How one language negates: `undone` are patterns and what takes their place, tried in order, before `verbs` are.

    `form` is a replacement in which `\\1` is the verb; `special` are verbs with forms of their own.
    """

    verbs: str
    form: str
    undone: tuple[tuple[str, str], ...]
    special: Mapping[str, str]

    @cached_property
    def _verb(self) -> re.Pattern[str]:
        words = sorted({*self.verbs.split(), *self.special}, key=lambda word: (-len(word), word))
        return re.compile(rf"(?<![\w'’-])({'|'.join(words)})(?![\w'’-])", re.IGNORECASE)

    @cached_property
    def _undone(self) -> list[tuple[re.Pattern[str], str]]:
        return [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in self.undone]

    def opposite(self, sentence: str) -> str:
        """The sentence with its first negation taken out, else with one at its first auxiliary, else unchanged."""
        for pattern, instead in self._undone:
            if pattern.search(sentence):
                return _like(sentence, pattern.sub(instead, sentence, count=1).lstrip())
        return _like(sentence, self._verb.sub(self._negated, sentence, count=1))

    def _negated(self, found: re.Match[str]) -> str:
        verb = found[0] if found.start() else found[0].lower()
        return self.special.get(verb, self.form).replace(r"\1", verb)


def _like(sentence: str, changed: str) -> str:
    return changed[:1].upper() + changed[1:] if sentence[:1].isupper() else changed


def _of(verbs: str, form: str, *undone: tuple[str, str], **special: str) -> Negation:
    return Negation(verbs=verbs, form=form, undone=undone, special=special)


NEGATIONS: dict[str, Negation] = {
    "english": _of(
        "is are was were am has have had could will would shall should may might must does do did",
        r"\1 not",
        (r"\bcan(?:not|['’]t)\b", "can"),
        (r"\bwon['’]t\b", "will"),
        (r"\b(is|are|was|were|has|have|had|could|would|should|must|does|do|did)n['’]t\b", r"\1"),
        (r"\bno longer\b", "still"),
        (r"\bnever\b", "always"),
        (r" not\b", ""),
        (r"\bnot\s+", ""),
        can="cannot",
    ),
    "german": _of(
        "ist sind war waren wird werden wurde wurden hat haben hatte hatten kann können konnte konnten darf dürfen "
        "muss müssen soll sollen",
        r"\1 nicht",
        (r" nicht\b", ""),
        (r"\bkein(|e|en|em|er|es)\b", r"ein\1"),
        (r"\b(?:nie|niemals)\b", "immer"),
    ),
    "french": _of(
        "sont peut peuvent doit doivent sera seront fut furent",
        r"ne \1 pas",
        (r"\b(?:ne |n['’])(\w+) (?:pas|plus)\b", r"\1"),
        (r"\b(?:ne |n['’])(\w+) jamais\b", r"\1 toujours"),
        est="n'est pas",
        était="n'était pas",
        étaient="n'étaient pas",
        a="n'a pas",
        ont="n'ont pas",
        avait="n'avait pas",
        avaient="n'avaient pas",
    ),
    "spanish": _of(
        "es son era eran fue fueron está están ha han puede pueden debe deben tiene tienen hay",
        r"no \1",
        (r"\bno (?=(?:es|son|era|eran|fue|fueron|está|están|ha|han|puede|pueden|debe|deben|tiene|tienen|hay)\b)", ""),
        (r"\bnunca\b", "siempre"),
    ),
    "italian": _of("sono era erano ha hanno può possono deve devono", r"non \1", (r"\bnon ", ""), è="non è"),
    "portuguese": _of(
        "é são era eram foi foram está estão tem têm pode podem deve devem há",
        r"não \1",
        (r"\bnão ", ""),
        (r"\bnunca\b", "sempre"),
    ),
    "dutch": _of(
        "is zijn was waren heeft hebben had hadden kan kunnen kon konden moet moeten wordt worden werd werden zal "
        "zullen mag mogen",
        r"\1 niet",
        (r" niet\b", ""),
        (r"\bgeen\b", "een"),
        (r"\bnooit\b", "altijd"),
    ),
}
"""By the name that `index bm25 --language` has for the language."""
