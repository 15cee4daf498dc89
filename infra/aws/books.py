"""The ledger check of an account, on DynamoDB's own JSON: what scripts/backup and scripts/restore hold every account to.

It promises: pure, integers only; tolerant of fields that it doesn't know. The same rules as kiln_core::ledger::audit and audit_counts. What
stands outside of the account's partition and must agree with it is beside.py's.
"""

ENDED = {"succeeded", "failed", "cancelled"}


def number(item, name):
    return int(item[name]["N"]) if name in item else 0


class Books:
    """Sums over one account's items, added in any order."""

    def __init__(self, account):
        self.account = account
        self.says = None
        self.available = self.held = self.holds = self.entries = self.jobs = 0
        self.ended_open = []
        self.causes = {}
        self.batches = {}
        self.counts = {"running": 0, "queued": 0}
        self.says_counts = None
        self.queued, self.markers = set(), set()

    def add(self, item):
        sort_key = item["sk"]["S"]
        if sort_key == "ACCOUNT":
            self.says = (number(item, "available"), number(item, "held"))
            self.says_counts = {name: number(item, name) for name in self.counts}
        elif sort_key.startswith("LEDGER#"):
            self.entries += 1
            self.available += number(item, "d_available")
            self.held += number(item, "d_held")
            kind = item.get("kind", {}).get("S")
            if kind in ("hold", "capture", "release"):
                counts = self.causes.setdefault(item.get("cause", {}).get("S"), [0, 0, 0])
                counts[kind != "hold"] += 1
                counts[2] += number(item, "d_held")
        elif sort_key.startswith("JOB#"):
            self.jobs += 1
            self.count(sort_key.removeprefix("JOB#"), item["state"]["S"])
            if item.get("hold_open", {}).get("BOOL"):
                if item["state"]["S"] in ENDED:
                    self.ended_open.append(sort_key.removeprefix("JOB#"))
                else:
                    self.holds += number(item, "quote_millicredits")
        elif sort_key.startswith("QUEUED#"):
            self.markers.add(sort_key.removeprefix("QUEUED#"))
        elif sort_key.startswith("BATCH#"):
            left = number(item, "left_millicredits")
            self.holds += left
            self.batches[sort_key.removeprefix("BATCH#")] = (left, item.get("state", {}).get("S") == "open")

    def count(self, job, state):
        if state in self.counts:
            self.counts[state] += 1
        if state == "queued":
            self.queued.add(job)

    def wrong(self):
        """One line for each thing that is wrong; none when the books are right."""
        if self.says is None:
            return [f"{self.account} has items and no account"] if self.entries or self.jobs else []
        return self.wrong_sums() + self.wrong_counts()

    def wrong_counts(self):
        found = []
        for name, says in self.says_counts.items():
            if says != self.counts[name]:
                found.append(f"{self.account} says {says} {name}, {self.counts[name]} of its jobs are")
        # The place in the queue stands exactly while the job is queued.
        for job in sorted(self.queued ^ self.markers):
            found.append(f"{job} of {self.account} is {'queued without' if job in self.queued else 'not queued and has'} a place in its queue")
        return found

    def wrong_sums(self):
        available, held = self.says
        found = []
        if available != self.available:
            found.append(f"{self.account} says available {available}, its {self.entries} entries sum to {self.available}")
        if held != self.held:
            found.append(f"{self.account} says held {held}, its {self.entries} entries sum to {self.held}")
        if held != self.holds:
            found.append(f"{self.account} says held {held}, its open holds sum to {self.holds}")
        if available < 0:
            found.append(f"{self.account} says available {available}")
        found += [f"{job} of {self.account} has ended with an open hold" for job in self.ended_open]
        for batch, (left, is_open) in self.batches.items():
            by_entries = self.causes.get(batch, [0, 0, 0])[2]
            if left != by_entries or (left and not is_open):
                found.append(f"{batch} of {self.account} says {left} are left, its entries say {by_entries}, and it is {'open' if is_open else 'closed'}")
        for cause, (holds, closes, left) in self.causes.items():
            # A batch's hold closes in parts, a job's at once.
            in_parts = str(cause).startswith("bat_")
            if holds > 1 or left < 0 or (not in_parts and (closes > holds or (closes and left))):
                found.append(f"{cause} of {self.account} has {holds} holds and {closes} closes, which leave {left}")
        return found


def account_of(item):
    """The account whose partition an item lies in, or None."""
    partition = item["pk"]["S"]
    return partition.removeprefix("ACC#") if partition.startswith("ACC#") else None
