"""Writes the table into a file (scripts/backup).

It promises: only reads the table; each account is written whole, with books that add up and with what stands of it outside, though the system goes
on meanwhile; a file that is there is complete.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from accounts import ROUNDS, Known, read_all
from audit import Audit, lines
from beside import owner_of
from books import account_of
from dump import Progress, Spool, Writer, add_place, open_client, pages, pause
from inspect_item import Failed

# A test holds the backup here, between its two reads.
PAUSE = "KILN_BACKUP_PAUSE"


class Loose:
    """What lies outside of accounts and is read once; what is bound to an account, or to a payment of one, goes by that."""

    def __init__(self):
        self.others, self.sessions, self.waiting = [], {}, {}

    def add(self, item):
        partition, sort_key = item["pk"]["S"], item["sk"]["S"]
        if sort_key == "WAITING":
            self.waiting[partition.removeprefix("PAY#")] = item
        elif sort_key == "SESSION":
            self.sessions.setdefault(item["account_id"]["S"], []).append(item)
        else:
            self.others.append(item)

    def merge(self, other):
        self.others += other.others
        self.waiting.update(other.waiting)
        for account, sessions in other.sessions.items():
            self.sessions.setdefault(account, []).extend(sessions)


def scan(client, table, segments, segment):
    """One segment: what lies loose outside of accounts, and what accounts there are."""
    known, loose = Known(), Loose()
    for page in pages(client.scan, TableName=table, TotalSegments=segments, Segment=segment):
        for item in page:
            known.see(item)
            if not account_of(item) and not owner_of(item):
                loose.add(item)
    return known, loose


class Backup:
    def __init__(self, client, table, segments, pool, spool):
        self.client, self.table, self.segments, self.pool, self.spool = client, table, segments, pool, spool
        self.known, self.audit, self.charges, self.outside = Known(), Audit(), {}, {}
        self.progress, self.kept = Progress("backup"), 0

    def scan(self):
        """What there is, and what has come since an earlier scan."""
        all_loose = Loose()
        for known, loose in self.pool.map(lambda segment: scan(self.client, self.table, self.segments, segment), range(self.segments)):
            self.known.merge(known)
            all_loose.merge(loose)
        return all_loose

    def keep(self, read):
        self.spool.put(read.account, read.items + read.outside)
        self.charges[read.account] = read.charges
        self.outside[read.account] = {(item["pk"]["S"], item["sk"]["S"]) for item in read.outside}
        self.kept += len(read.items)
        self.progress.at(self.kept)

    def read_accounts(self, todo):
        return read_all(self.client, self.table, self.pool, self.known, todo, self.audit, self.keep, self.scan)

    def shared(self):
        """Accounts that were both read with the same thing outside: an address that one gave up and the other took, each seen with it."""
        first, both = {}, set()
        for account, keys in self.outside.items():
            for key in keys:
                if first.setdefault(key, account) != account:
                    both |= {first[key], account}
        return both

    def read(self):
        """Reads all of it; what is wrong and what only changed all the while, by account."""
        loose = self.scan()
        pause(PAUSE)
        found = self.read_accounts(self.known.accounts)
        for _ in range(ROUNDS):
            if not (both := self.shared()):
                break
            found = self.read_accounts(both)
        else:
            if both := self.shared():
                # One key twice could not be restored, so no file is better than this one.
                raise Failed(f"accounts went on taking each other's addresses while they were read; back up again when they rest: {', '.join(sorted(both)[:50])}")
        # Once more for what lies loose: an account that was read after it changed its address must find that the old one had its grant. What
        # waited at first and no more waited for a payment that came after its account was read.
        last = self.scan()
        waiting = {**loose.waiting, **last.waiting}
        there = {account for account, (_, count) in self.spool.places.items() if count}
        # A payment's account has read what waits for it. Who signed in to an account that is not in the file signs in to nothing.
        read = {charge for charges in self.charges.values() for charge in charges}
        self.spool.put(None, last.others + [item for charge, item in waiting.items() if charge not in read])
        self.spool.put("sessions", [item for account in there for item in last.sessions.get(account, [])])
        return found, len(there)


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/backup", description="Writes the table into a file: one line of DynamoDB JSON an item, with a hash at its end. Files in S3 are not in it.",
        epilog="Without --stack it reads the system that scripts/dev runs. With it, your ordinary AWS credentials are used; they need "
        "cloudformation:DescribeStackResource, dynamodb:Scan, Query, GetItem and BatchGetItem on the table.")
    parser.add_argument("file", help="where to; a name that ends in .gz is compressed. It must not exist")
    add_place(parser)
    parser.add_argument("--segments", type=int, default=4, help="how many parts are read at once (4)")
    options = parser.parse_args()
    if not 1 <= options.segments <= 64:
        raise Failed("--segments takes 1 to 64")
    client, table = open_client(options)
    writer = Writer(options.file, table, options.segments)
    try:
        with ThreadPoolExecutor(options.segments) as pool:
            spool = Spool(options.file)
            (wrong, changing), accounts = Backup(client, table, options.segments, pool, spool).read()
        for name in spool.places:
            writer.items_of(spool, name)
        writer.end()
    except BaseException:
        writer.drop()
        raise
    print(f"{options.file}: {writer.items} items of {accounts} accounts; {sum(spool.expired.values())} expired ones left out", file=sys.stderr)
    tell(wrong, changing)


def tell(wrong, changing):
    """The file is whole and worth keeping; what is not right in it must be seen all the same."""
    said = []
    if wrong:
        said.append("the books of the table itself do not add up:\n  " + "\n  ".join(lines(wrong)[:50]))
    if changing:
        said.append(f"{len(changing)} accounts changed all the while they were read; back up again when they rest:\n  " + "\n  ".join(lines(changing)[:50]))
    if said:
        raise Failed("\n".join(said))


if __name__ == "__main__":
    try:
        main()
    except (Failed, BotoCoreError, ClientError, OSError) as reason:
        print(f"backup: {reason}", file=sys.stderr)
        sys.exit(1)
