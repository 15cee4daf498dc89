//! What can be rented: one offer for each machine, and how an offer reads in the API.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Hours by which a month's price of storage is divided. Vast.ai doesn't say; a month of 30 days is taken.
pub const MONTH_HOURS: f64 = 720.0;

/// The highest price of anything.
pub const MOST_USD: f64 = 10_000.0;

/// A machine with all its GPUs, as one offer. Prices are dollars: by the hour for the GPUs, by GB and month for storage, by GB for traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Offer {
    /// The id of the ask, by which it is rented.
    pub id: u64,
    pub machine_id: u64,
    pub host_id: u64,
    pub gpu_name: String,
    pub num_gpus: u32,
    /// MB of one GPU.
    pub gpu_ram: f64,
    pub gpu_arch: String,
    /// 890 for 8.9.
    pub compute_cap: u32,
    pub cuda_max_good: f64,
    pub driver_version: String,
    pub cpu_arch: String,
    pub cpu_name: String,
    pub cpu_cores: u32,
    pub cpu_ghz: f64,
    /// MB.
    pub cpu_ram: f64,
    pub disk_space: f64,
    pub disk_bw: f64,
    /// Mbit/s.
    pub inet_up: f64,
    pub inet_down: f64,
    pub inet_up_cost: f64,
    pub inet_down_cost: f64,
    /// On demand, all GPUs of the machine together.
    pub dph_base: f64,
    /// The least that an interruptible rental must bid.
    pub min_bid: f64,
    pub storage_cost: f64,
    pub dlperf: f64,
    pub total_flops: f64,
    /// 0 to 1.
    pub reliability: f64,
    pub verified: bool,
    pub datacenter: bool,
    pub external: bool,
    pub static_ip: bool,
    pub direct_port_count: u32,
    pub geolocation: String,
    pub public_ipaddr: String,
    /// How long the host has promised to keep it, in seconds from the stand-in's start.
    pub duration: f64,
    /// The host has taken it back: it can't be found nor rented.
    pub gone: bool,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            id: 0,
            machine_id: 0,
            host_id: 1,
            gpu_name: "RTX 4090".into(),
            num_gpus: 1,
            gpu_ram: 24_564.0,
            gpu_arch: "nvidia".into(),
            compute_cap: 890,
            cuda_max_good: 12.8,
            driver_version: "570.86.15".into(),
            cpu_arch: "amd64".into(),
            cpu_name: "AMD EPYC 7402".into(),
            cpu_cores: 16,
            cpu_ghz: 2.8,
            cpu_ram: 64_000.0,
            disk_space: 500.0,
            disk_bw: 2_000.0,
            inet_up: 500.0,
            inet_down: 800.0,
            inet_up_cost: 0.01,
            inet_down_cost: 0.01,
            dph_base: 0.36,
            min_bid: 0.18,
            storage_cost: 0.15,
            dlperf: 80.0,
            total_flops: 82.0,
            reliability: 0.99,
            verified: true,
            datacenter: false,
            external: false,
            static_ip: true,
            direct_port_count: 50,
            geolocation: "Germany, DE".into(),
            public_ipaddr: "192.0.2.1".into(),
            duration: 90.0 * 86_400.0,
            gone: false,
        }
    }
}

/// Name, MB of one GPU, compute capability, dollars an hour for one on demand, DL-perf of one, TFLOPS of one.
const GPUS: [(&str, f64, u32, f64, f64, f64); 8] = [
    ("RTX 3060", 12_288.0, 860, 0.07, 17.0, 12.7),
    ("RTX 3090", 24_576.0, 860, 0.17, 38.0, 35.6),
    ("RTX 4090", 24_564.0, 890, 0.35, 82.0, 82.6),
    ("RTX 5090", 32_607.0, 1_200, 0.49, 126.0, 104.8),
    ("L40S", 46_068.0, 890, 0.62, 90.0, 91.6),
    ("RTX A6000", 49_140.0, 860, 0.45, 47.0, 38.7),
    ("A100 SXM4", 81_920.0, 800, 0.88, 66.0, 19.5),
    ("H100 SXM", 81_559.0, 900, 1.95, 190.0, 66.9),
];

