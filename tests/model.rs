//! Two gateways on one PostgreSQL do what a simple model says, whatever is done in whatever order on either.
//!
//! Each step is drawn at random: sessions are created, used, rotated, suspended, revoked, evicted, left to expire. Every
//! verdict is compared with the model's. On the gateway where something was done it holds at once; the other one may be
//! behind, for [`BOUND`] at most, and the longest time that it was is printed.
//!
//! `MODEL_SEED` repeats a run, whose seed is printed; `MODEL_STEPS` makes it longer or shorter.

#![allow(unreachable_pub, reason = "nothing depends on a test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod support;

#[path = "model/drive.rs"]
mod drive;
#[path = "model/world.rs"]
mod world;

use std::time::Duration;

use drive::Drive;

/// How long the other gateway may be behind.
const BOUND: Duration = Duration::from_secs(1);
const STEPS: u64 = 10_000;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn two_gateways_never_give_a_verdict_that_the_model_does_not_give() {
    let seed = from_environment("MODEL_SEED").unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    });
    let steps = from_environment("MODEL_STEPS").unwrap_or(STEPS);
    println!("MODEL_SEED={seed} MODEL_STEPS={steps}");
    let mut drive = Drive::start(seed);
    for _ in 0..steps {
        drive.step();
    }
    println!("{}", drive.summary());
    drive.everything_was_done();
}
