"""Has Kiln really send webhooks, bends copies of them, and asks the specification's own packages, of PyPI and of npm, about all.

usage: judge.py URL FOLDER; URL is a local Kiln that may send to loopback. It promises: every message comes from the running system, none is made
here; both packages must accept each as it came, with the new secret and during a rotation with the old one, and refuse each that is bent.
"""

import base64
import json
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

HERE = Path(__file__).resolve().parent
SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
WITHIN_S = 60


class Receiver(BaseHTTPRequestHandler):
    came: list[dict] = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.came.append({"headers": {name: self.headers[name] for name in SIGNED}, "body": body})
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Kiln:
    """A signed-in customer."""

    def __init__(self, url):
        self.url, self.cookie = url, None

    def call(self, method, path, body=None):
        headers = {"content-type": "application/json"} | ({"cookie": self.cookie} if self.cookie else {})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}{path}", data, headers, method=method), timeout=30) as answer:
            self.cookie = (answer.headers.get("set-cookie") or self.cookie or "").split(";")[0] or None
            text = answer.read()
        return json.loads(text) if text else None

    def sign_in(self, email):
        self.call("POST", "/api/v1/auth/request-link", {"email": email})
        mails = wait("the sign-in mail", lambda: self.call("GET", f"/local/mail?to={email}")["items"])
        token = mails[-1]["text"].split("?token=")[1].split()[0]
        self.call("POST", "/api/v1/auth/verify-link", {"token": token})


def wait(what, ask):
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        if found := ask():
            return found
        time.sleep(0.05)
    sys.exit(f"judge: waited {WITHIN_S} s in vain for {what}")


def bent(case):
    """Copies of a message, each changed in one place; a receiver must refuse all of them."""
    headers, body = case["headers"], case["body"]
    stale = str(int(headers["webhook-timestamp"]) - 3600)
    first = headers["webhook-signature"].split(" ")[0]
    raw = bytearray(base64.b64decode(first.removeprefix("v1,")))
    raw[0] ^= 1
    other = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    yield "with another body", {**case, "body": body.replace('"type"', '"typf"', 1)}
    yield "with a space more in its body", {**case, "body": body + " "}
    yield "with another id", {**case, "headers": {**headers, "webhook-id": headers["webhook-id"][:-1] + "0x"}}
    yield "an hour old", {**case, "headers": {**headers, "webhook-timestamp": stale}}
    yield "a second older than it was signed", {**case, "headers": {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}}
    yield "with a bit of its signature turned", {**case, "headers": {**headers, "webhook-signature": "v1," + base64.b64encode(raw).decode()}}
    yield "with a signature of another version", {**case, "headers": {**headers, "webhook-signature": first.replace("v1,", "v2,")}}
    yield "without a signature", {**case, "headers": {**headers, "webhook-signature": ""}}
    yield "with another secret", {**case, "secret": other}


def main():
    kiln, folder = Kiln(sys.argv[1]), Path(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    kiln.sign_in("judge@example.org")
    made = kiln.call("POST", "/api/v1/webhook-endpoints", {"url": f"http://127.0.0.1:{server.server_port}/in", "events": ["*"]})
    path, first = f"/api/v1/webhook-endpoints/{made['id']}", made["secret"]

    # No worker: the job is cancelled where it waits.
    job = kiln.call("POST", "/api/v1/jobs", {"kind": "noop", "params": {"ms": 600000}})
    kiln.call("POST", f"/api/v1/jobs/{job['id']}/cancel", {})
    wait("the job's events", lambda: any("job.cancelled" in hook["body"] for hook in Receiver.came))
    kiln.call("POST", f"{path}/test")
    wait("the test", lambda: any("webhook.test" in hook["body"] for hook in Receiver.came))
    before = len(Receiver.came)
    second = kiln.call("POST", f"{path}/rotate-secret")["secret"]
    kiln.call("POST", f"{path}/test")
    wait("the test after the rotation", lambda: len(Receiver.came) > before)

    good = []
    for i, hook in enumerate(Receiver.came):
        kind = json.loads(hook["body"])["type"]
        if i < before:
            good.append({"what": f"{kind}", "secret": first, **hook, "good": True})
        else:
            good.append({"what": f"{kind} after a rotation, by the new secret", "secret": second, **hook, "good": True})
            good.append({"what": f"{kind} after a rotation, by the old secret", "secret": first, **hook, "good": True})
    cases = list(good)
    for case in good:
        cases += [{**changed, "what": f"{case['what']} {how}", "good": False} for how, changed in bent(case)]
    (folder / "cases.json").write_text(json.dumps(cases))

    wrong = 0
    for case in cases:
        try:
            Webhook(case["secret"]).verify(case["body"], case["headers"])
            accepted = True
        except WebhookVerificationError:
            accepted = False
        wrong += accepted != case["good"]
        print(f"PyPI: {'accepts' if accepted else 'refuses'} {case['what']}{'' if accepted == case['good'] else ', and should not'}")
    npm = subprocess.run(["node", HERE / "judge.mjs", folder / "cases.json"], check=False)
    print(f"judge: {len(good)} real messages and {len(cases) - len(good)} bent ones; PyPI wrong about {wrong}, npm {'wrong' if npm.returncode else 'right about all'}")
    sys.exit(1 if wrong or npm.returncode else 0)


if __name__ == "__main__":
    main()
