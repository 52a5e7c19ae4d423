"""The commands: parse, options, call the stage, show. Here is what is known of each before its module is imported."""

from __future__ import annotations

COMMANDS = {
    "run": ("run:run", "Mine hard negatives: from DATA to a training file, every step."),
    "plan": ("run:plan", "What `run` would do; with --launcher, as a scheduler's script."),
    "ingest": ("ingest:ingest", "Validate DATA and normalise it into a collection."),
    "import": ("ingest:import_", "Make a run of any tool's training file."),
    "generate": ("generate:generate", "Write negatives, or queries, that no corpus holds."),
    "index bm25": ("index:index_bm25", "Build a BM25 index over the documents of DATA."),
    "index dense": ("index:index_dense", "Encode the documents and queries of DATA."),
    "index sparse": ("index:index_sparse", "Encode DATA with a learned sparse model (SPLADE)."),
    "index late": ("index:index_late", "Encode DATA with a late-interaction model (ColBERT)."),
    "search": ("mine:search", "Search a corpus slice by slice, for `mine --hits`."),
    "mine": ("mine:mine", "Mine candidates with all the evidence about them."),
    "score": ("mine:score", "Score candidates with a cross-encoder or a language model."),
    "filter": ("decide:filter_", "Decide which candidates are negatives, each with a reason."),
    "export": ("decide:export", "Write a training file that holds exactly what the trainer reads."),
    "merge": ("machine:merge", "Close an artefact that several shards worked on."),
    "inspect": ("look:inspect", "Look at an artefact: its counts, a query's candidates, triplets."),
    "sweep": ("look:sweep", "Try a grid of thresholds: yield, hardness, false negatives."),
    "audit": ("look:audit", "Find what is wrong with a training file, whoever mined it."),
    "report": ("look:report", "Write one HTML page about a run: figures, and triplets to judge."),
    "downsample": ("downsample:downsample", "Make a small corpus to evaluate with, out of a large one."),
    "presets": ("machine:presets_", "List published recipes; with NAME print its file."),
    "doctor": ("machine:doctor", "What works on this machine, what does not, and what to install."),
    "prompts": ("machine:prompts_", "List prompts for language models; with NAME print its file."),
}
"""As one types it: where it is (module:function), and the first sentence of its help; in the order of the work."""
