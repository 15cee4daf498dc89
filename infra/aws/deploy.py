"""Deploys Kiln: secrets that are absent, then sam build and sam deploy, then the web pages. Called by scripts/deploy.

It promises: it may be stopped and run again at any point; a secret's value is never shown, written to disk or passed on a command line;
answers are remembered in samconfig.toml (not committed), which plain `sam deploy --config-env STACK` understands too.
"""

import argparse
import json
import mimetypes
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import boto3
import botocore.exceptions
import yaml

from check_template import CfnLoader

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "samconfig.toml"
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
# Stands in for the address until the distribution has told us its own; nobody can own a name under .invalid.
PENDING_URL = "https://pending.invalid"
KEYS_KEPT = 60  # of 65 characters each, in a parameter of 4 kB
# What the guided run asks for; all other parameters have defaults and are set by --set.
ASKED = {
    "Stage": "staging or production",
    "MailFrom": "the address that sign-in links come from (an identity of SES in this region)",
    "DomainName": "a domain of yours, or nothing for the distribution's own",
    "CertificateArn": "its certificate's ARN in us-east-1",
    "AlarmMail": "who gets the alarms, or nothing",
}


class Refused(Exception):
    """What the person can mend; its text says how."""


def say(text):
    print(f"deploy: {text}", flush=True)


def parse(arguments):
    p = argparse.ArgumentParser(prog="scripts/deploy", description="Builds and deploys Kiln to an AWS account.")
    p.add_argument("--stack", help="name of the stack (kiln-staging by default)")
    p.add_argument("--region", help="region (else what the AWS configuration says)")
    p.add_argument("--architecture", choices=TARGETS, help="what to build for (arm64 by default, a fifth cheaper to run)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of template.yaml; repeatable")
    p.add_argument("--yes", action="store_true", help="ask nothing: take what is remembered, given by --set, or the default")
    p.add_argument("--function", metavar="NAME", help="with --build-only: this function of template.yaml alone, such as OpsFunction")
    only = p.add_mutually_exclusive_group()
    only.add_argument("--build-only", action="store_true", help="stop after sam build; needs no account")
    only.add_argument("--secrets-only", action="store_true", help="make the secrets that are absent, and stop")
    only.add_argument("--web-only", action="store_true", help="send the web pages to a stack that is deployed, and stop")
    only.add_argument("--rotate", metavar="NAME", help="give one secret a new random value, and stop; functions see it within five minutes")
    return p.parse_args(arguments)


# ------------------------------------------------------------------ answers


def remembered(stack):
    """Region and parameters of the last run for this stack."""
    if not CONFIG.exists():
        return None, {}
    try:
        saved = tomllib.loads(CONFIG.read_text()).get(stack, {}).get("deploy", {}).get("parameters", {})
    except tomllib.TOMLDecodeError as problem:
        raise Refused(f"samconfig.toml can't be read ({problem}); mend or remove it") from None
    overrides = saved.get("parameter_overrides", "")
    words = overrides if isinstance(overrides, list) else shlex.split(overrides)
    return saved.get("region"), dict(w.split("=", 1) for w in words)


def remember(stack, region, parameters):
    """Writes this stack's section anew and leaves the others as they are."""
    text = CONFIG.read_text() if CONFIG.exists() else "version = 0.1\n"
    header = f"[{json.dumps(stack)}.deploy.parameters]"
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("["):
            inside = line.strip() == header
        if not inside:
            lines.append(line)
    overrides = " ".join(f"{k}={json.dumps(v)}" for k, v in parameters.items())
    lines = "\n".join(lines).rstrip("\n").split("\n")
    lines += ["", header, f"stack_name = {json.dumps(stack)}", f"region = {json.dumps(region)}", 'capabilities = "CAPABILITY_IAM"',
              "resolve_s3 = true", f"parameter_overrides = {json.dumps(overrides)}", ""]
    half = CONFIG.with_suffix(".new")
    half.write_text("\n".join(lines))
    half.replace(CONFIG)


def ask(question, default, yes):
    if yes:
        return default
    if not sys.stdin.isatty():
        raise Refused("no terminal to ask on; give --yes, and what it needs by --set")
    answer = input(f"{question} [{default}]: ").strip()
    return default if answer == "" else "" if answer == "-" else answer


