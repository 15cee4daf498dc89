"""Puts the models' files into a deployment's bucket (scripts/publish-models).

It promises: what is sent is what worker/models.json pins, and S3 checks its SHA-256 again; a file lies at models/SHA-256, so a key never changes its
content and what is there already is left alone; nothing is deleted, since machines of an older version may ask for it.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from inspect_item import Failed, local_endpoint

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MANIFEST = ROOT / "worker" / "models.json"
LOCAL_BUCKET = "kiln-local-mediabucket"


def open_bucket(options):
    """An S3 client, and the bucket that workers' files lie in."""
    patient = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=5, read_timeout=60)
    if options.stack:
        session = boto3.Session(region_name=options.region)
        found = session.client("cloudformation", config=patient).describe_stack_resource(StackName=options.stack, LogicalResourceId="MediaBucket")
        return session.client("s3", config=patient), found["StackResourceDetail"]["PhysicalResourceId"]
    endpoint = options.endpoint or os.environ.get("KILN_AWS_ENDPOINT") or local_endpoint()
    session = boto3.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1")
    path = Config(retries=patient.retries, connect_timeout=5, read_timeout=60, s3={"addressing_style": "path"})
    return session.client("s3", endpoint_url=endpoint, config=path), options.bucket or LOCAL_BUCKET


def there(client, bucket, key, size):
    try:
        return client.head_object(Bucket=bucket, Key=key)["ContentLength"] == size
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return False
        raise


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/publish-models", description="Puts the networks' files into a deployment's bucket, for machines that have none.",
        epilog="With --stack your ordinary AWS credentials are used; they need cloudformation:DescribeStackResource, and on the bucket's models/* "
        "s3:GetObject and s3:PutObject, and s3:ListBucket.")
    parser.add_argument("--dir", type=pathlib.Path, default=pathlib.Path(os.environ.get("KILN_MODELS_DIR") or ROOT / ".cache" / "models"),
                        help="where scripts/fetch-models has put them (default: %(default)s)")
    parser.add_argument("--stack", help="a deployed stack, such as kiln-production")
    parser.add_argument("--region", help="the stack's region, where your AWS configuration names another")
    parser.add_argument("--endpoint", help="another local stand-in, such as http://127.0.0.1:4566")
    parser.add_argument("--bucket", help="the local stand-in's bucket, where it has another name")
    options = parser.parse_args()
    files = {file["sha256"]: file for model in json.loads(MANIFEST.read_text(encoding="utf-8"))["models"] for file in model["files"]}
    client, bucket = open_bucket(options)
    sent = 0
    for sha256, file in files.items():
        key, path = f"models/{sha256}", options.dir / file["name"]
        if there(client, bucket, key, file["bytes"]):
            continue
        if not path.is_file():
            raise Failed(f"{path} is not there; scripts/fetch-models --dir {options.dir} fetches it")
        with path.open("rb") as data:
            if hashlib.file_digest(data, "sha256").hexdigest() != sha256:
                raise Failed(f"{path} is not the pinned file; scripts/fetch-models --dir {options.dir} fetches it anew")
            data.seek(0)
            client.put_object(Bucket=bucket, Key=key, Body=data, ContentType="application/octet-stream",
                              ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode())
        print(f"sent {file['name']}: {file['bytes']} bytes to {key}")
        sent += 1
    print(f"publish-models: {len(files)} files are in {bucket}, {sent} of them since now")


if __name__ == "__main__":
    try:
        main()
    except (Failed, BotoCoreError, ClientError, OSError) as reason:
        print(f"publish-models: {reason}", file=sys.stderr)
        sys.exit(1)
