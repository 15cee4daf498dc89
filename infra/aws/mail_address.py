"""What is known against a mail address, and its end (scripts/mail-address).

It promises: without --allow it only reads; the address is found by its hash and is not printed; keys are those of shared/store/src/keys.rs.
"""

import argparse
import hashlib
import sys
import time

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from inspect_item import Failed, open_table, when


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/mail-address", description="Shows whether mail goes to an address; --allow lets it go there again.",
        epilog="With --stack your ordinary AWS credentials are used; they need cloudformation:DescribeStackResource, dynamodb:GetItem and, for --allow, "
        "dynamodb:UpdateItem and ses:DeleteSuppressedDestination.")
    parser.add_argument("address")
    parser.add_argument("--allow", action="store_true", help="its owner says that it takes mail again: clear the record, and SES's own")
    parser.add_argument("--stack", help="a deployed stack, such as kiln-production")
    parser.add_argument("--region", help="the stack's region, where your AWS configuration names another")
    parser.add_argument("--endpoint", help="another local stand-in, such as http://127.0.0.1:4566")
    options = parser.parse_args()
    address = options.address.strip().lower()
    if "@" not in address:
        raise Failed("that is no mail address")
    table = open_table(options)
    key = {"pk": f"SUPPRESSED#{hashlib.sha256(address.encode()).hexdigest()}", "sk": "SUPPRESSED"}
    known = table.get_item(Key=key, ConsistentRead=True).get("Item")
    if not known:
        print("mail goes to it: nothing is known against it")
    elif "cleared_at" in known:
        print(f"mail goes to it: it had {known['reason']} on {when(known['since'])} and was cleared on {when(known['cleared_at'])}")
    else:
        print(f"NO mail goes to it: it {known['reason']} on {when(known['since'])}{', ' + known['detail'] if 'detail' in known else ''}")
    if not options.allow:
        return
    if known and "cleared_at" not in known:
        table.update_item(Key=key, UpdateExpression="SET cleared_at = :now", ConditionExpression="attribute_exists(pk)",
                          ExpressionAttributeValues={":now": int(time.time() * 1000)})
        print("cleared; a bounce or complaint from now on stops it again")
    if options.stack:
        try:
            boto3.Session(region_name=options.region).client("sesv2").delete_suppressed_destination(EmailAddress=address)
            print("removed from SES's own suppression list")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NotFoundException":
                raise
            print("it is not on SES's own suppression list")


if __name__ == "__main__":
    try:
        main()
    except (Failed, BotoCoreError, ClientError) as reason:
        print(f"mail-address: {reason}", file=sys.stderr)
        sys.exit(1)
