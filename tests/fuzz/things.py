"""What requests can name, made on a local system by asking its API as people, guests and workers do.

`furnish` gives it all. What a request uses up is made for that alone (`once`); what the run needs to the end is told (`kept`).
"""

import hashlib
import json
import re
import sys
import time
import urllib.error
import urllib.request
import zlib

PERSON = "fuzz@example.org"
# An address that nobody answers at: what is sent to it fails, and is tried again.
ENDPOINT = "https://hooks.example.com/kiln"
SCOPES = ["jobs:read", "jobs:write", "uploads:write", "shares:write", "credits:read", "webhooks:write"]


def call(url, body=None, cookie=None, bearer=None, method=None):
    headers = {"content-type": "application/json"}
    headers |= {"cookie": f"kiln_session={cookie}"} if cookie else {}
    headers |= {"authorization": f"Bearer {bearer}"} if bearer else {}
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null"), answer.headers
    except urllib.error.HTTPError as refused:
        refused.add_note(f"{request.get_method()} {url}: {refused.read().decode()}")
        raise


def until(what, look):
    """Asks until there is something, for 20 s."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    sys.exit(f"{what} did not come")


def mailed(api, address, page, count=1):
    """The tokens of the links to a page in the mails to an address, once there are that many."""

    def look():
        texts = (mail["text"] for mail in call(f"{api.removesuffix('/api/v1')}/local/mail?to={address}")[0]["items"])
        tokens = [token for text in texts for token in re.findall(rf"/{page}\?token=([\w.-]+)", text)]
        return tokens if len(tokens) >= count else None

    return until(f"the mail to {address}", look)


def links(api, address, count):
    """Asks for that many sign-in links; their tokens."""
    for _ in range(count):
        call(f"{api}/auth/request-link", {"email": address})
    return mailed(api, address, "sign-in", count)


def cookie_of(headers):
    return re.search(r"kiln_session=([^;]+)", headers["set-cookie"])[1]


def sign_in(api, address):
    """The cookies of a new session, and the account's id."""
    answer, headers = call(f"{api}/auth/verify-link", {"token": links(api, address, 1)[-1]})
    return cookie_of(headers), answer["account"]["id"]


def png(width, height):
    """A grey picture."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    rows = zlib.compress(bytes(1 + width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + b"\x08\x00\x00\x00\x00") + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# What an upscale by two makes of an upload.
PHOTO, PICTURE = png(64, 48), png(128, 96)


def put(part, data):
    request = urllib.request.Request(part["url"], data=data, headers=part["headers"], method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def artifact(data):
    return {"name": "result.png", "content_type": "image/png", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def claim_and_put(api, worker, account, job, data):
    """Does a job as a worker does, with a picture that is ready; the report that completes it."""
    attempt = call(f"{api}/fleet/jobs/{job}/claim", {"account_id": account, "claim_id": "fuzz"}, bearer=worker)[0]["attempt"]
    report = {"account_id": account, "attempt": attempt, "artifacts": [artifact(data)]}
    put(call(f"{api}/fleet/jobs/{job}/artifacts", report, bearer=worker)[0]["puts"][0], data)
    return report | {"job": job}


def upload(api, cookie, complete=True):
    ticket, _ = call(f"{api}/uploads", {"filename": "photo.png", "content_type": "image/png", "bytes": len(PHOTO)}, cookie)
    put(ticket["parts"][0], PHOTO)
    if complete:
        call(f"{api}/uploads/{ticket['id']}/complete", {}, cookie)
    return ticket["id"]


def work(api, cookie, account, worker, once):
    """Uploads, whole and waiting; jobs, waiting and finished; their shares."""
    uploads = [upload(api, cookie, complete=n > 0) for n in range(4)]
    jobs = [call(f"{api}/jobs", {"kind": "upscale", "params": {"scale": 2}, "inputs": [uploads[1]]}, cookie)[0]["id"] for _ in range(200)]
    finished = jobs[:3]
    for job in finished:
        report = claim_and_put(api, worker, account, job, PICTURE)
        assert call(f"{api}/fleet/jobs/{report.pop('job')}/complete", report, bearer=worker)[0]["state"] == "succeeded"
    shares = [call(f"{api}/shares", {"job_id": job}, cookie)[0] for job in finished]
    for share in shares[:2]:
        once("DELETE /shares/{id}", path={"id": share["id"]})
    # The last is a job's, so it is refused for good.
    for name in [upload(api, cookie), upload(api, cookie), uploads[1]]:
        once("DELETE /uploads/{id}", path={"id": name})
    return {
        "upload": uploads,
        # What the customer's requests cancel and delete is not what the worker's are about, or a share's.
        "job": finished[:2] + jobs[3:20],
        "finished": finished[2:],
        "queued": jobs[20:],
        "share": [share["id"] for share in shares[2:]],
        "token": [share["token"] for share in shares[2:]],
    }


def organisations(api, cookie, once):
    """Two organisations of the person's: one with members and invites, one that others are invited to."""
    org, open_to = (call(f"{api}/orgs", {"name": name}, cookie)[0]["id"] for name in ("Fuzz", "Open"))

    def invite(where, address, role="member"):
        return call(f"{api}/orgs/{where}/invites", {"email": address, "role": role}, cookie)[0]["id"]

    members = []
    for n in range(5):
        address = f"member-{n}@example.org"
        theirs, account = sign_in(api, address)
        invite(org, address)
        call(f"{api}/invites/accept", {"token": mailed(api, address, "invite")[-1]}, theirs)
        members.append(account)
        if n < 3:
            # The same people may come to the other one too.
            invite(open_to, address)
            once("POST /invites/accept", cookie=theirs, body={"token": mailed(api, address, "invite", 2)[-1]})
    for member in members[2:]:
        once("DELETE /orgs/{id}/members/{member_id}", path={"id": org, "member_id": member})
    for n in range(3):
        once("DELETE /orgs/{id}/invites/{invite_id}", path={"id": org, "invite_id": invite(org, f"invited-{n}@example.org", "admin")})
    # A person owns few organisations: those that end are somebody else's.
    theirs, _ = sign_in(api, "owner@example.org")
    for n in range(3):
        doomed = call(f"{api}/orgs", {"name": f"Doomed {n}"}, theirs)[0]["id"]
        once("DELETE /orgs/{id}", cookie=theirs, path={"id": doomed}, body={"confirm": f"Doomed {n}"})
    return {"org": [org], "member_id": members[:2]}


