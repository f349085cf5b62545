//! SIGKILL at random moments: every acknowledged vote, entry, truncation and purge is there when the directory is
//! opened again. What only loss of power can show is tested in `crash_power`.

mod crash;

use crash::model::{Counts, Model};
use crash::{Running, rounds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Directories in use at the same time.
const CHAINS: u64 = 3;
/// Crashes after which a chain continues in a new directory.
const ROUNDS_PER_DIRECTORY: u64 = 5;

#[test]
fn child() {
    crash::child::run_if_child();
}

fn chain(number: u64, rounds: u64) -> Counts {
    let mut rng = StdRng::seed_from_u64(number);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut counts = Counts::default();
    let mut left = rounds;
    while left > 0 {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let mut model = Model::default();
        for _ in 0..ROUNDS_PER_DIRECTORY.min(left) {
            let child = Running::start(dir.path(), rng.random());
            child.wait_for_a_moment(&mut rng);
            model.hear(&child.kill());
            assert_eq!(model.refusal, None, "a child could not open the directory");
            let verdict = runtime.block_on(model.verify(dir.path()));
            assert_eq!(verdict, Ok(()), "chain {number}, {:?}", model.counts);
            left -= 1;
        }
        counts.add(model.counts);
    }
    counts
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut counts = Counts::default();
    std::thread::scope(|scope| {
        let chains: Vec<_> =
            (0..CHAINS).map(|number| scope.spawn(move || chain(number, rounds().div_ceil(CHAINS)))).collect();
        for chain in chains {
            counts.add(chain.join().expect("a chain that found nothing wrong"));
        }
    });
    println!("{counts:?}");
    counts.assert_not_vacuous();
}
