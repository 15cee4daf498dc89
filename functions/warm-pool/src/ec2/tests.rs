//! The provider, and whole runs with it, against what speaks EC2's protocol (`cloud.rs`); the AWS stand-in has its turn in tests/.

use super::cloud::{Cloud, Fault};
use super::wanted::microusd;
use super::*;
use crate::{POOL, Providers, handle};
use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use base64::Engine;
use kiln_core::fleet::Stage;
use kiln_core::ids::InstanceId;
use kiln_core::pool::budget::windows;
use kiln_dynamo::{Memory, TABLE};
use kiln_http::App;
use kiln_store::{Audit, DONE, Instance as Known};
use serde_json::{Value, json};

/// What signs the calls, and must be on no machine.
const SECRET: &str = "the-secret-of-these-tests";
const LABEL_VALUE: &str = "kiln/test.tag/main/ins";

fn wanted(spot: bool) -> Wanted {
    let kind = |name: &str, gpu: &str, dollars: f64, speed: f64| Kind { name: name.into(), gpu: gpu.into(), speed, microusd_per_hour: microusd(dollars) };
    Wanted {
        subnets: vec!["subnet-0000000a".into(), "subnet-0000000b".into()],
        security_group: "sg-00000001".into(),
        ami: "ami-00000001".into(),
        types: vec![kind("g6.xlarge", "L4", 0.8, 30.0), kind("g5.xlarge", "A10G", 1.0, 31.0)],
        spot,
        image: "registry.example.org/kiln/worker:1".into(),
        disk_gb: 32,
        api_url: "https://kiln.example.org".into(),
        max_life_s: 86_400,
        boot_s: 600,
    }
}

fn aws(url: &str) -> SdkConfig {
    let credentials = SharedCredentialsProvider::new(Credentials::new("AKIATEST", SECRET, None, None, "these tests"));
    let config = kiln_store::sdk_config().into_builder().region(aws_config::Region::new("us-east-1")).credentials_provider(credentials);
    config.endpoint_url(url).build()
}

fn ec2(cloud: &Cloud, spot: bool) -> Ec2 {
    let times = Times { read: Duration::from_secs(5), order: Duration::from_millis(400) };
    Ec2::new(&aws(&cloud.url), None, Ok(wanted(spot)), times)
}

fn order(n: u128, offer: Offer) -> Order {
    Order { instance_id: InstanceId::new(1, n), label: LABEL_VALUE.into(), boot_token: format!("kib_{n}.once"), offer: Some(offer) }
}

fn two_spot_prices(cloud: &Cloud) {
    cloud.spot(&[
        ("g6.xlarge", "us-east-1a", "0.400000", "2026-11-29T06:00:00.000Z"),
        ("g6.xlarge", "us-east-1a", "0.900000", "2026-11-28T06:00:00.000Z"),
        ("g6.xlarge", "us-east-1b", "0.300000", "2026-11-29T06:00:00.000Z"),
        ("g6.xlarge", "us-east-1f", "0.100000", "2026-11-29T06:00:00.000Z"),
    ]);
}

async fn offer(ec2: &Ec2, id: &str) -> Offer {
    let offers = ec2.offers(&Policy::default()).await.unwrap();
    offers.iter().find(|offer| offer.id == id).unwrap_or_else(|| panic!("{id} is not among {offers:?}")).clone()
}

