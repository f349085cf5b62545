//! `raftshare-chaos bench`: the fixed measurements, a load, a comparison with another system, or the evaluation of the
//! report.
//!
//! Invariant: an option that would have no effect in the chosen form is refused, and so is a load that means nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};

use super::against::{self, AgainstOptions};
use super::load::{Mix, OperationKind, Wire};
use super::paper;
use super::point::{At, Consistency, LoadOptions};
use super::{BenchOptions, NAMES, sweep, table};

/// Measured time of a point, and the warm-up before it, unless they are given.
const DURATION: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(3);
/// The same with `--quick`.
const QUICK_DURATION: Duration = Duration::from_secs(2);
const QUICK_WARM_UP: Duration = Duration::from_millis(500);
/// Peers of a load that names none.
const PEERS: u64 = 100;
/// Connections that act for the peers, unless they are given.
const CONNECTIONS: usize = 500;
/// Most peers of a point.
const PEERS_MAX: u64 = 1_000_000;
/// Most runs.
const REPEAT_MAX: i64 = 99;
/// Names of a connection, unless they are given.
const FILES: u64 = 1_000;
/// Seed, unless it is given.
const SEED: u64 = 1;

/// A system to measure in the same minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Other {
    /// etcd, from PATH
    Etcd,
}

/// What has a command line of its own.
#[derive(Debug, Subcommand)]
enum Form {
    /// The evaluation of the report that this system began with: its scenarios, figures and charts, ours beside the
    /// published ones, on one page
    Paper(Box<paper::cli::PaperArgs>),
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    form: Option<Form>,
    /// A short form of everything
    #[arg(long)]
    quick: bool,
    /// Only these of the fixed measurements, such as cycle,failover; may be repeated. Without it, all
    /// but saturate, which takes many minutes
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(NAMES),
        conflicts_with_all = ["peers", "clients", "mix", "rate", "against"]
    )]
    only: Vec<String>,
    /// Runs of each measurement, each on a fresh cluster, in rounds: all once, then all again. Figures are the
    /// medians of the runs, with their range
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=REPEAT_MAX))]
    repeat: u32,
    /// A load instead of the fixed measurements: points of so many registered peers, such as 10,100,500
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=PEERS_MAX), conflicts_with = "clients")]
    peers: Vec<u64>,
    /// A load of so many peers with a connection each; with --against, the numbers of clients to compare at
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=PEERS_MAX))]
    clients: Vec<u64>,
    /// What the peers do, with weights: announce, register, batch, cycle, txn, heartbeat, search, peers, file, such as
    /// announce=5,search=4,heartbeat=1; or original, the mix of the original's benchmark
    #[arg(long)]
    mix: Option<Mix>,
    /// Operations per second of all peers together, begun whether or not earlier ones have ended (500 or 500/s);
    /// as fast as they can if absent
    #[arg(long, value_parser = parse_rate)]
    rate: Option<f64>,
    /// Measured time of each point [default: 10s], or of `saturate` [default: 10m]
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Time before it that is not counted [default: 3s]
    #[arg(long, value_parser = humantime::parse_duration)]
    warm_up: Option<Duration>,
    /// Connections that act for the peers in turn, at most one per peer [default: 500]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_000), conflicts_with = "clients")]
    connections: Option<u64>,
    /// Names that the peers of a connection announce before they begin again [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    files: Option<u64>,
    /// Consistency of the reads; the nodes' own default if absent
    #[arg(long)]
    consistency: Option<Consistency>,
    /// Which nodes are read [default: leader]
    #[arg(long)]
    at: Option<At>,
    /// The wire format in which the peers ask [default: native]
    #[arg(long)]
    wire: Option<Wire>,
    /// Seed of the mix and of what is read [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// Measure another system too, in the same minutes and with the same generator
    #[arg(long, conflicts_with_all = ["peers", "mix", "rate", "connections", "files", "consistency", "at", "wire"])]
    against: Option<Other>,
    /// One more argument for every node, such as --node-arg=--replicas=2; may be repeated
    #[arg(long)]
    node_arg: Vec<String>,
    /// Directory for the results and the nodes' logs; a temporary one if absent
    #[arg(long)]
    report: Option<PathBuf>,
    /// Directory of the raftshare binaries; beside this program if absent
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let rate: f64 = number.parse().map_err(|_| format!("'{text}' is not a number of operations per second"))?;
    let sensible = rate.is_finite() && rate > 0.0;
    if sensible { Ok(rate) } else { Err("a rate must be positive".into()) }
}

/// Carries out `bench`.
#[allow(clippy::print_stdout, reason = "the program's results")]
pub async fn run(arguments: BenchArgs) -> anyhow::Result<ExitCode> {
    let tell = |line| eprintln!("{line}");
    if let Some(Form::Paper(arguments)) = arguments.form {
        return paper::cli::run(*arguments).await;
    }
    if arguments.against.is_some() {
        let comparison = against::run(&arguments.against_options()?, tell).await?;
        println!("{}", comparison.table());
    } else if arguments.is_load() {
        let options = arguments.load_options()?;
        let sweep = sweep::run(&options, tell).await?;
        println!("{}", sweep.table());
        if let Some(report) = &options.report {
            eprintln!("results and charts are in {}", report.display());
        }
    } else {
        let results = super::run(&arguments.fixed_options()?, tell).await?;
        let figures = results.figures();
        if !figures.is_empty() {
            println!("{}", table(&figures));
        }
        results.check()?;
    }
    Ok(ExitCode::SUCCESS)
}

impl BenchArgs {
    fn is_load(&self) -> bool {
        !self.peers.is_empty() || !self.clients.is_empty() || self.mix.is_some() || self.rate.is_some()
    }

