//! What an instance runs at its first boot, run here: the very script that an order holds, with programs in Docker's and `shutdown`'s place that write
//! down how they were called.

use super::order::script;
use super::{Kind, Wanted};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const TOKEN: &str = "kib_ins_01J00000000000000000000000.Zm9vYmFy-_Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm8";

fn wanted() -> Wanted {
    Wanted {
        subnets: vec![],
        security_group: String::new(),
        ami: String::new(),
        types: Vec::<Kind>::new(),
        spot: true,
        image: "registry.example.org/kiln/worker@sha256:0123456789abcdef".into(),
        disk_gb: 32,
        api_url: "https://kiln.example.org/".into(),
        max_life_s: 86_400,
        boot_s: 600,
    }
}

/// How the script ended, and what it called, one line each.
struct Booted {
    code: i32,
    called: Vec<String>,
}

impl Booted {
    fn calls(&self, begins: &str) -> usize {
        self.called.iter().filter(|call| call.starts_with(begins)).count()
    }
}

/// `docker` and `shutdown`: what the two do after they were written down.
fn boot(docker: &str, shutdown: &str) -> Booted {
    boot_of(&wanted(), docker, shutdown)
}

fn boot_of(wanted: &Wanted, docker: &str, shutdown: &str) -> Booted {
    let folder = tempfile::tempdir().unwrap();
    let (bin, called) = (folder.path().join("bin"), folder.path().join("called"));
    std::fs::create_dir(&bin).unwrap();
    let program = |name: &str, does: &str| {
        let path: &Path = &bin.join(name);
        std::fs::write(path, format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{does}\n", called.display())).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("docker", &format!("case $1 in run) echo \"told $KILN_API $KILN_BOOT_TOKEN $KILN_MAX_LIFE_S\" >>'{}' ;; esac\n{docker}", called.display()));
    program("shutdown", shutdown);
    program("sleep", "exit 0");
    let file = folder.path().join("user-data");
    std::fs::write(&file, script(wanted, TOKEN).unwrap()).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let ended = Command::new("bash").arg(&file).env_clear().env("PATH", path).env("CALLED", &called).output().unwrap();
    let out = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(!out.contains(TOKEN), "the console of an instance is no place for its token: {out}");
    let called = std::fs::read_to_string(called).unwrap_or_default().lines().map(str::to_owned).collect();
    Booted { code: ended.status.code().unwrap(), called }
}

#[test]
fn a_machine_runs_the_worker_and_ends_when_that_does_whatever_its_exit_code() {
    for code in [0, 5, 137] {
        let booted = boot(&format!("case $1 in run) exit {code} ;; esac"), "exit 0");
        let called = &booted.called;
        // A day and a quarter of an hour, before anything else.
        assert!(called[0].starts_with("shutdown -h +1455 "), "{called:?}");
        let run = called.iter().find(|call| call.starts_with("docker run")).unwrap();
        assert!(run.ends_with("registry.example.org/kiln/worker@sha256:0123456789abcdef --rented ec2"), "{run}");
        assert!(run.contains("--gpus all") && run.contains("--network host") && run.contains("-e KILN_SHUTDOWN=/bin/true"), "{run}");
        assert!(called.contains(&format!("told https://kiln.example.org/api/v1 {TOKEN} 86400")), "{called:?}");
        // In no process list.
        assert_eq!(called.iter().filter(|call| call.contains(TOKEN)).count(), 1, "{called:?}");
        assert_eq!((called.last().unwrap().as_str(), booted.calls("docker pull"), booted.calls("docker run")), ("shutdown -h now", 1, 1));
    }
}

#[test]
fn a_container_that_can_t_be_pulled_is_tried_three_times_and_then_the_machine_ends() {
    let booted = boot("case $1 in pull) exit 1 ;; esac", "exit 0");
    assert_eq!((booted.code, booted.calls("docker pull"), booted.calls("docker run")), (1, 3, 0));
    assert_eq!(booted.called.last().unwrap(), "shutdown -h now");
    let twice = boot("case $1 in pull) [ \"$(grep -c '^docker pull' \"$CALLED\")\" -gt 2 ] ;; esac", "exit 0");
    assert_eq!((twice.calls("docker pull"), twice.calls("docker run"), twice.called.last().unwrap().as_str()), (3, 1, "shutdown -h now"));
}

#[test]
fn a_pull_that_hangs_ends_with_the_boot_s_time_and_so_does_the_machine() {
    let hangs = boot_of(&Wanted { boot_s: 2, ..wanted() }, "case $1 in pull) exec tail -f /dev/null ;; esac", "exit 0");
    assert_eq!((hangs.code, hangs.calls("docker pull"), hangs.calls("docker run")), (1, 1, 0));
    assert_eq!(hangs.called.last().unwrap(), "shutdown -h now");
}

#[test]
fn without_docker_the_machine_ends_too() {
    let booted = boot("exit 1", "exit 0");
    assert_eq!((booted.calls("docker info"), booted.calls("docker run"), booted.called.last().unwrap().as_str()), (60, 0, "shutdown -h now"));
}

#[test]
fn a_shutdown_that_fails_is_tried_until_it_is_done() {
    // The first is the timer's.
    let booted = boot("exit 0", "[ \"$(grep -c '^shutdown -h now' \"$CALLED\")\" -gt 2 ]");
    assert_eq!((booted.calls("shutdown -h now"), booted.called.last().unwrap().as_str()), (3, "shutdown -h now"));
}

#[test]
fn nothing_that_is_filled_in_can_end_its_quotes() {
    for bad in ["", "a b", "a'b", "a$(b)", "a\nb", "a`b`", "a\\b", "a\"b"] {
        assert!(script(&wanted(), bad).is_err(), "{bad:?}");
        assert!(script(&Wanted { image: bad.into(), ..wanted() }, TOKEN).is_err(), "{bad:?}");
        if !bad.is_empty() {
            assert!(script(&Wanted { api_url: bad.into(), ..wanted() }, TOKEN).is_err(), "{bad:?}");
        }
    }
}