#[tokio::test]
async fn an_order_says_each_thing_that_it_must_and_nothing_else() {
    let cloud = Cloud::open().await;
    two_spot_prices(&cloud);
    let ec2 = ec2(&cloud, true);
    for (n, id) in [(1, "g6.xlarge/subnet-0000000b/spot/360000"), (2, "g5.xlarge/subnet-0000000a/on-demand")] {
        let order = order(n, offer(&ec2, id).await);
        assert_eq!(ec2.create(&order).await.unwrap(), format!("i-{n:017x}"));
        let mut asked = cloud.asked("RunInstances").pop().unwrap();
        let script = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(asked.remove("UserData").unwrap()).unwrap()).unwrap();
        assert!(script.contains(&format!("'{}'", order.boot_token)) && script.contains("'https://kiln.example.org/api/v1'"), "{script}");
        assert!(!script.contains(SECRET) && !script.contains("AKIATEST") && !script.contains('@'), "{script}");
        let token = asked.remove("ClientToken").unwrap();
        assert_eq!(token, order.instance_id.to_string());
        assert!(token.len() <= 64);
        let spot = n == 1;
        let mut must: Vec<(String, &str)> = [
            ("Action", "RunInstances"),
            ("Version", "2016-11-15"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("ImageId", "ami-00000001"),
            ("InstanceType", if spot { "g6.xlarge" } else { "g5.xlarge" }),
            ("InstanceInitiatedShutdownBehavior", "terminate"),
            ("MetadataOptions.HttpEndpoint", "enabled"),
            ("MetadataOptions.HttpTokens", "required"),
            ("MetadataOptions.HttpPutResponseHopLimit", "1"),
            ("MetadataOptions.InstanceMetadataTags", "disabled"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/sda1"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "72"),
            ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
            ("BlockDeviceMapping.1.Ebs.DeleteOnTermination", "true"),
            ("NetworkInterface.1.DeviceIndex", "0"),
            ("NetworkInterface.1.SubnetId", if spot { "subnet-0000000b" } else { "subnet-0000000a" }),
            ("NetworkInterface.1.SecurityGroupId.1", "sg-00000001"),
            ("NetworkInterface.1.AssociatePublicIpAddress", "true"),
            ("NetworkInterface.1.DeleteOnTermination", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut tagged = vec!["instance", "volume", "network-interface"];
        if spot {
            tagged.push("spot-instances-request");
            let market = [("MarketType", "spot"), ("SpotOptions.MaxPrice", "0.360000"), ("SpotOptions.SpotInstanceType", "one-time")];
            must.extend(market.map(|(name, value)| (format!("InstanceMarketOptions.{name}"), value)));
            must.push(("InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior".into(), "terminate"));
        }
        for (at, what) in (1..).zip(tagged) {
            let name = |rest: &str| format!("TagSpecification.{at}.{rest}");
            must.extend([(name("ResourceType"), what), (name("Tag.1.Key"), "kiln:label"), (name("Tag.1.Value"), LABEL_VALUE)]);
            must.extend([(name("Tag.2.Key"), "Name"), (name("Tag.2.Value"), LABEL_VALUE)]);
        }
        // Whatever is not named here must not be said: no role, no key to sign in by.
        assert_eq!(asked, must.into_iter().map(|(name, value)| (name, value.to_owned())).collect());
    }
    assert_eq!(cloud.exist().iter().map(|made| made.label.as_deref()).collect::<Vec<_>>(), [Some(LABEL_VALUE); 2]);
}

#[tokio::test]
async fn offers_are_each_type_in_each_zone_by_its_newest_spot_price_and_on_demand() {
    let cloud = Cloud::open().await;
    two_spot_prices(&cloud);
    let policy = Policy::default();
    let offers = ec2(&cloud, true).offers(&policy).await.unwrap();
    assert_eq!(
        offers.iter().filter(|offer| offer.interruptible).map(|offer| offer.id.as_str()).collect::<Vec<_>>(),
        ["g6.xlarge/subnet-0000000a/spot/480000", "g6.xlarge/subnet-0000000b/spot/360000"]
    );
    assert_eq!(offers.len(), 6);
    // 72 GB and an address are in the rate.
    assert_eq!(offers.iter().find(|offer| !offer.interruptible).unwrap().rate.microusd_per_hour, 800_000 + 10_000 + 5_000);
    let asked = cloud.asked("DescribeSpotPriceHistory").remove(0);
    assert_eq!([&asked["InstanceType.1"], &asked["InstanceType.2"], &asked["ProductDescription.1"]], ["g6.xlarge", "g5.xlarge", "Linux/UNIX"]);
    assert!(asked.contains_key("StartTime"));
    let offers = ec2(&cloud, false).offers(&policy).await.unwrap();
    assert!(offers.len() == 4 && offers.iter().all(|offer| !offer.interruptible));
    assert_eq!(cloud.asked("DescribeSpotPriceHistory").len(), 1, "asked for where spot is off");
    // Without prices there is no guess at them.
    cloud.fault("DescribeSpotPriceHistory", Fault::Says(400, "UnauthorizedOperation"));
    let error = format!("{:#}", ec2(&cloud, true).offers(&policy).await.unwrap_err());
    assert!(error.contains("spot prices") && error.contains("UnauthorizedOperation"), "{error}");
    let wrong = Ec2::new(&aws(&cloud.url), None, Err("KILN_EC2_TYPES is not set".into()), Times::default());
    assert_eq!(wrong.offers(&policy).await.unwrap_err().to_string(), "KILN_EC2_TYPES is not set");
    assert_eq!(wrong.list().await.unwrap(), []);
}

/// What an order came to.
#[derive(Debug, PartialEq)]
enum Came {
    Refused,
    Full,
    Unknown,
}

#[tokio::test]
async fn an_order_is_sent_once_and_only_what_was_said_in_so_many_words_is_a_refusal() {
    let cloud = Cloud::open().await;
    let ec2 = ec2(&cloud, false);
    let offer = offer(&ec2, "g6.xlarge/subnet-0000000a/on-demand").await;
    // (fault, whether a machine is made, what is known)
    let cases = [
        (Fault::Says(500, "InsufficientInstanceCapacity"), false, Came::Full),
        (Fault::Says(400, "VcpuLimitExceeded"), false, Came::Full),
        (Fault::Says(400, "MaxSpotInstanceCountExceeded"), false, Came::Full),
        (Fault::Says(400, "SpotMaxPriceTooLow"), false, Came::Full),
        (Fault::Says(400, "Unsupported"), false, Came::Full),
        (Fault::Says(403, "UnauthorizedOperation"), false, Came::Refused),
        (Fault::Says(400, "InvalidAMIID.NotFound"), false, Came::Refused),
        (Fault::Says(503, "RequestLimitExceeded"), false, Came::Refused),
        (Fault::DoneAndSays(500, "InternalError"), true, Came::Unknown),
        (Fault::DoneAndSays(503, "ServiceUnavailable"), true, Came::Unknown),
        (Fault::DoneAndSays(503, "Unavailable"), true, Came::Unknown),
        (Fault::DoneAndSays(400, "IdempotentParameterMismatch"), true, Came::Unknown),
        (Fault::DoneAndLost, true, Came::Unknown),
        (Fault::Lost, false, Came::Unknown),
        (Fault::DoneAndSilent, true, Came::Unknown),
    ];
    for (n, (fault, made, known)) in cases.into_iter().enumerate() {
        let (before, sent) = (cloud.exist().len(), cloud.asked("RunInstances").len());
        cloud.fault("RunInstances", fault);
        let error = ec2.create(&order(n as u128, offer.clone())).await.unwrap_err();
        let came = match error {
            NotMade::Refused(_) | NotMade::TooSoon(..) => Came::Refused,
            NotMade::Full(_) => Came::Full,
            NotMade::Unknown(_) => Came::Unknown,
        };
        assert_eq!(came, known, "{fault:?}: {error}");
        assert_eq!((cloud.exist().len() - before, cloud.asked("RunInstances").len() - sent), (usize::from(made), 1), "{fault:?}");
        assert!(!error.to_string().contains(SECRET));
    }
    let closed = { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let nobody = Ec2::new(&aws(&format!("http://{closed}")), None, Ok(wanted(false)), Times::default());
    nobody.root.set(Root { device: "/dev/sda1".into(), gb: 8 }).unwrap();
    let error = nobody.create(&order(99, offer.clone())).await.unwrap_err();
    assert!(matches!(error, NotMade::Refused(_)), "nobody is at home: {error}");
    let strange = Order { boot_token: "'; reboot; '".into(), ..order(98, offer) };
    let sent = cloud.asked("RunInstances").len();
    assert!(matches!(ec2.create(&strange).await, Err(NotMade::Refused(_))) && cloud.asked("RunInstances").len() == sent);
}

#[tokio::test]
async fn reads_and_destroys_are_tried_three_times_and_a_list_that_breaks_between_its_pages_is_none() {
    let cloud = Cloud::open().await;
    let ec2 = ec2(&cloud, false);
    let ids: Vec<String> = (0..5).map(|n| cloud.make(Some(&format!("kiln/test.tag/main/ins_{n}")))).collect();
    cloud.make(None);
    for fault in [Fault::Says(503, "RequestLimitExceeded"), Fault::Says(500, "InternalError"), Fault::Lost] {
        cloud.fault("DescribeInstances", fault).fault("DescribeInstances", fault);
        let listed = ec2.list().await.unwrap();
        assert_eq!(listed.iter().map(|machine| machine.provider_id.as_str()).collect::<Vec<_>>(), ids, "{fault:?}");
    }
    let before = cloud.asked("DescribeInstances").len();
    for _ in 0..3 {
        cloud.fault("DescribeInstances", Fault::Says(503, "RequestLimitExceeded"));
    }
    let error = ec2.list().await.unwrap_err().to_string();
    assert!(error.contains("RequestLimitExceeded") && cloud.asked("DescribeInstances").len() == before + 3, "{error}");
    let asked = cloud.asked("DescribeInstances").pop().unwrap();
    assert_eq!(
        (asked["Filter.1.Name"].as_str(), asked["Filter.1.Value.1"].as_str(), asked["Filter.2.Name"].as_str()),
        ("tag-key", "kiln:label", "instance-state-name")
    );
    // The first page comes, the second never does.
    cloud.fault("DescribeInstances", Fault::Fine).fault("DescribeInstances", Fault::Says(400, "InvalidNextToken"));
    assert!(ec2.list().await.is_err());
    cloud.fault("TerminateInstances", Fault::Says(503, "RequestLimitExceeded")).fault("TerminateInstances", Fault::Says(500, "InternalError"));
    ec2.destroy(&ids[0]).await.unwrap();
    assert_eq!(cloud.exist().len(), 5);
    ec2.destroy("i-0000000000000dead").await.unwrap();
    ec2.destroy("*").await.unwrap_err();
    cloud.fault("TerminateInstances", Fault::Says(403, "UnauthorizedOperation"));
    assert!(ec2.destroy(&ids[1]).await.unwrap_err().to_string().contains("UnauthorizedOperation"));
}

#[tokio::test]
async fn what_may_still_cost_is_listed_and_only_what_is_terminated_or_unknown_is_gone() {
    let cloud = Cloud::open().await;
    let ec2 = ec2(&cloud, false);
    let id = cloud.make(Some("kiln/test.tag/main/ins_1"));
    for (state, listed, gone) in [
        ("pending", Some(true), false),
        ("running", Some(true), false),
        ("stopping", Some(false), false),
        ("stopped", Some(false), false),
        ("shutting-down", None, false),
        ("terminated", None, true),
    ] {
        cloud.set(&id, state);
        let machine = |running| Machine { provider_id: id.clone(), label: "kiln/test.tag/main/ins_1".into(), running, ..Machine::default() };
        assert_eq!(ec2.list().await.unwrap(), listed.map(machine).into_iter().collect::<Vec<_>>(), "{state}");
        assert_eq!(ec2.is_gone(&id).await.unwrap(), gone, "{state}");
    }
    assert!(ec2.is_gone("i-0000000000000dead").await.unwrap());
    // (reason, whether a young one was taken, and an old one, and one that is still listed)
    for (reason, young, old, listed) in [
        ("Server.SpotInstanceTermination", true, true, true),
        ("Client.InstanceInitiatedShutdown", true, false, false),
        ("Client.UserInitiatedShutdown", false, false, false),
    ] {
        cloud.because(&id, "terminated", reason);
        let taken = async |lived_s: u64| ec2.was_taken(&id, seconds(lived_s)).await.unwrap();
        assert_eq!((taken(3_600).await, taken(86_400).await), (young, old), "{reason}");
        cloud.because(&id, "stopped", reason);
        assert_eq!(ec2.list().await.unwrap()[0].taken, listed, "{reason}");
    }
    assert!(!ec2.was_taken("i-0000000000000dead", 0).await.unwrap());
    cloud.fault("DescribeInstances", Fault::Says(403, "UnauthorizedOperation"));
    assert!(ec2.is_gone(&id).await.is_err(), "who may not ask doesn't know");
}

/// A pool that rents at EC2 alone.
struct World {
    app: App,
    cloud: Cloud,
    providers: Providers,
    _memory: Memory,
}

impl World {
    async fn with(policy: Policy, spot: bool) -> Self {
        let memory = Memory::new(1);
        let env = [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let app = App::on(env.into(), memory.sdk_config()).await.unwrap();
        let cloud = Cloud::open().await;
        two_spot_prices(&cloud);
        let world = Self { app, providers: Providers::new(vec![Box::new(ec2(&cloud, spot))]), cloud, _memory: memory };
        world.set(policy).await;
        world
    }

    async fn set(&self, policy: Policy) {
        let stored = self.app.table().fleet(POOL).await.unwrap().state;
        let [action, subject, facts, outcome, actor, ip] = ["pool.change", "pool", "{}", DONE, "", ""].map(str::to_owned);
        let line = Audit { id: format!("{:032x}", self.app.random()), at: 1, action, subject, facts, outcome, actor, ip, ttl: 1 };
        assert!(self.app.table().set_policy(POOL, stored.as_ref(), &policy, None, &line).await.unwrap());
    }

    async fn run(&self) -> Value {
        handle(&self.app, &self.providers, json!({})).await.unwrap()
    }

    async fn known(&self) -> Vec<Known> {
        self.app.table().fleet(POOL).await.unwrap().instances
    }

    async fn change(&self, change: impl Fn(&mut Known)) {
        for mut instance in self.known().await {
            change(&mut instance);
            let item = kiln_store::table::to_item(&kiln_store::keys::instance(&instance.instance_id), &instance).unwrap();
            assert!(self.app.table().put(item, None).await.unwrap());
        }
    }

    /// They have booted.
    async fn ready(&self) {
        let now = self.app.now();
        self.change(|instance| (instance.stage, instance.ready_at, instance.heartbeat_at) = (Stage::Ready, Some(now), Some(now))).await;
    }

    async fn hour(&self) -> i64 {
        let now = self.app.now();
        self.app.table().committed(now).await.unwrap().get(&windows(now)[2]).copied().unwrap_or(0)
    }

    /// Type, zone and market of each order that was sent.
    fn ordered(&self) -> Vec<String> {
        let of = |asked: &super::cloud::Asked| {
            let market = asked.get("InstanceMarketOptions.MarketType").map_or("on-demand", String::as_str);
            format!("{} {} {market}", asked["InstanceType"], asked["NetworkInterface.1.SubnetId"])
        };
        self.cloud.asked("RunInstances").iter().map(of).collect()
    }
}

fn one() -> Policy {
    Policy { desired_size: 1, max: 5, budget_month_microusd: Some(50_000_000), ..Policy::default() }
}

#[tokio::test]
async fn what_is_full_is_passed_over_for_the_next_offer_in_the_same_run_and_left_alone_for_minutes() {
    let world = World::with(one(), true).await;
    let full = Fault::Says(500, "InsufficientInstanceCapacity");
    world.cloud.fault("RunInstances", full).fault("RunInstances", Fault::Says(400, "MaxSpotInstanceCountExceeded"));
    assert_eq!(world.run().await["started"], 1);
    assert_eq!(world.ordered(), ["g6.xlarge subnet-0000000b spot", "g6.xlarge subnet-0000000a spot", "g6.xlarge subnet-0000000a on-demand"]);
    // Each attempt has an intent, and so a client token, a label and a boot token, of its own.
    let asked = world.cloud.asked("RunInstances");
    for name in ["ClientToken", "TagSpecification.1.Tag.1.Value", "UserData"] {
        let all: std::collections::BTreeSet<_> = asked.iter().map(|asked| &asked[name]).collect();
        assert_eq!(all.len(), 3, "{name}");
    }
    // What was refused has left neither row nor reservation.
    let known = world.known().await;
    assert_eq!((known.len(), known[0].provider_id.as_deref(), known[0].gpu.as_deref()), (1, Some("i-00000000000000001"), Some("L4")));
    assert_eq!(known[0].rate.microusd_per_hour, 815_000);
    let only = world.hour().await;
    assert!(only < 2_000_000, "{only}");
    // The next run doesn't ask for them again.
    world.set(Policy { desired_size: 2, ..one() }).await;
    world.run().await;
    assert_eq!(world.ordered()[3..], ["g6.xlarge subnet-0000000a on-demand"]);
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    assert_eq!(run.avoid.keys().collect::<Vec<_>>(), ["ec2-us-east-1a-g6.xlarge-spot", "ec2-us-east-1b-g6.xlarge-spot"]);
    assert!(run.avoid.values().all(|until| *until <= world.app.now() + seconds(300)));
}

#[tokio::test]
async fn where_everything_is_full_the_run_says_so_and_nothing_is_left() {
    let world = World::with(one(), true).await;
    for _ in 0..6 {
        world.cloud.fault("RunInstances", Fault::Says(500, "InsufficientInstanceCapacity"));
    }
    let done = world.run().await;
    assert_eq!((done["started"].clone(), done["failed"].clone(), world.ordered().len()), (json!(0), json!(1), 6));
    assert_eq!((world.known().await.len(), world.hour().await), (0, 0));
    let run = world.app.table().fleet(POOL).await.unwrap().run;
    let told = run.told.iter().find(|told| told.reason == "not_rented").unwrap();
    assert!(told.text.contains("InsufficientInstanceCapacity"), "{}", told.text);
}

#[tokio::test]
async fn several_machines_of_the_best_kind_are_rented_in_one_run() {
    let world = World::with(Policy { desired_size: 3, ..one() }, true).await;
    assert_eq!(world.run().await["started"], 3);
    assert_eq!(world.ordered(), ["g6.xlarge subnet-0000000b spot"; 3]);
    assert_eq!((world.cloud.exist().len(), world.known().await.len()), (3, 3));
}

#[tokio::test]
async fn an_order_whose_answer_was_lost_keeps_its_intent_and_cover_and_is_adopted_by_its_label() {
    for fault in [Fault::DoneAndLost, Fault::DoneAndSilent, Fault::DoneAndSays(500, "InternalError")] {
        let world = World::with(one(), true).await;
        world.cloud.hide(true);
        world.cloud.fault("RunInstances", fault);
        assert_eq!(world.run().await["failed"], 1, "{fault:?}");
        let (known, covered) = (world.known().await, world.hour().await);
        assert_eq!((known.len(), known[0].provider_id.as_deref(), world.cloud.exist().len()), (1, None, 1), "{fault:?}");
        assert!(covered > 0);
        // The list lacks it for a while, as right after an order: nothing is rented in its place.
        assert_eq!((world.run().await["started"].clone(), world.hour().await), (json!(0), covered), "{fault:?}");
        world.cloud.hide(false);
        assert_eq!(world.run().await["started"], 0);
        assert_eq!(world.known().await[0].provider_id.as_deref(), Some("i-00000000000000001"), "{fault:?}");
        assert_eq!((world.cloud.asked("RunInstances").len(), world.cloud.exist().len()), (1, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_ours_and_unknown_is_terminated_what_has_stopped_too_and_nothing_else_is_touched() {
    let world = World::with(one(), true).await;
    world.run().await;
    let known = world.known().await.remove(0);
    let prefix = known.label.split("/main/").next().unwrap().to_owned();
    let stranger = world.cloud.make(Some(&format!("{prefix}/main/{}", InstanceId::new(1, 7))));
    let others = [world.cloud.make(Some("kiln/elsewhere.tag/main/ins_1")), world.cloud.make(None)];
    world.run().await;
    let left: Vec<String> = world.cloud.exist().into_iter().map(|made| made.id).collect();
    assert!(!left.contains(&stranger) && left.contains(known.provider_id.as_ref().unwrap()) && others.iter().all(|other| left.contains(other)), "{left:?}");
    // A spot machine of which only the disk is left was taken away, and costs: it is ended, and replaced at once.
    world.ready().await;
    world.cloud.because(known.provider_id.as_ref().unwrap(), "stopped", "Server.SpotInstanceShutdown");
    world.run().await;
    let mut left: Vec<String> = world.cloud.exist().into_iter().map(|made| made.id).collect();
    let new = left.pop().unwrap();
    assert_eq!(left, others);
    assert!(Some(&new) != known.provider_id.as_ref() && world.known().await.iter().any(|instance| instance.provider_id.as_ref() == Some(&new)));
    world.set(Policy { safe_mode: true, ..one() }).await;
    world.run().await;
    assert_eq!(world.cloud.exist().len(), 2);
}

#[tokio::test]
async fn a_spot_machine_counts_as_taken_away_where_it_was_ready_and_ec2_says_so_and_one_that_never_was_leaves_its_kind() {
    // (ready once, seconds since it was asked for, since it was heard, why it ended, whether it was taken, why its kind is left)
    let cases = [
        (true, 3_600, 20, "Server.SpotInstanceTermination", true, None),
        // It had its notice; so long ago that it is silent.
        (true, 3_600, 20, "Client.InstanceInitiatedShutdown", true, None),
        (true, 3_600, 100, "Client.InstanceInitiatedShutdown", true, None),
        // Its longest life was over.
        (true, 86_500, 20, "Client.InstanceInitiatedShutdown", false, None),
        // Nobody had answered it.
        (true, 3_600, 900, "Client.InstanceInitiatedShutdown", false, None),
        // Somebody ended it by hand.
        (true, 3_600, 20, "Client.UserInitiatedShutdown", false, None),
        // Its container could not be pulled.
        (false, 300, 20, "Client.InstanceInitiatedShutdown", false, Some("ended_before_ready")),
        (false, 300, 20, "Server.SpotInstanceTermination", false, Some("ended_before_ready")),
    ];
    for (ready, lived_s, heard_s, reason, taken, why) in cases {
        let world = World::with(one(), true).await;
        world.run().await;
        let known = world.known().await.remove(0);
        assert!(known.interruptible);
        if ready {
            world.ready().await;
        }
        world.cloud.because(known.provider_id.as_ref().unwrap(), "terminated", reason);
        let now = world.app.now();
        world.run().await;
        world
            .change(|instance| {
                instance.missing_since = Some(now - seconds(51));
                instance.requested_at = now - seconds(51 + lived_s);
                instance.heartbeat_at = Some(now - seconds(51 + heard_s));
            })
            .await;
        // Missed for too short a time, and silent where it was heard long ago.
        world.run().await;
        world.change(|instance| instance.missing_since = instance.missing_since.map(|since| since - seconds(11))).await;
        world.run().await;
        let run = world.app.table().fleet(POOL).await.unwrap().run;
        assert_eq!((run.history.spot.paused, run.history.spot.taken_at.is_some()), (taken, taken), "{reason} {ready}");
        assert_eq!(run.avoid_why.get(known.avoided_as()).map(String::as_str), why, "{reason} {ready}");
        assert!(run.avoid.values().all(|until| *until <= world.app.now() + AVOIDED_FOR));
        // Where it was taken away one is rented that stays; else the next spot machine.
        let left = world.known().await;
        assert!(left.iter().all(|instance| instance.instance_id != known.instance_id));
        if heard_s == 20 {
            assert_eq!((left[0].interruptible, left[0].avoided_as() == known.avoided_as()), (!taken, !taken && why.is_none()), "{reason} {ready}");
        }
    }
}

#[tokio::test]
async fn a_machine_that_the_list_hides_and_that_is_there_by_its_id_is_ended_when_it_is_to_go_and_its_cost_counts() {
    let hidden = async || {
        let world = World::with(one(), true).await;
        world.run().await;
        world.ready().await;
        world.cloud.hide(true);
        world.run().await;
        let now = world.app.now();
        world.change(|instance| instance.missing_since = Some(now - seconds(61))).await;
        world
    };
    // It works: it stays.
    let world = hidden().await;
    world.run().await;
    assert_eq!((world.cloud.exist().len(), world.known().await.len(), world.cloud.asked("TerminateInstances").len()), (1, 1, 0));
    // Sent away, or drained with nothing left to do: it goes, and its row when it is gone by its id.
    for lost in [true, false] {
        let world = hidden().await;
        world.set(Policy { desired_size: 0, ..one() }).await;
        let now = world.app.now();
        let to_go = |instance: &mut Known| match lost {
            true => instance.stage = Stage::Lost,
            false => (instance.drain, instance.drained_at) = (true, Some(now - seconds(60))),
        };
        world.change(to_go).await;
        world.run().await;
        assert_eq!((world.cloud.exist().len(), world.known().await.len()), (0, 1), "lost: {lost}");
        world.run().await;
        assert_eq!(world.known().await, []);
    }
    // It is not let go of, and its cover is over.
    let world = hidden().await;
    let now = world.app.now();
    world.change(|instance| (instance.stage, instance.requested_at, instance.covered_to) = (Stage::Lost, now - seconds(7_200), now - seconds(600))).await;
    world.cloud.fault("TerminateInstances", Fault::Says(403, "UnauthorizedOperation"));
    world.run().await;
    let told = world.app.table().fleet(POOL).await.unwrap().run.told;
    assert!(told.iter().any(|told| told.reason == "beyond_cover"), "{told:?}");
}

#[tokio::test]
async fn by_its_settings_it_rents_or_only_gives_back_or_says_what_is_missing() {
    let cloud = Cloud::open().await;
    let named = async |providers: &str, set: &[(&str, &str)]| {
        let mut env: kiln_http::Env =
            [("KILN_STAGE", "local"), ("KILN_TABLE", TABLE), ("KILN_PROVIDERS", providers)].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        env.extend(set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Providers::named(&App::on(env, aws(&cloud.url)).await.unwrap(), None).await
    };
    let mut set = vec![
        ("KILN_EC2_SUBNETS", "subnet-0000000a"),
        ("KILN_EC2_SECURITY_GROUP", "sg-00000001"),
        ("KILN_EC2_IMAGE", "ami-00000001"),
        ("KILN_EC2_TYPES", "g6.xlarge"),
        ("KILN_EC2_SPOT", "off"),
        ("KILN_WORKER_IMAGE", "kiln/worker:1"),
    ];
    let all = named("ec2", &set).await;
    let ec2 = all.of("ec2").unwrap();
    assert!(ec2.rents() && !ec2.own());
    assert_eq!(ec2.offers(&Policy::default()).await.unwrap()[0].rate.microusd_per_hour, 804_800 + 15_000);
    assert!(!named("", &set).await.of("ec2").unwrap().rents(), "what is named no more is given back");
    assert!(named("", &[]).await.of("ec2").is_none());
    let broken = named("ec2", &[]).await;
    let why = broken.of("ec2").unwrap().list().await.unwrap_err().to_string();
    assert!(why.contains("KILN_EC2_SUBNETS") && why.contains("Ec2VpcId"), "{why}");
    // Set wrong, it says what is wrong, and still gives back.
    set[3].1 = "t3.nano";
    let wrong = named("ec2", &set).await;
    let wrong = wrong.of("ec2").unwrap();
    assert!(format!("{:#}", wrong.offers(&Policy::default()).await.unwrap_err()).contains("t3.nano"));
    assert_eq!(wrong.list().await.unwrap(), []);
}
