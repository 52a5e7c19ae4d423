"""The training formats. To add one: a file here, its name in `hnmine.options.Format`, a line in `FORMATS`."""

from __future__ import annotations

from hnmine.options import Format
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.beir import Beir
from hnmine.stages.formats.dpr import Dpr
from hnmine.stages.formats.flagembedding import FlagEmbedding
from hnmine.stages.formats.gpl import Gpl
from hnmine.stages.formats.ids import Ids
from hnmine.stages.formats.jsonl import PlainJsonl
from hnmine.stages.formats.labeled_list import LabeledList
from hnmine.stages.formats.labeled_pair import LabeledPair
from hnmine.stages.formats.ms_swift import MsSwift, MsSwiftReranker
from hnmine.stages.formats.msmarco import MsMarco
from hnmine.stages.formats.n_tuple import NTuple
from hnmine.stages.formats.nemo import Nemo
from hnmine.stages.formats.pylate import PyLate
from hnmine.stages.formats.pylate_kd import PyLateDistillation
from hnmine.stages.formats.tevatron import Tevatron
from hnmine.stages.formats.tevatron_v2 import TevatronV2
from hnmine.stages.formats.trec import Trec
from hnmine.stages.formats.triplet import Triplet

FORMATS: dict[Format, TrainingFormat] = {
    Format.TRIPLET: Triplet(),
    Format.N_TUPLE: NTuple(),
    Format.LABELED_PAIR: LabeledPair(),
    Format.LABELED_LIST: LabeledList(),
    Format.IDS: Ids(),
    Format.PYLATE: PyLate(),
    Format.PYLATE_KD: PyLateDistillation(),
    Format.FLAGEMBEDDING: FlagEmbedding(),
    Format.TEVATRON: Tevatron(),
    Format.TEVATRON_V2: TevatronV2(),
    Format.MS_SWIFT: MsSwift(),
    Format.MS_SWIFT_RERANKER: MsSwiftReranker(),
    Format.NEMO: Nemo(),
    Format.DPR: Dpr(),
    Format.GPL: Gpl(),
    Format.MSMARCO: MsMarco(),
    Format.TREC: Trec(),
    Format.BEIR: Beir(),
    Format.JSONL: PlainJsonl(),
}

__all__ = ["FORMATS", "Rows", "TrainingFormat"]
