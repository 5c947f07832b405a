"""Runs in the client pod: sends requests from inside the cluster as the test asks it to, and counts a load's answers.

It is given to Python as text, so it imports the standard library alone.
"""

import http.client
import json
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def send(order):
    """One request on a connection of its own; a failure to get an answer is status 0."""
    url = urllib.parse.urlsplit(order["url"])
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=order.get("timeout", 30))
    try:
        path = url.path + ("?" + url.query if url.query else "")
        body = order.get("body")
        connection.request(order.get("method", "POST"), path, body, order.get("headers", {}))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return {"status": response.status, "headers": dict(response.getheaders()), "text": text}
    except Exception as error:
        return {"status": 0, "headers": {}, "text": repr(error)}
    finally:
        connection.close()


class Load:
    """The same request again and again on several threads, until it is stopped."""

    def __init__(self, order):
        self.order = order
        self.answers = {}
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(order.get("threads", 4))]
        for thread in self.threads:
            thread.start()

    def work(self):
        while not self.stopped.wait(self.order.get("pause", 0.02)):
            answer = send(self.order)
            known = (answer["status"], answer["text"][:300])
            with self.lock:
                first, count = self.answers.get(known, (time.time(), 0))
                self.answers[known] = (first, count + 1)

    def report(self):
        with self.lock:
            return [
                {"status": status, "text": text, "count": count, "first": first}
                for (status, text), (first, count) in self.answers.items()
            ]

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(40)
        return self.report()


LOADS = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        self.answer({"ready": True})

    def do_POST(self):
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/send":
            self.answer(send(order))
        elif self.path == "/load/start":
            LOADS[order["name"]] = Load(order)
            self.answer({})
        elif self.path == "/load/report":
            self.answer(LOADS[order["name"]].report())
        elif self.path == "/load/stop":
            self.answer(LOADS.pop(order["name"]).stop())

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
