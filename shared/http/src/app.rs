//! What a function needs to run: its environment (as template.yaml gives it), the settings, the AWS clients (made when
//! first used, so that a function links and connects only what it uses), the clock and randomness.

use aws_config::SdkConfig;
use kiln_core::access::USE_NOTED_EVERY;
use kiln_core::ids::KeyId;
use kiln_core::prices::Prices;
use kiln_core::settings::Settings;
use kiln_core::time::Millis;
use kiln_store::{Files, Lender, Mail, Queues, Secrets, Table, Waker};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// For a laptop: webhooks may go to it itself, and over plain http.
const ALLOW_LOOPBACK: &str = "KILN_WEBHOOK_ALLOW_LOOPBACK";

/// A function's environment variables.
pub type Env = BTreeMap<String, String>;

/// Shared by all requests of one function; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    env: Env,
    settings: Settings,
    prices: Prices,
    sdk: SdkConfig,
    table: Table,
    test_engines: bool,
    files: OnceLock<Files>,
    queues: OnceLock<Queues>,
    mail: OnceLock<Mail>,
    secrets: OnceLock<Secrets>,
    lender: OnceLock<Lender>,
    waker: OnceLock<Option<Waker>>,
    /// Jobs that this process has taken since the pool last said how it stands, and when that was.
    came: Mutex<(Millis, u32)>,
    /// When this process last wrote a key's use down.
    keys_used: Mutex<HashMap<KeyId, Millis>>,
}

impl App {
    /// Reads the settings; a missing or bad one is told by its name.
    pub async fn new(env: Env) -> anyhow::Result<Self> {
        Self::on(env, kiln_store::sdk_config()).await
    }

