"""Our own check of template.yaml, rights.yaml and events/: what cfn-lint and sam let pass and must not reach an account.

It promises: every rule here has a planted fault in faults() that it is seen to catch (--self-test), and it needs no network and no account.
What CloudFormation's own schema demands is left to cfn-lint.
"""

import copy
import json
import re
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MOST_ALARMS = 10
TOLD_OF = ("AWS::S3::Bucket", "AWS::SQS::Queue", "AWS::Serverless::Function")  # a function with a right on one is told of it by its environment, and the other way round
MOST_ALARM_METRICS = 10  # what an account has free each month; an eleventh costs ten cents
RUNTIME = "provided.al2023"
# HTTP APIs give up after 30 s, so a function behind a route must have answered before.
MOST_HTTP_TIMEOUT_S = 29
# A tick must be over before the next one starts.
MOST_TICK_TIMEOUT_S = 59
# Rights on more than one named thing: (where it is granted, action, resource), and what binds it instead. AWS knows no narrower resource for these
# reads; what has no id yet is bound by the tag that it is made with, what is ended by the tag that it has, a subnet by its network. The only list.
LABELLED = "aws:RequestTag/kiln:label StringLike kiln/${AWS::StackName}.*/*"
MADE_BY_RENTING = [f"ec2:{what}/*" for what in ("instance", "volume", "network-interface", "spot-instances-request")]
ALLOWED_WILDCARDS: dict[tuple[str, str, str], str | None] = {
    **{("WarmPoolRentsAtEc2", f"ec2:{read}", "*"): None for read in ("DescribeInstances", "DescribeSubnets", "DescribeImages", "DescribeSpotPriceHistory")},
    **{("WarmPoolRentsAtEc2", "ec2:RunInstances", what): LABELLED for what in MADE_BY_RENTING},
    **{("WarmPoolRentsAtEc2", "ec2:CreateTags", what): "ec2:CreateAction = RunInstances" for what in MADE_BY_RENTING},
    ("WarmPoolRentsAtEc2", "ec2:RunInstances", "ec2:subnet/*"): "ec2:Vpc ArnEquals ec2:vpc/${Ec2VpcId}",
    ("WarmPoolRentsAtEc2", "ec2:TerminateInstances", "ec2:instance/*"): "aws:ResourceTag/kiln:label StringLike kiln/${AWS::StackName}.*/*",
}


# ------------------------------------------------------------------ reading


class CfnLoader(yaml.SafeLoader):
    """Reads CloudFormation's short tags into their long forms, and refuses a key that is given twice."""


def _tag(loader, suffix, node):
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {name: value}


def _mapping(loader, node, deep=False):
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value} is given twice")
        seen.add(key.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


def _map_constructor(loader, node):
    return _mapping(loader, node, deep=True)


CfnLoader.add_multi_constructor("!", _tag)
CfnLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _map_constructor)


def load():
    events = {}
    for path in sorted((ROOT / "events").glob("*.json")):
        events[path.name] = json.loads(path.read_text())
    crates = {}
    for path in sorted((ROOT / "functions").glob("*/Cargo.toml")):
        crates[path.parent.name] = tomllib.loads(path.read_text())["package"]["name"]
    return {
        "template": yaml.load((ROOT / "template.yaml").read_text(), CfnLoader),
        "rights": yaml.load((ROOT / "infra/aws/rights.yaml").read_text(), CfnLoader),
        "events": events,
        "crates": crates,
    }


def kept_by(function):
    """The queues that Lambda puts what this function failed at into, where nobody waits for an answer."""
    on_failure = function["Properties"].get("EventInvokeConfig", {}).get("DestinationConfig", {}).get("OnFailure", {})
    return refs(on_failure.get("Destination", {})) if on_failure.get("Type") == "SQS" else set()


def as_list(value):
    return value if isinstance(value, list) else [value]


def of_type(t, kind):
    return {name: r for name, r in t["Resources"].items() if r["Type"] == kind}


def functions(t):
    return of_type(t, "AWS::Serverless::Function")


def short_name(function):
    """kiln-warm-pool is warm-pool: its folder in functions/ and the start of its files in events/."""
    return function.get("Metadata", {}).get("BuildProperties", {}).get("Binary", "").removeprefix("kiln-")


def events_of(function, kind):
    return {n: e.get("Properties", {}) for n, e in function["Properties"].get("Events", {}).items() if e["Type"] == kind}


def label(resource):
    """One word for a statement's resource: Table, Table/index/owed, MediaBucket/inputs/*, ssm:parameter/…; never an ARN."""
    if isinstance(resource, str):
        return resource
    if "Fn::GetAtt" in resource:
        name, attribute = as_list(resource["Fn::GetAtt"])[0], ".".join(as_list(resource["Fn::GetAtt"])[1:])
        return name if attribute == "Arn" else f"{name}.{attribute}"
    if "Fn::Sub" in resource:
        text = as_list(resource["Fn::Sub"])[0]
        text = re.sub(r"\$\{(\w+)\.Arn\}", r"\1", text)
        return re.sub(r"^arn:\$\{AWS::Partition\}:(\w+):\$\{AWS::Region\}:\$\{AWS::AccountId\}:", r"\1:", text)
    return json.dumps(resource, sort_keys=True)


def statements(t, role):
    """All statements of a role: its own and those of the policies attached to it from outside."""
    found = []
    for policy in t["Resources"][role]["Properties"].get("Policies", []):
        found += as_list(policy["PolicyDocument"]["Statement"])
    for attached in of_type(t, "AWS::IAM::RolePolicy").values():
        if attached["Properties"]["RoleName"] == {"Ref": role}:
            found += as_list(attached["Properties"]["PolicyDocument"]["Statement"])
    return found


def role_of(function):
    return as_list(function["Properties"].get("Role", {}).get("Fn::GetAtt", [None]))[0]


def leading_keys(statement):
    return statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")


def other_condition(statement):
    """What besides the partition keys binds a statement, in words, or None."""
    words = []
    for operator, tests in statement.get("Condition", {}).items():
        for key, value in tests.items():
            if key != "dynamodb:LeadingKeys":
                sign = "=" if operator == "StringEquals" else operator
                words.append(f"{key} {sign} {label(value) if not isinstance(value, dict) or 'Ref' not in value else value['Ref']}")
    return ", ".join(words) or None


def flat_rights(rights_or_statements, groups=None):
    """(action, resource, keys, condition) for each right, from either of the two descriptions."""
    flat = set()
    for s in rights_or_statements:
        if groups is not None:
            actions = [a for word in s["may"] for a in groups.get(word, [word])]
            resources, keys, only = s["what"], s.get("keys"), s.get("only")
        else:
            actions, resources = as_list(s["Action"]), [label(r) for r in as_list(s["Resource"])]
            keys, only = leading_keys(s), other_condition(s)
        flat |= {(a, r, tuple(sorted(keys or [])), only) for a in actions for r in resources}
    return flat


