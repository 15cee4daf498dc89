//! One rental: what was ordered, in what state it truly is, and how it reads in the API.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    bill::{Bill, Rates},
    offers::Offer,
};

/// What the container does. Reads as `actual_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Reads as null.
    Provisioning,
    Created,
    Loading,
    Running,
    Stopped,
    Exited,
}

impl Status {
    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Provisioning => return None,
            Self::Created => "created",
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
        })
    }
}

/// What is known of the machine that it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    Up,
    /// No heartbeat comes; the machine goes on, and so do its costs.
    Unheard,
    /// It is cut off: nothing runs and nothing is billed.
    Offline,
}

/// What was ordered.
#[derive(Debug, Clone, Default)]
pub struct Order {
    pub label: Option<String>,
    pub image: String,
    pub env: Vec<(String, String)>,
    pub onstart: Option<String>,
    pub args: Vec<String>,
    pub runtype: String,
    pub disk_gb: f64,
    /// The bid of an interruptible rental, in dollars an hour for the machine.
    pub bid: Option<f64>,
    pub template_hash: Option<String>,
}

/// What a test has done to it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Upsets {
    /// It stays `loading` for ever.
    pub never_boots: bool,
    /// It is left out of lists and reads as gone, while it exists and costs.
    pub hidden: bool,
    /// Destroying it answers this status, and it stays.
    pub undying: Option<u16>,
    /// It gets no GPU, although its machine may be free.
    pub unseatable: bool,
    /// Once stopped it reads `exited`.
    pub stops_exited: bool,
}

#[derive(Debug, Clone)]
pub struct Instance {
    pub id: u64,
    /// The machine as it was rented; prices of the contract are in it.
    pub offer: Offer,
    pub order: Order,
    /// Its own key, `CONTAINER_API_KEY` inside.
    pub key: String,
    pub status: Status,
    /// It is meant to run.
    pub wanted: bool,
    /// It has its machine's GPUs.
    pub seated: bool,
    /// A container was made once.
    pub booted: bool,
    pub host: Host,
    /// When and to what it changes by itself.
    pub due: Option<(i64, Status)>,
    pub status_msg: String,
    pub asked_at: i64,
    pub running_since: Option<i64>,
    pub destroyed_at: Option<i64>,
    pub upsets: Upsets,
    pub bill: Bill,
    /// How often its container was started.
    pub starts: u32,
}

impl Instance {
    pub fn alive(&self) -> bool {
        self.destroyed_at.is_none()
    }

    pub fn is_bid(&self) -> bool {
        self.order.bid.is_some()
    }

    pub fn gpu_price(&self) -> f64 {
        self.order.bid.unwrap_or(self.offer.dph_base)
    }

    pub fn disk_price(&self) -> f64 {
        self.offer.storage_per_hour(self.order.disk_gb)
    }

    /// What runs up now.
    pub fn rates(&self) -> Rates {
        if !self.alive() || self.host == Host::Offline {
            return Rates::default();
        }
        Rates { gpu: (self.status == Status::Running).then(|| self.gpu_price()), disk: Some(self.disk_price()) }
    }