    fn fixed_options(self) -> anyhow::Result<BenchOptions> {
        let given = [
            ("--duration", self.duration.is_some() && !self.only.iter().any(|only| only == "saturate")),
            ("--warm-up", self.warm_up.is_some()),
            ("--connections", self.connections.is_some()),
            ("--files", self.files.is_some()),
            ("--consistency", self.consistency.is_some()),
            ("--at", self.at.is_some()),
            ("--wire", self.wire.is_some()),
            ("--seed", self.seed.is_some()),
            ("--node-arg", !self.node_arg.is_empty()),
        ];
        if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
            bail!("{name} is for a load: pass --peers, --clients, --mix or --rate as well");
        }
        Ok(BenchOptions {
            quick: self.quick,
            only: self.only,
            repeat: self.repeat,
            report: self.report,
            bin_dir: self.bin_dir,
            duration: self.duration,
        })
    }

    fn load_options(self) -> anyhow::Result<LoadOptions> {
        let connections = self.connections.map_or(CONNECTIONS, |connections| connections as usize);
        let points = if !self.clients.is_empty() {
            self.clients.iter().map(|&clients| (clients, clients as usize)).collect()
        } else {
            let peers = if self.peers.is_empty() { vec![PEERS] } else { self.peers.clone() };
            peers.into_iter().map(|peers| (peers, connections)).collect()
        };
        let mix = self.mix.clone().unwrap_or_else(|| Mix::of(OperationKind::Announce));
        self.wire.unwrap_or_default().check(&mix).map_err(anyhow::Error::msg)?;
        Ok(LoadOptions { points, mix, ..self.common_options()? })
    }

    fn against_options(self) -> anyhow::Result<AgainstOptions> {
        Ok(AgainstOptions { quick: self.quick, load: self.common_options()?, clients: self.clients })
    }

    fn common_options(&self) -> anyhow::Result<LoadOptions> {
        let duration = self.duration.unwrap_or(if self.quick { QUICK_DURATION } else { DURATION });
        if duration.is_zero() {
            bail!("--duration must be longer than 0");
        }
        Ok(LoadOptions {
            rate: self.rate,
            repeat: self.repeat,
            duration,
            warm_up: self.warm_up.unwrap_or(if self.quick { QUICK_WARM_UP } else { WARM_UP }),
            files: self.files.unwrap_or(FILES),
            consistency: self.consistency,
            at: self.at.unwrap_or(At::Leader),
            wire: self.wire.unwrap_or_default(),
            node_arguments: self.node_arg.clone(),
            seed: self.seed.unwrap_or(SEED),
            report: self.report.clone(),
            bin_dir: self.bin_dir.clone(),
            ..LoadOptions::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn parse(line: &str) -> Result<BenchArgs, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.bench).map_err(|error| error.to_string())
    }

    #[test]
    fn the_old_form_is_what_it_was() {
        let arguments = parse("--quick --only cycle --only failover --report out").expect("valid");
        assert!(!arguments.is_load());
        let options = arguments.fixed_options().expect("sensible");
        assert_eq!((options.quick, options.only.len()), (true, 2));
    }

    #[test]
    fn measurements_are_named_in_one_list_or_in_several() {
        let options = parse("--only cycle,gap --only saturate --duration 1m").expect("valid").fixed_options();
        assert_eq!(options.expect("sensible").only, ["cycle", "gap", "saturate"]);
    }

    #[test]
    fn every_form_is_repeated_and_none_unless_it_is_asked_for() {
        let fixed = |line| parse(line).expect("valid").fixed_options().expect("sensible").repeat;
        assert_eq!((fixed("--quick"), fixed("--only saturate --repeat 99")), (1, 99));
        let load = parse("--peers 10 --repeat 3").expect("valid").load_options().expect("sensible");
        let against = parse("--against etcd --repeat 4").expect("valid").against_options().expect("sensible");
        assert_eq!((load.repeat, against.load.repeat), (3, 4));
    }

    #[test]
    fn a_sweep_has_no_more_connections_than_are_asked_for() {
        let options = parse("--peers 10,10000 --connections 50 --mix original").expect("valid").load_options();
        assert_eq!(options.expect("sensible").points, [(10, 50), (10_000, 50)]);
        let options = parse("--clients 1,500 --rate 900/s").expect("valid").load_options().expect("sensible");
        assert_eq!((options.points, options.rate), (vec![(1, 1), (500, 500)], Some(900.0)));
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (line, word) in [
            ("--mix speed", "there is no operation"),
            ("--peers 0", "0 is not in"),
            ("--rate 0", "must be positive"),
            ("--rate fast", "operations per second"),
            ("--peers 10 --clients 10", "cannot be used with"),
            ("--only cycle --mix announce", "cannot be used with"),
            ("--only cycle,speed", "possible values: cycle,"),
            ("--only cycle,", "possible values: cycle,"),
            ("--repeat 0", "0 is not in 1..=99"),
            ("--repeat 100", "100 is not in 1..=99"),
            ("--repeat often", "invalid digit"),
            ("--against etcd --mix cycle", "cannot be used with"),
            ("--against consul", "possible values"),
            ("--quick paper", "cannot be used with"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
        let error = parse("--at follower").expect("valid").fixed_options().expect_err("no load").to_string();
        assert!(error.contains("--at is for a load"), "{error}");
        let error = parse("--mix batch --wire v0").expect("valid").load_options().expect_err("none").to_string();
        assert!(error.contains("no operation batch"), "{error}");
        let error = parse("--mix file --duration 0s").expect("valid").load_options().expect_err("zero").to_string();
        assert!(error.contains("longer than 0"), "{error}");
    }
}