def refs(value):
    """Every logical id that a value names."""
    found = set()
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            found.add(value["Ref"])
        elif set(value) == {"Fn::GetAtt"}:
            found.add(as_list(value["Fn::GetAtt"])[0])
        elif set(value) == {"Fn::Sub"}:
            found |= {m.split(".")[0] for m in re.findall(r"\$\{([^!][^}]*)\}", as_list(value["Fn::Sub"])[0])}
            found |= refs(as_list(value["Fn::Sub"])[1:])
        else:
            for v in value.values():
                found |= refs(v)
    elif isinstance(value, list):
        for v in value:
            found |= refs(v)
    return found


# ------------------------------------------------------------------ the rules: each yields one line a finding


def check_runtimes(p):
    t = p["template"]
    shared = t["Globals"]["Function"]
    if shared.get("Runtime") != RUNTIME:
        yield f"Globals: the runtime is {shared.get('Runtime')!r} and must be {RUNTIME}"
    if shared.get("Architectures") != [{"Ref": "Architecture"}]:
        yield "Globals: Architectures must be [!Ref Architecture]"
    if set(t["Parameters"]["Architecture"]["AllowedValues"]) != {"arm64", "x86_64"} or t["Parameters"]["Architecture"].get("Default") != "arm64":
        yield "Parameters: Architecture must offer arm64 (the default) and x86_64"
    if shared.get("Handler") != "bootstrap" or shared.get("CodeUri") != ".":
        yield "Globals: Handler must be bootstrap and CodeUri the workspace"
    for key in ("MemorySize", "Timeout"):
        if not isinstance(shared.get(key), int):
            yield f"Globals: {key} is missing"
    for name, f in functions(t).items():
        own = f["Properties"]
        for key in ("Runtime", "Architectures", "Handler", "CodeUri"):
            if key in own:
                yield f"{name}: {key} belongs in Globals"
        if not isinstance(own.get("MemorySize"), int) or not 128 <= own["MemorySize"] <= 3008:
            yield f"{name}: MemorySize must be said, between 128 and 3008"
        most = MOST_HTTP_TIMEOUT_S if events_of(f, "HttpApi") else MOST_TICK_TIMEOUT_S
        if not isinstance(own.get("Timeout"), int) or not 1 <= own["Timeout"] <= most:
            yield f"{name}: Timeout must be said, between 1 and {most} seconds"


def check_builds(p):
    t = p["template"]
    built = {}
    for name, f in functions(t).items():
        if f.get("Metadata", {}).get("BuildMethod") != "rust-cargolambda":
            yield f"{name}: BuildMethod must be rust-cargolambda"
        binary = f.get("Metadata", {}).get("BuildProperties", {}).get("Binary", "")
        if p["crates"].get(short_name(f)) != binary or not binary:
            yield f"{name}: no crate functions/{short_name(f)} is named {binary!r}"
        if binary in built:
            yield f"{name}: {binary} is {built[binary]} already"
        built[binary] = name
    for crate, package in p["crates"].items():
        if package not in built:
            yield f"functions/{crate}: no function of the template runs {package}"


def check_wildcards(p):
    t = p["template"]
    for name, r in t["Resources"].items():
        documents = [x["PolicyDocument"] for x in r.get("Properties", {}).get("Policies", []) if isinstance(x, dict) and "PolicyDocument" in x]
        if "PolicyDocument" in r.get("Properties", {}):
            documents.append(r["Properties"]["PolicyDocument"])
        for s in (s for d in documents for s in as_list(d["Statement"])):
            if s["Effect"] == "Deny":
                continue
            for key in ("NotAction", "NotResource", "NotPrincipal"):
                if key in s:
                    yield f"{name}: {key} grants what nobody listed"
            if s.get("Principal") in ("*", {"AWS": "*"}):
                yield f"{name}: the statement {s.get('Sid')} lets anybody in"
            for resource in as_list(s.get("Resource", [])):
                words = label(resource)
                for action in as_list(s["Action"]):
                    allowed = (name, action, words)
                    if allowed in ALLOWED_WILDCARDS and ALLOWED_WILDCARDS[allowed] == other_condition(s):
                        continue
                    if "*" in action:
                        yield f"{name}: the action {action} is a wildcard"
                    objects = re.fullmatch(r"(\w+)/([\w/-]+/)?\*", words)
                    of_bucket = objects and t["Resources"].get(objects[1], {}).get("Type") == "AWS::S3::Bucket"
                    if "*" in words and not of_bucket:
                        yield f"{name}: {action} on {words} is a wildcard"


def check_roles(p):
    t = p["template"]
    users = {}
    for name, f in functions(t).items():
        role = role_of(f)
        if role is None or t["Resources"].get(role, {}).get("Type") != "AWS::IAM::Role":
            yield f"{name}: it must name a role of the template; the one that SAM makes may write every log of the account"
            continue
        if "Policies" in f["Properties"]:
            yield f"{name}: its policies belong into {role}"
        if role in users:
            yield f"{name}: it shares {role} with {users[role]}"
        users[role] = name
        trust = as_list(t["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"])
        if [s.get("Principal") for s in trust] != [{"Service": "lambda.amazonaws.com"}]:
            yield f"{role}: only Lambda may assume it"
    for name, r in t["Resources"].items():
        if r["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::IAM::UserPolicy", "AWS::IAM::User"):
            yield f"{name}: rights are written in a role or a RolePolicy, where this check reads them"
    for name, r in of_type(t, "AWS::IAM::Role").items():
        if "ManagedPolicyArns" in r["Properties"]:
            yield f"{name}: a managed policy grants more than is listed here"
        if name in users:
            continue
        other = p["rights"]["others"].get(name)
        if other is None:
            yield f"{name}: no function runs as it, and infra/aws/rights.yaml doesn't know it"
            continue
        trust = as_list(r["Properties"]["AssumeRolePolicyDocument"]["Statement"])
        if [s.get("Principal") for s in trust] != [{"AWS": {"Fn::GetAtt": [other["trusts"], "Arn"]}}]:
            yield f"{name}: only {other['trusts']} may assume it"
        if r["Properties"].get("MaxSessionDuration", 3600) > 3600:
            yield f"{name}: it is lent for an hour at most"


def check_rights(p):
    t, table = p["template"], p["rights"]
    groups = table["groups"]
    expected = {name: row["rights"] for name, row in table["functions"].items()}
    roles = {name: role_of(f) for name, f in functions(t).items()}
    for name, row in table["others"].items():
        expected[name], roles[name] = row["rights"], name
    for name in sorted(set(expected) ^ set(roles)):
        yield f"{name}: it is only in one of template.yaml and infra/aws/rights.yaml"
    for name in sorted(set(expected) & set(roles)):
        if roles[name] not in t["Resources"]:
            continue  # check_roles says so
        own_log = {"logs:CreateLogStream", "logs:PutLogEvents"}
        listed = flat_rights(expected[name], groups)
        granted = {r for r in flat_rights(statements(t, roles[name])) if r[0] not in own_log}
        for action, resource, keys, only in sorted(granted - listed, key=str):
            yield f"{name}: {action} on {resource} {list(keys) or ''} {only or ''} is granted and not in infra/aws/rights.yaml"
        for action, resource, keys, only in sorted(listed - granted, key=str):
            yield f"{name}: {action} on {resource} {list(keys) or ''} {only or ''} is in infra/aws/rights.yaml and not granted"
        for right in expected[name]:
            if not right.get("why"):
                yield f"{name}: {right['may']} on {right['what']} has no reason"