def settle(options, template):
    """Stack, region and all parameters that differ from the template's defaults."""
    stack = options.stack or ask("stack name", "kiln-staging", options.yes)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,47}", stack):
        raise Refused(f"{stack!r} is no name for a stack: a letter, then letters, digits and dashes, 48 at most")
    old_region, parameters = remembered(stack)
    old_domain = parameters.get("DomainName")
    region = options.region or old_region or boto3.session.Session().region_name
    region = region if options.yes or options.region else ask("region", region or "eu-central-1", False)
    if not region:
        raise Refused("which region? give --region, or set AWS_REGION")

    known = template["Parameters"]
    given = {}
    for word in options.set:
        name, sign, value = word.partition("=")
        if not sign or name not in known:
            raise Refused(f"--set {word}: it takes NAME=VALUE, and the names are {', '.join(sorted(known))}")
        given[name] = value
    parameters = {k: v for k, v in {**parameters, **given}.items() if k in known}
    if options.architecture:
        parameters["Architecture"] = options.architecture
    parameters.setdefault("Architecture", "arm64")
    # Building, secrets and pages need no answers.
    if not (options.build_only or options.secrets_only or options.web_only or options.rotate):
        for name, words in ASKED.items():
            if name not in given and not (name == "CertificateArn" and not parameters.get("DomainName")):
                default = parameters.get(name, "production" if name == "Stage" and "prod" in stack else str(known[name].get("Default", "")))
                parameters[name] = ask(f"{name}: {words} ('-' for nothing)", default, options.yes)
        if not parameters.get("MailFrom"):
            raise Refused("nobody could sign in: MailFrom is missing (--set MailFrom=…)")
        for name, value in parameters.items():
            check_value(name, value, known[name])
        if bool(parameters.get("DomainName")) != bool(parameters.get("CertificateArn")):
            raise Refused("DomainName and CertificateArn go together")
        if "PublicUrl" not in given:
            if parameters.get("DomainName"):
                parameters["PublicUrl"] = f"https://{parameters['DomainName']}"
            elif old_domain and parameters.get("PublicUrl") == f"https://{old_domain}":
                del parameters["PublicUrl"]  # the domain was taken away, so the distribution's own name is asked for again
        parameters.setdefault("PublicUrl", PENDING_URL)
    # One that is set to nothing must be said: what a deploy leaves out stays as it was.
    return stack, region, {k: v for k, v in parameters.items() if v != "" or k in given}


def check_value(name, value, rule):
    """What CloudFormation would refuse too, only minutes later."""
    if "AllowedValues" in rule and value not in [str(v) for v in rule["AllowedValues"]]:
        raise Refused(f"{name} is {value!r}; it takes {', '.join(str(v) for v in rule['AllowedValues'])}")
    if "AllowedPattern" in rule and not re.search(rule["AllowedPattern"], value):
        raise Refused(f"{name} is {value!r}; it takes {rule.get('ConstraintDescription', rule['AllowedPattern'])}")
    least, most = rule.get("MinValue", 0), rule.get("MaxValue", 10**15)
    if rule["Type"] == "Number" and not (value.isdigit() and least <= int(value) <= most):
        raise Refused(f"{name} is {value!r}; it takes a whole number from {least} to {most}")


# ------------------------------------------------------------------ steps


def need_account(session):
    try:
        who = session.client("sts").get_caller_identity()
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.TokenRetrievalError, botocore.exceptions.ProfileNotFound):
        raise Refused("no AWS credentials here; sign in first (aws sso login, or AWS_PROFILE, or the usual variables)") from None
    except botocore.exceptions.ClientError as problem:
        raise Refused(f"AWS refuses these credentials: {problem.response['Error']['Code']}") from None
    say(f"account {who['Account']}")


def secret_name(stack, name):
    return f"/kiln/{stack}/{name}"


