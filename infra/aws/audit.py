"""All accounts together: the books of each, what stands beside it, and what they say of each other.

It promises: pure; items may be added one by one and in any order; an account that was read again replaces what was added of it.
"""

from beside import Beside, between, owner_of
from books import Books, account_of


class Audit:
    def __init__(self):
        self.books, self.beside = {}, {}
        # Of accounts that were read as a whole: what is wrong, and what must be compared with others'.
        self.own, self.links = {}, {}
        self.entries = 0

    def add(self, item):
        account = account_of(item)
        if account:
            self.books.setdefault(account, Books(account)).add(item)
            self.beside.setdefault(account, Beside(account)).add(item)
            self.entries += item["sk"]["S"].startswith("LEDGER#")
        elif owner := owner_of(item):
            self.beside.setdefault(owner, Beside(owner)).add_outside(item)

    def replace(self, account, wrong, links):
        self.books.pop(account, None)
        self.beside.pop(account, None)
        self.own[account], self.links[account] = wrong, links

    def accounts(self):
        return self.books.keys() | self.own.keys()

    def faults(self):
        """Lines by account; of two accounts that disagree, under both."""
        found = {account: list(lines) for account, lines in self.own.items() if lines}
        for account, beside in self.beside.items():
            books = self.books.get(account)
            if lines := (books.wrong() if books else []) + beside.wrong():
                found[account] = lines
        links = {**self.links, **{account: beside.links for account, beside in self.beside.items()}}
        for line, accounts in between(links):
            for account in accounts:
                found.setdefault(account, []).append(line)
        return found


def audit(items):
    whole = Audit()
    for item in items:
        whole.add(item)
    return whole


def lines(faults):
    """Each line once, though two accounts have it."""
    return list(dict.fromkeys(line for lines in faults.values() for line in lines))
