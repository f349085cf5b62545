//! No integer that was ever seen lies outside the bounds that every change of it keeps.
//!
//! Invariant: an attribute has a lower bound only if every addition that can lower it names one, and no value that was
//! set, nor 0 where additions begin, lies below; likewise above. So this needs no order, and holds for stale reads too.

use std::collections::BTreeMap;

use super::Findings;
use super::gather::{Fate, Sight, Transaction};
use crate::history::{Action, AttributeValue, Attributes, OpId};

/// The bounds of one attribute; a missing one is none.
#[derive(Clone, Copy)]
struct Bounds {
    least: Option<i64>,
    most: Option<i64>,
}

/// Compares every integer that an answer shows with its bounds.
pub(super) fn check(transactions: &[Transaction<'_>], sights: &[Sight<'_>], findings: &mut Findings) {
    let bounds = bounds(transactions);
    let mut judge = |name: &str, attributes: &Attributes, shown: Option<OpId>| {
        let shown: Vec<OpId> = shown.into_iter().collect();
        for (attr, value) in attributes {
            let (Some(value), Some(bounds)) = (value.integer(), bounds.get(&(name, attr.as_str()))) else { continue };
            if bounds.least.is_none() && bounds.most.is_none() {
                continue;
            }
            let holds = bounds.least.is_none_or(|least| least <= value) && bounds.most.is_none_or(|most| value <= most);
            findings.expect(holds, &shown, || {
                let of = |bound: Option<i64>| bound.map_or("none".into(), |bound| bound.to_string());
                format!("{attr} of {name} was {value}; its bounds are {} and {}", of(bounds.least), of(bounds.most))
            });
        }
    };
    for one in transactions {
        if let Fate::Applied { names, .. } = one.fate {
            names.iter().for_each(|after| judge(&after.name, &after.attributes, Some(one.shown)));
        }
    }
    sights.iter().for_each(|sight| judge(sight.name, sight.attributes, sight.shown));
}

fn bounds<'a>(transactions: &[Transaction<'a>]) -> BTreeMap<(&'a str, &'a str), Bounds> {
    let mut bounds: BTreeMap<(&str, &str), Bounds> = BTreeMap::new();
    let changes = transactions.iter().flat_map(|one| one.txn.then.iter().chain(&one.txn.otherwise));
    for change in changes {
        let (attr, least, most) = match &change.action {
            // An addition that does not lower the value needs no lower bound, and begins at 0.
            Action::Add { attr, by, min, max } => {
                let least = if *by >= 0 { Some(min.unwrap_or(0).min(0)) } else { *min };
                let most = if *by <= 0 { Some(max.unwrap_or(0).max(0)) } else { *max };
                (attr, least, most)
            }
            Action::Set { attr, value: AttributeValue::Integer(value) } => (attr, Some(*value), Some(*value)),
            Action::Set { .. } | Action::Unset { .. } | Action::Delete => continue,
        };
        let new = Bounds { least, most };
        let known = bounds.entry((&change.name, attr)).or_insert(new);
        known.least = known.least.zip(least).map(|(one, other)| one.min(other));
        known.most = known.most.zip(most).map(|(one, other)| one.max(other));
    }
    bounds
}
