//! Carries out the commands, which the menu uses as well, and prints what became of them.

use client::terminal::{Exit, Failure, Output};

use crate::args::{Command, StressArgs, Wanted};
use crate::faults::{Failures, fail};
use crate::local::LocalCluster;
use crate::market::{Filter, Item, Market, MarketError, NodeState, Offer, Price, Product, Receipt};
use crate::{menu, stress};

/// How often an order of unknown outcome is placed again before the command gives up.
const PLACED_MAX: usize = 5;

/// The offers of `seed`: product, price in minor units, stock, unit.
const SEED: [(&str, i64, i64, &str); 10] = [
    ("north/harbour/salmon", 1_890, 40, "kg"),
    ("north/harbour/herring", 690, 120, "kg"),
    ("north/bakery/rye-bread", 420, 60, "piece"),
    ("north/bakery/cinnamon-roll", 280, 200, "piece"),
    ("south/orchard/apple", 250, 500, "kg"),
    ("south/orchard/apple-juice", 390, 90, "bottle"),
    ("south/harbour/salmon", 1_950, 15, "kg"),
    ("south/dairy/butter", 510, 80, "piece"),
    ("west/mill/oat-flakes", 330, 150, "kg"),
    ("west/mill/rye-flour", 240, 300, "kg"),
];

/// A market, and how to print what happens there.
pub struct Shop {
    /// The market.
    pub market: Market,
    /// How results are printed.
    pub output: Output,
    /// The nodes of the market, if this program started them.
    pub local: Option<LocalCluster>,
}

impl From<MarketError> for Failure {
    fn from(error: MarketError) -> Self {
        let exit = match error {
            MarketError::NoSuchProduct { .. } | MarketError::NoReceipt(_) => Exit::NotFound,
            MarketError::SoldOut { .. }
            | MarketError::Dearer { .. }
            | MarketError::AlreadyOffered { .. }
            | MarketError::OrderTaken { .. }
            | MarketError::Changed => Exit::Conflict,
            MarketError::BadOrder(_) => Exit::Usage,
            MarketError::Damaged { .. } => Exit::Integrity,
            MarketError::Busy => Exit::Unavailable,
            MarketError::Unknown(_) => Exit::TimedOut,
            MarketError::Index(error) => return error.into(),
        };
        Self::new(exit, error.to_string())
    }
}

impl Shop {
    /// Carries out a command.
    pub async fn run(&mut self, command: &Command) -> Result<(), Failure> {
        match command {
            Command::Menu => menu::run(self).await,
            Command::Seed => {
                let offered = self.seed().await?;
                self.output.sentence(&offered, &format!("{offered} products put on offer"));
                Ok(())
            }
            Command::Search(args) => self.search(&args.filter()).await,
            Command::Offer { product, price, stock, unit } => {
                let (product, stock) = (product.clone(), i64::from(*stock));
                let offer = Offer { product, price: *price, stock, unit: unit.clone() };
                self.market.offer(&offer).place().await?;
                self.output.sentence(&offer, &format!("{} is on offer at {}", offer.product, offer.price));
                Ok(())
            }
            Command::Reprice { product, price } => {
                let receipt = self.market.reprice(product, *price).place().await?;
                self.output.sentence(&receipt, &format!("{product} now costs {price}"));
                Ok(())
            }
            Command::Buy { items, number } => self.buy(&number.drawn(), items).await,
            Command::Restock { product, quantity, number } => self.restock(&number.drawn(), product, *quantity).await,
            Command::Transfer { from, to, quantity, number } => {
                self.transfer(&number.drawn(), from, to, *quantity).await
            }
            Command::Receipt { id } => {
                let receipt = self.market.receipt(*id).await?;
                self.print(&receipt);
                Ok(())
            }
            Command::Status => self.status().await,
            Command::Check => self.check().await,
            Command::Stress(args) => self.stress(args).await,
        }
    }