    /// The same with the AWS that is told, for tests: a process has one environment, and theirs runs many systems.
    pub async fn on(env: Env, sdk: SdkConfig) -> anyhow::Result<Self> {
        let settings = Settings::from_env(|name| env.get(name).cloned()).map_err(anyhow::Error::msg)?;
        let prices = match env.get("KILN_PRICES_FILE").filter(|path| !path.is_empty()) {
            Some(path) => Prices::parse(&std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("KILN_PRICES_FILE {path}: {error}"))?),
            None => Prices::parse(kiln_core::prices::DEFAULT),
        };
        let prices = prices.map_err(anyhow::Error::msg)?;
        // A laptop says so itself (kiln-local sets it): a stage of any other name, or one that is mistyped, is a deployment.
        let deployed = required(&env, "KILN_STAGE")? != "local";
        for name in ["KILN_DEMO", "KILN_TEST_ENGINES", ALLOW_LOOPBACK] {
            if deployed && env.get(name).is_some_and(|value| value == "1") {
                anyhow::bail!("{name}=1 is for a laptop; a deployed function refuses to start with it");
            }
        }
        crate::reads::limit_by(&settings);
        let table = Table::new(&sdk, required(&env, "KILN_TABLE")?);
        let test_engines = env.get("KILN_TEST_ENGINES").is_some_and(|value| value == "1");
        Ok(Self(Arc::new(Inner {
            env,
            settings,
            prices,
            sdk,
            table,
            test_engines,
            files: OnceLock::new(),
            queues: OnceLock::new(),
            mail: OnceLock::new(),
            secrets: OnceLock::new(),
            lender: OnceLock::new(),
            waker: OnceLock::new(),
            came: Mutex::default(),
            keys_used: Mutex::default(),
        })))
    }

    /// From the process's own environment, as a deployed function does.
    pub async fn from_process() -> anyhow::Result<Self> {
        Self::new(std::env::vars().collect()).await
    }

    pub fn env(&self, name: &str) -> Option<&str> {
        self.0.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What things cost; validated at the start.
    pub fn prices(&self) -> &Prices {
        &self.0.prices
    }

    pub fn table(&self) -> &Table {
        &self.0.table
    }

    /// Whether kinds for tests exist in this deployment.
    pub fn test_engines(&self) -> bool {
        self.0.test_engines
    }

    /// Whether webhooks may go to this machine itself, which a laptop may allow and a deployment can't.
    pub fn allows_loopback(&self) -> bool {
        self.env(ALLOW_LOOPBACK) == Some("1")
    }

    /// Seals and opens the secrets of webhook endpoints, under the key in SSM.
    pub async fn sealer(&self) -> Result<crate::sealed::Sealer, kiln_store::Error> {
        let parameter = self.secrets().get("webhook-key").await?;
        crate::sealed::Sealer::new(&parameter).ok_or_else(|| kiln_store::Error::internal("webhook-key is no key: 32 characters or more"))
    }

    pub fn files(&self) -> &Files {
        self.0.files.get_or_init(|| Files::new(&self.0.sdk, |name| self.env(name).map(str::to_owned)))
    }

    pub fn queues(&self) -> &Queues {
        self.0.queues.get_or_init(|| Queues::new(&self.0.sdk, |name| self.env(name).map(str::to_owned)))
    }

    /// SES itself; a message is sent by [`App::send_mail`].
    pub(crate) fn mail(&self) -> &Mail {
        self.0.mail.get_or_init(|| {
            Mail::new(&self.0.sdk, self.env("KILN_MAIL_FROM").unwrap_or_default().to_owned(), self.env("KILN_MAIL_CONFIGURATION").map(str::to_owned))
        })
    }

    pub fn secrets(&self) -> &Secrets {
        self.0.secrets.get_or_init(|| Secrets::new(&self.0.sdk, self.env("KILN_SECRETS_PREFIX").unwrap_or_default().to_owned()))
    }

    pub fn lender(&self) -> &Lender {
        self.0.lender.get_or_init(|| Lender::new(&self.0.sdk, self.env("KILN_WORKER_ROLE_ARN").unwrap_or_default().to_owned()))
    }

    /// What wakes the warm pool, where this function may.
    pub(crate) fn waker(&self) -> Option<&Waker> {
        self.0.waker.get_or_init(|| Waker::new(&self.0.sdk, |name| self.env(name).map(str::to_owned))).as_ref()
    }

    /// Counts one more job, and gives how many this process has taken since the pool said at `at` how it stands.
    pub(crate) fn comes(&self, at: Millis) -> u32 {
        let mut came = self.0.came.lock().unwrap_or_else(PoisonError::into_inner);
        if came.0 != at {
            *came = (at, 0);
        }
        came.1 = came.1.saturating_add(1);
        came.1
    }

    pub fn region(&self) -> String {
        self.0.sdk.region().map_or_else(|| "us-east-1".to_owned(), ToString::to_string)
    }

    /// How AWS is reached, for what only one function asks of it.
    pub fn aws(&self) -> &SdkConfig {
        &self.0.sdk
    }

    /// Where AWS answers, when that isn't AWS itself.
    pub fn aws_endpoint(&self) -> Option<&str> {
        self.0.sdk.endpoint_url()
    }

    /// Where people reach the system: `https://…`, without a slash at its end.
    pub fn public_url(&self) -> &str {
        self.env("KILN_PUBLIC_URL").unwrap_or("http://localhost:8080").trim_end_matches('/')
    }

    /// The name of this deployment, in labels and metrics.
    pub fn deployment(&self) -> &str {
        self.env("KILN_DEPLOYMENT").unwrap_or("kiln")
    }

    /// Whether this process has not seen the key used for [`USE_NOTED_EVERY`]; from now on it has.
    pub(crate) fn first_use(&self, id: &KeyId, now: Millis) -> bool {
        let mut used = self.0.keys_used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(id).is_some_and(|at| now - at < USE_NOTED_EVERY) {
            return false;
        }
        // Forgetting costs a few writes more, growing would cost memory.
        if used.len() >= 10_000 {
            used.clear();
        }
        used.insert(id.clone(), now);
        true
    }

    pub fn now(&self) -> Millis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        since.as_millis() as Millis
    }

    /// Randomness for an id.
    pub fn random(&self) -> u128 {
        u128::from_le_bytes(random_bytes())
    }
}

fn required<'a>(env: &'a Env, name: &str) -> anyhow::Result<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty()).ok_or_else(|| anyhow::anyhow!("the environment variable {name} is not set"))
}

/// From the operating system, for secrets and ids.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The kernel's generator does not fail once the machine has booted; without it no secret may be made.
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// A new random 256-bit token, base64url, and the hash that is stored instead of it.
pub struct Secret {
    pub token: String,
    pub hash: String,
}

pub fn new_secret(prefix: &str) -> Secret {
    use base64::Engine;
    let token = format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<32>()));
    Secret { hash: kiln_store::hash(&token), token }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn started(stage: &str, more: &[&str]) -> anyhow::Result<App> {
        let mut env: Env = [("KILN_STAGE", stage), ("KILN_TABLE", "none")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        env.extend(more.iter().map(|name| ((*name).to_owned(), "1".to_owned())));
        App::new(env).await
    }

    #[tokio::test]
    async fn what_is_for_a_laptop_is_refused_under_any_stage_but_local() {
        for name in ["KILN_DEMO", "KILN_TEST_ENGINES", ALLOW_LOOPBACK] {
            assert!(started("local", &[name]).await.is_ok(), "{name}");
            for stage in ["staging", "production", "prod", "Local", "local ", "test"] {
                let refused = started(stage, &[name]).await.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(refused.starts_with(name), "{stage}: {refused}");
            }
        }
        assert!(started("prod", &[]).await.is_ok());
    }
}
