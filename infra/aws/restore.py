"""Writes a backup into a table, and checks the books of every account (scripts/restore).

It promises: a file that is not whole changes nothing; a table that holds accounts is not written unless told; run again after it was stopped, it goes
on; nobody is signed in by a restore; no machine of the table that the backup is of is taken for one of the restored table's.
"""

import argparse
import itertools
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from botocore.exceptions import BotoCoreError, ClientError

from accounts import Known, read_all
from audit import audit, lines
from beside import owner_of
from dump import Progress, add_place, check_file, expired, open_client, pages, pause, put_all, read_items
from inspect_item import Failed

# A test holds the restore here, while its mark stands.
PAUSE = "KILN_RESTORE_PAUSE"
# Present while a restore is under way: which backup it is of. The scheduled functions stand still meanwhile (kiln_http::restoring).
MARK = {"pk": {"S": "META"}, "sk": {"S": "RESTORE"}}
# What a system that has just begun writes by itself.
OF_ITS_OWN = ("META", "FLEET", "WAKE")
# What one run of the warm pool leaves to the next, and with it the tag that tells its machines from those of every other table: this table is another,
# and gets a tag of its own. With the source's, it would take the machines that go on working there for its own, and end them.
RUNS = "RUN#"
# Who was signed in signs in again; what counts an hour counts anew.
SIGNED_IN = ("SESSION#", "LINK#", "RATE#")


def signed_in(item):
    return item["pk"]["S"].startswith(SIGNED_IN) or item["sk"]["S"].startswith("SESSION#")


def of_runs(item):
    return item["pk"]["S"] == "FLEET" and item["sk"]["S"].startswith(RUNS)


def refuse_full(client, table, sha256, allowed):
    mark = client.get_item(TableName=table, Key=MARK, ConsistentRead=True).get("Item")
    if mark and mark["sha256"]["S"] == sha256:
        print("restore: going on with the restore that was begun", file=sys.stderr)
        return
    if allowed:
        return
    if mark:
        raise Failed(f"a restore of another backup was begun on {table} and not ended")
    for page in pages(client.scan, TableName=table, ProjectionExpression="pk"):
        if any(item["pk"]["S"] not in OF_ITS_OWN and not item["pk"]["S"].startswith("RATE#") for item in page):
            raise Failed(f"{table} is not empty; a restore would mix two histories. --into-non-empty does so all the same")


def write(client, table, path, options):
    """Puts every item that is wanted; counts what was left out."""
    counts = {"written": 0, "expired": 0, "signed in": 0}
    progress, now = Progress("restore"), time.time()

    def wanted():
        for item in read_items(path):
            if of_runs(item):
                continue
            if expired(item, now):
                counts["expired"] += 1
            elif signed_in(item) and not options.with_sessions:
                counts["signed in"] += 1
            else:
                yield item

    put_batches(client, table, options.threads, (item for item in wanted() if "owed_shard" not in item), counts, progress)
    counts.update({"expired": 0, "signed in": 0})
    # What is owed comes last: whoever finds it finds all that it leads to, a run that began before the mark too.
    put_batches(client, table, options.threads, (item for item in wanted() if "owed_shard" in item), counts, progress)
    return counts


def put_batches(client, table, threads, items, counts, progress):
    with ThreadPoolExecutor(threads) as pool:
        running = set()
        while batch := list(itertools.islice(items, 25)):
            running.add(pool.submit(put_all, client, table, batch))
            counts["written"] += len(batch)
            progress.at(counts["written"])
            if len(running) >= 2 * threads:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
        for one in running:
            one.result()


def tell(audited, wrong, what):
    if wrong:
        raise Failed(f"the books of {what} do not add up:\n  " + "\n  ".join(lines(wrong)[:50]))
    print(f"the books of {what} add up: {len(audited.accounts())} accounts, {audited.entries} entries", file=sys.stderr)


def check_items(path):
    seen, twice = set(), set()

    def items():
        for item in read_items(path):
            # What belongs to one account only: in the file under two, it would not say which of them is meant.
            if owner_of(item):
                key = item["pk"]["S"], item["sk"]["S"]
                (twice if key in seen else seen).add(key)
            yield item

    audited = audit(items())
    if twice:
        raise Failed(f"{path} holds more than once: {', '.join(sorted(partition for partition, _ in twice)[:50])}")
    tell(audited, audited.faults(), path)


def check_table(client, table):
    """A scan of a system that goes on is no snapshot, so what seems wrong is read again."""
    known = Known()

    def items():
        for page in pages(client.scan, TableName=table):
            for item in page:
                known.see(item)
                yield item

    def look():
        for _ in items():
            pass

    audited = audit(items())
    wrong, changing = audited.faults(), {}
    if wrong:
        with ThreadPoolExecutor(4) as pool:
            wrong, changing = read_all(client, table, pool, known, set(wrong), audited, lambda _: None, look)
    if changing and not wrong:
        raise Failed(f"{len(changing)} accounts of {table} changed all the while they were read; check again when they rest: {', '.join(sorted(changing)[:50])}")
    tell(audited, wrong, table)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/restore", description="Writes a backup into an empty table, then checks the books of every account.",
        epilog="With --stack your ordinary AWS credentials are used; they need cloudformation:DescribeStackResource, dynamodb:BatchWriteItem, PutItem, DeleteItem, "
        "GetItem, BatchGetItem, Query and Scan on the table.")
    parser.add_argument("file", nargs="?", help="what scripts/backup has written; with --check and without a file, the table is checked")
    add_place(parser)
    parser.add_argument("--check", action="store_true", help="write nothing: check the file and the books in it, or the books of the table")
    parser.add_argument("--into-non-empty", action="store_true", help="write into a table that holds accounts; items of the same key are replaced")
    parser.add_argument("--with-sessions", action="store_true", help="restore sessions and sign-in links too: who was signed in then is signed in again")
    parser.add_argument("--threads", type=int, default=4, help="how many batches are written at once (4)")
    options = parser.parse_args()
    if options.file is None:
        if not options.check:
            raise Failed("which file? scripts/restore --help tells the rest")
        client, table = open_client(options)
        return check_table(client, table)
    if not 1 <= options.threads <= 64:
        raise Failed("--threads takes 1 to 64")
    header, items, sha256 = check_file(options.file)
    print(f"{options.file}: whole; {items} items of {header['table']}, written {header['at']}", file=sys.stderr)
    if options.check:
        return check_items(options.file)
    client, table = open_client(options)
    refuse_full(client, table, sha256, options.into_non_empty)
    client.put_item(TableName=table, Item={**MARK, "sha256": {"S": sha256}, "at": {"N": str(int(time.time() * 1000))}})
    pause(PAUSE)
    counts = write(client, table, options.file, options)
    client.delete_item(TableName=table, Key=MARK)
    print(f"{table}: {counts['written']} items written; left out: {counts['expired']} expired, {counts['signed in']} of sessions, links and counters", file=sys.stderr)
    return check_table(client, table)


if __name__ == "__main__":
    try:
        main()
    except (Failed, BotoCoreError, ClientError, OSError) as reason:
        print(f"restore: {reason}", file=sys.stderr)
        sys.exit(1)