def check_keys(p):
    t = p["template"]
    for role in of_type(t, "AWS::IAM::Role"):
        for s in statements(t, role):
            if any(a.startswith("dynamodb:") for a in as_list(s["Action"])):
                on = [label(r) for r in as_list(s["Resource"])]
                if "Table" in on and not leading_keys(s):
                    yield f"{role}: {s.get('Sid')} reaches every item of the table; bind it to partition keys"
                if any(a in ("dynamodb:Scan", "dynamodb:PartiQLSelect") for a in as_list(s["Action"])):
                    yield f"{role}: {s.get('Sid')} scans, and nothing here scans"


def check_secrets(p):
    t = p["template"]
    declared = {}
    for entry in t["Metadata"]["Kiln"]["SecureStrings"]:
        declared[entry["Name"]] = set(entry["Functions"])
    granted = {}
    for name, f in functions(t).items():
        for s in statements(t, role_of(f)) if role_of(f) in t["Resources"] else []:
            for action in as_list(s["Action"]):
                if action.startswith("ssm:"):
                    for r in as_list(s["Resource"]):
                        granted.setdefault(label(r).removeprefix("ssm:parameter/kiln/${AWS::StackName}/"), set()).add(name)
    for secret in sorted(set(declared) | set(granted)):
        if declared.get(secret, set()) != granted.get(secret, set()):
            yield f"secret {secret}: Metadata says {sorted(declared.get(secret, []))} read it, the policies say {sorted(granted.get(secret, []))}"
    for name, parameter in t["Parameters"].items():
        if re.search(r"secret|password|key$", name, re.I) or parameter.get("NoEcho"):
            yield f"parameter {name}: a secret is never a parameter; list it in Metadata.Kiln.SecureStrings"


def check_alarms(p):
    t = p["template"]
    alarms = of_type(t, "AWS::CloudWatch::Alarm")
    metrics = 0
    if not 1 <= len(alarms) <= MOST_ALARMS:
        yield f"{len(alarms)} alarms, and there may be one to {MOST_ALARMS}"
    if "AlarmTopic" not in of_type(t, "AWS::SNS::Topic"):
        yield "there is no AlarmTopic, to which alarms go"
    for name, a in alarms.items():
        own = a["Properties"]
        if own.get("AlarmActions") != [{"Ref": "AlarmTopic"}]:
            yield f"{name}: it must go to the topic, and nowhere else"
        if own.get("ActionsEnabled", True) is not True:
            yield f"{name}: its actions are off"
        for key in ("AlarmDescription", "TreatMissingData", "Threshold", "EvaluationPeriods"):
            if key not in own:
                yield f"{name}: {key} is missing"
        watched = [own] if "MetricName" in own else [m["MetricStat"]["Metric"] for m in own.get("Metrics", []) if "MetricStat" in m]
        metrics += len(watched)
        for m in watched:
            dimensions = m.get("Dimensions", [])
            if not dimensions or not all(refs(d.get("Value")) for d in dimensions):
                yield f"{name}: {m.get('MetricName')} must be bound to a resource of this deployment"
        if not watched:
            yield f"{name}: it watches nothing"
    if metrics > MOST_ALARM_METRICS:
        yield f"the alarms watch {metrics} metrics; each above {MOST_ALARM_METRICS} costs money while nobody is using Kiln"


def check_runs(p):
    """What is called and not waited for fails in silence: it must be kept, and somebody called."""
    t = p["template"]
    watched = set()
    for a in of_type(t, "AWS::CloudWatch::Alarm").values():
        watched |= {name for d in a["Properties"].get("Dimensions", []) for name in refs(d.get("Value"))}
    for name, f in functions(t).items():
        if not events_of(f, "Schedule") and not events_of(f, "SNS"):
            continue
        queues = kept_by(f) & set(of_type(t, "AWS::SQS::Queue"))
        if not queues:
            yield f"{name}: nobody keeps what it failed at; EventInvokeConfig.DestinationConfig.OnFailure must be a queue of the template"
        for queue in queues - watched:
            yield f"{name}: no alarm watches {queue}, where its failed runs are kept"


def check_topics(p):
    """A topic that functions hear: who may publish to it decides what they believe."""
    t = p["template"]
    policies = {}
    for r in of_type(t, "AWS::SNS::TopicPolicy").values():
        for topic in r["Properties"]["Topics"]:
            policies.setdefault(next(iter(refs(topic)), None), []).extend(as_list(r["Properties"]["PolicyDocument"]["Statement"]))
    heard = {next(iter(refs(e["Topic"])), None) for f in functions(t).values() for e in events_of(f, "SNS").values()}
    for name, r in of_type(t, "AWS::SNS::Topic").items():
        if name == "AlarmTopic":
            continue
        if r["Properties"].get("SignatureVersion") != "2":
            yield f"{name}: it must sign with version 2; version 1 is SHA-1"
        if name not in heard:
            yield f"{name}: no function hears it"
        if not policies.get(name):
            yield f"{name}: without a policy of its own the whole account may publish to it"
        for s in policies.get(name, []):
            bound = s.get("Condition", {}).get("StringEquals", {})
            if s["Effect"] != "Allow" or set(s.get("Principal", {})) != {"Service"} or as_list(s["Action"]) != ["sns:Publish"]:
                yield f"{name}: the statement {s.get('Sid')} lets somebody else than a service publish, or do more"
            if bound.get("AWS:SourceAccount") != {"Ref": "AWS::AccountId"} or "AWS:SourceArn" not in bound:
                yield f"{name}: the statement {s.get('Sid')} lets that service publish for other accounts or other things"
    for name, f in functions(t).items():
        for e in events_of(f, "SNS").values():
            if t["Resources"].get(next(iter(refs(e["Topic"])), None), {}).get("Type") != "AWS::SNS::Topic" or "AlarmTopic" in refs(e["Topic"]):
                yield f"{name}: it hears no topic of the template that is for functions"


