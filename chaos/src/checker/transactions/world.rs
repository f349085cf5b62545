//! The attributes of all names, and what a transaction does to them (Rules K1 to K3).
//!
//! Invariant: this is the only description of the rules that the search judges by, and it shares nothing with the
//! index. Leases and versions are no part of it: a condition on what it does not know may hold or not.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::history::{Action, AttributeValue, Attributes, Branch, Change, Comparison, Condition, Txn};

/// Attributes that a name can have (K1).
const ATTRIBUTES_MAX: usize = 32;

/// The attributes of every name that has any.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct World<'a>(BTreeMap<&'a str, Rc<Attributes>>);

impl<'a> World<'a> {
    /// The attributes of a name, none if it has none.
    pub(super) fn of(&self, name: &str) -> Option<&Attributes> {
        self.0.get(name).map(Rc::as_ref)
    }

    /// Whether a name has exactly these attributes.
    pub(super) fn shows(&self, name: &str, attributes: &Attributes) -> bool {
        self.of(name).map_or(attributes.is_empty(), |known| known == attributes)
    }

    /// The world after these operations; nothing if one of them refuses the whole.
    pub(super) fn after(&self, changes: &'a [Change]) -> Option<Self> {
        let mut world = self.clone();
        for Change { name, action, .. } in changes {
            let attributes = Rc::make_mut(world.0.entry(name).or_default());
            match action {
                Action::Set { attr, value } => drop(attributes.insert(attr.clone(), value.clone())),
                Action::Add { attr, by, min, max } => {
                    let sum = attributes.get(attr).map_or(Some(0), AttributeValue::integer)?.checked_add(*by)?;
                    if min.is_some_and(|min| sum < min) || max.is_some_and(|max| sum > max) {
                        return None;
                    }
                    attributes.insert(attr.clone(), AttributeValue::Integer(sum));
                }
                Action::Unset { attr } => drop(attributes.remove(attr)),
                Action::Delete => attributes.clear(),
            }
            if attributes.len() > ATTRIBUTES_MAX {
                return None;
            }
        }
        world.0.retain(|_, attributes| !attributes.is_empty());
        Some(world)
    }

    /// The branches that the transaction can take. `version` tells a name's version where it is known; the name may
    /// have none.
    pub(super) fn branches(&self, txn: &Txn, version: &dyn Fn(&str) -> Option<Option<u64>>) -> Vec<Branch> {
        let held: Vec<Option<bool>> = txn.conditions.iter().map(|one| self.holds(one, version)).collect();
        if held.contains(&Some(false)) {
            vec![Branch::Else]
        } else if held.contains(&None) {
            vec![Branch::Then, Branch::Else]
        } else {
            vec![Branch::Then]
        }
    }

    /// Whether a condition holds, if that is known.
    fn holds(&self, condition: &Condition, version: &dyn Fn(&str) -> Option<Option<u64>>) -> Option<bool> {
        match condition {
            Condition::Exists { name, exists } => match self.of(name) {
                Some(_) => Some(*exists),
                None => version(name).map(|version| version.is_some() == *exists),
            },
            Condition::Version { name, version: wanted } => version(name).map(|version| version == Some(*wanted)),
            Condition::Attribute { name, attr, is, value } => {
                Some(compares(self.of(name).and_then(|known| known.get(attr)), *is, value))
            }
            Condition::Lease { .. } => None,
        }
    }
}

/// In words.
impl std::fmt::Debug for World<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<String> = self.0.iter().map(|(name, known)| attributes(name, known)).collect();
        out.write_str(&names.join(", "))
    }
}

/// A name and its attributes in words.
pub(super) fn attributes(name: &str, attributes: &Attributes) -> String {
    let words = attributes.iter().map(|(attr, value)| format!("{attr} {value}"));
    format!("{name} {{{}}}", words.collect::<Vec<_>>().join(", "))
}

/// Whether an attribute compares so (K3).
fn compares(attribute: Option<&AttributeValue>, is: Comparison, value: &AttributeValue) -> bool {
    use AttributeValue::{Integer, Text};
    let order = match (attribute, value) {
        (Some(Integer(one)), Integer(other)) => Some(one.cmp(other)),
        (Some(Text(one)), Text(other)) => Some(one.cmp(other)),
        _ => None,
    };
    match (is, order) {
        (Comparison::NotEqual, order) => order.is_none_or(std::cmp::Ordering::is_ne),
        (_, None) => false,
        (Comparison::Equal, Some(order)) => order.is_eq(),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::AtMost, Some(order)) => order.is_le(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::AtLeast, Some(order)) => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(action: Action) -> Change {
        Change { name: "n".into(), action, fence: None }
    }

    fn add(by: i64, min: Option<i64>, max: Option<i64>) -> Change {
        change(Action::Add { attr: "a".into(), by, min, max })
    }

    #[test]
    fn additions_keep_their_bounds_and_the_range_of_integers() {
        let number = |changes: &[Change]| World::default().after(changes)?.of("n")?.get("a")?.integer();
        assert_eq!(number(&[add(3, None, Some(3))]), Some(3));
        assert_eq!(number(&[add(4, None, Some(3))]), None);
        assert_eq!(number(&[add(2, None, None), add(-3, Some(0), None)]), None);
        assert_eq!(number(&[add(i64::MAX, None, None), add(1, None, None)]), None);
        let text = change(Action::Set { attr: "a".into(), value: AttributeValue::Text("x".into()) });
        assert_eq!(number(&[text, add(1, None, None)]), None);
    }

    #[test]
    fn a_name_ends_with_its_last_attribute() {
        let unset = change(Action::Unset { attr: "a".into() });
        assert_eq!(World::default().after(&[add(3, None, None), unset]), Some(World::default()));
        assert_eq!(World::default().after(&[add(3, None, None), change(Action::Delete)]), Some(World::default()));
    }

    #[test]
    fn an_integer_and_a_string_have_no_order_and_what_is_missing_is_only_different() {
        let signs = |attribute: Option<AttributeValue>, value: AttributeValue| {
            use Comparison::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
            let all = [Equal, NotEqual, Less, AtMost, Greater, AtLeast];
            let held = all.into_iter().filter(|is| compares(attribute.as_ref(), *is, &value)).map(Comparison::sign);
            held.collect::<Vec<_>>().join(" ")
        };
        let (number, text) = (AttributeValue::Integer, |text: &str| AttributeValue::Text(text.into()));
        assert_eq!(signs(None, number(0)), "!=");
        assert_eq!(signs(Some(number(5)), text("5")), "!=");
        assert_eq!(signs(Some(number(5)), number(5)), "= <= >=");
        assert_eq!(signs(Some(text("a")), text("b")), "!= < <=");
    }

    #[test]
    fn what_is_not_known_may_hold_or_not() {
        let lease = Condition::Lease { name: "n".into(), fence: 1 };
        let exists = Condition::Exists { name: "n".into(), exists: true };
        let branches = |conditions: Vec<Condition>, version: Option<Option<u64>>| {
            let txn = Txn { peer: "p".into(), conditions, then: vec![], otherwise: vec![] };
            World::default().branches(&txn, &|_| version)
        };
        assert_eq!(branches(vec![lease.clone()], None), [Branch::Then, Branch::Else]);
        assert_eq!(branches(vec![lease, exists.clone()], Some(None)), [Branch::Else]);
        assert_eq!(branches(vec![exists.clone()], Some(Some(1))), [Branch::Then]);
        assert_eq!(branches(vec![exists], None), [Branch::Then, Branch::Else]);
    }
}