def make_secrets(session, template, stack):
    """Every SecureString that the template lists and the account lacks gets 256 random bits. What exists is left alone."""
    ssm = session.client("ssm")
    for entry in template["Metadata"]["Kiln"]["SecureStrings"]:
        name = secret_name(stack, entry["Name"])
        if "Given" in entry:
            put_given(ssm, name, entry)
            continue
        try:
            # One conditional write and no look before it: two deploys at a time can't replace each other's value.
            ssm.put_parameter(Name=name, Type="SecureString", Value=secrets.token_hex(32), Overwrite=False,
                              Description=f"Read by {', '.join(entry['Functions'])}; made by scripts/deploy")
            say(f"secret {name}: made")
        except ssm.exceptions.ParameterAlreadyExists:
            say(f"secret {name}: there already")


def put_given(ssm, name, entry):
    """A secret that is somebody else's to make: what the environment gives replaces what is there; given nothing, nothing is made up."""
    given = os.environ.get(entry["Given"], "").strip()
    try:
        ssm.put_parameter(Name=name, Type="SecureString", Value=given or "unset", Overwrite=bool(given),
                          Description=f"Read by {', '.join(entry['Functions'])}; given by {entry['Given']}")
        say(f"secret {name}: {'set' if given else 'unset; give ' + entry['Given'] + ' to sell'}")
    except ssm.exceptions.ParameterAlreadyExists:
        say(f"secret {name}: there already")


def rotate(session, template, stack, which):
    entries = {e["Name"]: e for e in template["Metadata"]["Kiln"]["SecureStrings"]}
    if which not in entries:
        raise Refused(f"no secret is called {which}; there are {', '.join(entries)}")
    if "Given" in entries[which]:
        raise Refused(f"{which} is somebody else's to make: deploy with {entries[which]['Given']} set to the new one")
    ssm, name = session.client("ssm"), secret_name(stack, which)
    try:
        # A typing error in --stack must not make a secret that nothing reads.
        old = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ssm.exceptions.ParameterNotFound:
        raise Refused(f"{name} doesn't exist in {session.region_name}; is the stack's name right?") from None
    # A key that encrypts what is kept goes before the old ones, which still open what they closed; a parameter holds 4 kB.
    kept = old.split(",")[:KEYS_KEPT] if entries[which].get("KeepsOld") else []
    version = ssm.put_parameter(Name=name, Type="SecureString", Value=",".join([secrets.token_hex(32), *kept]), Overwrite=True)["Version"]
    say(f"secret {name}: version {version}; every function uses it within five minutes, without a deploy")