def check_queues(p):
    t = p["template"]
    queues = of_type(t, "AWS::SQS::Queue")
    targets = set()
    for q in queues.values():
        targets |= refs(q["Properties"].get("RedrivePolicy", {}).get("deadLetterTargetArn", {}))
    failed = set().union(*(kept_by(f) for f in functions(t).values()))
    for name, q in queues.items():
        own = q["Properties"]
        # An operator reads what is kept of failed runs; check_runs sees that they are called.
        if name in failed and own.get("MessageRetentionPeriod") != 1209600:
            yield f"{name}: what failed is kept for 14 days"
        if name not in targets | failed and not ("RedrivePolicy" in own and targets & set(queues)):
            yield f"{name}: a message that nobody can use stays in it; it needs a RedrivePolicy"
        if not own.get("SqsManagedSseEnabled"):
            yield f"{name}: SqsManagedSseEnabled is missing"
        if name in targets:
            if own.get("MessageRetentionPeriod") != 1209600:
                yield f"{name}: what is dead is kept for 14 days"
            readers = [n for n, f in functions(t).items() for e in events_of(f, "SQS").values() if refs(e["Queue"]) == {name}]
            if not readers:
                yield f"{name}: nobody reads it"
    for fname, f in functions(t).items():
        for e in events_of(f, "SQS").values():
            queue = t["Resources"][next(iter(refs(e["Queue"])))]["Properties"]
            if queue.get("VisibilityTimeout", 30) < 6 * f["Properties"].get("Timeout", 900):
                yield f"{fname}: its queue's VisibilityTimeout must be six times its Timeout"
            if e.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
                yield f"{fname}: without ReportBatchItemFailures one bad message brings back its whole batch"


def check_logs(p):
    t = p["template"]
    groups = of_type(t, "AWS::Logs::LogGroup")
    for name, g in groups.items():
        if g["Properties"].get("RetentionInDays") != {"Ref": "LogRetentionDays"}:
            yield f"{name}: RetentionInDays must be !Ref LogRetentionDays, or its lines are kept for ever"
    used = {}
    for name, f in functions(t).items():
        group = f["Properties"].get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
        if group not in groups:
            yield f"{name}: LoggingConfig.LogGroup must name a log group of the template"
            continue
        if group in used:
            yield f"{name}: it shares {group} with {used[group]}"
        used[group] = name
        if role_of(f) not in t["Resources"]:
            continue
        writes = [s for s in statements(t, role_of(f)) if any(a.startswith("logs:") for a in as_list(s["Action"]))]
        if [[label(r) for r in as_list(s["Resource"])] for s in writes] != [[group]]:
            yield f"{role_of(f)}: it must write {group} and no other log"
    for name, api in of_type(t, "AWS::Serverless::HttpApi").items():
        log = api["Properties"].get("AccessLogSettings", {})
        if not refs(log.get("DestinationArn", {})) & set(groups):
            yield f"{name}: it has no access log"
        for secret in ("path", "rawPath", "querystring", "http.path", "identity", "cookie", "header", "authorizer", "protocol.path"):
            if re.search(rf"\$context\.(\w+\.)*{re.escape(secret)}", log.get("Format", ""), re.I):
                yield f"{name}: its access log writes {secret}, which may hold a token or say who somebody is"


def check_table(p):
    t = p["template"]
    tables = of_type(t, "AWS::DynamoDB::Table")
    if list(tables) != ["Table"]:
        yield "there is one table, named Table"
    for name, r in tables.items():
        own = r["Properties"]
        if not own.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            yield f"{name}: point-in-time recovery is off"
        if own.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{name}: it must cost nothing while nobody is using it (PAY_PER_REQUEST)"
        if own.get("TimeToLiveSpecification") != {"AttributeName": "ttl", "Enabled": True}:
            yield f"{name}: the attribute ttl must be its time to live"
        if "Retain" not in r.get("DeletionPolicy", "") or "Retain" not in r.get("UpdateReplacePolicy", ""):
            yield f"{name}: it must be kept when the stack goes"
        if own.get("DeletionProtectionEnabled") != {"Fn::If": ["IsProduction", True, False]}:
            yield f"{name}: production must refuse to delete it"
        keys = [(k["AttributeName"], k["KeyType"]) for k in own["KeySchema"]]
        if keys != [("pk", "HASH"), ("sk", "RANGE")]:
            yield f"{name}: its key is pk, sk"
        for index in own.get("GlobalSecondaryIndexes", []):
            if index["Projection"]["ProjectionType"] == "ALL":
                yield f"{name}: the index {index['IndexName']} copies whole items, so each write costs twice"


def check_buckets(p):
    t = p["template"]
    deny = {}
    for r in of_type(t, "AWS::S3::BucketPolicy").values():
        for s in as_list(r["Properties"]["PolicyDocument"]["Statement"]):
            if s["Effect"] == "Deny" and s.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}:
                deny[r["Properties"]["Bucket"]["Ref"]] = s
    for name, r in of_type(t, "AWS::S3::Bucket").items():
        own = r["Properties"]
        block = own.get("PublicAccessBlockConfiguration", {})
        if [block.get(k) for k in ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")] != [True] * 4:
            yield f"{name}: it must block public access in all four ways"
        if "BucketEncryption" not in own:
            yield f"{name}: it is not encrypted"
        if own.get("OwnershipControls", {}).get("Rules") != [{"ObjectOwnership": "BucketOwnerEnforced"}]:
            yield f"{name}: its ACLs must be off"
        if name not in deny:
            yield f"{name}: its policy must refuse what comes without TLS"
        rules = own.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in x for x in rules):
            yield f"{name}: unfinished multipart uploads stay in it, and cost"
        for x in rules:
            if x.get("Status") != "Enabled":
                yield f"{name}: the lifecycle rule {x.get('Id')} is off"
        for cors in own.get("CorsConfiguration", {}).get("CorsRules", []):
            if cors["AllowedOrigins"] != [{"Ref": "PublicUrl"}]:
                yield f"{name}: CORS must allow our own origin alone"
    kept = {("IncomingBucket", None): "IncomingRetentionDays", ("MediaBucket", "inputs/"): "InputRetentionDays", ("MediaBucket", "artifacts/"): "ArtifactRetentionDays"}
    for (bucket, prefix), parameter in kept.items():
        rules = t["Resources"].get(bucket, {}).get("Properties", {}).get("LifecycleConfiguration", {}).get("Rules", [])
        if not any(x.get("Prefix") == prefix and x.get("ExpirationInDays") == {"Ref": parameter} for x in rules):
            yield f"{bucket}: {prefix or 'all of it'} must expire by {parameter}"


def check_routes(p):
    t = p["template"]
    apis = of_type(t, "AWS::Serverless::HttpApi")
    seen = {}
    for name, f in functions(t).items():
        if not f["Properties"].get("Events"):
            yield f"{name}: nothing calls it"
        for event, e in events_of(f, "HttpApi").items():
            route = (e.get("Method"), re.sub(r"\{[^}]+\}", "{}", e.get("Path", "")))
            words = f"{e.get('Method')} {e.get('Path')}"
            if e.get("ApiId", {}).get("Ref") not in apis:
                yield f"{name}: {event} belongs to no API of the template"
            if e.get("Method") not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                yield f"{name}: {words} has no method of its own; a function takes only what it serves"
            if not re.fullmatch(r"/api/v1(/[a-z0-9.-]+|/\{[a-z_]+\})+", e.get("Path", "")):
                yield f"{name}: {words} is not a path under /api/v1"
            if route in seen:
                yield f"{name}: {words} is served by {seen[route]} already"
            seen[route] = name
    for name, r in t["Resources"].items():
        # A permission, integration or alias may outlive the function that it names.
        if r["Type"].startswith(("AWS::Lambda::", "AWS::ApiGatewayV2::", "AWS::Events::")):
            for target in refs(r["Properties"]):
                if target.endswith("Function") and target not in functions(t):
                    yield f"{name}: there is no {target}"
    for name, api in apis.items():
        own = api["Properties"]
        if own.get("StageName") != "$default":
            yield f"{name}: the stage must be $default; another puts its name into every path"
        limits = own.get("DefaultRouteSettings", {})
        if not limits.get("ThrottlingBurstLimit") or not limits.get("ThrottlingRateLimit"):
            yield f"{name}: its requests are not throttled"
        if own.get("CorsConfiguration", {}).get("AllowOrigins") != [{"Ref": "PublicUrl"}]:
            yield f"{name}: CORS must allow our own origin alone"


