//! The boot before any work: the models that the folder lacks, and the health gate.

use crate::fake::Fake;
use crate::settings;
use kiln_core::models::needed;
use kiln_worker::agent::{self, Drains, Exit, LoadError, Registry};
use kiln_worker::engine::{Context, Engine, EngineError, Input, Output};
use serde_json::{Value, json};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

/// Its self-test says so, or panics.
struct Sick(Option<&'static str>);

impl Engine for Sick {
    fn kinds(&self) -> &'static [&'static str] {
        &["test"]
    }
    fn self_test(&self) -> Result<(), String> {
        Err(self.0.expect("a panic").into())
    }
    fn run(&self, _: &str, _: &Value, _: &[Input], _: &dyn Context) -> Result<Vec<Output>, EngineError> {
        unreachable!("it gets no work")
    }
}

#[tokio::test]
async fn an_engine_that_fails_its_self_test_gets_no_work_and_no_second_start() {
    for (sick, said) in [(Sick(Some("it computes 5")), "test: it computes 5"), (Sick(None), "broke down")] {
        let fake = Fake::start().await;
        let load = move || Ok(Registry::new(vec![Arc::new(sick)]));
        let exit = agent::run(settings(&fake, &[]), load, Drains::default()).await;
        assert!(matches!(&exit, Exit::Unfit(why) if why.contains(said)), "{exit:?}");
        assert!(exit.code() == 5 && Exit::is_final(5));
        assert!(fake.calls("ReceiveMessage standard").is_empty());
        assert!(fake.calls("heartbeat").iter().all(|beat| beat.body["stage"] == "loading"));
    }
}

/// Its self-test ends when the test does.
struct Stuck(Mutex<Receiver<()>>);

impl Engine for Stuck {
    fn kinds(&self) -> &'static [&'static str] {
        &["test"]
    }
    fn self_test(&self) -> Result<(), String> {
        self.0.lock().unwrap().recv().map_err(|error| error.to_string())
    }
    fn run(&self, _: &str, _: &Value, _: &[Input], _: &dyn Context) -> Result<Vec<Output>, EngineError> {
        unreachable!("it gets no work")
    }
}

#[tokio::test]
async fn a_self_test_that_does_not_end_in_its_time_ends_the_worker() {
    let (fake, (ends, end)) = (Fake::start().await, std::sync::mpsc::channel());
    let load = move || Ok(Registry::new(vec![Arc::new(Stuck(Mutex::new(end)))]));
    let exit = agent::run(settings(&fake, &["--gate-s", "1"]), load, Drains::default()).await;
    assert!(matches!(&exit, Exit::Unfit(why) if why.contains("longer than 1 s")), "{exit:?}");
    assert!(exit.code() == 5 && fake.calls("ReceiveMessage standard").is_empty());
    drop(ends);
}

#[tokio::test]
async fn a_machine_without_the_gpu_that_it_must_have_ends_before_its_self_test() {
    let fake = Fake::start().await;
    let load = || Err(LoadError::Unfit("this build computes on a GPU, and there is none to compute on".into()));
    let exit = agent::run(settings(&fake, &[]), load, Drains::default()).await;
    assert!(matches!(&exit, Exit::Unfit(why) if why.contains("there is none")), "{exit:?}");
    assert!(exit.code() == 5 && fake.calls("ReceiveMessage standard").is_empty());
}

#[tokio::test]
async fn models_that_the_folder_lacks_are_asked_for_and_a_wrong_file_fails_the_boot() {
    let fake = Fake::start().await;
    let folder = std::env::temp_dir().join(format!("kiln-weights-{:x}", fastrand::u64(..)));
    let url = format!("{}/in", fake.api().trim_end_matches("/api/v1"));
    let needed = needed(&["image".into()]);
    let models: Vec<_> = needed.iter().map(|file| json!({ "sha256": file.sha256, "url": url })).collect();
    fake.usually("register", 200, json!({ "instance_id": "ins_01ARYZ6S410000000000000003", "token": "instance-token", "heartbeat_s": 1, "models": models }));
    // A fault that passes is no reason to give up; a file that is another one is.
    fake.then("GET /in", 503, json!({})).then("GET /in", 503, json!({}));
    let load = || Err(LoadError::MissingModels("as if nothing had been fetched".into()));
    let exit = agent::run(settings(&fake, &["--models-dir", folder.to_str().unwrap()]), load, Drains::default()).await;
    assert!(matches!(&exit, Exit::MissingModels(why) if why.contains(&needed[0].name) && why.contains("is not the pinned one")), "{exit:?}");
    assert_eq!((exit.code(), fake.calls("GET /in").len()), (4, 3));
    let lacks: Vec<_> = needed.iter().map(|file| json!(file.sha256)).collect();
    assert_eq!(fake.calls("register")[0].body["lacks"], json!(lacks));
    assert_eq!(fake.calls("heartbeat")[0].body["boot_stage"], "models");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "nothing is left of it");
    std::fs::remove_dir_all(folder).unwrap();
}
