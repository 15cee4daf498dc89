"""Reads accounts as a whole while the system goes on: an account's partition, and what stands of it outside (beside.py), until both agree.

It promises: only reads; what is wrong is told apart from what only changed all the while; an account is read again until nothing of it moved
between its first read and its last, for a minute if need be.
"""

import random
import time

from beside import REFERRAL, REFERRAL_BACK, Beside, owner_of, text
from books import Books, account_of
from dump import TRIES, pages
from inspect_item import Failed

PATIENCE_S = 60  # for one account that changes while it is read
SURE = 3  # times that the same is found wrong in an account that stood still
ROUNDS = 3  # of accounts that disagree with others, or with what a scan had not seen yet
SLICE = 256  # accounts read before they are kept, so that what is read waits in memory for no longer than that


class Known:
    """What scans have seen: which accounts there are, what outside of them names them, and who brought whom."""

    def __init__(self):
        self.accounts, self.keys, self.brought = set(), {}, {}

    def see(self, item):
        account = account_of(item)
        if account:
            self.accounts.add(account)
            referrer = text(item, "referred_by") if item["sk"]["S"] == "ACCOUNT" else None
            if referrer:
                self.brought.setdefault(referrer, set()).add(account)
        elif owner := owner_of(item):
            # Its account may be in a part of the table that was read before it was made.
            self.accounts.add(owner)
            self.keys.setdefault(owner, set()).add((item["pk"]["S"], item["sk"]["S"]))

    def merge(self, other):
        self.accounts |= other.accounts
        for mine, theirs in ((self.keys, other.keys), (self.brought, other.brought)):
            for account, found in theirs.items():
                mine.setdefault(account, set()).update(found)

    def wanted(self, account):
        """What may stand outside of this account, by what was seen."""
        brought = self.brought.get(account, ())
        return self.keys.get(account, set()) | {(f"PAY#{what}{other}", "APPLIED") for other in brought for what in (REFERRAL, REFERRAL_BACK)}


def partition(client, table, key):
    return [item for page in pages(client.query, TableName=table, KeyConditionExpression="pk = :pk", ExpressionAttributeValues={":pk": {"S": key}}) for item in page]


def get_all(client, table, keys):
    """The items of these keys that there are, read consistently."""
    left, found = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in sorted(keys)], []
    tries = 0
    while left:
        page = client.batch_get_item(RequestItems={table: {"Keys": left[:100], "ConsistentRead": True}})
        items, unread = page.get("Responses", {}).get(table, []), page.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
        found += items
        left = unread + left[100:]
        tries = tries + 1 if unread and not items else 0
        if tries == TRIES:
            raise Failed(f"DynamoDB gave {len(left)} items not within {TRIES} tries")
        if tries:
            time.sleep(random.uniform(0, min(10, 0.1 * 2**tries)))
    return found


class Account:
    """One account as it was read: its items, those outside that belong to it, and what is wrong with both."""

    def __init__(self, client, table, account, known):
        self.account = account
        self.items = partition(client, table, f"ACC#{account}")
        books, beside = Books(account), Beside(account)
        for item in self.items:
            books.add(item)
            beside.add(item)
        self.outside = self.read_outside(client, table, beside, known)
        # Each change of money, of counters and of the address writes this item: unchanged, none fell between what was read.
        self.still = self.read_head(client, table) == next((item for item in self.items if item["sk"]["S"] == "ACCOUNT"), None)
        self.wrong, self.links = books.wrong() + beside.wrong(), beside.links

    def read_head(self, client, table):
        key = {"pk": {"S": f"ACC#{self.account}"}, "sk": {"S": "ACCOUNT"}}
        return client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")

    def read_outside(self, client, table, beside, known):
        wanted = known.wanted(self.account) | beside.keys_outside()
        found = get_all(client, table, {key for key in wanted if key[1] != "PAYMENT"})
        own = [item for item in found if owner_of(item) == self.account]
        for item in own:
            beside.add_outside(item)
        charges = {pk.removeprefix("PAY#") for pk, sk in wanted if sk == "PAYMENT"} | beside.charges()
        # What waits for a payment goes when the payment has it: read in this order, it is in one of the two at least.
        waiting = get_all(client, table, {(f"PAY#{charge}", "WAITING") for charge in charges})
        payments = [item for item in get_all(client, table, {(f"PAY#{charge}", "PAYMENT") for charge in charges}) if owner_of(item) == self.account]
        for item in payments:
            beside.add_outside(item)
        self.charges = charges
        return own + waiting + payments


def read_account(client, table, account, known):
    """The account once it agrees with itself; else as it was last read."""
    until, wait, last, same = time.monotonic() + PATIENCE_S, 0.05, None, 0
    while True:
        read = Account(client, table, account, known)
        if read.still and not read.wrong:
            return read
        same = same + 1 if read.still and read.wrong == last else 1
        last = read.wrong if read.still else None
        if (read.still and same >= SURE) or time.monotonic() >= until:
            return read
        time.sleep(random.uniform(wait / 2, wait))
        wait = min(2, 2 * wait)


def read_all(client, table, pool, known, todo, audit, keep, scan):
    """Reads the accounts `todo`, and again those that disagree with what else was read, after a `scan` of what is new; `keep` is given each
    as it was read last. What is wrong in the end, and what only changed: two dicts of lines by account."""
    moving = set()
    for last in [False] * (ROUNDS - 1) + [True]:
        keys = sorted(todo)
        for start in range(0, len(keys), SLICE):
            for read in pool.map(lambda key: read_account(client, table, key, known), keys[start : start + SLICE]):
                audit.replace(read.account, read.wrong, read.links)
                (moving.discard if read.still else moving.add)(read.account)
                keep(read)
        faults = audit.faults()
        todo = set(faults)
        if not todo or last:
            break
        scan()
        todo |= known.accounts - audit.accounts()
    changing = {account: lines for account, lines in faults.items() if account in moving}
    return {account: lines for account, lines in faults.items() if account not in changing}, changing