def check_schedules(p):
    for name, f in functions(p["template"]).items():
        for e in events_of(f, "Schedule").values():
            if e.get("Schedule") != "rate(1 minute)" or e.get("Enabled") is not True:
                yield f"{name}: its tick is each minute, and on"
        if events_of(f, "Schedule") and f["Properties"].get("EventInvokeConfig", {}).get("MaximumRetryAttempts") != 0:
            yield f"{name}: Lambda would run a failed tick again, beside the next one"


def invoked(t):
    """Functions that another one of ours may invoke."""
    return {r for f in functions(t).values() if role_of(f) in t["Resources"] for a, r, _, _ in flat_rights(statements(t, role_of(f))) if a == "lambda:InvokeFunction"}


def check_events(p):
    t = p["template"]
    by_name = {short_name(f): (name, f) for name, f in functions(t).items()}
    covered = set()
    for file, event in p["events"].items():
        owner = next((s for s in sorted(by_name, key=len, reverse=True) if file.startswith(f"{s}-")), None)
        if owner is None:
            yield f"events/{file}: its name must start with that of a function"
            continue
        name, f = by_name[owner]
        routes = {f"{e['Method']} {e['Path']}" for e in events_of(f, "HttpApi").values()}
        if "routeKey" in event:
            route = event["routeKey"]
            if route not in routes:
                yield f"events/{file}: {name} has no route {route}"
            path = route.split(" ", 1)[-1]
            for key, value in event.get("pathParameters", {}).items():
                path = path.replace("{%s}" % key, value)
            http = event["requestContext"]["http"]
            if event.get("version") != "2.0" or {event["rawPath"], http["path"]} != {path} or http["method"] != route.split(" ", 1)[0]:
                yield f"events/{file}: its version, path and method are not what API Gateway would send for {route}"
            covered.add((name, route))
        elif event.get("detail-type") == "Scheduled Event":
            if not events_of(f, "Schedule"):
                yield f"events/{file}: {name} has no schedule"
            covered.add((name, "Schedule"))
        elif event.get("Records") and all(r.get("eventSource") == "aws:sqs" for r in event["Records"]):
            if not events_of(f, "SQS"):
                yield f"events/{file}: {name} reads no queue"
            covered.add((name, "SQS"))
        elif event.get("Records") and all(r.get("EventSource") == "aws:sns" for r in event["Records"]):
            if not events_of(f, "SNS"):
                yield f"events/{file}: {name} hears no topic"
            covered.add((name, "SNS"))
        elif set(event) == {"wake"}:
            if name not in invoked(t):
                yield f"events/{file}: no function invokes {name}"
            covered.add((name, "wake"))
        else:
            yield f"events/{file}: it is no event of a route, schedule, queue, topic or wake"
    for name, f in functions(t).items():
        wanted = {f"{e['Method']} {e['Path']}" for e in events_of(f, "HttpApi").values()}
        wanted |= {kind for kind in ("Schedule", "SQS", "SNS") if events_of(f, kind)}
        wanted |= {"wake"} if name in invoked(t) else set()
        for trigger in sorted(wanted):
            if (name, trigger) not in covered:
                yield f"{name}: no file of events/ holds an event of {trigger}"


def check_environment(p):
    t, table = p["template"], p["rights"]
    everyone = t["Globals"]["Function"].get("Environment", {}).get("Variables", {})
    if sorted(everyone) != sorted(table["every-function-env"]):
        yield f"Globals: every function is told {sorted(everyone)}, and infra/aws/rights.yaml says {sorted(table['every-function-env'])}"
    for name, f in functions(t).items():
        own = f["Properties"].get("Environment", {}).get("Variables", {})
        listed = table["functions"].get(name, {}).get("env", [])
        for variable in sorted(set(own) ^ set(listed)):
            yield f"{name}: {variable} is only in one of template.yaml and infra/aws/rights.yaml"
        for variable, value in own.items():
            if not refs(value):
                yield f"{name}: {variable} must come from a parameter or a resource"
            # Told of a bucket or queue that it has no right on, or the other way round, a function fails only in the cloud.
            for target in refs(value):
                if t["Resources"].get(target, {}).get("Type") in TOLD_OF and role_of(f) in t["Resources"]:
                    touched = {r.split("/")[0] for _, r, _, _ in flat_rights(statements(t, role_of(f)))}
                    if target not in touched:
                        yield f"{name}: it is told of {target} and has no right on it"
        if role_of(f) not in t["Resources"]:
            continue
        told = set().union(*(refs(v) for v in own.values()), *(refs(v) for v in everyone.values()))
        sources = kept_by(f).union(*(refs(e["Queue"]) for e in events_of(f, "SQS").values()))
        for _, resource, _, _ in flat_rights(statements(t, role_of(f))):
            target = resource.split("/")[0]
            if t["Resources"].get(target, {}).get("Type") in TOLD_OF and target not in told | sources:
                yield f"{name}: it has a right on {target} and isn't told of it"
        if any(v in own or v in everyone for v in ("KILN_DEMO", "KILN_TEST_ENGINES", "KILN_AWS_ENDPOINT", "KILN_S3_PATH_STYLE")):
            yield f"{name}: that variable is for a laptop only"


def check_parameters(p):
    t = p["template"]
    used = refs({k: v for k, v in t.items() if k != "Parameters"})
    for name, parameter in t["Parameters"].items():
        if not parameter.get("Description"):
            yield f"parameter {name}: it has no Description, which the guided deploy shows"
        if name not in used:
            yield f"parameter {name}: nothing uses it"
    for name in ("Stage", "Architecture", "PublicUrl", "MailFrom", "DomainName", "CertificateArn", "LogRetentionDays", "IncomingRetentionDays",
                 "ArtifactRetentionDays", "SignupMillicredits", "LeaseS", "HeartbeatS", "MaxWaitS", "MaxRunS", "AlarmMail"):
        if name not in t["Parameters"]:
            yield f"parameter {name} is missing"
    if not any(c == {"Fn::Equals": [{"Ref": "Stage"}, "production"]} for c in t["Conditions"].values()):
        yield "no condition tells production from staging"


