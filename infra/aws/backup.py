"""Writes the table into a file (scripts/backup).

It promises: only reads the table; each account is written whole and with books that add up, though the system goes on meanwhile; a file that is
there is complete.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from books import account_of
from dump import Progress, Writer, add_place, expired, open_client, pages, read_account
from inspect_item import Failed

def scan(client, table, segments, segment):
    """One segment: what lies outside of accounts, and which accounts there are."""
    others, accounts = [], set()
    for page in pages(client.scan, TableName=table, TotalSegments=segments, Segment=segment):
        for item in page:
            if account_of(item):
                accounts.add(item["pk"]["S"])
            else:
                others.append(item)
    return others, accounts


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/backup", description="Writes the table into a file: one line of DynamoDB JSON an item, with a hash at its end. Files in S3 are not in it.",
        epilog="Without --stack it reads the system that scripts/dev runs. With it, your ordinary AWS credentials are used; they need "
        "cloudformation:DescribeStackResource, dynamodb:Scan and dynamodb:Query on the table.")
    parser.add_argument("file", help="where to; a name that ends in .gz is compressed. It must not exist")
    add_place(parser)
    parser.add_argument("--segments", type=int, default=4, help="how many parts are read at once (4)")
    options = parser.parse_args()
    if not 1 <= options.segments <= 64:
        raise Failed("--segments takes 1 to 64")
    client, table = open_client(options)
    writer, progress, left_out, wrong, accounts = Writer(options.file, table, options.segments), Progress("backup"), 0, [], set()

    def write(items):
        nonlocal left_out
        now = time.time()
        for item in items:
            if expired(item, now):
                left_out += 1
            else:
                writer.item(item)
        progress.at(writer.items)

    try:
        with ThreadPoolExecutor(options.segments) as pool:
            for others, found in pool.map(lambda segment: scan(client, table, options.segments, segment), range(options.segments)):
                write(others)
                accounts |= found
            keys = sorted(accounts)
            # A slice at a time, so that what is read waits in memory for no longer than that.
            for start in range(0, len(keys), 256):
                for items, found in pool.map(lambda key: read_account(client, table, key), keys[start : start + 256]):
                    write(items)
                    wrong += found
        writer.end()
    except BaseException:
        writer.drop()
        raise
    print(f"{options.file}: {writer.items} items of {len(accounts)} accounts; {left_out} expired ones left out", file=sys.stderr)
    if wrong:
        # The file is whole and worth keeping; that the books are wrong must be seen all the same.
        raise Failed("the books of the table itself do not add up:\n  " + "\n  ".join(wrong[:50]))


if __name__ == "__main__":
    try:
        main()
    except (Failed, BotoCoreError, ClientError, OSError) as reason:
        print(f"backup: {reason}", file=sys.stderr)
        sys.exit(1)
