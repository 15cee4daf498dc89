"""A table as a file: a header, one line of DynamoDB JSON an item, and a footer with count and hash, so that a part is never taken for the whole.

It promises: every type is kept exactly (numbers stay text, bytes become Base64); a file that was cut or changed is refused before anything is
written; expired items are left out; the keys and retries of both scripts stand here once.
"""

import base64
import gzip
import hashlib
import json
import os
import random
import sys
import tempfile
import time

import boto3
from botocore.config import Config

from inspect_item import Failed, local_endpoint

VERSION = 1
TRIES = 12


def add_place(parser):
    """The options that say which table."""
    parser.add_argument("--stack", help="a deployed stack, such as kiln-production")
    parser.add_argument("--region", help="the stack's region, where your AWS configuration names another")
    parser.add_argument("--table", help="the table's own name; without --stack, of the stand-in (kiln-local-Table)")
    parser.add_argument("--endpoint", help="another local stand-in, such as http://127.0.0.1:4566")


def open_client(options):
    """A client, and the table's name."""
    patient = Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 8, "mode": "adaptive"}, max_pool_connections=32)
    if options.stack:
        session = boto3.Session(region_name=options.region)
        if options.table:
            return session.client("dynamodb", config=patient), options.table
        found = session.client("cloudformation", config=patient).describe_stack_resource(StackName=options.stack, LogicalResourceId="Table")
        return session.client("dynamodb", config=patient), found["StackResourceDetail"]["PhysicalResourceId"]
    endpoint = options.endpoint or os.environ.get("KILN_AWS_ENDPOINT") or local_endpoint()
    session = boto3.Session("local", "local", region_name="us-east-1")
    return session.client("dynamodb", endpoint_url=endpoint, config=patient), options.table or "kiln-local-Table"


# ---------------------------------------------------------------- reading a table


def pages(call, **arguments):
    """All items of a scan or query, read consistently, page by page."""
    start = {}
    while True:
        page = call(ConsistentRead=True, **arguments, **start)
        yield page["Items"]
        if "LastEvaluatedKey" not in page:
            return
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def expired(item, now):
    """DynamoDB sweeps within days; what is past its time is gone for us at once."""
    return "ttl" in item and int(item["ttl"]["N"]) <= now


# ---------------------------------------------------------------- items as lines


def plain(value):
    """Bytes as Base64, as the DynamoDB API itself writes them."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    return value


def typed(value):
    """One typed value back: B and BS hold bytes."""
    ((kind, inner),) = value.items()
    if kind == "B":
        return {kind: base64.b64decode(inner)}
    if kind == "BS":
        return {kind: [base64.b64decode(one) for one in inner]}
    if kind == "M":
        return {kind: {name: typed(one) for name, one in inner.items()}}
    if kind == "L":
        return {kind: [typed(one) for one in inner]}
    return value


def opened(path, mode):
    return gzip.open(path, mode) if str(path).endswith((".gz", ".gz.part")) else open(path, mode)


def as_line(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


class Spool:
    """Items wait here under a name until all are known to agree; what comes under the same name again takes the place of what was there. It has
    no name on the disk, so nothing of it is left behind, whatever ends us."""

    def __init__(self, path):
        self.file = tempfile.TemporaryFile(dir=os.path.dirname(os.path.abspath(path)))
        self.places, self.expired = {}, {}

    def put(self, name, items):
        now = time.time()
        kept = [item for item in items if not expired(item, now)]
        start = self.file.seek(0, os.SEEK_END)
        self.file.writelines(as_line(plain(item)) for item in kept)
        self.places[name], self.expired[name] = (start, len(kept)), len(items) - len(kept)

    def lines(self, name):
        start, count = self.places[name]
        self.file.seek(start)
        for _ in range(count):
            yield self.file.readline()


class Writer:
    """Writes a dump beside its name and moves it there when it is whole. Readable by its owner alone: it holds people's addresses."""

    def __init__(self, path, table, segments):
        if os.path.exists(path):
            raise Failed(f"{path} exists; a backup overwrites nothing")
        self.path, self.part = path, f"{path}.part" if not path.endswith(".gz") else f"{path.removesuffix('.gz')}.gz.part"
        os.close(os.open(self.part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        self.file, self.hash, self.items = opened(self.part, "wb"), hashlib.sha256(), 0
        self.line({"kiln_backup": VERSION, "table": table, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "segments": segments})

    def line(self, value):
        self.text(as_line(value))

    def text(self, text):
        self.hash.update(text)
        self.file.write(text)

    def items_of(self, spool, name):
        for text in spool.lines(name):
            self.text(text)
            self.items += 1

    def end(self):
        self.line({"kiln_backup_end": VERSION, "items": self.items, "sha256": self.hash.hexdigest()})
        self.file.close()
        os.rename(self.part, self.path)

    def drop(self):
        self.file.close()
        os.unlink(self.part)


def check_file(path):
    """Reads a dump to its end without using it: (header, items, hash), or Failed."""
    digest, items, header, footer = hashlib.sha256(), 0, None, None
    try:
        with opened(path, "rb") as file:
            for text in file:
                if footer is not None:
                    raise Failed(f"{path} goes on after its end")
                line = json.loads(text)
                if header is None:
                    if line.get("kiln_backup") != VERSION:
                        raise Failed(f"{path} is no backup of version {VERSION}")
                    header = line
                elif "kiln_backup_end" in line:
                    footer = line
                    continue
                else:
                    items += 1
                digest.update(text)
    except (ValueError, EOFError, gzip.BadGzipFile, OSError) as reason:
        raise Failed(f"{path} can't be read: {reason}") from None
    if header is None or footer is None:
        raise Failed(f"{path} has no end: it was cut off, and nothing of it is used")
    if (footer["items"], footer["sha256"]) != (items, digest.hexdigest()):
        raise Failed(f"{path} is not what was written: it has {items} items where its end says {footer['items']}, or another hash")
    return header, items, footer["sha256"]


def read_items(path):
    """The items of a file that check_file has passed."""
    with opened(path, "rb") as file:
        for text in file:
            line = json.loads(text)
            if "kiln_backup" not in line and "kiln_backup_end" not in line:
                yield {name: typed(value) for name, value in line.items()}


def pause(name):
    """For tests: where this variable names a pipe, waits until whoever opens it for writing closes it. Unset, as everywhere else, it is nothing."""
    if pipe := os.environ.get(name):
        with open(pipe, "rb") as held:
            held.read()


# ---------------------------------------------------------------- writing a table


def put_all(client, table, items):
    """Puts up to 25 items; what DynamoDB leaves over is sent again, later each time."""
    left = [{"PutRequest": {"Item": item}} for item in items]
    for tries in range(TRIES):
        left = client.batch_write_item(RequestItems={table: left}).get("UnprocessedItems", {}).get(table, [])
        if not left:
            return
        time.sleep(random.uniform(0, min(10, 0.1 * 2**tries)))
    raise Failed(f"DynamoDB took {len(left)} items not within {TRIES} tries; run it again, it goes on")


class Progress:
    """A line on standard error every few seconds."""

    def __init__(self, what):
        self.what, self.told = what, time.monotonic()

    def at(self, count):
        if time.monotonic() - self.told >= 2:
            self.told = time.monotonic()
            print(f"{self.what}: {count} items", file=sys.stderr)
