"""What generated requests get so that they reach more than a 404: ids of things that exist, three times out of four.

Ids come from KILN_FUZZ_KNOWN (tests/fuzz/things.py makes the things). The choice is seeded, so that a run can be had again. At the end the
statuses that each operation gave are in FUZZ_DIR/statuses.
"""

import atexit
import collections
import json
import os
import random

import schemathesis
import things

API, SESSION, ADMIN, WORKER = (os.environ[f"KILN_FUZZ_{name}"] for name in ("API", "SESSION", "ADMIN", "WORKER"))
KNOWN = json.loads(os.environ["KILN_FUZZ_KNOWN"])
dice = random.Random(20261121)
statuses = collections.defaultdict(collections.Counter)

# The kind of thing that a path's first parameter names, by a part of the path.
KINDS = [
    ("/uploads/", "upload"),
    ("/share/", "token"),
    ("/studio/orders/", "order"),
    ("/webhook-endpoints/", "endpoint"),
    ("/deliveries/", "delivery"),
    ("/admin/accounts/", "governed"),
    ("/orgs/", "org"),
    ("/jobs/", "job"),
    ("/creations/", "job"),
]


def of(path, name):
    """The things that a parameter of a path may name; none for what is only named to be used up."""
    kind = name if name.endswith("_id") else next((kind for part, kind in KINDS if part in path), None)
    return KNOWN.get(kind, [])


class Attempt:
    """The attempt that the worker's requests are about. The instance has one slot, so there is one at a time."""

    job = None
    number = 0


def with_attempt():
    """Lets the worker have one: claims the next job that is queued, and sends its picture."""
    while Attempt.job is None:
        report = things.claim_and_put(API, WORKER, KNOWN["account"], KNOWN["queued"].pop(), things.PICTURE)
        Attempt.job, Attempt.number = report["job"], report["attempt"]


def without_attempt():
    if Attempt.job is not None:
        body = {"account_id": KNOWN["account"], "attempt": Attempt.number, "failure": "permanent", "code": "fuzz", "message": ""}
        things.call(f"{API}/fleet/jobs/{Attempt.job}/fail", body, bearer=WORKER)
        Attempt.job = None


@schemathesis.hook
def before_call(context, case, kwargs):
    path, body = case.operation.path, case.body
    often = dice.random() < 0.75
    for name in case.path_parameters or {}:
        if often and case.operation.label not in KNOWN["once"] and (known := of(path, name)):
            case.path_parameters[name] = dice.choice(known)
    if dice.random() < 0.9:
        sign(case)
    spare(case, path, body)
    if not often:
        return
    if turn := next(iter(turns(case)), None):
        take(case, turn)
    elif path == "/api/v1/admin/accounts":
        case.query["email"] = dice.choice(KNOWN["address"])
    elif path.endswith("/{id}/test"):
        case.path_parameters["id"] = KNOWN["endpoint"][0]
    elif case.operation.label == "PATCH /api/v1/webhook-endpoints/{id}":
        case.path_parameters["id"] = KNOWN["endpoint"][1]
    if isinstance(body, dict):
        fill(case, path, body)


def spare(case, path, body):
    """Keeps the request from what would end the run, or reach beyond it. Schemathesis names by itself what answers have named."""
    method, named = case.operation.method, case.path_parameters or {}
    for name, value in named.items():
        if (method == "delete" and value in KNOWN["kept"]) or (name == "member_id" and value == KNOWN["account"]):
            named[name] = "0"
    if path == "/api/v1/admin/accounts/{id}" and str(named["id"]).startswith("acc_"):
        named["id"] = dice.choice(KNOWN["governed"])
    elif path == "/api/v1/jobs/{id}/cancel" and named["id"] in [Attempt.job, *KNOWN["queued"]]:
        named["id"] = dice.choice(KNOWN["job"])
    elif path == "/api/v1/fleet/register":
        # With its own token it would get another one, and what follows would speak for nobody.
        case.headers.pop("Authorization", None)
    elif path == "/api/v1/fleet/heartbeat" and isinstance(body, dict) and body.get("stage") == "draining":
        # One that says that it leaves gets no more work, for good: the attempts that follow would have no instance.
        body["stage"] = "ready"
    elif path == "/api/v1/admin/pool/leases" and isinstance(body, dict) and str(body.get("instance_id")).startswith("ins_"):
        body["instance_id"] = KNOWN["instance"]
    elif path == "/api/v1/admin/pool" and isinstance(body, dict):
        # The instance that the fleet's requests speak for must stay.
        for name in ("desired_size", "max"):
            if body.get(name) == 0:
                body[name] = 1
        if isinstance(body.get("idle_shutdown_s"), int) and 0 < body["idle_shutdown_s"] < 3600:
            body["idle_shutdown_s"] = 3600
        # Safe mode, and a pool that keeps only what is expected, would give it back too.
        body.pop("safe_mode", None)
        if body.get("policy") == "learned":
            body["policy"] = "idle"
    elif path.startswith("/api/v1/webhook-endpoints") and isinstance(body, dict) and "example.com" in str(body.get("url")):
        # The document's example is somebody's address, who could hear what is sent there.
        body["url"] = things.ENDPOINT