def check_origin(p):
    t = p["template"]
    for name, d in of_type(t, "AWS::CloudFront::Distribution").items():
        config = d["Properties"]["DistributionConfig"]
        behaviours = config.get("CacheBehaviors", [])
        api = [b for b in behaviours if b["PathPattern"] == "/api/v1/*"]
        if not api or api[0].get("CachePolicyId") != "4135ea2d-6df8-44a3-9df3-4b5a84be39ad":
            yield f"{name}: what the API answers must never be cached"
        for b in [config["DefaultCacheBehavior"], *behaviours]:
            if not b.get("ResponseHeadersPolicyId"):
                yield f"{name}: {b.get('PathPattern', 'the default behaviour')} has no security headers"
            if b.get("ViewerProtocolPolicy") == "allow-all":
                yield f"{name}: {b.get('PathPattern', 'the default behaviour')} answers without TLS"
        sent = [h for o in config["Origins"] if o["Id"] == "api" for h in o.get("OriginCustomHeaders", [])]
        if sent != [{"HeaderName": "x-kiln-edge", "HeaderValue": {"Ref": "AWS::StackId"}}]:
            yield f"{name}: without x-kiln-edge the functions can't tell a visitor's address from a forged one"
        if config.get("CustomErrorResponses"):
            yield f"{name}: an error page would hide the API's own 404s"


def check_dashboards(p):
    for name, r in of_type(p["template"], "AWS::CloudWatch::Dashboard").items():
        if "Condition" not in r:
            yield f"{name}: beyond three of an account it costs money, so it needs a condition"
        try:
            widgets = json.loads(re.sub(r"\$\{[^}]+\}", "x", as_list(r["Properties"]["DashboardBody"]["Fn::Sub"])[0]))["widgets"]
        except ValueError as problem:
            yield f"{name}: its body is no JSON ({problem})"
            continue
        if sum(len(w["properties"]["metrics"]) for w in widgets) > 50:
            yield f"{name}: a free dashboard shows 50 metrics at most"


def check_network(p):
    """Rented machines take no connection, and make those that they need."""
    t = p["template"]
    for name, r in t["Resources"].items():
        if r["Type"] in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
            yield f"{name}: a rule of a security group stands in the group, where this check reads it"
    for name, r in of_type(t, "AWS::EC2::SecurityGroup").items():
        own = r["Properties"]
        if own.get("SecurityGroupIngress"):
            yield f"{name}: nobody may come in"
        ways = [(rule.get("IpProtocol"), rule.get("FromPort"), rule.get("ToPort")) for rule in own.get("SecurityGroupEgress", [])]
        if ways != [("tcp", 443, 443)]:
            yield f"{name}: HTTPS alone goes out; without a rule of its own everything does"


def check_cost(p):
    hourly = ("AWS::EC2::NatGateway", "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::EC2::Instance", "AWS::EC2::VPCEndpoint", "AWS::KMS::Key",
              "AWS::SecretsManager::Secret", "AWS::RDS::DBInstance", "AWS::ElastiCache::CacheCluster", "AWS::WAFv2::WebACL", "AWS::Route53::HostedZone")
    for name, r in p["template"]["Resources"].items():
        if r["Type"] in hourly:
            yield f"{name}: {r['Type']} costs money while nobody is using Kiln"
        if "ProvisionedConcurrencyConfig" in r.get("Properties", {}):
            yield f"{name}: provisioned concurrency costs money while nobody is using Kiln"


CHECKS = {name.removeprefix("check_"): f for name, f in list(globals().items()) if name.startswith("check_")}


def run(project):
    return [(name, finding) for name, check in CHECKS.items() for finding in check(project)]


# ------------------------------------------------------------------ the canary


