"""The official command line of PyPI (`vastai`) drives the stand-in at VAST_STAND_IN_URL with VAST_KEY.

It promises: each answer went through the client's own code, and was read from what it prints with `--raw`; what it did is held against what the
stand-in says is true. The clock of the stand-in stands still: machines come up when a test moves it.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

URL = os.environ["VAST_STAND_IN_URL"]
KEY = os.environ["VAST_KEY"]
VASTAI = Path(sys.executable).with_name("vastai")
HOME = tempfile.TemporaryDirectory(prefix="kiln-judge-vast-")


class Said:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        """What `--raw` printed; for an error, on standard error."""
        return json.loads(self.out or self.err)


def vastai(*words, key=KEY):
    # VAST_URL as well: the client asks for the names of GPUs there when it starts, whatever --url says.
    env = {"PATH": os.environ["PATH"], "HOME": HOME.name, "TMPDIR": HOME.name, "VASTAI_NO_UPDATE_CHECK": "1", "VAST_URL": URL, "NO_PROXY": "127.0.0.1", "LANG": "C.UTF-8"}
    command = [str(VASTAI), *words, "--url", URL, "--api-key", key, "--raw"]
    return Said(subprocess.run(command, env=env, cwd=HOME.name, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120))


def control(path, body=None, method=None):
    method = method or ("GET" if body is None else "POST")
    request = urllib.request.Request(f"{URL}/stand-in/{path}", method=method, headers={"Authorization": f"Bearer {KEY}"}, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def search(*words):
    return vastai("search", "offers", *words).json


def truth(instance):
    return control(f"instances/{instance}")


def requests(method, prefix):
    return [seen for seen in control("requests")["items"] if seen["method"] == method and seen["path"].startswith(prefix)]


class Judge(unittest.TestCase):
    def setUp(self):
        control("reset", {})

    def create(self, offer, *words):
        said = vastai("create", "instance", str(offer["id"]), "--image", "kiln/worker:1", *words)
        self.assertTrue(said.json["success"], said.out)
        return said.json["new_contract"]

    def running(self, *words):
        instance = self.create(search("num_gpus=1", "--limit", "1")[0], *words)
        control("clock", {"advance_s": 3600})
        return instance

    def test_offers_are_found_by_gpu_price_and_place_in_order(self):
        everything = search()
        self.assertEqual([o["score"] for o in everything], sorted((o["score"] for o in everything), reverse=True))
        self.assertTrue(all(o["verification"] == "verified" and o["rentable"] for o in everything))
        found = search("gpu_name=RTX_4090 num_gpus>=1", "--order", "dph")
        self.assertTrue(found)
        self.assertEqual({o["gpu_name"] for o in found}, {"RTX 4090"})
        prices = [o["dph_total"] for o in found]
        self.assertEqual(prices, sorted(prices))
        self.assertEqual(search("gpu_name=RTX_4090 num_gpus>=1", "--order", "dph", "--limit", "1"), found[:1])
        cheap = search(f"dph<={prices[0] + 0.0001} gpu_name in [RTX_4090,RTX_5090]")
        self.assertIn(found[0]["id"], [o["id"] for o in cheap])
        big = search("gpu_ram>40 reliability>0.9 cuda_vers>=12.0 geolocation in [DE,US,SE,CA,JP,FR,PL]", "--order", "gpu_ram-,dph")
        self.assertTrue(big and all(o["gpu_ram"] > 40_000 for o in big))
        self.assertEqual(search("--new", "gpu_name=RTX_4090 num_gpus>=1", "--order", "dph"), found)
        unverified = search("verified=False", "--no-default")
        self.assertTrue(unverified and all(o["verification"] == "unverified" for o in unverified))

    def test_storage_and_bids_change_the_price(self):
        small = search("--limit", "1", "--storage", "10")[0]
        large = search(f"id={small['id']}", "--storage", "110")[0]
        self.assertAlmostEqual(large["dph_total"] - small["dph_total"], small["storage_cost"] * 100 / 720, places=9)
        bid = search(f"id={small['id']}", "--type", "bid", "--storage", "10")[0]
        self.assertTrue(bid["is_bid"])
        self.assertAlmostEqual(bid["dph_base"], small["min_bid"])

    def test_an_instance_is_made_seen_labelled_stopped_started_and_destroyed(self):
        offer = search("num_gpus=1", "--limit", "1")[0]
        instance = self.create(offer, "--disk", "20", "--label", "kiln-1", "--env", "-e BOOT=abc -p 8080:8080", "--onstart-cmd", "run it", "--cancel-unavail")
        self.assertNotIn(offer["id"], [o["id"] for o in search()])
        row = vastai("show", "instance", str(instance)).json
        self.assertEqual((row["id"], row["actual_status"], row["intended_status"], row["label"]), (instance, None, "running", "kiln-1"))
        self.assertEqual(row["extra_env"], {"BOOT": "abc", "-p 8080:8080": "1"})
        self.assertEqual((row["disk_space"], row["onstart"], row["image_uuid"]), (20.0, "run it", "kiln/worker:1"))
        seen = [truth(instance)["status"]]
        while control("clock")["next_due_ms"] and seen[-1] != "running":
            clock = control("clock")
            control("clock", {"advance_ms": clock["next_due_ms"] - clock["now_ms"]})
            seen.append(vastai("show", "instance", str(instance)).json["actual_status"])
        self.assertEqual(seen, ["provisioning", "created", "loading", "running"])
        listed = vastai("show", "instances").json
        self.assertEqual([(i["id"], i["actual_status"]) for i in listed], [(instance, "running")])
        self.assertIn("8080/tcp", listed[0]["ports"])
        vastai("label", "instance", str(instance), "kiln-2")
        self.assertEqual([i["id"] for i in vastai("show", "instances", "--label", "kiln-2").json], [instance])
        self.assertEqual(vastai("show", "instances", "--label", "kiln-1").json, [])
        self.assertIn("stopping instance", vastai("stop", "instance", str(instance)).out)
        control("clock", {"advance_s": 60})
        self.assertEqual(vastai("show", "instance", str(instance)).json["actual_status"], "stopped")
        self.assertIn("starting instance", vastai("start", "instance", str(instance)).out)
        control("clock", {"advance_s": 60})
        self.assertEqual(vastai("show", "instance", str(instance)).json["actual_status"], "running")
        self.assertEqual(vastai("destroy", "instance", str(instance), "-y").code, 0)
        self.assertFalse(truth(instance)["exists"])
        self.assertEqual(vastai("show", "instance", str(instance)).json, {"instances": None})
        self.assertEqual(vastai("show", "instances").json, [])
        self.assertIn(offer["id"], [o["id"] for o in search()])

    def test_one_that_is_kept_stopped_costs_its_disk_and_starts_when_it_can_have_its_gpu(self):
        instance = self.running("--disk", "20")
        vastai("stop", "instance", str(instance))
        control("clock", {"advance_s": 60})
        stopped = truth(instance)["cost"]
        control("clock", {"advance_s": 3600})
        later = truth(instance)["cost"]
        self.assertEqual((later["gpu_ms"], later["disk_ms"]), (stopped["gpu_ms"], stopped["disk_ms"] + 3_600_000))
        control("faults", {"kind": "refuses_start"})
        self.assertIn("Required resources are currently unavailable", vastai("start", "instance", str(instance)).out)
        control("faults", {"kind": "never_starts"})
        self.assertIn("starting instance", vastai("start", "instance", str(instance)).out)
        control("clock", {"advance_s": 3600})
        row = vastai("show", "instance", str(instance)).json
        self.assertEqual((row["actual_status"], row["intended_status"]), ("stopped", "running"))
        control(f"instances/{instance}/free", {})
        control("clock", {"advance_s": 3600})
        self.assertEqual(vastai("show", "instance", str(instance)).json["actual_status"], "running")
        self.assertGreater(truth(instance)["cost"]["gpu_ms"], stopped["gpu_ms"])
        vastai("stop", "instance", str(instance))
        control("clock", {"advance_s": 60})
        self.assertEqual(vastai("destroy", "instance", str(instance), "-y").code, 0)
        self.assertFalse(truth(instance)["exists"])

    def test_a_bid_is_made_and_changed(self):
        offer = search("num_gpus=1", "--type", "bid", "--limit", "1")[0]
        instance = self.create(offer, "--bid_price", f"{offer['min_bid'] + 0.01:.4f}")
        self.assertTrue(vastai("show", "instance", str(instance)).json["is_bid"])
        self.assertIn("bid price changed", vastai("change", "bid", str(instance), "--price", "1.5").out)
        self.assertEqual(truth(instance)["gpu_price"], 1.5)

    def test_pages_are_followed(self):
        offers = search("--no-default")
        self.assertGreater(len(offers), 3)
        made = sorted(self.create(offer) for offer in offers[:4])
        one = vastai("show", "instances", "--limit", "3").json
        self.assertEqual(([i["id"] for i in one["instances"]], one["total_instances"]), (made[:3], 4))
        two = vastai("show", "instances", "--limit", "3", "--next-token", one["next_token"]).json
        self.assertEqual(([i["id"] for i in two["instances"]], two["next_token"]), (made[3:], None))
        vastai("destroy", "instances", "-y", *map(str, made))
        self.assertEqual(vastai("show", "instances").json, [])

    def test_charges_and_credit_are_what_is_true(self):
        instance = self.running("--label", "kiln-1")
        true = truth(instance)["cost"]
        user = vastai("show", "user").json
        self.assertAlmostEqual(user["credit"], control("machines")["credit_left"], places=6)
        day = control("clock")["now_ms"] // 86_400_000 * 86_400
        said = vastai("show", "invoices-v1", "--charges", "--start-date", str(day - 2 * 86_400), "--end-date", str(day + 86_400), "--verbose")
        charges = said.json if isinstance(said.json, list) else said.json["results"]
        self.assertTrue(charges)
        self.assertEqual({c["source"] for c in charges}, {f"instance-{instance}"})
        self.assertAlmostEqual(sum(c["amount"] for c in charges), sum(v for k, v in true.items() if k.endswith("_usd")), places=6)

    def test_what_is_charged_beyond_the_price_is_listed_on_its_day(self):
        instance = self.running()
        day = control("clock")["now_ms"] // 86_400_000 * 86_400
        control(f"instances/{instance}/surcharge", {"usd": 2.5, "days_ago": 3})
        said = vastai("show", "invoices-v1", "--charges", "--start-date", str(day - 3 * 86_400), "--end-date", str(day - 3 * 86_400), "--verbose")
        charges = said.json if isinstance(said.json, list) else said.json["results"]
        self.assertEqual([(c["source"], c["amount"], c["start"]) for c in charges], [(f"instance-{instance}", 2.5, day - 3 * 86_400)])

    def test_errors_are_told(self):
        wrong = vastai("show", "instances", key="not-the-key").json
        self.assertEqual((wrong["status_code"], wrong["msg"]), (401, "Invalid user key"))
        offer = search("num_gpus=1", "--limit", "1")[0]
        self.create(offer)
        again = vastai("create", "instance", str(offer["id"]), "--image", "kiln/worker:1").json
        self.assertEqual(again["status_code"], 410)
        self.assertIn("no_such_ask", again["msg"])
        self.assertEqual(vastai("create", "instance", "5", "--image", "kiln/worker:1").json["status_code"], 404)
        other = search("num_gpus=1", "--limit", "1")[0]
        small = vastai("create", "instance", str(other["id"]), "--image", "kiln/worker:1", "--disk", "2").json
        self.assertEqual(small["status_code"], 400)
        self.assertEqual(vastai("destroy", "instance", "5", "-y").json["status_code"], 404)

    def test_it_tries_again_when_it_is_too_fast_and_gives_up_in_the_end(self):
        for kind in ["rate_limit_text", "rate_limit_json", "rate_limit_detail"]:
            control("faults", {"kind": kind, "path": "/api/v1/instances/"})
            self.assertEqual(vastai("show", "instances").json, [])
        self.assertEqual([seen["status"] for seen in requests("GET", "/api/v1/instances/")], [429, 200] * 3)
        control("faults", {"kind": "rate_limit_json", "path": "/api/v1/instances/", "times": 3})
        said = vastai("show", "instances").json
        self.assertEqual((said["status_code"], said["msg"]), (429, "API requests too frequent"))

    def test_a_lost_answer_makes_it_ask_for_the_machine_again(self):
        offer = search("num_gpus=1", "--limit", "1")[0]
        control("faults", {"kind": "time_out_applied", "ms": 0, "path": "/api/v0/asks/"})
        said = vastai("create", "instance", str(offer["id"]), "--image", "kiln/worker:1", "--label", "kiln-lost").json
        # The first try had rented it: its second is told that the offer is gone, and a machine runs that it doesn't know of.
        self.assertEqual(said["status_code"], 410)
        self.assertEqual([(m["label"], m["exists"]) for m in control("machines")["machines"]], [("kiln-lost", True)])
        self.assertEqual([seen["status"] for seen in requests("PUT", "/api/v0/asks/")], [None, 410])


if __name__ == "__main__":
    unittest.main(verbosity=2)
