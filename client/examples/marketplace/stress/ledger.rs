//! The books: what all acknowledged orders together must have done to each stock, against what they did.
//!
//! Every receipt tells the stock right after its trade, and the ids of transactions ascend in the order in which they
//! were applied. So the receipts of a product, sorted by id, must form a chain without a gap from the first stock to
//! the last: a trade that was lost, carried out twice, or not acknowledged breaks it at its place.
//!
//! Invariant: the books are pure. They know neither the index nor the time.

use raft_store::types::TxnId;

/// What one order did to one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Movement {
    /// The order's transaction.
    pub(super) id: TxnId,
    /// Which product.
    pub(super) product: u16,
    /// Units that the shop gained.
    pub(super) quantity: i64,
    /// The stock right after.
    pub(super) stock: i64,
}

/// The books after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// Units that buyers got.
    pub sold: u64,
    /// Units that were there at first or added later.
    pub supplied: u64,
    /// Units sold beyond what there was.
    pub oversold: u64,
    /// Units that an acknowledged order moved and the stock does not show.
    pub lost: u64,
    /// Units that left or entered a stock without an order, or twice for one.
    pub doubled: u64,
    /// Orders that were answered with the transaction of another order.
    pub shared_transactions: u64,
    /// The first few places where the books do not add up.
    pub examples: Vec<String>,
}

/// Examples that a verdict names.
const EXAMPLES_MAX: usize = 5;

impl Verdict {
    /// Whether every unit is accounted for.
    pub fn holds(&self) -> bool {
        self.oversold == 0 && self.lost == 0 && self.doubled == 0 && self.shared_transactions == 0
    }

    fn example(&mut self, what: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what);
        }
    }
}

/// Judges a run by the first stocks, everything that orders moved, and the last stocks.
pub(super) fn judge(first: &[i64], mut movements: Vec<Movement>, last: &[i64]) -> Verdict {
    movements.sort_unstable_by_key(|movement| (movement.product, movement.id));
    let mut verdict = Verdict::default();
    for (place, (&first, &last)) in first.iter().zip(last).enumerate() {
        let from = movements.partition_point(|movement| usize::from(movement.product) < place);
        let to = movements.partition_point(|movement| usize::from(movement.product) <= place);
        judge_product(&mut verdict, place, first, &movements[from..to], last);
    }
    let supplied: i64 = first.iter().sum::<i64>() + sum(&movements, |quantity| quantity.max(0));
    let taken = sum(&movements, |quantity| (-quantity).max(0));
    verdict.supplied = supplied.unsigned_abs();
    verdict.sold = taken.unsigned_abs();
    verdict.oversold += (taken - supplied).max(0).unsigned_abs();
    verdict
}

fn sum(movements: &[Movement], part: impl Fn(i64) -> i64) -> i64 {
    movements.iter().map(|movement| part(movement.quantity)).sum()
}

fn judge_product(verdict: &mut Verdict, place: usize, first: i64, movements: &[Movement], last: i64) {
    let (mut stock, mut before) = (first, None);
    for movement in movements {
        if before == Some(movement.id) {
            verdict.shared_transactions += 1;
            verdict.example(format!("transaction {} answers two orders", movement.id));
        }
        before = Some(movement.id);
        let expected = stock + movement.quantity;
        compare(verdict, place, &movement.id.to_string(), expected, movement.stock, movement.quantity);
        if movement.stock < 0 {
            verdict.oversold += movement.stock.unsigned_abs();
            verdict.example(format!("product {place} had {} after transaction {}", movement.stock, movement.id));
        }
        stock = movement.stock;
    }
    compare(verdict, place, "the end", stock, last, 0);
}

/// Books a difference: units that an order moved and the stock does not show are lost, all others moved by themselves.
fn compare(verdict: &mut Verdict, place: usize, at: &str, expected: i64, found: i64, quantity: i64) {
    let difference = found - expected;
    if difference == 0 {
        return;
    }
    // The trade itself had no effect, or part of one.
    let undone = difference.signum() == -quantity.signum();
    let units = difference.unsigned_abs();
    // At the end a stock that is too high shows purchases that were taken back.
    if undone || (quantity == 0 && difference > 0) {
        verdict.lost += units;
    } else {
        verdict.doubled += units;
    }
    verdict.example(format!("product {place} at {at}: {found} in stock, and {expected} by the orders"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(index: u64, quantity: i64, stock: i64) -> Movement {
        Movement { id: TxnId { index, position: 0 }, product: 0, quantity, stock }
    }

    fn verdict(movements: &[Movement], last: i64) -> Verdict {
        judge(&[10], movements.to_vec(), &[last])
    }

    #[test]
    fn orders_that_explain_every_stock_hold_in_any_order_of_arrival() {
        let books = verdict(&[moved(9, -4, 3), moved(2, -3, 7)], 3);
        assert!(books.holds(), "{books:?}");
        assert_eq!((books.sold, books.supplied), (7, 10));
        assert!(verdict(&[moved(1, 5, 15), moved(2, -15, 0)], 0).holds());
    }

    #[test]
    fn a_lost_purchase_is_found() {
        let books = verdict(&[moved(2, -3, 7), moved(3, -2, 7), moved(4, -1, 6)], 6);
        assert_eq!((books.lost, books.doubled), (2, 0), "{books:?}");
        let at_the_end = verdict(&[moved(2, -3, 7)], 10);
        assert_eq!(at_the_end.lost, 3, "{at_the_end:?}");
    }

    #[test]
    fn a_purchase_that_was_carried_out_twice_is_found() {
        let books = verdict(&[moved(2, -3, 7), moved(5, -1, 3)], 3);
        assert_eq!((books.lost, books.doubled), (0, 3), "{books:?}");
        assert_eq!(verdict(&[moved(2, -3, 7)], 4).doubled, 3, "unnoticed until the end");
    }

    #[test]
    fn a_stock_below_zero_is_found() {
        let books = verdict(&[moved(2, -8, 2), moved(3, -4, -2)], -2);
        assert!(books.oversold >= 2 && !books.holds(), "{books:?}");
    }

    #[test]
    fn one_transaction_for_two_orders_is_found() {
        let books = verdict(&[moved(2, -3, 7), moved(2, -3, 7)], 7);
        assert_eq!(books.shared_transactions, 1, "{books:?}");
    }
}
