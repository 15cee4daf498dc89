"""What generated requests get so that they reach more than a 404: ids of things that exist, three times out of four.

Ids come from KILN_FUZZ_KNOWN (tests/fuzz/run.py makes the things). The choice is seeded, so that a run can be had again. At the end the
statuses that each operation gave are in FUZZ_DIR/statuses.
"""

import atexit
import collections
import json
import os
import random

import run
import schemathesis

API, WORKER = os.environ["KILN_FUZZ_API"], os.environ["KILN_FUZZ_WORKER"]
KNOWN = json.loads(os.environ["KILN_FUZZ_KNOWN"])
dice = random.Random(20261121)
statuses = collections.defaultdict(collections.Counter)


def of(path):
    """The kind of thing that `{id}` in a path names."""
    return next((kind for part, kind in [("/uploads/", "upload"), ("/shares/", "share"), ("/sessions/", "session"), ("/share/", "token")] if part in path), "job")


class Attempt:
    """The attempt that the worker's requests are about. The instance has one slot, so there is one at a time."""

    job = None
    number = 0


def with_attempt():
    """Lets the worker have one: claims the next job that is queued, and sends its picture."""
    while Attempt.job is None:
        report = run.claim_and_put(API, WORKER, KNOWN["account"], KNOWN["queued"].pop(), run.PICTURE)
        Attempt.job, Attempt.number = report["job"], report["attempt"]


def without_attempt():
    if Attempt.job is not None:
        body = {"account_id": KNOWN["account"], "attempt": Attempt.number, "failure": "permanent", "code": "fuzz", "message": ""}
        run.call(f"{API}/fleet/jobs/{Attempt.job}/fail", body, worker=WORKER)
        Attempt.job = None


@schemathesis.hook
def before_call(context, case, kwargs):
    path, body = case.operation.path, case.body
    often = dice.random() < 0.75
    for name in case.path_parameters or {}:
        if often:
            case.path_parameters[name] = dice.choice(KNOWN[of(path)])
    if path == "/api/v1/fleet/register":
        # With its own token it would get another one, and what follows would speak for nobody.
        case.headers.pop("Authorization", None)
    if not isinstance(body, dict) or not often:
        return
    if path == "/api/v1/admin/pool":
        # The instance that the fleet's requests speak for must stay.
        for name in ("desired_size", "max"):
            if body.get(name) == 0:
                body[name] = 1
    elif path.endswith("/claim"):
        without_attempt()
        case.path_parameters["id"], body["account_id"] = KNOWN["queued"].pop(), KNOWN["account"]
    elif path.startswith("/api/v1/fleet/jobs/"):
        with_attempt()
        case.path_parameters["id"] = Attempt.job
        body |= {"account_id": KNOWN["account"], "attempt": Attempt.number}
        if "artifacts" in body and dice.random() < 0.5:
            body["artifacts"] = [run.artifact(run.PICTURE)]
    elif path in ("/api/v1/jobs", "/api/v1/jobs/quote"):
        body |= {"kind": "upscale", "params": {"scale": dice.choice([2, 3, 4, 5, "2"])}, "inputs": [dice.choice(KNOWN["upload"])]}
    elif path == "/api/v1/shares":
        body["job_id"] = dice.choice(KNOWN["finished"])
        if dice.random() < 0.5:
            body.pop("creation_id", None)
    elif path == "/api/v1/auth/verify-link" and KNOWN["link"] and isinstance(body.get("token"), str):
        body["token"] = KNOWN["link"].pop()


@schemathesis.hook
def after_call(context, case, response):
    if case.method.lower() == case.operation.method:
        statuses[case.operation.label][response.status_code] += 1
    if response.status_code == 200 and case.operation.path.startswith("/api/v1/fleet/jobs/"):
        if case.operation.path.endswith("/claim"):
            Attempt.job, Attempt.number = case.path_parameters["id"], response.json()["attempt"]
        elif not case.operation.path.endswith("/artifacts"):
            Attempt.job = None


@atexit.register
def keep():
    with open(os.path.join(os.environ["FUZZ_DIR"], "statuses"), "w", encoding="utf-8") as out:
        json.dump(statuses, out)