def sign(case):
    """Lets the request speak for somebody whom the operation takes: generated ones mostly leave that out."""
    operation = case.operation.definition.raw
    takes = {scheme for way in operation.get("security", []) for scheme in way}
    if "session" in takes:
        case.headers.pop("Authorization", None)
        case.headers.pop("Kiln-Account", None)
        case.cookies["kiln_session"] = SESSION
        which = dice.random()
        if which < 0.1 and any(parameter.get("name") == "Kiln-Account" for parameter in operation.get("parameters", [])):
            case.headers["Kiln-Account"] = KNOWN["org"][0]
        elif which < 0.25 and "api_key" in takes:
            del case.cookies["kiln_session"]
            case.headers["Authorization"] = f"Bearer {KNOWN['key'][0]}"
        elif which > 0.95:
            # Most refuse a guest; uploads don't.
            case.cookies["kiln_session"] = KNOWN["guest"][0]
            if case.operation.path.startswith("/api/v1/uploads/{id}") and case.operation.method != "delete":
                case.path_parameters["id"] = KNOWN["photo"][0]
    elif takes:
        case.headers["Authorization"] = f"Bearer {ADMIN if 'admin' in takes else WORKER}"


def turns(case):
    return KNOWN["once"].get(case.operation.label, []) if case.method.lower() == case.operation.method else []


def take(case, turn):
    """Lets the request have what was made to be used up by it."""
    if "cookie" in turn:
        case.cookies["kiln_session"] = turn["cookie"]
        case.headers.pop("Authorization", None)
    case.headers.pop("Kiln-Account", None)
    case.path_parameters.update(turn.get("path", {}))
    if isinstance(case.body, dict):
        case.body |= turn.get("body", {})


def fill(case, path, body):
    """Lets a body name what exists."""
    if path.endswith("/claim"):
        without_attempt()
        case.path_parameters["id"], body["account_id"] = KNOWN["queued"].pop(), KNOWN["account"]
    elif path.startswith("/api/v1/fleet/jobs/"):
        with_attempt()
        case.path_parameters["id"] = Attempt.job
        body |= {"account_id": KNOWN["account"], "attempt": Attempt.number}
        if "artifacts" in body and dice.random() < 0.5:
            body["artifacts"] = [things.artifact(things.PICTURE)]
    elif path in ("/api/v1/jobs", "/api/v1/jobs/quote"):
        body |= wanted(KNOWN["upload"])
    elif path in ("/api/v1/studio/quote", "/api/v1/studio/checkout"):
        # A guest's session, or whichever there is.
        guest = dice.random() < 0.7
        case.cookies |= {"kiln_session": KNOWN["guest"][0]} if guest else {}
        body |= wanted(KNOWN["photo" if guest else "upload"])
    elif path == "/api/v1/shares":
        body["job_id"] = dice.choice(KNOWN["finished"])
        if dice.random() < 0.5:
            body.pop("creation_id", None)
    elif path.startswith("/api/v1/webhook-endpoints") and isinstance(body.get("url"), str):
        body["url"] = things.ENDPOINT
        if dice.random() < 0.7:
            body["events"] = dice.sample(["job.*", "credits.*", "batch.*", "webhook.test"], 2)
    elif path == "/api/v1/credits/checkout":
        body |= {"pack": dice.choice(["starter", "studio", "agency"]), "currency": dice.choice(["inr", "usd", "eur", None, "xxx"])}
    elif path == "/api/v1/credits/subscribe":
        body |= {"plan": dice.choice(["maker", "team", "team_year"]), "currency": dice.choice(["inr", "usd", "eur", None, "xxx"])}


def wanted(uploads):
    return {"kind": "upscale", "params": {"scale": dice.choice([2, 3, 4, 5, "2"])}, "inputs": [dice.choice(uploads)]}


@schemathesis.hook
def after_call(context, case, response):
    path, label = case.operation.path, case.operation.label
    if case.method.lower() != case.operation.method:
        return
    statuses[label][response.status_code] += 1
    if response.status_code < 300 and (left := turns(case)):
        left.pop(0)
    if response.status_code == 200 and path.startswith("/api/v1/fleet/jobs/"):
        if path.endswith("/claim"):
            Attempt.job, Attempt.number = case.path_parameters["id"], response.json()["attempt"]
        elif not path.endswith("/artifacts") and case.path_parameters["id"] == Attempt.job:
            Attempt.job = None


@atexit.register
def keep():
    with open(os.path.join(os.environ["FUZZ_DIR"], "statuses"), "w", encoding="utf-8") as out:
        json.dump(statuses, out)
