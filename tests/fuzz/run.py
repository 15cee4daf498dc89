"""Makes an account with something in it on a local system and lets schemathesis ask it everything: run.py URL FOLDER [examples].

FOLDER is FUZZ_DIR, where tests/fuzz/worker.py leaves its token; KILN_ADMIN_KEY is the system's.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import things

HERE = Path(__file__).resolve().parent
# Nothing is shown of an operation that only ever refuses; these can't do else here.
REFUSE = {
    # A worker registers with a token that works once: worker.py did.
    "POST /api/v1/fleet/register",
    # Only the payment service and SNS can sign what these take.
    "POST /api/v1/webhooks/stripe",
    "POST /api/v1/webhooks/ses",
    # There is no plan until the payment service says that one is paid; nothing pays here.
    "PATCH /api/v1/credits/subscription",
    # The one machine is the worker that all else speaks with: it can be claimed, and is not sent away; and no request names the claim's id.
    "POST /api/v1/admin/pool/terminate",
    "DELETE /api/v1/admin/pool/leases/{id}",
}


def main():
    base, folder, examples = sys.argv[1], Path(sys.argv[2]), (sys.argv + ["10"])[3]
    api = f"{base}/api/v1"
    worker = things.until("the worker's token", lambda: (folder / "worker").exists() and (folder / "worker").read_text())
    cookie, known = things.furnish(api, worker)
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
    refused = [operation for operation, statuses in seen.items() if operation not in REFUSE and not any(status.startswith("2") for status in statuses)]
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
