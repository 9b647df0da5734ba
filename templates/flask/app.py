"""A small service: health, readiness, JSON logs, and a drain on SIGTERM."""

import json
import os
import signal
import sys
import threading
import time

from flask import Flask, g, jsonify, request
from werkzeug.serving import WSGIRequestHandler, make_server

# How long requests still come while the gateway takes this replica out.
DRAIN_SECONDS = float(os.environ.get("DRAIN_SECONDS", "2"))

app = Flask(__name__)
draining = threading.Event()


def log(message, **fields):
    line = {"at": time.time(), "level": "info", "message": message, **fields}
    print(json.dumps(line), flush=True)


@app.before_request
def start_clock():
    g.started = time.monotonic()


@app.after_request
def log_request(response):
    if request.path not in ("/healthz", "/readyz"):
        elapsed = round((time.monotonic() - g.started) * 1000, 1)
        log("request", method=request.method, path=request.path,
            status=response.status_code, elapsed_ms=elapsed)
    return response


@app.get("/")
def hello():
    return jsonify(greeting=os.environ.get("GREETING", "hello"), from_service="@NAME@")


@app.get("/healthz")
def health():
    return jsonify(status="ok")


@app.get("/readyz")
def ready():
    if draining.is_set():
        return jsonify(status="draining"), 503
    return jsonify(status="ready")


class QuietHandler(WSGIRequestHandler):
    """Requests are logged as JSON by the application."""

    def log(self, *arguments):
        pass


def main():
    server = make_server("0.0.0.0", 8000, app, threaded=True, request_handler=QuietHandler)
    server.daemon_threads = False

    def drain(*_):
        if draining.is_set():
            return
        draining.set()
        log("draining", seconds=DRAIN_SECONDS)
        threading.Timer(DRAIN_SECONDS, server.shutdown).start()

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, drain)
    log("listening", port=8000)
    server.serve_forever()
    # Waits for the requests that are still being answered.
    server.server_close()
    log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
