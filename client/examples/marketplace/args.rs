//! The command line of the marketplace.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use client::terminal::{Format, variables};
use raft_store::types::{PeerId, TxnId};

use crate::faults::Failures;
use crate::market::{Filter, Price, Product};
use crate::stress::{PRODUCTS_MAX, Plan};

/// A marketplace on a replicated index: shops in several areas, and stock that is never sold twice.
#[derive(Debug, Parser)]
#[command(name = "marketplace", disable_help_subcommand = true, max_term_width = 110)]
pub struct Cli {
    /// Index servers, comma-separated.
    #[arg(long, global = true, value_name = "URL,URL", env = variables::SERVER, default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// Start a cluster of index nodes on this machine for the time of this command, with a market to look around in.
    #[arg(long, global = true)]
    pub local: bool,
    /// Nodes of the local cluster.
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// The program of an index node, for the local cluster [default: beside this program].
    #[arg(long, global = true, value_name = "PATH")]
    pub node_program: Option<PathBuf>,
    /// Who trades.
    #[arg(long, global = true, value_name = "ID", default_value = "visitor", value_parser = peer_id)]
    pub trader: PeerId,
    /// Output format.
    #[arg(short, long, global = true, value_enum, env = variables::OUTPUT, default_value = "table")]
    pub output: Format,
    /// What to do [default: menu].
    #[command(subcommand)]
    pub command: Option<Command>,
}

fn peer_id(text: &str) -> Result<PeerId, String> {
    if text.contains('/') {
        return Err("the name of a trader has no '/'".into());
    }
    PeerId::parse(text).map_err(|error| error.to_string())
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Choose from a menu.
    Menu,
    /// Fill the market with shops to look around in.
    Seed,
    /// Find offers, in all areas or in one.
    Search(SearchArgs),
    /// Put a new product on offer.
    Offer {
        /// Where: AREA/SHOP/PRODUCT.
        product: Product,
        /// Price of one unit, such as 4.50.
        price: Price,
        /// Units in stock.
        #[arg(value_parser = clap::value_parser!(u32))]
        stock: u32,
        /// What is counted.
        #[arg(default_value = "piece")]
        unit: String,
    },
    /// Change a price.
    Reprice {
        /// Which product.
        product: Product,
        /// The new price.
        price: Price,
    },
    /// Buy one product or a basket of several: everything or nothing.
    Buy {
        /// PRODUCT, PRODUCT=QUANTITY or PRODUCT=QUANTITY@PRICE; you never pay more than PRICE, or than the price that
        /// is found when you order.
        #[arg(required = true, value_name = "ITEM")]
        items: Vec<Wanted>,
        #[command(flatten)]
        number: Number,
    },
    /// Add stock.
    Restock {
        /// Which product.
        product: Product,
        /// How many units.
        quantity: u64,
        #[command(flatten)]
        number: Number,
    },
    /// Move stock from one shop to another: both change or neither.
    Transfer {
        /// From here.
        from: Product,
        /// To there.
        to: Product,
        /// How many units.
        quantity: u64,
        #[command(flatten)]
        number: Number,
    },
    /// Show the receipt of a transaction.
    Receipt {
        /// Its id, as the purchase printed it.
        id: TxnId,
    },
    /// Show the nodes: roles, program versions, and the version of the market that each has.
    Status,
    /// Compare the market as each node has it, at one log index.
    Check,
    /// Let many buyers order at once, with failures if wanted, and check that every order was carried out once.
    Stress(StressArgs),
}

/// The number of an order.
#[derive(Debug, Clone, Args)]
pub struct Number {
    /// Number of the order [default: drawn]. An order that is repeated under its number is carried out once.
    #[arg(long = "order", value_name = "NUMBER")]
    pub number: Option<String>,
}

impl Number {
    /// The number, drawn if none was given.
    pub fn drawn(&self) -> String {
        self.number.clone().unwrap_or_else(draw_number)
    }
}

/// A number that no order has had.
pub fn draw_number() -> String {
    format!("{:012x}", rand::random::<u64>() >> 16)
}

/// What to look for.
#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// Words of the product, shop or area; typing errors are forgiven.
    pub words: Vec<String>,
    /// Only this area.
    #[arg(long)]
    pub area: Option<String>,
    /// Only this shop of the area.
    #[arg(long, requires = "area")]
    pub shop: Option<String>,
    /// At least this price.
    #[arg(long, value_name = "PRICE")]
    pub price_from: Option<Price>,
    /// At most this price.
    #[arg(long, value_name = "PRICE")]
    pub price_to: Option<Price>,
    /// At least so many units in stock.
    #[arg(long, value_name = "UNITS")]
    pub stock: Option<u64>,
}

impl SearchArgs {
    /// The same for the market.
    pub fn filter(&self) -> Filter {
        Filter {
            words: self.words.join(" "),
            area: self.area.clone(),
            shop: self.shop.clone(),
            price_from: self.price_from,
            price_to: self.price_to,
            stock: self.stock,
            limit: None,
        }
    }
}

/// A product that is wanted, as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub product: Product,
    /// How many units.
    pub quantity: u64,
    /// The highest price to pay; the price that is found if it is not given.
    pub limit: Option<Price>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, limit) = match text.rsplit_once('@') {
            Some((rest, price)) => (rest, Some(price.parse().map_err(|error| format!("{error}"))?)),
            None => (text, None),
        };
        let (product, quantity) = match text.rsplit_once('=') {
            Some((product, quantity)) => {
                let bad = |_| format!("{quantity:?} is not a quantity; write it like north/harbour/salmon=3");
                (product, quantity.parse().map_err(bad)?)
            }
            None => (text, 1),
        };
        Ok(Self { product: product.parse().map_err(|error| format!("{error}"))?, quantity, limit })
    }
}

/// A stress test.
#[derive(Debug, Clone, Args)]
pub struct StressArgs {
    /// Buyers that order at the same time.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    pub buyers: u16,
    /// Products.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=i64::from(PRODUCTS_MAX)))]
    pub products: u16,
    /// How long orders are placed, up to ten minutes.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Units of each product at first; every fifth product is scarce.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(i64).range(0..=1_000_000_000))]
    pub stock: i64,
    /// Decides what the buyers do.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What happens to the leader of the local cluster; needs --local.
    #[arg(long, value_enum, default_value = "none")]
    pub failures: Failures,
    /// How often.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub every: Duration,
    /// Leave the products of the test in the market.
    #[arg(long)]
    pub keep: bool,
}

impl StressArgs {
    /// The plan.
    pub fn plan(&self) -> Plan {
        Plan {
            buyers: self.buyers,
            products: self.products,
            duration: self.duration,
            least: 0,
            stock: self.stock,
            seed: self.seed,
            keep: self.keep,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; examples: 500ms, 10s, 2m"))?;
    let range = Duration::from_millis(100)..=Duration::from_secs(600);
    if range.contains(&duration) { Ok(duration) } else { Err("it must be between 100ms and 10m".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wanted_items_have_a_quantity_and_a_highest_price() {
        let item =
            |text: &str| text.parse::<Wanted>().map(|item| (item.product.to_string(), item.quantity, item.limit));
        assert_eq!(item("a/b/c"), Ok(("a/b/c".into(), 1, None)));
        assert_eq!(item("a/b/c=3@4.5"), Ok(("a/b/c".into(), 3, Price::from_minor(450))));
        for text in ["a/b", "a/b/c=x", "a/b/c@x", "a/b/c=-1", ""] {
            assert!(item(text).is_err(), "{text}");
        }
    }
}
