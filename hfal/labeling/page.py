"""The label page: a gradio app around one piece of HTML, over a `Desk`."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from hfal.errors import HfalError
from hfal.labeling.desk import Desk

logger = logging.getLogger("hfal")

STATIC = Path(__file__).parent / "static"
SHORTEST_PASSWORD = 8
Figures = Callable[[], list[str]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a page that listens there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(host: str, password: str | None) -> None:
    """Refuse to serve to others without a password.

    Raises:
        HfalError: it listens beyond loopback and there is none, or one that is guessed too soon.
    """
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise HfalError(f"the password of the label page must have at least {SHORTEST_PASSWORD} characters")
    if not is_loopback(host) and password is None:
        raise HfalError(
            f"--host {host} lets other machines in: put a password into HFAL_PASSWORD, or stay on 127.0.0.1"
        )


def build(desk: Desk, figures: Figures = list) -> Any:
    """The page as `gradio.Blocks`: also what a Space runs."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # nothing is told to anyone
    try:
        import gradio
    except ImportError:
        raise HfalError("the label page needs the people extra: pip install 'hfal[people]'") from None

    def safely(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return work() | {"figures": figures()}
        except HfalError as error:
            return {"error": str(error)}
        except Exception:  # a page that hears nothing would ask for ever
            logger.exception("the label page met something that it should not have")
            return {
                "error": "That went wrong here: whoever runs the page sees why. Nothing that was said before is lost."
            }

    # Gradio passes one value of the page to each of these: {who, said}.
    def start(given: Any) -> dict[str, Any]:
        return safely(lambda: desk.start(_who(given)))

    def next(given: Any) -> dict[str, Any]:
        return safely(lambda: desk.next(_who(given)))

    def answer(given: Any) -> dict[str, Any]:
        return safely(lambda: desk.answer(_who(given), given.get("said")))

    def undo(given: Any) -> dict[str, Any]:
        return safely(lambda: desk.undo(_who(given)))

    with gradio.Blocks(title="hfal · labelling", analytics_enabled=False) as page:
        gradio.HTML(
            html_template=(STATIC / "page.html").read_text(encoding="utf-8"),
            css_template=(STATIC / "page.css").read_text(encoding="utf-8"),
            js_on_load=(STATIC / "page.js").read_text(encoding="utf-8"),
            server_functions=[start, next, answer, undo],
            apply_default_css=False,
        )
    return page


def _who(given: Any) -> Any:
    """The person. Who knows the page's one password may say any name: it tells labels apart, it proves nothing."""
    return given.get("who") if isinstance(given, dict) else None


def serve(
    desk: Desk,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    figures: Figures = list,
    browser: bool = False,
) -> str:
    """Serve the page from threads of this process; its address.

    With a password each person logs in with a name of their own and the one password.

    Raises:
        HfalError: it would let others in without a password, or the port is taken.
    """
    check_host(host, password)
    page = build(desk, figures)
    import gradio

    def let_in(name: str, given: str) -> bool:
        return bool(name.strip()) and hmac.compare_digest(given.encode(), str(password).encode())

    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=let_in if password is not None else None,
            auth_message="Your name, and the password that you were given.",
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=browser,
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            mcp_server=False,
            theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        )
    except OSError as error:
        taken = "no port from 7860 on is free" if port is None else f"port {port} is taken or not allowed"
        raise HfalError(f"the page cannot listen on {host}: {taken}; choose another --port") from error
    return str(address)
