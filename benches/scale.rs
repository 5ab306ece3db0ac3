//! What the store's calls cost with ten times as many sessions: `cargo bench --bench scale`, with `-- --store sqlite`,
//! `--sizes 100000,1000000`, `--samples 1000` and `--calls sweep` (those with this word in their name). Run as a test, it does the same with a few.
//!
//! The stores of all sizes stand side by side and are asked in turn, so that whatever else the machine does slows all of
//! them. Everything goes through the store's public calls, but for the filling.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench may fail, and prints"
)]
#![allow(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "a bench looks at the clock")]

#[path = "scale/calls.rs"]
mod calls;
#[path = "scale/fill.rs"]
mod fill;
#[allow(dead_code, unreachable_pub, reason = "it is made for tests")]
#[path = "../tests/support/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};

use calls::Call;
use fill::World;

struct Options {
    stores: Vec<String>,
    sizes: Vec<u64>,
    samples: u64,
    calls: String,
}

fn options() -> Options {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| given.iter().position(|arg| arg == name).and_then(|at| given.get(at + 1)).cloned();
    // Only `cargo bench` says so; `cargo test` just runs it.
    let in_earnest = given.iter().any(|arg| arg == "--bench");
    let sizes = value("--sizes");
    let sizes = sizes.as_deref().unwrap_or(if in_earnest { "100000,1000000" } else { "1000,5000" });
    Options {
        stores: value("--store").map_or_else(|| vec!["sqlite".to_owned(), "postgres".to_owned()], |store| vec![store]),
        sizes: sizes.split(',').map(|size| size.parse().expect("--sizes takes numbers")).collect(),
        samples: value("--samples").map_or(if in_earnest { 1000 } else { 5 }, |n| n.parse().unwrap()),
        calls: value("--calls").unwrap_or_default(),
    }
}

fn main() {
    let options = options();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for store in &options.stores {
            let mut worlds = Vec::new();
            for size in &options.sizes {
                let began = Instant::now();
                let world = World::fill(store, *size).await;
                println!("{store}: {size} sessions filled in {:.0} s", began.elapsed().as_secs_f64());
                println!("{}", world.sizes().await);
                worlds.push(world);
            }
            compare(store, &worlds, &options).await;
        }
    });
}

/// One table: a row for each call, its median and 99th percentile at each size, and the last size's against the first's.
async fn compare(store: &str, worlds: &[World], options: &Options) {
    let head: String = worlds.iter().map(|world| format!(" {} | p99 |", thousands(world.size))).collect();
    println!("\n| {store}: call, ms |{head} ratio | of p99 |");
    println!("| --- |{} ---: | ---: |", " ---: | ---: |".repeat(worlds.len()));
    for call in Call::ALL.into_iter().filter(|call| call.name().contains(&options.calls)) {
        let samples = call.samples(options.samples);
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); worlds.len()];
        for number in 0..samples {
            for (world, times) in worlds.iter().zip(&mut times) {
                times.push(call.time(world, number).await);
            }
        }
        let figures: Vec<(f64, f64)> = times.into_iter().map(figures).collect();
        let cells: String = figures.iter().map(|(median, p99)| format!(" {median:.3} | {p99:.3} |")).collect();
        let (first, last) = (figures[0], figures[figures.len() - 1]);
        println!("| {} |{cells} {:.2} | {:.2} |", call.name(), last.0 / first.0, last.1 / first.1);
    }
    println!();
}

/// Median and 99th percentile in milliseconds.
fn figures(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize].as_secs_f64() * 1e3;
    (at(0.5), at(0.99))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
