"""Makes an account with something in it on a local system and lets schemathesis ask it everything: run.py URL FOLDER [examples].

FOLDER is FUZZ_DIR, where tests/fuzz/worker.py leaves its token; KILN_ADMIN_KEY is the system's.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent


def call(url, body=None, cookie=None, worker=None):
    headers = {"content-type": "application/json"}
    headers |= {"cookie": f"kiln_session={cookie}"} if cookie else {}
    headers |= {"authorization": f"Bearer {worker}"} if worker else {}
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null"), answer.headers


def until(what, look):
    """Asks until there is something, for 20 s."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    sys.exit(f"{what} did not come")


def links(base, address, count):
    """Asks for that many sign-in links; their tokens."""
    for _ in range(count):
        call(f"{base}/api/v1/auth/request-link", {"email": address})

    def mailed():
        texts = (mail["text"] for mail in call(f"{base}/local/mail?to={address}")[0]["items"])
        tokens = [token for text in texts for token in re.findall(r"\?token=([\w-]+)", text)]
        return tokens if len(tokens) >= count else None

    return until("the sign-in mail", mailed)


def sign_in(base, address):
    _, headers = call(f"{base}/api/v1/auth/verify-link", {"token": links(base, address, 1)[-1]})
    return re.search(r"kiln_session=([^;]+)", headers["set-cookie"])[1]


def png(width, height):
    """A grey picture."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = zlib.compress(bytes(1 + width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00") + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURE = png(128, 96)


def put(part, data):
    request = urllib.request.Request(part["url"], data=data, headers=part["headers"], method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def artifact(data):
    return {"name": "result.png", "content_type": "image/png", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def claim_and_put(api, worker, account, job, data):
    """Does a job as a worker does, with a picture that is ready; the report that completes it."""
    attempt = call(f"{api}/fleet/jobs/{job}/claim", {"account_id": account, "claim_id": "fuzz"}, worker=worker)[0]["attempt"]
    report = {"account_id": account, "attempt": attempt, "artifacts": [artifact(data)]}
    put(call(f"{api}/fleet/jobs/{job}/artifacts", report, worker=worker)[0]["puts"][0], data)
    return report | {"job": job}


def furnish(api, cookie, worker):
    """Uploads, whole and waiting; jobs, waiting, cancelled and finished; shares and other sessions: what ids can name."""
    account = call(f"{api}/me", cookie=cookie)[0]["account"]["id"]
    data = png(64, 48)
    uploads = []
    for n in range(4):
        ticket, _ = call(f"{api}/uploads", {"filename": f"{n}.png", "content_type": "image/png", "bytes": len(data)}, cookie)
        part = ticket["parts"][0]
        put(part, data)
        if n:
            call(f"{api}/uploads/{ticket['id']}/complete", {}, cookie)
        uploads.append(ticket["id"])
    jobs = [call(f"{api}/jobs", {"kind": "upscale", "params": {"scale": 2}, "inputs": [uploads[1]]}, cookie)[0]["id"] for _ in range(200)]
    finished = jobs[:3]
    for job in finished:
        report = claim_and_put(api, worker, account, job, PICTURE)
        assert call(f"{api}/fleet/jobs/{report.pop('job')}/complete", report, worker=worker)[0]["state"] == "succeeded"
    shares = [call(f"{api}/shares", {"job_id": job}, cookie)[0] for job in finished]
    sessions, _ = call(f"{api}/sessions", cookie=cookie)
    return {
        "account": account,
        "upload": uploads,
        # What the customer's requests cancel and delete is not what the worker's are about, or a share's.
        "job": finished[:2] + jobs[3:20],
        "finished": finished[2:],
        "queued": jobs[20:],
        "share": [share["id"] for share in shares],
        "token": [share["token"] for share in shares],
        "session": [session["id"] for session in sessions["items"] if not session["current"]],
    }


def main():
    base, folder, examples = sys.argv[1], Path(sys.argv[2]), (sys.argv + ["15"])[3]
    api = f"{base}/api/v1"
    # The second session is for being signed out.
    cookie, _ = sign_in(base, "fuzz@example.org"), sign_in(base, "fuzz@example.org")
    worker = until("the worker's token", lambda: (folder / "worker").exists() and (folder / "worker").read_text())
    known = furnish(api, cookie, worker)
    known["link"] = links(base, "other@example.org", 10)
    env = os.environ | {
        "KILN_FUZZ_SESSION": cookie,
        "KILN_FUZZ_ADMIN": os.environ["KILN_ADMIN_KEY"],
        "KILN_FUZZ_WORKER": worker,
        "KILN_FUZZ_API": api,
        "KILN_FUZZ_KNOWN": json.dumps(known),
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
    }
    ask(env, base, "docs/openapi.json", examples) or sys.exit(1)
    seen = json.loads((folder / "statuses").read_text())
    for operation, statuses in sorted(seen.items()):
        print(f"{operation:45}", "  ".join(f"{status} × {n}" for status, n in sorted(statuses.items())))
    # Nothing is shown of an operation that only ever refuses. A worker registers with a token that works once: worker.py did.
    seen.pop("POST /api/v1/fleet/register")
    # Only SNS can sign what this one takes.
    seen.pop("POST /api/v1/webhooks/ses", None)
    refused = [operation for operation, statuses in seen.items() if not any(status.startswith("2") for status in statuses)]
    if refused:
        sys.exit(f"never answered 2xx: {', '.join(refused)}")
    canary(env, base, folder)


def ask(env, base, document, examples, *more, quiet=False):
    """Lets schemathesis ask everything; whether all checks held."""
    program = Path(sys.executable).with_name("schemathesis")
    run = [program, "--config-file", HERE / "schemathesis.toml", "run", document, "--url", base, "--max-examples", examples]
    # Signing out would end the session that the rest speaks with.
    run += ["--exclude-path", "/api/v1/auth/logout", "--generation-deterministic", "--phases", "examples,coverage,fuzzing", *more]
    return subprocess.run(run, env=env, check=False, stdout=subprocess.DEVNULL if quiet else None).returncode == 0


def canary(env, base, folder):
    """A document that keeps quiet about a status, and one that promises another body, must be caught."""
    for name, fault in {
        "status": lambda get: get["responses"].pop("401"),
        "body": lambda get: get["responses"]["200"]["content"]["application/json"].update(schema={"type": "array"}),
    }.items():
        document = json.loads(Path("docs/openapi.json").read_text())
        fault(document["paths"]["/api/v1/jobs/{id}"]["get"])
        planted = folder / f"{name}.json"
        planted.write_text(json.dumps(document))
        caught = not ask(env, base, planted, "15", "--include-operation-id", "get_jobs_id", quiet=True)
        if not caught:
            sys.exit(f"the canary lives: an undocumented {name} was not noticed")
        print(f"canary: an undocumented {name} is noticed")


if __name__ == "__main__":
    main()
