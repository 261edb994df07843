"""One HTML file out of the data and the files beside this one. It fetches nothing, and runs no script but its own."""

import contextlib
import html
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from rungwise.data.words import WordList
from rungwise.errors import UserError
from rungwise.play.collect import Kept, collect
from rungwise.play.trainable import trainable
from rungwise.util.files import utf8, write_text
from rungwise.util.hashing import policy_hash

WORKER = (
    "families.js", "forward.js", "text.js", "sample.js", "sha256.js", "zip.js", "random.js", "source.js", "table.js",
    "list.js", "weights.js", "engine.js", "run.js", "ngram.js", "members.js", "worker.js",
)  # fmt: skip
"""The page's script is its workers' as well, but there it ends after these; worker.js itself is for them alone."""
SCRIPTS = (
    "dom.js", "places.js", "draw.js", "chart.js", "arcs.js", "strips.js", "code.js",
    "steps.js", "climb.js", "predict.js", "attend.js", "inside.js", "flow.js", "generate.js", "download.js",
    "curves.js", "results.js", "session.js", "setup.js", "experiment.js", "train.js", "share.js", "main.js",
)  # fmt: skip
"""Each after those that it imports."""
PAGE = "play.html"


def write(
    out: Path, found: list[Kept], listed: WordList | None, precision: str = "float16", chapters: str | None = None
) -> bytes:
    """Write the page of these runs, and return it. `listed`: their list, to mark words, where it is at hand."""
    page = build({**collect(found, listed, precision, chapters), "train": trainable(listed)})
    write_text(out, page)
    return page.encode()


def build(data: dict[str, Any]) -> str:
    """The page. Words reach it as JSON that cannot close its element, and are only ever shown as text."""
    data = {"train": trainable(None), **data}
    style, script = _file("page.css"), _script()
    policy = (
        f"default-src 'none'; script-src '{policy_hash(script)}' 'wasm-unsafe-eval'; worker-src blob:; "
        f"style-src '{policy_hash(style)}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    page = Template(_file("page.html")).substitute(
        policy=policy,
        title=html.escape(_title(data)),
        about=html.escape(_about(data)),
        style=style,
        data=json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )
    return utf8(page).decode()  # a path's bytes that are no UTF-8 are in nobody's way


def _title(data: dict[str, Any]) -> str:
    if not data["rungs"]:
        return "Climb the ladder: train transformers and their rivals in this page"
    return f"Inside {'the ladder' if len(data['rungs']) > 1 else 'a model'} of {data['list']['name']}"


def _about(data: dict[str, Any]) -> str:
    """What the page is, in a sentence for whoever is sent its link."""
    n = len(data["rungs"])
    if not n:
        return (
            "Paste a list of words, and train small transformers on it, from one attention head up, or their rivals, "
            "in this page alone."
        )
    alike = all(rung["model"]["family"] == "transformer" for rung in data["rungs"])
    kind = "transformer" if alike else "model"
    models = f"{n} small {kind}s{', from one attention head to a full model,' * alike}" if n > 1 else f"A small {kind}"
    return (
        f"{models} trained on {data['list']['n_train']:,} words, to look inside: what each number does, in this page."
    )


def _file(name: str) -> str:
    return resources.files("rungwise.play").joinpath(name).read_text(encoding="utf-8")


def _script() -> str:
    """The modules in one: an inline module cannot import another, so each becomes a function that gives its exports."""
    everywhere, worker, page = ("".join(map(_module, names)) for names in (WORKER[:-1], WORKER[-1:], SCRIPTS))
    return f"const modules = {{}};\n{everywhere}if (globalThis.document) {{\n{page}}} else {{\n{worker}}}\n"


def _module(name: str) -> str:
    text = _file(name)
    exports = ", ".join(re.findall(r"^export (?:async )?(?:function\*?|const|class) (\w+)", text, re.MULTILINE))
    body = re.sub(r'^import (.*) from "\./(.*)";$', r'const \1 = modules["\2"];', text, flags=re.MULTILINE)
    body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
    return f'modules["{name}"] = (() => {{\n{body}return {{ {exports} }};\n}})();\n'


def serve(page: bytes, port: int) -> None:
    """Show the page on this machine only, until Ctrl-C."""
    server = make_server(page, port)
    print(f"Serving http://127.0.0.1:{server.server_port}/ (Ctrl-C ends)", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


def make_server(page: bytes, port: int) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Another site's name that was made to point here (DNS rebinding) must not read the page.
            host = (self.headers.get("Host") or "").split(":")[0]
            status = 200 if self.path == "/" and host in ("127.0.0.1", "localhost") else 404
            body = page if status == 200 else b"Not found\n"
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8" if status == 200 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"Cannot serve on port {port}: {error}; give another --port.") from None
