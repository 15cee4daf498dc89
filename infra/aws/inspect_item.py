"""One thing of the table as a page for a person (scripts/inspect).

It promises: only reads; no mail address, hash or token is printed whole; keys are those of shared/store/src/keys.rs.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from decimal import Decimal

import boto3
from boto3.dynamodb.conditions import Attr, Key
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST = 10_000  # items read for a sum; above it the page says so
OWED_SHARDS = 16
TIMES = {"at", "created_at", "queued_at", "started_at", "attempt_started_at", "finished_at", "not_before", "lease_until", "next_check_at",
         "requested_at", "heartbeat_at", "idle_since", "boot_expires_at", "expires_at", "last_job_at", "oldest_queued_at"}
KEYS = {"pk", "sk", "v", "ttl", "owed_shard"}
ENDED = {"succeeded", "failed", "cancelled"}


class Failed(Exception):
    """What stands in the way; its text is the whole message."""


# ---------------------------------------------------------------- where the table is


def open_table(options):
    """The table of a stack, or of the system that runs here."""
    quick = Config(connect_timeout=5, read_timeout=15, retries={"max_attempts": 2})
    if options.stack:
        session = boto3.Session(region_name=options.region)
        resource = session.client("cloudformation", config=quick).describe_stack_resource(StackName=options.stack, LogicalResourceId="Table")
        return session.resource("dynamodb", config=quick).Table(resource["StackResourceDetail"]["PhysicalResourceId"])
    endpoint = options.endpoint or os.environ.get("KILN_AWS_ENDPOINT") or local_endpoint()
    session = boto3.Session("local", "local", region_name="us-east-1")
    return session.resource("dynamodb", endpoint_url=endpoint, config=quick).Table("kiln-local-Table")


def local_endpoint():
    """Where the stand-in of the running system listens; its folder keeps port and process."""
    folder = ROOT / (os.environ.get("KILN_DATA_DIR") or ".kiln")
    try:
        record = json.loads((folder / "stand-in.json").read_text())
    except (OSError, ValueError):
        raise Failed(f"no system has run on {folder}; start scripts/dev, set KILN_DATA_DIR, or name a stack by --stack") from None
    if not record.get("pid"):
        raise Failed(f"the system on {folder} is not running; start scripts/dev, or name a stack by --stack")
    return f"http://127.0.0.1:{record['port']}"


# ---------------------------------------------------------------- reading


def get(table, pk, sk):
    return table.get_item(Key={"pk": pk, "sk": sk}, ConsistentRead=True).get("Item")


def children(table, pk, prefix, newest_first=True, most=MOST, **more):
    """The partition's items under a prefix, and whether there were more than `most`."""
    items, start = [], {}
    while True:
        page = table.query(KeyConditionExpression=Key("pk").eq(pk) & Key("sk").begins_with(prefix), ScanIndexForward=not newest_first,
                           ConsistentRead=True, **more, **start)
        items += page["Items"]
        if len(items) >= most or "LastEvaluatedKey" not in page:
            return items[:most], len(items) > most or "LastEvaluatedKey" in page
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def owner_of(table, job_id):
    """The account of an unfinished job, by its shard of the owed index; finished ones are in no index."""
    shard = 0x811C9DC5
    for byte in job_id.encode():
        shard = (shard ^ byte) * 0x01000193 & 0xFFFFFFFF
    start = {}
    while True:
        page = table.query(IndexName="owed", KeyConditionExpression=Key("owed_shard").eq(f"job#{shard % OWED_SHARDS:02}"),
                           FilterExpression=Attr("job_id").eq(job_id), **start)
        if page["Items"]:
            return page["Items"][0]["account_id"]
        if "LastEvaluatedKey" not in page:
            return None
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


# ---------------------------------------------------------------- showing


