"""What there is to choose from, as `hfal strategies` shows it."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from hfal.errors import HfalError
from hfal.strategies import MNLP, ByScore, Entry, entries

TASKS = {
    frozenset({"row"}): "texts",
    frozenset({"word"}): "words",
    frozenset({"pair"}): "pairs",
    frozenset({"latent"}): "pictures, writing",
    frozenset({"text"}): "writing",
    frozenset({"text", "latent"}): "writing",
}
LOOKS = {
    "hidden_states": "1",
    "surprisal": "1 of a language model",
    "word_gradients": "1 + C back",
    "word_boundary": "up to 10 (1 + C back)",
}
SIZES = {
    "logits": "[N, C]",
    "embeddings": "[N, D]",
    "features": "[N, D]",
    "mc_logits": "[K, N, C]",
    "hidden_states": "[N, L, D]",
    "surprisal": "[N, 128]",
    "similarity": "[N]",
    "mc_latent": "[K, N, H]",
    "texts": "texts",
    "sources": "texts",
}
OF_PARTS = ("its parts'",) * 4


def strategy_table() -> Table:
    """Every strategy with what it costs."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("name", "what it picks", "paper", "tasks", "signals", "passes", "memory"):
        table.add_column(title)
    for entry in entries():
        tasks, signals, passes, memory = cost(entry)
        table.add_row(entry.name, escape(entry.summary), escape(entry.paper), tasks, signals, passes, escape(memory))
    return table


def cost(entry: Entry) -> tuple[str, str, str, str]:
    """Tasks, signals, passes over the pool, and memory of a strategy, from what it says it needs."""
    try:
        strategy = entry.make()
    except HfalError:  # it is made of others, which must be given
        return OF_PARTS
    needs = strategy.needs
    tasks, names = TASKS.get(needs.units, "both"), sorted(needs.every_field)
    if isinstance(strategy, ByScore) and entry.make(by=MNLP()).needs.units == {"word"}:
        tasks = "both, words by=mnlp"
    if not needs.of_model().any_pool:
        return tasks, ", ".join(names) or "none", "0", "[N]"
    passes = [LOOKS[name] for name in sorted(needs.looks)] or ["1"]
    if needs.mc_samples:
        passes.append(f"{needs.mc_samples} heads" if needs.mc_layers == "head" else str(needs.mc_samples))
    memory = " + ".join(sorted({SIZES[name] for name in needs.of_model().pool})) or "[N]"
    return tasks, ", ".join(names), " + ".join(passes), memory
