"""`python -m wbench.hub --folder hub --port 8000`: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    """Parse and serve; what cannot be served is one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m wbench.hub", description="A Hugging Face Hub in a folder.")
    parser.add_argument("--folder", type=Path, default=Path("hub"), help="where its repositories are kept (default: hub)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 picks a free one (default: 8000)")
    options = parser.parse_args()
    try:
        from .server import serve

        serve(options.folder, options.host, options.port, lambda line: print(line, flush=True))
    except ModuleNotFoundError as error:
        sys.exit(f"hub: {error.name} is missing. Install it with: pip install fastapi uvicorn")
    except (OSError, OverflowError) as error:
        print(f"hub: cannot serve {options.folder} on {options.host}:{options.port}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