const PLACES: [&str; 8] = ["Germany, DE", "Texas, US", "Sweden, SE", "Quebec, CA", "Japan, JP", "France, FR", "Nevada, US", "Poland, PL"];

/// The same offers for the same seed: the eight GPU names by turns, two or three machines to a host, a few unverified, dear or unreliable ones.
pub fn generate(seed: u64, count: usize) -> Vec<Offer> {
    let mut random = fastrand::Rng::with_seed(seed);
    let round = |value: f64, places: f64| (value * places).round() / places;
    let mut offers = Vec::with_capacity(count);
    let (mut host, mut left_at_host) = (4_100, 0);
    for n in 0..count {
        if left_at_host == 0 {
            (host, left_at_host) = (host + 1 + random.u64(0..40), random.u32(2..4));
        }
        left_at_host -= 1;
        let (gpu_name, gpu_ram, compute_cap, price, dlperf, flops) = GPUS[n % GPUS.len()];
        let num_gpus = *random.choice(&[1, 1, 1, 2, 4]).unwrap_or(&1);
        let gpus = f64::from(num_gpus);
        let datacenter = random.u32(0..3) == 0;
        let dph_base = round(price * gpus * (0.8 + 0.6 * random.f64()), 10_000.0);
        offers.push(Offer {
            id: 20_000_000 + n as u64 * 37 + random.u64(0..37),
            machine_id: 30_000 + n as u64 * 11 + random.u64(0..11),
            host_id: host,
            gpu_name: gpu_name.into(),
            num_gpus,
            gpu_ram,
            compute_cap,
            cuda_max_good: *random.choice(&[12.2, 12.4, 12.8, 13.0]).unwrap_or(&12.8),
            driver_version: (*random.choice(&["535.183.1", "550.127.5", "570.86.15", "580.65.6"]).unwrap_or(&"570.86.15")).into(),
            cpu_cores: 8 << random.u32(0..4),
            cpu_ram: 16_000.0 * f64::from(1 << random.u32(1..4)),
            disk_space: round(64.0 + 1_500.0 * random.f64(), 10.0),
            disk_bw: round(500.0 + 5_000.0 * random.f64(), 10.0),
            inet_up: round(50.0 + 2_000.0 * random.f64(), 10.0),
            inet_down: round(100.0 + 3_000.0 * random.f64(), 10.0),
            inet_up_cost: round(0.025 * random.f64(), 10_000.0),
            inet_down_cost: round(0.025 * random.f64(), 10_000.0),
            dph_base,
            min_bid: round(dph_base * (0.35 + 0.3 * random.f64()), 10_000.0),
            storage_cost: round(0.08 + 0.2 * random.f64(), 1_000.0),
            dlperf: round(dlperf * gpus * (0.9 + 0.2 * random.f64()), 100.0),
            total_flops: round(flops * gpus, 10.0),
            reliability: round(1.0 - 0.06 * random.f64() * random.f64(), 10_000.0),
            verified: datacenter || random.u32(0..5) != 0,
            datacenter,
            static_ip: datacenter || random.bool(),
            direct_port_count: random.u32(2..200),
            geolocation: PLACES[random.usize(0..PLACES.len())].into(),
            public_ipaddr: format!("192.0.2.{}", n % 250 + 1),
            duration: f64::from(random.u32(5..180)) * 86_400.0,
            ..Offer::default()
        });
    }
    offers
}

/// How an offer is looked at.
pub struct View {
    pub now_ms: i64,
    /// When the stand-in started.
    pub since_ms: i64,
    /// Interruptible prices instead of those on demand.
    pub bid: bool,
    /// GB that the price is to cover.
    pub storage_gb: f64,
    /// It can be rented in this way now.
    pub rentable: bool,
    /// Somebody has it.
    pub rented: bool,
    /// What a bid must be now.
    pub min_bid: f64,
}

