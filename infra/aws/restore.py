"""Writes a backup into a table, and checks the books of every account (scripts/restore).

It promises: a file that is not whole changes nothing; a table that holds accounts is not written unless told; run again after it was stopped, it goes
on; nobody is signed in by a restore.
"""

import argparse
import itertools
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from botocore.exceptions import BotoCoreError, ClientError

from books import audit
from dump import Progress, add_place, check_file, expired, open_client, pages, put_all, read_account, read_items
from inspect_item import Failed

# Present while a restore is under way: which backup it is of.
MARK = {"pk": {"S": "META"}, "sk": {"S": "RESTORE"}}
# What a system that has just begun writes by itself.
OF_ITS_OWN = ("META", "FLEET")
# Who was signed in signs in again; what counts an hour counts anew.
SIGNED_IN = ("SESSION#", "LINK#", "RATE#")


def signed_in(item):
    return item["pk"]["S"].startswith(SIGNED_IN) or item["sk"]["S"].startswith("SESSION#")


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
            if expired(item, now):
                counts["expired"] += 1
            elif signed_in(item) and not options.with_sessions:
                counts["signed in"] += 1
            else:
                yield item

    with ThreadPoolExecutor(options.threads) as pool:
        running = set()
        items = wanted()
        while batch := list(itertools.islice(items, 25)):
            running.add(pool.submit(put_all, client, table, batch))
            counts["written"] += len(batch)
            progress.at(counts["written"])
            if len(running) >= 2 * options.threads:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
        for one in running:
            one.result()
    return counts


def tell(books, wrong, what):
    if wrong:
        raise Failed(f"the books of {what} do not add up:\n  " + "\n  ".join(wrong[:50]))
    print(f"the books of {what} add up: {len(books)} accounts, {sum(book.entries for book in books.values())} entries", file=sys.stderr)


def check_items(path):
    books = audit(read_items(path))
    tell(books, [line for book in books.values() for line in book.wrong()], path)


def check_table(client, table):
    """A scan of a system that goes on is no snapshot, so what seems wrong is read again."""
    books = audit(item for page in pages(client.scan, TableName=table) for item in page)
    wrong = [line for account, book in books.items() if book.wrong() for line in read_account(client, table, f"ACC#{account}")[1]]
    tell(books, wrong, table)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/restore", description="Writes a backup into an empty table, then checks the books of every account.",
        epilog="With --stack your ordinary AWS credentials are used; they need cloudformation:DescribeStackResource, dynamodb:BatchWriteItem, PutItem, DeleteItem, "
        "GetItem and Scan on the table.")
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