def people(api, once):
    """People who go, who move to another address, and whom an operator sees to."""
    for n in range(3):
        address = f"leaves-{n}@example.org"
        once("DELETE /me", cookie=sign_in(api, address)[0], body={"confirm": address})
        cookie, to = sign_in(api, f"moves-{n}@example.org")[0], f"moved-{n}@example.org"
        call(f"{api}/me", {"email": to}, cookie, method="PATCH")
        once("POST /me/confirm-email", cookie=cookie, body={"token": mailed(api, to, "confirm-email")[-1]})
    for token in links(api, "other@example.org", 5):
        once("POST /auth/verify-link", body={"token": token})
    governed = [f"governed-{n}@example.org" for n in range(2)]
    return {"governed": [sign_in(api, address)[1] for address in governed], "address": [PERSON, *governed, "nobody@example.org"]}


def programs(api, cookie, once):
    """API keys, and webhook endpoints with deliveries."""

    def key(name):
        return call(f"{api}/api-keys", {"name": name, "scopes": SCOPES}, cookie)[0]

    def endpoint(events):
        return call(f"{api}/webhook-endpoints", {"url": ENDPOINT, "events": events}, cookie)[0]["id"]

    for n in range(3):
        once("DELETE /api-keys/{id}", path={"id": key(f"revoked {n}")["id"]})
        once("DELETE /webhook-endpoints/{id}", path={"id": endpoint(["credits.*"])})
    # The first is never changed, so that it always hears.
    endpoints, used = [endpoint(["job.failed"]), endpoint(["*"])], key("used")
    deliveries = [call(f"{api}/webhook-endpoints/{endpoints[0]}/test", {}, cookie)[0]["id"] for _ in range(5)]
    return {"key": [used["key"]], "key_id": [used["id"]], "endpoint": endpoints, "delivery": deliveries}


def guest(api):
    """A guest with a photo and an order that nobody pays."""
    cookie = cookie_of(call(f"{api}/studio/session", {})[1])
    photo = upload(api, cookie)
    wanted = {"kind": "upscale", "params": {"scale": 2}, "inputs": [photo], "email": "guest@example.org"}
    order, _ = call(f"{api}/studio/checkout", wanted, cookie)
    return {"guest": [cookie], "photo": [photo], "order": [order["result_url"].rsplit("/", 1)[1]]}


def furnish(api, worker):
    """The fuzzed person's session, and what its requests can name: by kind, and under `once` what each operation may use up, one by one."""
    cookie, account = sign_in(api, PERSON)
    turns = {}

    def once(operation, **turn):
        turns.setdefault(operation.replace(" ", " /api/v1"), []).append(turn)

    known = work(api, cookie, account, worker, once) | organisations(api, cookie, once) | people(api, once) | programs(api, cookie, once) | guest(api)
    # A worker's token names its instance: `kin_ins_….SECRET`.
    known["instance"] = worker.removeprefix("kin_").split(".")[0]
    call(f"{api}/credits/checkout", {"pack": "studio"}, cookie)
    for _ in range(2):
        sign_in(api, PERSON)
    sessions, _ = call(f"{api}/sessions", cookie=cookie)
    for session in sessions["items"]:
        if session["current"]:
            current = session["id"]
        else:
            once("DELETE /sessions/{id}", path={"id": session["id"]})
    kinds = ("upload", "photo", "finished", "share", "org", "member_id", "key_id", "endpoint")
    kept = [current, account, *(name for kind in kinds for name in known[kind])]
    return cookie, known | {"account": account, "kept": kept, "once": turns}