    /// As `actual_status` says.
    pub fn actual(&self) -> Option<&'static str> {
        match self.host {
            Host::Offline => Some("offline"),
            Host::Unheard => Some("unknown"),
            Host::Up if self.status == Status::Stopped && self.booted && self.upsets.stops_exited => Status::Exited.name(),
            Host::Up => self.status.name(),
        }
    }

    pub fn intended(&self) -> &'static str {
        if self.wanted { "running" } else { "stopped" }
    }

    pub fn cur_state(&self) -> &'static str {
        match (self.alive(), self.seated) {
            (false, _) => "unloaded",
            (true, true) => "running",
            (true, false) => "stopped",
        }
    }

    /// The ports of `env`'s `-p INSIDE:OUTSIDE[/udp]`, with the ports of the host that stand for them.
    pub fn ports(&self) -> Vec<(String, u32)> {
        let asked = self.order.env.iter().filter_map(|(key, _)| key.strip_prefix("-p "));
        let inside = asked.filter_map(|pair| {
            let (pair, kind) = pair.trim().split_once('/').unwrap_or((pair.trim(), "tcp"));
            let port: u32 = pair.split(':').next_back()?.parse().ok()?;
            Some((port, kind.to_owned()))
        });
        inside.enumerate().take(64).map(|(n, (port, kind))| (format!("{port}/{kind}"), 40_000 + (self.id % 200) as u32 * 64 + n as u32)).collect()
    }

    /// The variables of `env`, without what are options of docker.
    pub fn variables(&self) -> impl Iterator<Item = &(String, String)> {
        self.order.env.iter().filter(|(key, _)| !key.starts_with('-'))
    }

    /// As the API shows it.
    pub fn row(&self, now_ms: i64) -> Value {
        let offer = &self.offer;
        let up = self.status == Status::Running && self.host == Host::Up;
        let when = |value: Value| if up { value } else { Value::Null };
        let ports: serde_json::Map<String, Value> =
            self.ports().into_iter().map(|(inside, outside)| (inside, json!([{ "HostIp": "0.0.0.0", "HostPort": outside.to_string() }]))).collect();
        let start = self.asked_at as f64 / 1000.0;
        let storage = self.disk_price();
        let env: Vec<Value> = self.order.env.iter().map(|(key, value)| json!([key, value])).collect();
        json!({
            "id": self.id, "ask_contract_id": offer.id, "bundle_id": offer.id + 1_000_000_000, "label": self.order.label,
            "actual_status": self.actual(), "intended_status": self.intended(), "cur_state": self.cur_state(), "next_state": self.intended(),
            "status_msg": self.status_msg, "machine_id": offer.machine_id, "host_id": offer.host_id, "cluster_id": null,
            "gpu_name": offer.gpu_name, "num_gpus": offer.num_gpus, "gpu_frac": 1.0, "gpu_ram": offer.gpu_ram, "gpu_totalram": offer.gpu_ram * f64::from(offer.num_gpus),
            "gpu_arch": offer.gpu_arch, "compute_cap": offer.compute_cap, "gpu_util": when(0.0.into()), "gpu_temp": when(40.0.into()),
            "cpu_util": when(0.0.into()), "cpu_arch": offer.cpu_arch, "cpu_name": offer.cpu_name, "cpu_cores": offer.cpu_cores,
            "cpu_cores_effective": f64::from(offer.cpu_cores), "cpu_ram": offer.cpu_ram,
            "mem_usage": when(0.5.into()), "mem_limit": when((offer.cpu_ram / 1000.0).into()), "vmem_usage": when(0.0.into()),
            "disk_space": self.order.disk_gb, "disk_util": when(0.0.into()), "disk_usage": when(0.0.into()), "disk_bw": offer.disk_bw,
            "dph_base": self.gpu_price(), "dph_total": self.gpu_price() + storage, "storage_cost": offer.storage_cost, "storage_total_cost": storage,
            "min_bid": offer.min_bid, "is_bid": self.is_bid(),
            "image_uuid": self.order.image, "image_args": self.order.args, "image_runtype": self.order.runtype, "onstart": self.order.onstart, "extra_env": env,
            "template_id": null, "template_hash_id": self.order.template_hash, "template_name": null,
            "ssh_host": format!("ssh{}.vast.invalid", self.id % 9 + 1), "ssh_port": 10_000 + self.id % 50_000, "ssh_idx": (self.id % 9 + 1).to_string(),
            "public_ipaddr": offer.public_ipaddr, "local_ipaddrs": "172.17.0.2 \n", "ports": when(Value::Object(ports)),
            "direct_port_start": -1, "direct_port_end": -1, "direct_port_count": offer.direct_port_count, "static_ip": offer.static_ip,
            "start_date": start, "end_date": start + offer.duration, "duration": offer.duration,
            "uptime_mins": when(self.running_since.map_or(0.0, |since| (now_ms - since) as f64 / 60_000.0).into()),
            "reliability2": offer.reliability, "verification": offer.verification(), "geolocation": offer.geolocation,
            "driver_version": offer.driver_version, "cuda_max_good": offer.cuda_max_good, "dlperf": offer.dlperf, "total_flops": offer.total_flops,
            "inet_up": offer.inet_up, "inet_down": offer.inet_down, "inet_up_cost": offer.inet_up_cost, "inet_down_cost": offer.inet_down_cost,
            "inet_up_billed": self.bill.total().up_bytes as f64 / 1e6, "inet_down_billed": self.bill.total().down_bytes as f64 / 1e6,
            "hosting_type": i32::from(offer.datacenter), "external": offer.external, "jupyter_token": self.jupyter_token(), "volume_info": null,
            "country_code": offer.geolocation.rsplit(", ").next(), "logo": null, "webpage": null, "search": null
        })
    }

    fn jupyter_token(&self) -> String {
        // Not a secret of anything: no Jupyter runs. It must not be the instance's key.
        format!("{:016x}", self.id.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// What is true of it, whatever the API says.
    pub fn truth(&self) -> Value {
        let total = self.bill.total();
        json!({
            "id": self.id, "ask_id": self.offer.id, "machine_id": self.offer.machine_id, "gpu_name": self.offer.gpu_name, "label": self.order.label, "image": self.order.image,
            "exists": self.alive(), "status": self.status, "wanted": self.wanted, "holds_gpu": self.seated, "host": self.host, "shown_as": self.actual(),
            "upsets": self.upsets, "asked_at_ms": self.asked_at, "destroyed_at_ms": self.destroyed_at, "starts": self.starts,
            "gpu_price": self.gpu_price(), "disk_price": self.disk_price(), "is_bid": self.is_bid(), "cost": total, "cost_total": total.total()
        })
    }
}
