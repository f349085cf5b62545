//! The menu: every command by its number, with questions for what it needs. Reads lines, so that a script can drive it.

use std::io::Write;
use std::str::FromStr;
use std::time::Duration;

use client::terminal::{Failure, write_stdout};
use raft_store::types::TxnId;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

use crate::args::{StressArgs, Wanted, draw_number};
use crate::commands::Shop;
use crate::faults::Failures;
use crate::market::{Filter, Price, Product};

const MENU: &str = "
  1  Search products              6  Receipt of a transaction
  2  Buy a product                7  Server status
  3  Buy a basket                 8  Consistency check
  4  Add stock                    9  Stress test
  5  Transfer between shops       0  Leave
";

/// The lines that are typed.
type Typed = Lines<BufReader<Stdin>>;

/// Asks for commands until the user leaves, or the input ends.
pub async fn run(shop: &mut Shop) -> Result<(), Failure> {
    let mut typed = BufReader::new(tokio::io::stdin()).lines();
    loop {
        say(MENU);
        let Some(choice) = ask(&mut typed, "choice").await? else { return Ok(()) };
        let done = match choice.as_str() {
            "1" => search(shop, &mut typed).await,
            "2" => buy(shop, &mut typed).await,
            "3" => basket(shop, &mut typed).await,
            "4" => restock(shop, &mut typed).await,
            "5" => transfer(shop, &mut typed).await,
            "6" => receipt(shop, &mut typed).await,
            "7" => shop.status().await,
            "8" => shop.check().await,
            "9" => stress(shop, &mut typed).await,
            "0" => return Ok(()),
            other => {
                say(&format!("there is no {other:?}; type one of the numbers\n"));
                continue;
            }
        };
        if let Err(failure) = done {
            shop.output.failure(&failure);
        }
    }
}

fn say(text: &str) {
    // A failure is reported at the end.
    let _ = write_stdout(text.as_bytes());
}

/// A line, without blanks around it; `None` at the end of the input.
async fn ask(typed: &mut Typed, what: &str) -> Result<Option<String>, Failure> {
    say(&format!("{what}: "));
    // The prompt has no line end.
    let _ = std::io::stdout().flush();
    Ok(typed.next_line().await?.map(|line| line.trim().to_owned()))
}

/// A value; asks again until it is valid. An empty line takes `default`.
async fn value<T: FromStr<Err: std::fmt::Display>>(typed: &mut Typed, what: &str, default: &str) -> Result<T, Failure> {
    loop {
        let line = ask(typed, what).await?.ok_or_else(ended)?;
        let text = if line.is_empty() { default } else { &line };
        match text.parse() {
            Ok(value) => return Ok(value),
            Err(error) => say(&format!("{error}\n")),
        }
    }
}

/// A value that may be left out with an empty line.
async fn option<T: FromStr<Err: std::fmt::Display>>(typed: &mut Typed, what: &str) -> Result<Option<T>, Failure> {
    loop {
        let line = ask(typed, &format!("{what} (or nothing)")).await?.ok_or_else(ended)?;
        match line.parse() {
            _ if line.is_empty() => return Ok(None),
            Ok(value) => return Ok(Some(value)),
            Err(error) => say(&format!("{error}\n")),
        }
    }
}

fn ended() -> Failure {
    Failure::new(client::terminal::Exit::Usage, "the input ended in the middle of a command")
}

async fn search(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let filter = Filter {
        words: value(typed, "words, or nothing for all products", "").await?,
        area: option(typed, "area").await?,
        price_to: option::<Price>(typed, "highest price").await?,
        stock: option(typed, "units in stock at least").await?,
        ..Filter::default()
    };
    shop.search(&filter).await
}

async fn buy(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let product: Product = value(typed, "product (AREA/SHOP/PRODUCT)", "").await?;
    let offer = shop.market.look(&product).await?;
    say(&format!("{} costs {} a {}, {} in stock\n", offer.product, offer.price, offer.unit, offer.stock));
    let quantity = value(typed, "quantity", "1").await?;
    shop.buy(&draw_number(), &[Wanted { product, quantity, limit: Some(offer.price) }]).await
}

async fn basket(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let mut basket: Vec<Wanted> = Vec::new();
    say("one PRODUCT=QUANTITY in a line; an empty line orders\n");
    while let Some(wanted) = option(typed, "item").await? {
        basket.push(wanted);
    }
    shop.buy(&draw_number(), &basket).await
}

async fn restock(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let product: Product = value(typed, "product (AREA/SHOP/PRODUCT)", "").await?;
    let quantity = value(typed, "units to add", "").await?;
    shop.restock(&draw_number(), &product, quantity).await
}

async fn transfer(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let from: Product = value(typed, "from (AREA/SHOP/PRODUCT)", "").await?;
    let to: Product = value(typed, "to (AREA/SHOP/PRODUCT)", "").await?;
    let quantity = value(typed, "units", "").await?;
    shop.transfer(&draw_number(), &from, &to, quantity).await
}

async fn receipt(shop: &Shop, typed: &mut Typed) -> Result<(), Failure> {
    let id: TxnId = value(typed, "transaction", "").await?;
    let receipt = shop.market.receipt(id).await?;
    shop.print(&receipt);
    Ok(())
}

async fn stress(shop: &mut Shop, typed: &mut Typed) -> Result<(), Failure> {
    let buyers = value(typed, "buyers [20]", "20").await?;
    let seconds: u64 = value(typed, "seconds [5]", "5").await?;
    let failures = if shop.local.is_some() {
        match value::<String>(typed, "make leaders fail? (y/n) [n]", "n").await?.as_str() {
            "y" | "yes" => Failures::Mixed,
            _ => Failures::None,
        }
    } else {
        Failures::None
    };
    let args = StressArgs {
        buyers,
        products: 10,
        duration: Duration::from_secs(seconds.clamp(1, 600)),
        stock: 1_000_000,
        seed: rand::random(),
        failures,
        every: Duration::from_secs(2),
        keep: false,
    };
    shop.stress(&args).await
}