impl Offer {
    /// What can't be offered, in words.
    pub fn check(&self) -> Result<(), String> {
        let prices = [self.dph_base, self.min_bid, self.storage_cost, self.inet_up_cost, self.inet_down_cost];
        if self.id == 0 || self.num_gpus == 0 || self.gpu_name.is_empty() {
            return Err(format!("offer {}: it needs an id above 0, a gpu_name and at least one GPU", self.id));
        }
        if prices.into_iter().any(|price| !(0.0..=MOST_USD).contains(&price)) {
            return Err(format!("offer {}: a price is between 0 and {MOST_USD} dollars", self.id));
        }
        if !(0.0..=1.0).contains(&self.reliability) || !(0.0..=1e12).contains(&self.duration) || !(0.0..=1e9).contains(&self.disk_space) {
            return Err(format!("offer {}: reliability is 0 to 1, and duration and disk_space are not below 0 nor beyond all measure", self.id));
        }
        Ok(())
    }

    /// Dollars an hour for so many GB.
    pub fn storage_per_hour(&self, gb: f64) -> f64 {
        self.storage_cost * gb / MONTH_HOURS
    }

    /// As a search answers it.
    pub fn row(&self, view: &View) -> Value {
        let dph_base = if view.bid { view.min_bid } else { self.dph_base };
        let storage = self.storage_per_hour(view.storage_gb);
        let dph_total = dph_base + storage;
        let per_dollar = |value: f64| if dph_total > 0.0 { Value::from(value / dph_total) } else { Value::Null };
        let end = view.since_ms as f64 / 1000.0 + self.duration;
        json!({
            "id": self.id, "ask_contract_id": self.id, "bundle_id": self.id + 1_000_000_000, "bundled_results": null,
            "machine_id": self.machine_id, "host_id": self.host_id, "cluster_id": null,
            "num_gpus": self.num_gpus, "gpu_name": self.gpu_name, "gpu_ram": self.gpu_ram, "gpu_total_ram": self.gpu_ram * f64::from(self.num_gpus),
            "gpu_frac": 1.0, "gpu_arch": self.gpu_arch, "gpu_display_active": false, "compute_cap": self.compute_cap,
            "cuda_max_good": self.cuda_max_good, "driver_version": self.driver_version, "total_flops": self.total_flops,
            "gpu_mem_bw": null, "gpu_max_power": null, "gpu_max_temp": null, "bw_nvlink": 0.0, "pci_gen": 4.0, "pcie_bw": 24.0,
            "cpu_arch": self.cpu_arch, "cpu_name": self.cpu_name, "cpu_cores": self.cpu_cores, "cpu_cores_effective": f64::from(self.cpu_cores),
            "cpu_ghz": self.cpu_ghz, "cpu_ram": self.cpu_ram, "has_avx": 1,
            "disk_space": self.disk_space, "disk_bw": self.disk_bw, "disk_name": null,
            "inet_up": self.inet_up, "inet_down": self.inet_down, "inet_up_cost": self.inet_up_cost, "inet_down_cost": self.inet_down_cost,
            "dph_base": dph_base, "dph_total": dph_total, "min_bid": view.min_bid,
            "storage_cost": self.storage_cost, "storage_total_cost": storage,
            "dlperf": self.dlperf, "dlperf_per_dphtotal": per_dollar(self.dlperf), "flops_per_dphtotal": per_dollar(self.total_flops),
            "score": per_dollar(self.dlperf * self.reliability), "reliability": self.reliability, "reliability2": self.reliability,
            "rentable": view.rentable, "rented": view.rented, "is_bid": view.bid, "external": self.external, "verification": self.verification(),
            "geolocation": self.geolocation, "public_ipaddr": self.public_ipaddr, "direct_port_count": self.direct_port_count, "static_ip": self.static_ip,
            "start_date": view.since_ms as f64 / 1000.0, "end_date": end, "duration": (end - view.now_ms as f64 / 1000.0).max(0.0),
            "hosting_type": i32::from(self.datacenter), "datacenter": self.datacenter, "vms_enabled": false, "ubuntu_version": "22.04",
            "logo": null, "webpage": null, "rn": 1, "time_remaining": "", "time_remaining_isbid": ""
        })
    }

    pub fn verification(&self) -> &'static str {
        if self.verified { "verified" } else { "unverified" }
    }
}