def when(millis):
    """`2026-11-21 10:40:00.123 UTC (3 min ago)`."""
    millis = int(millis)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(millis / 1000))
    apart = time.time() - millis / 1000
    size = next((f"{abs(apart) / unit:.0f} {name}" for unit, name in ((86400, "d"), (3600, "h"), (60, "min")) if abs(apart) >= 2 * unit), f"{abs(apart):.0f} s")
    return f"{clock}.{millis % 1000:03} UTC ({size} ago)" if apart >= 0 else f"{clock}.{millis % 1000:03} UTC (in {size})"


def credits(millicredits):
    number = f"{int(millicredits) / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{number} credit{'' if number in ('1', '-1') else 's'}"


def mask_mail(address):
    name, _, domain = str(address).partition("@")
    host, _, top = domain.rpartition(".")
    return f"{name[:1]}***@{host[:1]}***.{top}"


def shown(name, value):
    if value is None:
        return "–"
    if name == "email":
        return mask_mail(value)
    if name.endswith("_hash") or "token" in name or "secret" in name:
        return "set (masked)"
    if name in TIMES:
        return when(value)
    if name.endswith("_millicredits"):
        return credits(value)
    if isinstance(value, Decimal):
        return f"{value:f}".rstrip("0").rstrip(".") if "." in f"{value:f}" else f"{value:f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{k} {shown(k, v)}" for k, v in value.items()) or "–"
    if isinstance(value, list):
        return "; ".join(shown("", v) for v in value) or "none"
    return "".join(c for c in str(value) if c.isprintable())


def title(text):
    print(f"\n{text}\n{'-' * len(text)}")


def page(item, first=(), skip=()):
    """All attributes: those named first, the rest by name; what only the store needs is left out."""
    names = [n for n in first if n in item] + sorted(n for n in item if n not in first)
    names = [n for n in names if n not in KEYS and n not in skip]
    width = max((len(n.removesuffix("_millicredits")) for n in names), default=0)
    for name in names:
        print(f"  {name.removesuffix('_millicredits'):<{width}}  {shown(name, item[name])}")