def need_target(architecture):
    """Says at once, and not after minutes of building, that the toolchain can't build for this machine."""
    target = TARGETS[architecture]
    try:
        folder = subprocess.run(["rustc", "--print", "target-libdir", "--target", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        raise Refused("rustc is missing; install Rust by rustup") from None
    except subprocess.CalledProcessError as problem:
        raise Refused(f"rustc doesn't know {target}: {problem.stderr.strip()}") from None
    if not list(Path(folder).glob("libstd-*.rlib")):
        other = "x86_64" if architecture == "arm64" else "arm64"
        raise Refused(f"the standard library for {architecture} is not installed. Either `rustup target add {target}`, "
                      f"or build for {other}: scripts/deploy --architecture {other}")


def sam(arguments, **more):
    environment = dict(os.environ, SAM_CLI_TELEMETRY="0")
    # cargo-lambda's own place, when the machine has none; sam looks for it on the path.
    if arguments[0] == "build" and not shutil.which("cargo-lambda"):
        made = subprocess.run([ROOT / "scripts/venv", "build", "infra/aws/build-requirements.txt"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        environment["PATH"] = made.stdout.strip() + os.pathsep + environment["PATH"]
    done = subprocess.run([Path(sys.executable).parent / "sam", *arguments], cwd=ROOT, env=environment, **more)
    if done.returncode != 0:
        raise Refused(f"sam {arguments[0]} failed; its words are above")


def overrides(parameters):
    # sam takes nothing after the sign for a mistake.
    return ["--parameter-overrides", *(f"{k}={v}" if v else f'{k}=""' for k, v in parameters.items())]


def build(parameters, function=None):
    need_target(parameters["Architecture"])
    say(f"building {function or 'the functions'} for {parameters['Architecture']}; the first time takes minutes")
    sam(["build", *([function] if function else []), "--template-file", "template.yaml", *overrides(parameters)])


def outputs(session, stack):
    try:
        found = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    except botocore.exceptions.ClientError:
        raise Refused(f"there is no stack {stack} in {session.region_name}") from None
    return {o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", [])}


def deploy(session, stack, region, parameters):
    def once():
        remember(stack, region, parameters)
        sam(["deploy", "--stack-name", stack, "--region", region, "--capabilities", "CAPABILITY_IAM", "--resolve-s3",
             "--no-fail-on-empty-changeset", "--no-confirm-changeset", *overrides(parameters)])
        return outputs(session, stack)

    result = once()
    if parameters["PublicUrl"] == PENDING_URL:
        # The functions must know the address, and the distribution, whose address it is, must know the functions.
        parameters["PublicUrl"] = result["CdnUrl"]
        say(f"the address is {result['CdnUrl']}; deploying once more, so that the functions know it")
        result = once()
    return result


def send_web(session, bucket):
    dist = ROOT / "web/dist"
    if not (dist / "index.html").exists():
        if not (ROOT / "web/package.json").exists() or not shutil.which("npm"):
            raise Refused("web/dist is missing and can't be built here; it needs Node 20: (cd web && npm ci && npm run build)")
        say("building the web pages")
        for command in (["npm", "ci"], ["npm", "run", "build"]):
            if subprocess.run(command, cwd=ROOT / "web").returncode != 0:
                raise Refused(f"{' '.join(command)} failed in web/; its words are above")
    s3 = session.client("s3")
    files = sorted((f for f in dist.rglob("*") if f.is_file()), key=lambda f: f.name == "index.html")
    for file in files:  # index.html last: it must never name a file that isn't there yet
        key = file.relative_to(dist).as_posix()
        # Names under assets/ hold a hash of their content. All else is asked for anew, so a deploy shows without an invalidation.
        keep = "public, max-age=31536000, immutable" if key.startswith("assets/") else "no-cache"
        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        if kind.startswith("text/") or kind in ("application/javascript", "application/json"):
            kind += "; charset=utf-8"
        s3.put_object(Bucket=bucket, Key=key, Body=file.read_bytes(), ContentType=kind, CacheControl=keep)
    say(f"{len(files)} web files sent")


def main():
    options = parse(sys.argv[1:])
    template = yaml.load((ROOT / "template.yaml").read_text(), CfnLoader)
    if options.function and not options.build_only:
        raise Refused("--function goes with --build-only: a stack is deployed as a whole")
    if options.function and template["Resources"].get(options.function, {}).get("Type") != "AWS::Serverless::Function":
        raise Refused(f"template.yaml has no function {options.function}")
    if options.build_only:
        options.yes, options.region = True, options.region or "us-east-1"  # neither is looked at
    stack, region, parameters = settle(options, template)
    if options.build_only:
        build({"Architecture": parameters["Architecture"]}, options.function)
        return
    session = boto3.session.Session(region_name=region)
    need_account(session)
    if options.rotate:
        rotate(session, template, stack, options.rotate)
        return
    if options.web_only:
        send_web(session, outputs(session, stack)["WebBucketName"])
        return
    if options.secrets_only:
        make_secrets(session, template, stack)
        return
    build(parameters)
    make_secrets(session, template, stack)
    result = deploy(session, stack, region, parameters)
    send_web(session, result["WebBucketName"])
    say(f"done: {result['PublicUrl']}")
    if parameters.get("DomainName"):
        say(f"point {parameters['DomainName']} at {result['CdnUrl'].removeprefix('https://')} (CNAME, or an alias record)")
    say(f"try it: scripts/smoke {result['PublicUrl']}")
    say(f"the admin key: aws ssm get-parameter --region {region} --with-decryption --name {secret_name(stack, 'admin-key')} --query Parameter.Value")


if __name__ == "__main__":
    try:
        main()
    except Refused as reason:
        print(f"deploy: {reason}", file=sys.stderr)
        sys.exit(1)
    except botocore.exceptions.BotoCoreError as problem:
        print(f"deploy: AWS can't be reached: {problem}", file=sys.stderr)
        sys.exit(1)
    except botocore.exceptions.ClientError as problem:
        error = problem.response["Error"]
        print(f"deploy: AWS refuses {problem.operation_name}: {error['Code']}: {error.get('Message', '')}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, EOFError):
        print("\ndeploy: stopped; run it again to go on", file=sys.stderr)
        sys.exit(130)
