"""What of an account stands outside of its partition, or in another account's, and must agree with it: the marker and the payment of each
purchase, the address that signs in to it, the links of its shares, who belongs to an organisation.

It promises: pure, integers only; tolerant of fields that it doesn't know. Each pair is written in one transaction (shared/store), so a table that
nobody changes has both or none; what was read while it changed may have one.
"""

import hashlib

from books import number

# Sort keys of items that lie outside of accounts and name the account that they belong to.
BESIDE = ("APPLIED", "PAYMENT", "EMAIL", "SHARE")
REFERRAL, REFERRAL_BACK = "referral:", "referral-back:"


def text(item, name):
    return item.get(name, {}).get("S")


def owner_of(item):
    """The account that an item outside of all accounts belongs to, or None."""
    return text(item, "account_id") if item["sk"]["S"] in BESIDE else None


def address_key(email):
    return f"EMAIL#{hashlib.sha256(email.strip().lower().encode()).hexdigest()}"


class Links:
    """Who belongs to an organisation, from both sides; all that accounts say of each other."""

    def __init__(self):
        self.there = self.leaving = False
        self.members, self.orgs = {}, set()
        self.owned = 0


class Beside:
    """Facts of one account, added in any order: items of its partition, and those outside that name it."""

    def __init__(self, account):
        self.account, self.links = account, Links()
        self.email = self.referred_by = None
        self.addresses, self.shares, self.tokens = set(), set(), set()
        self.bought, self.refunds = [], []
        self.markers, self.payments = {}, {}
        self.debt = self.debt_paid = self.taken = 0
        # Referrals that were credited and those that were taken back: by entries, and by markers.
        self.referrals = {"entries": 0, "markers": 0, "credited": 0, "marked": 0, "unsaid": False}
        self.backs = {"entries": 0, "markers": 0, "marked": 0}
        self.says = {}
        self.keys = 0

    def add(self, item):
        sort_key = item["sk"]["S"]
        if sort_key == "ACCOUNT":
            self.add_account(item)
        elif sort_key.startswith("LEDGER#"):
            self.add_entry(item)
        elif sort_key.startswith("SHARE#"):
            self.shares.add(f"SHARE#{text(item, 'token_hash')}")
        elif sort_key.startswith("KEY#"):
            self.keys += 1
        elif sort_key.startswith("MEMBER#"):
            self.links.members[sort_key.removeprefix("MEMBER#")] = text(item, "role")
        elif sort_key.startswith("ORG#"):
            self.links.orgs.add(sort_key.removeprefix("ORG#"))

    def add_account(self, item):
        self.links.there, self.links.leaving = True, "state" in item
        self.links.owned = number(item, "n_owned")
        self.email, self.referred_by = text(item, "email"), text(item, "referred_by")
        self.debt = number(item, "debt")
        self.says = {name: number(item, name) for name in ("n_keys", "n_members", "n_owners", "n_orgs", "referrals")}

    def add_entry(self, item):
        kind, cause, external, moved = text(item, "kind"), text(item, "cause"), text(item, "external_id"), number(item, "d_available")
        if kind == "purchase":
            self.bought.append(external)
        elif kind == "referral":
            self.referrals["entries"] += 1
            self.referrals["credited"] += moved
        elif kind == "refund" and cause == "debt":
            self.debt_paid -= moved
        elif kind == "refund":
            self.taken -= moved
            if cause == "referral" and external is None:
                self.backs["entries"] += 1
            else:
                self.refunds.append(external)

    def add_outside(self, item):
        """An item that lies outside of accounts and names this one (owner_of)."""
        partition, sort_key = item["pk"]["S"], item["sk"]["S"]
        if sort_key == "EMAIL":
            self.addresses.add(partition)
        elif sort_key == "SHARE":
            self.tokens.add(partition)
        elif sort_key == "PAYMENT":
            self.payments[partition.removeprefix("PAY#")] = {
                "object": text(item, "object"), "credited": number(item, "millicredits"), "taken": number(item, "taken"),
                "claims": set(item.get("claims", {}).get("M", {}))}
        elif sort_key == "APPLIED":
            self.add_marker(partition.removeprefix("PAY#"), item)

    def add_marker(self, name, item):
        if name.startswith(REFERRAL_BACK):
            self.backs["markers"] += 1
            self.backs["marked"] += number(item, "millicredits")
        elif name.startswith(REFERRAL):
            self.referrals["markers"] += 1
            self.referrals["marked"] += number(item, "millicredits")
            self.referrals["unsaid"] |= "millicredits" not in item
        else:
            self.markers[name] = text(item, "payment")

    def keys_outside(self):
        """What must be there by what the partition says: all but payments, whose names the markers know."""
        wanted = {(f"PAY#{name}", "APPLIED") for name in (*self.bought, *self.refunds) if name}
        wanted |= {(share, "SHARE") for share in self.shares}
        if self.email:
            wanted.add((address_key(self.email), "EMAIL"))
        return wanted

    def charges(self):
        return set(self.payments) | {charge for charge in self.markers.values() if charge}

    def wrong(self):
        """One line for each thing that does not agree; none when all does."""
        if not self.links.there:
            return [f"{name} leads to {self.account}, which is no account" for name in sorted(self.outside())]
        return self.wrong_purchases() + self.wrong_refunds() + self.wrong_referrals() + self.wrong_access() + self.wrong_tally()

    def outside(self):
        pay = {f"PAY#{name}" for name in (*self.markers, *self.payments)}
        return pay | self.addresses | self.tokens

    def wrong_purchases(self):
        found = [f"{self.account} was credited for {name} {self.bought.count(name)} times" for name in sorted({n for n in self.bought if n and self.bought.count(n) > 1})]
        for name in self.bought:
            if name not in self.markers:
                found.append(f"{self.account} was credited for {name}, and no marker says so: it would be credited again")
        for name, charge in self.markers.items():
            if name not in self.bought and name not in self.refunds:
                found.append(f"{name} is marked as applied to {self.account}, and no entry is of it")
            if self.payments.get(charge, {}).get("object") != name:
                found.append(f"{name} was applied to {self.account}, and its payment {charge} is not there: a refund would not find it")
        for charge, payment in self.payments.items():
            if self.markers.get(payment["object"]) != charge:
                found.append(f"{charge} of {self.account} paid for {payment['object']}, which is not marked as applied")
        return found

    def wrong_refunds(self):
        known = {claim for payment in self.payments.values() for claim in payment["claims"]} | set(self.markers)
        found = [f"{self.account} has an entry of {name}, of which no payment knows" for name in self.refunds if name not in known]
        # What was taken back went out of the balance or became a debt, of which a part may have been paid since.
        by_payments = sum(payment["taken"] + max(0, -payment["credited"]) for payment in self.payments.values()) + self.backs["marked"]
        by_entries = self.taken + self.debt + self.debt_paid
        if by_payments != by_entries:
            found.append(f"{by_payments} were taken back of the payments of {self.account}, its entries and its debt sum to {by_entries}")
        return found

    def wrong_referrals(self):
        given, back = self.referrals, self.backs
        found = []
        if given["entries"] != given["markers"] or (given["credited"] != given["marked"] and not given["unsaid"]):
            found.append(f"{self.account} was credited {given['credited']} for {given['entries']} referrals, markers say {given['marked']} for {given['markers']}")
        if back["entries"] != back["markers"]:
            found.append(f"{back['entries']} referrals were taken back of {self.account}, markers say {back['markers']}")
        if self.says["referrals"] != given["entries"] - back["entries"]:
            found.append(f"{self.account} says {self.says['referrals']} referrals, its entries {given['entries'] - back['entries']}")
        return found

    def wrong_access(self):
        address = {address_key(self.email)} if self.email else set()
        found = [f"the address of {self.account} does not sign in to it: the next sign-in would make another account" for _ in address - self.addresses]
        found += [f"an address signs in to {self.account}, which has {'another' if address else 'none'}: it could not sign in" for _ in self.addresses - address]
        # What opens an account under deletion goes in steps.
        if not self.links.leaving:
            found += [f"a share of {self.account} has no link" for _ in self.shares - self.tokens]
            found += [f"a link shows a share that {self.account} does not list" for _ in self.tokens - self.shares]
        return found

    def wrong_tally(self):
        if self.links.leaving:
            return []
        owners = sum(role == "owner" for role in self.links.members.values())
        counts = {"n_keys": self.keys, "n_members": len(self.links.members), "n_owners": owners, "n_orgs": len(self.links.orgs)}
        return [f"{self.account} says {name} {self.says[name]}, there are {count}" for name, count in counts.items() if self.says[name] != count]


def between(links):
    """What accounts say of each other and is not so: a line, and the two accounts, for each. `links` by account."""
    found, none = [], Links()
    for account, its in links.items():
        for person in its.members:
            if account not in links.get(person, none).orgs:
                found.append((f"{person} is a member of {account} and does not list it", (account, person)))
        for org in its.orgs:
            if account not in links.get(org, none).members:
                found.append((f"{account} lists {org} and is no member of it", (account, org)))
        owned = {org for org in its.orgs if links.get(org, none).members.get(account) == "owner"}
        if its.there and not its.leaving and len(owned) != its.owned:
            found.append((f"{account} says n_owned {its.owned}, it owns {len(owned)}", (account, *sorted(its.orgs))))
    return found
