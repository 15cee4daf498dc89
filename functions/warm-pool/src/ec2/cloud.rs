//! For tests: something that speaks EC2's Query protocol as far as the pool does, with its faults on request. The AWS stand-in does more of EC2 and
//! less of what matters here: it is never full, never slow, tells no spot prices and forgets client tokens and user data.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A request's parameters, by their names.
pub type Asked = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answered as it should be: for what comes after it.
    Fine,
    /// Refused, with this status and code.
    Says(u16, &'static str),
    /// Done, and the connection breaks before the answer is there.
    DoneAndLost,
    /// Done, and said to have failed.
    DoneAndSays(u16, &'static str),
    /// Done, and never answered.
    DoneAndSilent,
    /// Not done, and the connection breaks.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub id: String,
    pub label: Option<String>,
    pub state: &'static str,
    /// Of its state, the code.
    pub reason: Option<&'static str>,
    pub token: String,
}

#[derive(Default)]
struct State {
    made: Vec<Made>,
    faults: Vec<(&'static str, Fault)>,
    asked: Vec<Asked>,
    /// Type, zone, dollars, when.
    spot: Vec<(&'static str, &'static str, &'static str, &'static str)>,
    hidden: bool,
}

#[derive(Clone)]
pub struct Cloud {
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// Instances of a page, few, so that there are several.
const PAGE: usize = 2;

impl Cloud {
    pub async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cloud = Self { url: format!("http://{}", listener.local_addr().unwrap()), state: Arc::default() };
        let here = cloud.clone();
        let answer = move |body: Bytes| {
            let here = here.clone();
            async move { here.answer(url::form_urlencoded::parse(&body).into_owned().collect()).await }
        };
        let router = Router::new().route("/", post(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        cloud
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// The next call of this action ends so; several follow each other.
    pub fn fault(&self, action: &'static str, fault: Fault) -> &Self {
        self.with(|state| state.faults.push((action, fault)));
        self
    }

    pub fn spot(&self, prices: &[(&'static str, &'static str, &'static str, &'static str)]) -> &Self {
        self.with(|state| state.spot = prices.to_vec());
        self
    }

    /// Machines that cost something, whoever knows of them.
    pub fn exist(&self) -> Vec<Made> {
        self.with(|state| state.made.iter().filter(|made| made.state != "terminated").cloned().collect())
    }

    /// A machine that somebody else made.
    pub fn make(&self, label: Option<&str>) -> String {
        self.with(|state| state.make(label.map(str::to_owned), String::new()).id)
    }

    pub fn set(&self, id: &str, to: &'static str) {
        self.with(|state| state.made.iter_mut().filter(|made| made.id == id).for_each(|made| made.state = to));
    }

    /// It changed its state for this reason.
    pub fn because(&self, id: &str, to: &'static str, reason: &'static str) {
        self.set(id, to);
        self.with(|state| state.made.iter_mut().filter(|made| made.id == id).for_each(|made| made.reason = Some(reason)));
    }

    /// Whether the list shows nothing, as right after an order.
    pub fn hide(&self, hidden: bool) {
        self.with(|state| state.hidden = hidden);
    }

    /// The calls of an action that came, in order.
    pub fn asked(&self, action: &str) -> Vec<Asked> {
        self.with(|state| state.asked.iter().filter(|asked| asked["Action"] == action).cloned().collect())
    }

    async fn answer(&self, asked: Asked) -> Response {
        // What else of AWS is asked here is not there.
        let Some(action) = asked.get("Action").cloned() else { return error(400, "InvalidAction") };
        let (fault, done) = self.with(|state| {
            state.asked.push(asked.clone());
            let at = state.faults.iter().position(|(of, _)| *of == action);
            let fault = at.map(|at| state.faults.remove(at).1);
            let not_done = matches!(fault, Some(Fault::Says(..) | Fault::Lost));
            (fault, if not_done { Ok(String::new()) } else { state.act(&action, &asked) })
        });
        match fault {
            Some(Fault::Says(status, code) | Fault::DoneAndSays(status, code)) => error(status, code),
            Some(Fault::DoneAndLost | Fault::Lost) => {
                let broken = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("the connection breaks")) });
                Body::from_stream(broken).into_response()
            }
            Some(Fault::DoneAndSilent) => std::future::pending().await,
            None | Some(Fault::Fine) => match done {
                Ok(inner) => {
                    format!(r#"<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>{inner}</{action}Response>"#)
                        .into_response()
                }
                Err((status, code)) => error(status, code),
            },
        }
    }
}

impl State {
    fn make(&mut self, label: Option<String>, token: String) -> Made {
        let made = Made { id: format!("i-{:017x}", self.made.len() + 1), label, state: "running", reason: None, token };
        self.made.push(made.clone());
        made
    }

    fn act(&mut self, action: &str, asked: &Asked) -> Result<String, (u16, &'static str)> {
        let value = |name: &str| asked.get(name).cloned();
        match action {
            "RunInstances" => {
                let token = value("ClientToken").unwrap_or_default();
                let known = self.made.iter().find(|made| !token.is_empty() && made.token == token).cloned();
                let made = known.unwrap_or_else(|| self.make(value("TagSpecification.1.Tag.1.Value"), token));
                Ok(format!("<instancesSet>{}</instancesSet>", item(&made)))
            }
            "DescribeInstances" => {
                let one = value("InstanceId.1");
                let states: Vec<String> = (1..).map_while(|n| value(&format!("Filter.2.Value.{n}"))).collect();
                let there = |made: &&Made| match &one {
                    Some(id) => made.id == *id,
                    None => !self.hidden && made.label.is_some() && states.iter().any(|state| state == made.state),
                };
                let found: Vec<_> = self.made.iter().filter(there).collect();
                if one.is_some() && found.is_empty() {
                    return Err((400, "InvalidInstanceID.NotFound"));
                }
                let from: usize = value("NextToken").map_or(0, |token| token.parse().unwrap());
                let items: String =
                    found.iter().skip(from).take(PAGE).map(|made| format!("<item><instancesSet>{}</instancesSet></item>", item(made))).collect();
                let next = if from + PAGE < found.len() { format!("<nextToken>{}</nextToken>", from + PAGE) } else { String::new() };
                Ok(format!("<reservationSet>{items}</reservationSet>{next}"))
            }
            "TerminateInstances" => {
                let id = value("InstanceId.1").unwrap_or_default();
                let made = self.made.iter_mut().find(|made| made.id == id).ok_or((400, "InvalidInstanceID.NotFound"))?;
                made.state = "terminated";
                Ok("<instancesSet/>".into())
            }
            "DescribeSubnets" => {
                let ids = (1..).map_while(|n| value(&format!("SubnetId.{n}")));
                let zone = |id: &str| format!("us-east-1{}", id.chars().last().unwrap());
                let items: String = ids.map(|id| format!("<item><subnetId>{id}</subnetId><availabilityZone>{}</availabilityZone></item>", zone(&id))).collect();
                Ok(format!("<subnetSet>{items}</subnetSet>"))
            }
            "DescribeImages" => {
                let disk = |name: &str, gb: u32| format!("<item><deviceName>{name}</deviceName><ebs><volumeSize>{gb}</volumeSize></ebs></item>");
                let disks = disk("/dev/sdb", 500) + &disk("/dev/sda1", 40);
                Ok(format!("<imagesSet><item><rootDeviceName>/dev/sda1</rootDeviceName><blockDeviceMapping>{disks}</blockDeviceMapping></item></imagesSet>"))
            }
            "DescribeSpotPriceHistory" => {
                let price = |(kind, zone, dollars, at): &(&str, &str, &str, &str)| {
                    format!(
                        "<item><instanceType>{kind}</instanceType><availabilityZone>{zone}</availabilityZone><spotPrice>{dollars}</spotPrice><timestamp>{at}</timestamp></item>"
                    )
                };
                Ok(format!("<spotPriceHistorySet>{}</spotPriceHistorySet>", self.spot.iter().map(price).collect::<String>()))
            }
            _ => Err((400, "InvalidAction")),
        }
    }
}

fn item(made: &Made) -> String {
    let tags = made.label.iter().map(|label| format!("<item><key>kiln:label</key><value>{label}</value></item>")).collect::<String>();
    let reason = made.reason.map_or(String::new(), |code| format!("<stateReason><code>{code}</code><message>{code}</message></stateReason>"));
    let state = format!("<instanceState><code>0</code><name>{}</name></instanceState>", made.state);
    format!("<item><instanceId>{}</instanceId>{state}{reason}<tagSet>{tags}</tagSet></item>", made.id)
}

fn error(status: u16, code: &str) -> Response {
    let body = format!("<Response><Errors><Error><Code>{code}</Code><Message>a test said so</Message></Error></Errors><RequestID>r</RequestID></Response>");
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
