"""The commands: parse, options, call the stage, show. Here is what is known of each before its module is imported."""

from __future__ import annotations

COMMANDS = {
    "run": ("run:run", "The whole chain: DATA to a training file."),
    "plan": ("run:plan", "What `run` would do with these arguments; with --launcher, as a script for a scheduler."),
    "ingest": ("ingest:ingest", "Validate DATA and normalise it into a collection."),
    "import": (
        "ingest:import_",
        "Make a run of a training file of any tool, to audit, rescore, refilter or export it.",
    ),
    "generate": ("generate:generate", "Write negatives, or queries, that no corpus holds."),
    "index bm25": ("index:index_bm25", "Build a BM25 index over the documents of DATA."),
    "index dense": ("index:index_dense", "Encode the documents and queries of DATA."),
    "index sparse": (
        "index:index_sparse",
        "Encode the documents and queries of DATA with a learned sparse model (SPLADE).",
    ),
    "index late": (
        "index:index_late",
        "Encode the documents and queries of DATA with a late-interaction model (ColBERT): a vector a token.",
    ),
    "search": (
        "mine:search",
        "Search slice by slice a corpus that no machine should read as a whole, for `mine --hits`.",
    ),
    "mine": ("mine:mine", "Mine candidates with all the evidence about them."),
    "score": ("mine:score", "Score candidates with a cross-encoder, or have language models grade those in doubt."),
    "filter": ("decide:filter_", "Give every candidate a verdict and a reason."),
    "export": ("decide:export", "Write a training file that holds exactly what the trainer reads."),
    "merge": ("machine:merge", "Close an artefact that several shards worked on."),
    "inspect": (
        "look:inspect",
        "Counts, schema and provenance of an artefact; a query's candidates; a few triplets.",
    ),
    "sweep": ("look:sweep", "What a grid of thresholds would give: yield, hardness, false negatives."),
    "audit": ("look:audit", "What is wrong with a training file: false negatives, leaks, copies, hubs, gaps."),
    "report": ("look:report", "One self-contained HTML page to look at a run: figures, and triplets to judge."),
    "downsample": (
        "downsample:downsample",
        "A small corpus to evaluate with: what is judged, and the first k of several retrievers.",
    ),
    "presets": (
        "machine:presets_",
        "Published recipes, one line each; with NAME its file, to read or to copy as a --config.",
    ),
    "doctor": ("machine:doctor", "What works on this machine, what does not, and what to install."),
    "prompts": (
        "machine:prompts_",
        "Prompts for language models, one line each; with NAME its file, to copy and change for --prompt.",
    ),
}
"""As one types it: where it is (module:function), and the first sentence of its help; in the order of the work."""