def faults():
    """(what is planted, which rule must see it, how it is planted): at least one a rule."""

    def at(p, path):
        value = p
        for key in path:
            # In a list of statements a name is a Sid, so that a new statement doesn't shift what is planted.
            value = next(s for s in value if s.get("Sid") == key) if isinstance(value, list) and isinstance(key, str) else value[key]
        return value

    def put(*path_and_value):
        *path, last, value = path_and_value
        return lambda p: at(p, path).__setitem__(last, value)

    def drop(*path):
        return lambda p: at(p, path[:-1]).__delitem__(path[-1])

    def add(*path_and_value):
        *path, value = path_and_value
        return lambda p: at(p, path).append(value)

    res = ("template", "Resources")

    def props(name):
        return (*res, name, "Properties")

    def rights(name):
        return (*props(name), "Policies", 0, "PolicyDocument", "Statement")

    table_arn = {"Fn::GetAtt": ["Table", "Arn"]}
    return [
        ("a bogus runtime", "runtimes", put("template", "Globals", "Function", "Runtime", "provided.al2033")),
        ("a runtime in one function", "runtimes", put(*props("AuthFunction"), "Runtime", "nodejs22.x")),
        ("an architecture that isn't the parameter", "runtimes", put("template", "Globals", "Function", "Architectures", ["x86_64"])),
        ("a function without a time-out", "runtimes", drop(*props("JobsFunction"), "Timeout")),
        ("a route that outlives the gateway", "runtimes", put(*props("UploadsFunction"), "Timeout", 60)),
        ("a function without memory", "runtimes", drop(*props("OpsFunction"), "MemorySize")),
        ("another build method", "builds", put(*res, "FleetFunction", "Metadata", "BuildMethod", "makefile")),
        ("a binary that no crate makes", "builds", put(*res, "FleetFunction", "Metadata", "BuildProperties", "Binary", "kiln-flete")),
        ("a crate that nothing runs", "builds", put("crates", "stray", "kiln-stray")),
        ("a wildcard action", "wildcards", add(*rights("AuthRole"), {"Effect": "Allow", "Action": "dynamodb:*", "Resource": table_arn})),
        ("a half wildcard action", "wildcards", add(*rights("AuthRole"), {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": {"Fn::Sub": "${MediaBucket.Arn}/inputs/*"}})),
        ("a right on everything", "wildcards", add(*rights("OpsRole"), {"Effect": "Allow", "Action": "cloudwatch:PutMetricData", "Resource": "*"})),
        ("a right on every parameter", "wildcards", add(*rights("OpsRole"), {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": {"Fn::Sub": "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/kiln/*"}})),
        ("a machine that is rented without a label", "wildcards", drop(*props("WarmPoolRentsAtEc2"), "PolicyDocument", "Statement", "RentLabelled", "Condition")),
        ("a right to end anybody's machines", "wildcards", drop(*props("WarmPoolRentsAtEc2"), "PolicyDocument", "Statement", "GiveBackLabelled", "Condition")),
        ("a right to label anybody's machines", "wildcards", drop(*props("WarmPoolRentsAtEc2"), "PolicyDocument", "Statement", "LabelWhatIsRented", "Condition")),
        ("a right to rent in every network", "wildcards", drop(*props("WarmPoolRentsAtEc2"), "PolicyDocument", "Statement", "RentInThisNetwork", "Condition")),
        ("a machine with a role", "rights", add(*props("WarmPoolRentsAtEc2"), "PolicyDocument", "Statement", {"Effect": "Allow", "Action": "iam:PassRole", "Resource": {"Fn::GetAtt": ["WorkerRole", "Arn"]}})),
        ("a way into rented machines", "network", put(*props("Ec2SecurityGroup"), "SecurityGroupIngress", [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0"}])),
        ("a way out of them beside HTTPS", "network", drop(*props("Ec2SecurityGroup"), "SecurityGroupEgress")),
        ("a right by NotAction", "wildcards", add(*rights("OpsRole"), {"Effect": "Allow", "NotAction": ["iam:PassRole"], "Action": [], "Resource": table_arn})),
        ("a bucket open to anybody", "wildcards", add(*props("MediaBucketPolicy"), "PolicyDocument", "Statement", {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${MediaBucket.Arn}/artifacts/*"}})),
        ("a shared role", "roles", put(*props("CreditsFunction"), "Role", {"Fn::GetAtt": ["JobsRole", "Arn"]})),
        ("no role", "roles", drop(*props("CreditsFunction"), "Role")),
        ("a managed policy", "roles", put(*props("JobsRole"), "ManagedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"])),
        ("rights in a policy apart", "roles", put(*res, "Extra", {"Type": "AWS::IAM::Policy", "Properties": {}})),
        ("a worker role that anybody in the account assumes", "roles", put(*props("WorkerRole"), "AssumeRolePolicyDocument", "Statement", 0, "Principal", {"AWS": {"Ref": "AWS::AccountId"}})),
        ("a worker role for a day", "roles", put(*props("WorkerRole"), "MaxSessionDuration", 43200)),
        ("a right that the table lacks", "rights", add(*rights("CreditsRole"), {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": ["JobsDlq", "Arn"]}})),
        ("credits that may write", "rights", add(*rights("CreditsRole"), "Read", "Action", "dynamodb:PutItem")),
        ("a function that may wake the warm pool and isn't told of it", "environment", drop(*props("JobsFunction"), "Environment", "Variables", "KILN_WARM_POOL")),
        ("a wake of which there is no event", "events", drop("events", "warm-pool-wake.json")),
        ("a right that the template lacks", "rights", add("rights", "functions", "OpsFunction", "rights", {"may": ["s3:GetObject"], "what": ["WebBucket/*"], "why": "x"})),
        ("a worker that may send hints", "rights", add(*rights("WorkerRole"), "TakeHints", "Action", "sqs:SendMessage")),
        ("more partition keys than listed", "rights", add(*rights("CreditsRole"), "Read", "Condition", "ForAllValues:StringLike", "dynamodb:LeadingKeys", "FLEET")),
        ("mail in anybody's name", "rights", drop(*rights("AuthRole"), "SendLinks", "Condition")),
        ("a right without a reason", "rights", put("rights", "functions", "OpsFunction", "rights", 0, "why", "")),
        ("a statement on the whole table", "keys", drop(*rights("JobsRole"), "Read", "Condition")),
        ("a scan", "keys", add(*rights("OpsRole"), "Read", "Action", "dynamodb:Scan")),
        ("a secret that a stranger reads", "secrets", add("template", "Metadata", "Kiln", "SecureStrings", 0, "Functions", "CreditsFunction")),
        ("a secret that nobody declared", "secrets", drop("template", "Metadata", "Kiln", "SecureStrings", 1)),
        ("a secret as a parameter", "secrets", put("template", "Parameters", "AdminKey", {"Type": "String", "NoEcho": True, "Description": "x"})),
        ("an alarm without a target", "alarms", drop(*props("SpendAlarm"), "AlarmActions")),
        ("an alarm to another topic", "alarms", put(*props("SpendAlarm"), "AlarmActions", ["arn:aws:sns:us-east-1:123456789012:other"])),
        ("an alarm without a dimension", "alarms", put(*props("SpendAlarm"), "Dimensions", [])),
        ("an alarm that watches nothing", "alarms", drop(*props("SpendAlarm"), "MetricName")),
        ("an eleventh alarm", "alarms", lambda p: at(p, res).update({f"Alarm{n}": copy.deepcopy(at(p, (*res, "SpendAlarm"))) for n in range(9)})),
        ("an alarm that is switched off", "alarms", put(*props("SpendAlarm"), "ActionsEnabled", False)),
        ("a tick that fails in silence", "runs", drop(*props("WarmPoolFunction"), "EventInvokeConfig", "DestinationConfig")),
        ("a bounce that is lost in silence", "runs", drop(*props("SesWebhookFunction"), "EventInvokeConfig")),
        ("failed runs that nobody is called for", "runs", drop(*res, "FailedRunsAlarm")),
        ("failed runs that are kept for a day", "queues", put(*props("FailedRunsQueue"), "MessageRetentionPeriod", 86400)),
        ("a topic that signs by SHA-1", "topics", drop(*props("MailFeedbackTopic"), "SignatureVersion")),
        ("a topic that nobody hears", "topics", drop(*props("SesWebhookFunction"), "Events", "Feedback")),
        ("a topic that the account may publish to", "topics", drop(*res, "MailFeedbackTopicPolicy")),
        ("a topic that anybody's SES publishes to", "topics", drop(*props("MailFeedbackTopicPolicy"), "PolicyDocument", "Statement", "OnlyOurMail", "Condition")),
        ("a topic that a role publishes to", "topics", put(*props("MailFeedbackTopicPolicy"), "PolicyDocument", "Statement", "OnlyOurMail", "Principal", {"AWS": {"Ref": "AWS::AccountId"}})),
        ("a function on the alarms' topic", "topics", put(*props("SesWebhookFunction"), "Events", "Feedback", "Properties", "Topic", {"Ref": "AlarmTopic"})),
        ("a topic's event that is gone", "events", lambda p: [p["events"].pop(f"ses-webhook-{kind}.json") for kind in ("bounce", "complaint")]),
        ("a queue without a redrive", "queues", drop(*props("JobsImageRushQueue"), "RedrivePolicy")),
        ("a queue in clear text", "queues", drop(*props("JobsImageRushQueue"), "SqsManagedSseEnabled")),
        ("a dead-letter queue that nobody reads", "queues", drop(*props("MaintenanceFunction"), "Events", "DeadLetters")),
        ("a message seen twice while it is worked on", "queues", put(*props("JobsDlq"), "VisibilityTimeout", 60)),
        ("a batch that fails as a whole", "queues", drop(*props("MaintenanceFunction"), "Events", "DeadLetters", "Properties", "FunctionResponseTypes")),
        ("a log kept for ever", "logs", drop(*props("JobsLogs"), "RetentionInDays")),
        ("a function without a log", "logs", drop(*props("JobsFunction"), "LoggingConfig")),
        ("a function that writes another's log", "logs", put(*rights("JobsRole"), "WriteLogs", "Resource", {"Fn::GetAtt": ["AuthLogs", "Arn"]})),
        ("an access log with paths", "logs", put(*props("Api"), "AccessLogSettings", "Format", '{"path":"$context.path"}')),
        ("an access log with addresses", "logs", put(*props("Api"), "AccessLogSettings", "Format", '{"ip":"$context.identity.sourceIp"}')),
        ("no point-in-time recovery", "table", put(*props("Table"), "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled", False)),
        ("a table that goes with its stack", "table", drop(*res, "Table", "DeletionPolicy")),
        ("a table paid by the hour", "table", put(*props("Table"), "BillingMode", "PROVISIONED")),
        ("production without deletion protection", "table", put(*props("Table"), "DeletionProtectionEnabled", False)),
        ("a public bucket", "buckets", put(*props("MediaBucket"), "PublicAccessBlockConfiguration", "BlockPublicPolicy", False)),
        ("a bucket in clear text", "buckets", drop(*props("MediaBucket"), "BucketEncryption")),
        ("a retention that is no parameter", "buckets", put(*props("MediaBucket"), "LifecycleConfiguration", "Rules", 1, "ExpirationInDays", 3650)),
        ("CORS for everybody", "buckets", put(*props("IncomingBucket"), "CorsConfiguration", "CorsRules", 0, "AllowedOrigins", ["*"])),
        ("a bucket that speaks without TLS", "buckets", drop(*res, "IncomingBucketPolicy")),
        ("one route twice", "routes", put(*props("CreditsFunction"), "Events", "Again", {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "Api"}, "Method": "GET", "Path": "/api/v1/jobs/{other}"}})),
        ("a catch-all route", "routes", put(*props("CreditsFunction"), "Events", "All", {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "Api"}, "Method": "ANY", "Path": "/api/v1/{proxy+}"}})),
        ("a route on no API", "routes", put(*props("CreditsFunction"), "Events", "GetCredits", "Properties", "ApiId", {"Ref": "OldApi"})),
        ("a permission for a function that is gone", "routes", put(*res, "Stray", {"Type": "AWS::Lambda::Permission", "Properties": {"FunctionName": {"Ref": "StrayFunction"}}})),
        ("no throttling", "routes", drop(*props("Api"), "DefaultRouteSettings")),
        ("a tick that is off", "schedules", put(*props("MaintenanceFunction"), "Events", "Tick", "Properties", "Enabled", False)),
        ("a tick that is repeated", "schedules", drop(*props("WarmPoolFunction"), "EventInvokeConfig")),
        ("a route without an event", "events", drop("events", "credits-balance.json")),
        ("an event of no function", "events", put("events", "billing-get.json", {})),
        ("an event of a route that is gone", "events", put("events", "credits-balance.json", "routeKey", "GET /api/v1/balance")),
        ("an event with another path than its route", "events", put("events", "credits-balance.json", "rawPath", "/prod/api/v1/credits")),
        ("a missing variable", "environment", drop(*props("FleetFunction"), "Environment", "Variables", "KILN_WORKER_ROLE_ARN")),
        ("a variable for nobody", "environment", put(*props("CreditsFunction"), "Environment", {"Variables": {"KILN_MEDIA_BUCKET": {"Ref": "MediaBucket"}}})),
        ("the laptop's demo in the cloud", "environment", put("template", "Globals", "Function", "Environment", "Variables", "KILN_DEMO", "1")),
        ("a parameter without use", "parameters", put("template", "Parameters", "Colour", {"Type": "String", "Default": "blue", "Description": "x"})),
        ("a parameter without words", "parameters", drop("template", "Parameters", "LeaseS", "Description")),
        ("a cached API", "origin", put(*props("Cdn"), "DistributionConfig", "CacheBehaviors", 0, "CachePolicyId", "658327ea-f89d-4fab-a63d-7e88639e58f6")),
        ("a page without security headers", "origin", drop(*props("Cdn"), "DistributionConfig", "DefaultCacheBehavior", "ResponseHeadersPolicyId")),
        ("an API that can't know its edge", "origin", drop(*props("Cdn"), "DistributionConfig", "Origins", 1, "OriginCustomHeaders")),
        ("an error page over the API", "origin", put(*props("Cdn"), "DistributionConfig", "CustomErrorResponses", [{"ErrorCode": 404, "ResponsePagePath": "/index.html"}])),
        ("a dashboard that nobody asked for", "dashboards", drop(*res, "OperatorsDashboard", "Condition")),
        ("a dashboard with a comma too many", "dashboards", put(*props("OperatorsDashboard"), "DashboardBody", {"Fn::Sub": '{"widgets": [],}'})),
        ("a gateway paid by the hour", "cost", put(*res, "Nat", {"Type": "AWS::EC2::NatGateway", "Properties": {}})),
    ]


def self_test(project):
    failed = 0
    clean = {finding for _, finding in run(project)}
    if clean:
        print("The self-test needs a template without findings; there are:", *sorted(clean), sep="\n  ", file=sys.stderr)
        return 1
    seen = set()
    for what, rule, plant in faults():
        planted = copy.deepcopy(project)
        plant(planted)
        findings = list(CHECKS[rule](planted))
        seen.add(rule)
        if not findings:
            failed += 1
            print(f"not caught by {rule}: {what}", file=sys.stderr)
    for rule in sorted(set(CHECKS) - seen):
        failed += 1
        print(f"no fault is planted for {rule}", file=sys.stderr)
    if failed:
        return 1
    print(f"self-test: {len(faults())} planted faults, all caught")
    return 0


def print_rights(project):
    groups = project["rights"]["groups"]
    print("| function | may | on | only for | why |\n| --- | --- | --- | --- | --- |")
    rows = [(n.removesuffix("Function"), r) for n, row in project["rights"]["functions"].items() for r in row["rights"]]
    rows += [(n, r) for n, row in project["rights"]["others"].items() for r in row["rights"]]
    for name, r in rows:
        may = ", ".join(a.removeprefix("table-") if a in groups else f"`{a}`" for a in r["may"])
        bound = ", ".join(f"`{k}`" for k in r.get("keys", [])) or (f"`{r['only']}`" if r.get("only") else "")
        print(f"| {name} | {may} | {', '.join(f'`{x}`' for x in r['what'])} | {bound} | {r['why']} |")
    return 0


def main(arguments):
    try:
        project = load()
    except (OSError, yaml.YAMLError, json.JSONDecodeError, tomllib.TOMLDecodeError, KeyError) as problem:
        print(f"check_template: can't read the project: {problem!r}", file=sys.stderr)
        return 2
    if arguments == ["--self-test"]:
        return self_test(project)
    if arguments == ["--rights"]:
        return print_rights(project)
    if arguments:
        print("usage: check_template.py [--self-test | --rights]", file=sys.stderr)
        return 2
    findings = run(project)
    for rule, finding in findings:
        print(f"{rule}: {finding}", file=sys.stderr)
    if findings:
        return 1
    t = project["template"]
    print(f"our check: {len(functions(t))} functions, {sum(len(events_of(f, 'HttpApi')) for f in functions(t).values())} routes, "
          f"{len(of_type(t, 'AWS::CloudWatch::Alarm'))} alarms, {len(project['events'])} events: {len(CHECKS)} rules, nothing to say")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
