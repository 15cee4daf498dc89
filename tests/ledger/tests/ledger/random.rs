//! Random sequences. `scripts/prove-ledger [OPS] [SEED]` runs more of them.

use kiln_dynamo::Planted;
use kiln_ledger_proof::case::{Case, case, run};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::Cell;
use std::time::Instant;

const OPS: u64 = 20_000;
const THREADS: u64 = 4;
/// Groups of a case at most.
const GROUPS: usize = 40;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs cases until so many operations are done; the shortest case that fails, and why.
fn prove(seed: u64, ops: u64, planted: Option<Planted>) -> Result<u64, (Case, String)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let done = Cell::new(0);
    for n in 0u64.. {
        if done.get() >= ops {
            break;
        }
        // A runner counts its cases, and has had enough after one.
        bytes[8..16].copy_from_slice(&n.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config.clone(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let outcome = runner.run(&case(GROUPS), |case| {
            done.set(done.get() + case.len() as u64);
            run(&case, planted).map_err(|error| TestCaseError::fail(format!("{error:#}")))
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(why, case)) => return Err((case, why.to_string())),
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
    }
    Ok(done.get())
}

#[test]
fn no_sequence_of_operations_however_cut_off_or_at_once_leads_away_from_the_reference() {
    let (ops, seed) = (setting("KILN_LEDGER_OPS", OPS), setting("KILN_LEDGER_SEED", 20_261_121));
    let begun = Instant::now();
    // Each with its share and a seed of its own.
    let threads = THREADS;
    let proofs: Vec<_> = (0..threads).map(|n| (seed + n, std::thread::spawn(move || prove(seed + n, ops.div_ceil(threads), None)))).collect();
    let mut done = 0;
    for (seed, proof) in proofs {
        match proof.join().expect("no panic") {
            Ok(ops) => done += ops,
            Err((case, why)) => panic!("KILN_LEDGER_SEED={seed}: {why}\nthe shortest case:\n{case:#?}"),
        }
    }
    println!("{done} operations, KILN_LEDGER_SEED={seed}, {threads} threads, {:.1} s", begun.elapsed().as_secs_f64());
}

/// The canary of all the above: where conditions don't hold, or transactions are half done, the same sequences fail.
#[test]
fn a_table_that_breaks_its_word_is_found_out_and_shrunk() {
    for planted in [Planted::ConditionsIgnored, Planted::HalfTransactions] {
        let (case, why) = prove(7, OPS, Some(planted)).expect_err("a failure");
        println!("{planted:?} is found out by {} operations: {why}", case.len());
        assert!(case.len() <= 8, "{case:#?}");
    }
}