    /// Offers what is not on offer yet. Returns how many products that were.
    pub async fn seed(&self) -> Result<usize, Failure> {
        let mut offered = 0;
        for (place, price, stock, unit) in SEED {
            let product: Product = place.parse().map_err(|error| Failure::new(Exit::Other, format!("{error}")))?;
            let price = Price::from_minor(price).unwrap_or(Price::ZERO);
            match self.market.offer(&Offer { product, price, stock, unit: unit.to_owned() }).place().await {
                Ok(_) => offered += 1,
                Err(MarketError::AlreadyOffered { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(offered)
    }

    /// Prints the offers that match.
    pub async fn search(&self, filter: &Filter) -> Result<(), Failure> {
        let offers = self.market.search(filter).await?;
        let row = |offer: &Offer| {
            vec![offer.product.to_string(), offer.price.to_string(), offer.stock.to_string(), offer.unit.clone()]
        };
        let rows: Vec<_> = offers.iter().map(row).collect();
        self.output.result(&offers, &["PRODUCT", "PRICE", "STOCK", "UNIT"], &rows);
        self.output.remark(&format!("{} offers", offers.len()));
        Ok(())
    }

    /// Buys everything in the basket or nothing, at the prices that are found now where no limit is given.
    pub async fn buy(&self, number: &str, wanted: &[Wanted]) -> Result<(), Failure> {
        let mut basket = Vec::new();
        for wanted in wanted {
            let seen = match wanted.limit {
                Some(limit) => limit,
                None => self.market.look(&wanted.product).await?.price,
            };
            basket.push(Item { product: wanted.product.clone(), quantity: wanted.quantity, seen });
        }
        let receipt = self.settle(&self.market.buy(Some(number), &basket)?).await?;
        self.print(&receipt);
        Ok(())
    }

    /// Adds stock.
    pub async fn restock(&self, number: &str, product: &Product, quantity: u64) -> Result<(), Failure> {
        let receipt = self.settle(&self.market.restock(Some(number), product, quantity)?).await?;
        self.print(&receipt);
        Ok(())
    }

    /// Moves stock.
    pub async fn transfer(&self, number: &str, from: &Product, to: &Product, quantity: u64) -> Result<(), Failure> {
        let receipt = self.settle(&self.market.transfer(Some(number), (from, to), quantity)?).await?;
        self.print(&receipt);
        Ok(())
    }

    /// Places an order, again where its outcome is not known.
    async fn settle(&self, order: &crate::market::Order) -> Result<Receipt, MarketError> {
        for _ in 1..PLACED_MAX {
            match order.place().await {
                Err(MarketError::Unknown(why)) => self.output.remark(&format!("asking what became of it: {why}")),
                settled => return settled,
            }
        }
        order.place().await
    }

    /// Prints a receipt.
    pub fn print(&self, receipt: &Receipt) {
        let row = |line: &crate::market::ReceiptLine| {
            let cost = line.price.times(line.quantity.unsigned_abs()).to_string();
            let quantity = format!("{:+}", line.quantity);
            vec![line.product.to_string(), quantity, line.price.to_string(), cost, line.stock.to_string()]
        };
        let rows: Vec<_> = receipt.lines.iter().map(row).collect();
        self.output.result(receipt, &["PRODUCT", "SHOP'S STOCK", "PRICE", "COST", "LEFT"], &rows);
        let order = receipt.order.as_ref().map_or_else(String::new, |order| format!(", order {order}"));
        let bought = receipt.lines.iter().all(|line| line.quantity < 0);
        let total = if bought { format!(", total {}", receipt.total()) } else { String::new() };
        self.output.remark(&format!("receipt {}{order}{total}", receipt.txn));
    }

    /// Prints what each node says of itself.
    pub async fn status(&self) -> Result<(), Failure> {
        let nodes = self.market.nodes().await?;
        self.print_nodes(&nodes, &nodes);
        Ok(())
    }

    /// Compares the nodes at one log index.
    pub async fn check(&self) -> Result<(), Failure> {
        let compared = self.market.compare().await?;
        self.print_nodes(&compared, &compared.nodes);
        for difference in &compared.differences {
            self.output.warn(difference);
        }
        if compared.agree() {
            self.output.remark("all nodes that answer have the same market");
            return Ok(());
        }
        let what = if compared.differences.is_empty() { "fewer than two nodes answer" } else { "the nodes differ" };
        Err(Failure::new(Exit::Integrity, what))
    }

    fn print_nodes<T: serde::Serialize>(&self, value: &T, nodes: &[NodeState]) {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        let row = |node: &NodeState| {
            let applied = node.applied.map_or_else(|| "-".into(), |applied| applied.to_string());
            let role = node.role.clone().unwrap_or_else(|| "does not answer".into());
            let (version, units) = (text(&node.version), node.units.to_string());
            vec![node.node.to_string(), node.address.clone(), role, version, applied, node.products.to_string(), units]
        };
        let rows: Vec<_> = nodes.iter().map(row).collect();
        let header = ["NODE", "ADDRESS", "ROLE", "PROGRAM", "APPLIED", "PRODUCTS", "UNITS"];
        self.output.result(value, &header, &rows);
    }

    /// Runs a stress test and prints its report.
    pub async fn stress(&mut self, args: &StressArgs) -> Result<(), Failure> {
        if args.failures != Failures::None && self.local.as_ref().is_none_or(|local| local.len() < 3) {
            return Err(Failure::new(Exit::Usage, "failures need a local cluster of three nodes or more")
                .hint("marketplace --local stress --failures kill"));
        }
        let client = self.market.client().clone();
        let (plan, failures, every) = (args.plan(), args.failures, args.every);
        let local = self.local.as_mut();
        let faults = |incidents| async move {
            if let Some(local) = local {
                fail(local, failures, every, incidents).await;
            }
        };
        let report = stress::run(&client, &plan, faults).await?;
        self.output.sentence(&report, report.text().trim_end());
        if report.passed() { Ok(()) } else { Err(Failure::new(Exit::Integrity, "the stress test found violations")) }
    }
}