def lines(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


# ---------------------------------------------------------------- the pages


def account(table, account_id, options):
    pk = f"ACC#{account_id}"
    item = get(table, pk, "ACCOUNT") or missing(account_id)
    title(f"account {account_id}")
    for name in ("available", "held"):
        item[f"{name}_millicredits"] = item.pop(name, 0)
    page(item, ["email", "name", "created_at", "suspended", "available_millicredits", "held_millicredits", "running", "queued"], ["account_id"])

    jobs, cut_jobs = children(table, pk, "JOB#", ProjectionExpression="job_id, kind, #s, attempt, hold_open, quote_millicredits, created_at, #e",
                              ExpressionAttributeNames={"#s": "state", "#e": "error"})
    entries, cut_entries = children(table, pk, "LEDGER#")
    batches, _ = children(table, pk, "BATCH#")
    title("books")
    if cut_jobs or cut_entries:
        print(f"  more than {MOST} jobs or entries: the sums below are of the newest {MOST} and prove nothing")
    sums = {"available": sum(int(e["d_available"]) for e in entries), "held": sum(int(e["d_held"]) for e in entries)}
    holds = sum(int(j["quote_millicredits"]) for j in jobs if j["hold_open"]) + sum(int(b["left_millicredits"]) for b in batches)
    for name, sum_of, value in (("available", "entries", sums["available"]), ("held", "entries", sums["held"]), ("held", "open holds", holds)):
        has = int(item[f"{name}_millicredits"])
        print(f"  {name:<9} {credits(has):>14}  {sum_of} sum to {credits(value):>14}  {'right' if has == value else 'WRONG'}")
    for name, state in (("running", "running"), ("queued", "queued")):
        count = sum(j["state"] == state for j in jobs)
        print(f"  {name:<9} {int(item[name]):>14}  jobs in that state {count:>9}  {'right' if int(item[name]) == count else 'WRONG'}")
    for job in jobs:
        if job["hold_open"] and job["state"] in ENDED:
            print(f"  WRONG: {job['job_id']} has ended with an open hold")

    title(f"jobs: {len(jobs)}, the newest {min(len(jobs), options.limit)}")
    if jobs:
        lines([[j["job_id"], j["kind"], j["state"], f"attempt {j['attempt']}", credits(j["quote_millicredits"]), when(j["created_at"]), (j.get("error") or {}).get("code", "")] for j in jobs[: options.limit]])
    title(f"ledger: {len(entries)}, the newest {min(len(entries), options.limit)}")
    if entries:
        lines([[when(e["at"]), e["kind"], f"available {credits(e['d_available'])}", f"held {credits(e['d_held'])}", e["cause"]] for e in entries[: options.limit]])
    title("also")
    for what, prefix in (("creations", "CREATION#"), ("uploads", "UPLOAD#"), ("share links", "SHARE#"), ("sessions", "SESSION#"), ("idempotency records", "IDEM#"), ("queued markers", "QUEUED#")):
        found, cut = children(table, pk, prefix, ProjectionExpression="sk")
        print(f"  {what:<20} {len(found)}{' and more' if cut else ''}")


def job(table, job_id, options):
    account_id = options.account or owner_of(table, job_id)
    if not account_id:
        raise Failed(f"{job_id} is not unfinished, and a finished job is found only under its account: add --account acc_… "
                     "(its customer reads it from GET /api/v1/me)")
    pk = f"ACC#{account_id}"
    item = get(table, pk, f"JOB#{job_id}") or missing(f"{job_id} of {account_id}")
    title(f"job {job_id}: {item['state']}")
    page(item, ["account_id", "kind", "capability", "priority", "params", "state", "attempt", "failures", "progress", "stage", "error", "suspicion",
                "quote_millicredits", "charged_millicredits", "hold_open", "created_at", "queued_at", "not_before", "started_at", "attempt_started_at",
                "finished_at", "lease_until", "next_check_at", "instance_id"], ["job_id", "inputs"])
    spans = (("waited for its first attempt", "created_at", "started_at"), ("newest attempt ran", "attempt_started_at", "finished_at"))
    for what, begin, end in spans:
        if item.get(begin) and item.get(end):
            print(f"  {what} {(int(item[end]) - int(item[begin])) / 1000:.3f} s")
    for i, one in enumerate(item["inputs"]):
        title(f"input {i + 1}")
        page(one, ["upload_id", "content_type", "bytes", "width", "height"])
    if item["state"] not in ENDED:
        title("why it waits" if item["state"] == "queued" else "who works on it")
        if item["state"] == "queued":
            owner = get(table, pk, "ACCOUNT") or {}
            marker = get(table, pk, f"QUEUED#{job_id}")
            print(f"  queued marker   {'there' if marker else 'MISSING: no freed slot will call it; maintenance hints it at next_check_at'}")
            print(f"  account         {owner.get('running', '?')} running, {owner.get('queued', '?')} queued")
        for instance in children(table, "FLEET", "INST#")[0]:
            print(f"  {instance['instance_id']}  {stage(instance)}  {', '.join(instance.get('capabilities', [])) or 'nothing yet'}{'  <- this job' if instance.get('slot_job') == job_id else ''}")
    entries = [e for e in children(table, pk, "LEDGER#", newest_first=False)[0] if e["cause"] == job_id]
    title("money")
    if entries:
        lines([[when(e["at"]), e["kind"], f"available {credits(e['d_available'])}", f"held {credits(e['d_held'])}", e["id"]] for e in entries])
    creation = get(table, pk, f"CREATION#{job_id}")
    title("what it made" if creation else "it has made nothing, or its owner has deleted it")
    for artifact in (creation or {}).get("artifacts", []):
        page(artifact, ["name", "content_type", "bytes", "sha256", "key"])


def stage(instance):
    spoke = instance.get("heartbeat_at")
    silent = f"heard {time.time() - int(spoke) / 1000:.0f} s ago" if spoke else "not heard yet"
    return f"{instance['stage']}{', draining' if instance.get('drain') else ''}, {silent}"


def instance(table, instance_id, _):
    item = get(table, "FLEET", f"INST#{instance_id}") or missing(f"{instance_id}; a machine that is gone has no row")
    title(f"instance {instance_id}: {stage(item)}")
    page(item, ["pool", "provider", "provider_id", "label", "host", "trusted", "stage", "drain", "capabilities", "gpu", "version", "requested_at",
                "heartbeat_at", "idle_since", "slot_account", "slot_job", "slot_attempt"], ["instance_id"])
    if item.get("slot_job"):
        held = get(table, f"ACC#{item['slot_account']}", f"JOB#{item['slot_job']}") or {}
        same = held.get("instance_id") == instance_id and held.get("attempt") == item["slot_attempt"] and held.get("state") == "running"
        print(f"\n  its slot's job is {held.get('state', 'gone')}: the slot is {'taken' if same else 'as good as empty, and the next claim takes it'}")


def pool(table, _, __):
    policy = get(table, "FLEET", "POOL#main")
    title("pool main")
    if policy:
        page(policy, ["desired_size", "min", "max", "idle_shutdown_s"])
    else:
        print("  no operator has set a policy; the functions' settings count (KILN_POOL_DESIRED, KILN_POOL_MAX, KILN_IDLE_SHUTDOWN_S)")
    title("queue, as maintenance last counted it")
    page(get(table, "META", "DEPTH") or {}, ["at", "queued", "running", "oldest_queued_at", "by_kind"])
    found, _ = children(table, "FLEET", "INST#", newest_first=False)
    title(f"instances: {len(found)}")
    if found:
        lines([[i["instance_id"], i["provider"], stage(i), i.get("gpu") or "no GPU", i.get("slot_job") or "no job"] for i in found])


def child(prefix):
    """A thing of an account that needs no more than its attributes."""

    def show(table, thing, options):
        if not options.account:
            raise Failed(f"{thing} is found under its account: add --account acc_…")
        item = get(table, f"ACC#{options.account}", f"{prefix}{thing}") or missing(f"{thing} of {options.account}")
        title(thing)
        page(item)

    return show


def missing(what):
    raise Failed(f"there is no {what}")


PAGES = {"acc_": account, "job_": job, "ins_": instance, "upl_": child("UPLOAD#"), "shr_": child("SHARE#"), "ses_": child("SESSION#")}


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/inspect", description="Shows an account, a job, an instance or the pool as one page, secrets and mail addresses masked. Only reads.",
        epilog="Without --stack it looks at the system that scripts/dev runs (KILN_DATA_DIR, or KILN_AWS_ENDPOINT). With it, your ordinary AWS "
        "credentials are used; they need cloudformation:DescribeStackResource and dynamodb:GetItem and Query on the table and its index.")
    parser.add_argument("id", help="acc_…, job_…, ins_…, upl_…, shr_…, ses_…, or the word pool")
    parser.add_argument("--account", metavar="ACC", help="whose it is; a job that is unfinished is found without")
    parser.add_argument("--limit", type=int, default=20, help="how many jobs and entries of an account are listed (20)")
    parser.add_argument("--stack", help="a deployed stack, such as kiln-production")
    parser.add_argument("--region", help="the stack's region, where your AWS configuration names another")
    parser.add_argument("--endpoint", help="another local stand-in, such as http://127.0.0.1:4566")
    options = parser.parse_args()
    show = pool if options.id == "pool" else PAGES.get(options.id[:4])
    if show is None:
        raise Failed(f"{options.id!r} is no id: they begin with {', '.join(PAGES)}, or say pool")
    show(open_table(options), options.id, options)


if __name__ == "__main__":
    try:
        main()
    except Failed as reason:
        print(f"inspect: {reason}", file=sys.stderr)
        sys.exit(1)
    except (BotoCoreError, ClientError) as reason:
        print(f"inspect: {reason}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)
